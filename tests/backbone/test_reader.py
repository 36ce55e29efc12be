"""What all ways of running a model share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from backbones import tiny_backbone
from mt_transformers.backbone.reader import Reader, in_dtype_of, parameters_of, token_ids
from mt_transformers.errors import InputError


def test_parameters_under_a_path() -> None:
    model = nn.Sequential()
    model.inner = nn.Sequential(nn.Linear(2, 3, bias=False))
    model.alone = nn.Parameter(torch.ones(1))
    assert [each.shape for each in parameters_of(model, "inner.0")] == [(3, 2)]
    assert [each.shape for each in parameters_of(model, "alone")] == [(1,)]
    assert list(parameters_of(model, "inner.1.more")) == list(parameters_of(model, "missing")) == []


def test_token_ids_are_those_that_were_given() -> None:
    ids = torch.ones(1, 2)
    assert token_ids({"input_ids": ids})["token_ids"] is ids
    assert token_ids({"input_ids": None}) == token_ids({}) == {}


def test_the_named_input_takes_the_models_dtype() -> None:
    model = tiny_backbone("vit").model
    found = in_dtype_of(model, {"pixel_values": torch.ones(1), "other": torch.ones(1)}, "pixel_values")
    assert [value.dtype for value in found.values()] == [torch.float64, torch.float32]
    whole = in_dtype_of(model, {"pixel_values": torch.ones(1, dtype=torch.uint8)}, "pixel_values")
    assert whole["pixel_values"].dtype == torch.uint8


@pytest.fixture
def reader() -> Reader:
    """A reader of text with three layers."""
    reader: Reader = tiny_backbone("bert")._reader
    return reader


def test_layers_are_rotated_back(reader: Reader) -> None:
    layer = torch.tensor([[[1.0], [2.0], [3.0]]])
    found = reader.layers("encoded_text", [layer] * 3, layer, torch.tensor([1]))
    assert list(found) == ["text_layers"]
    assert [each.flatten().tolist() for each in found["text_layers"]] == [[3.0, 1.0, 2.0]] * 3


def test_an_output_without_layers_has_none(reader: Reader) -> None:
    assert reader.layers("encoded_image", None, torch.ones(1)) == {}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [([(1, 3, 4)] * 2, r"^layers of encoded_text: expected 3, found 2"), ([(1, 3, 5)] * 3, r"differ in shape\.$")],
    ids=["number", "shape"],
)
def test_layers_that_are_not_what_the_config_says_are_refused(
    reader: Reader, shapes: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        reader.layers("encoded_text", [torch.ones(shape) for shape in shapes], torch.ones(1, 3, 4))


def test_full_layers_keep_their_shapes_and_are_rotated_back_where_they_have_the_tokens(reader: Reader) -> None:
    """Funnel shortens its texts, so that a layer may have fewer positions than tokens."""
    layers = [torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 2.0]]), torch.ones(1, 3, 2)]
    found = reader.layers("encoded_text", layers, layers[0], torch.tensor([1]), "full")["text_layers"]
    assert [each.tolist() for each in found[:2]] == [[[3.0, 1.0, 2.0]], [[1.0, 2.0]]]
    assert found[2].shape == (1, 3, 2)


def test_full_layers_of_an_unknown_number_are_all_there_are(reader: Reader) -> None:
    assert len(reader.layers("encoded_image", [torch.ones(1)] * 5, torch.ones(1), layers="full")["image_layers"]) == 5


@pytest.mark.parametrize("states", [None, (), ((torch.ones(1),), (torch.ones(1),))])
def test_what_are_no_hidden_states_is_refused(reader: Reader, states: Any) -> None:
    with pytest.raises(InputError, match=r"^backbone 'bert': it answers without hidden states of encoded_image\.$"):
        reader.layers("encoded_image", states, torch.ones(1), layers="full")
