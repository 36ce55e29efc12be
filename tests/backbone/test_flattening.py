"""A batch as one sequence without padding: outputs and gradients are those of the padded batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AttentionInterface, BertModel

from attention import VARIABLE_LENGTHS, register, variable_lengths
from backbones import TEXT_DECODERS, TEXT_ENCODERS, tiny_backbone
from fixtures import tiny_bert_config, tiny_inputs
from mt_transformers import Backbone
from mt_transformers.backbone.flattening import find_first_position, flatten
from mt_transformers.errors import InputError

FLAT = [
    "albert",
    "bert",
    "distilbert",
    "electra",
    "gemma",
    "gpt2",
    "llama",
    "modernbert",
    "qwen2",
    "roberta",
    "xlm-roberta",
]
"""Families whose attention can be told where sequences end."""


@given(data=st.data(), rows=st.integers(1, 5), length=st.integers(1, 7), left=st.booleans())
def test_flattened_values_come_back(data: st.DataObject, rows: int, length: int, left: bool) -> None:
    lengths = data.draw(st.lists(st.integers(0, length), min_size=rows, max_size=rows))
    columns = torch.arange(length).expand(rows, length)
    ends = torch.tensor(lengths).unsqueeze(1)
    mask = columns >= length - ends if left else columns < ends
    ids = torch.arange(rows * length).view(rows, length)
    flat = flatten({"input_ids": ids, "attention_mask": mask.long()}, first_position=2)
    assert flat is not None
    assert flat.inputs["input_ids"].shape == (1, sum(lengths))
    assert flat.inputs["position_ids"].tolist() == [[2 + each for own in lengths for each in range(own)]]
    assert flat.inputs["cu_seq_lens_q"].tolist() == [sum(lengths[:row]) for row in range(rows + 1)]
    assert flat.inputs["cu_seq_lens_q"].dtype == torch.int32
    assert "attention_mask" not in flat.inputs
    assert torch.equal(flat.unflatten(flat.inputs["input_ids"]), torch.where(mask, ids, 0))


def test_positions_that_were_given_and_other_inputs_are_kept() -> None:
    mask = torch.tensor([[1, 0], [1, 1]])
    flat = flatten({"position_ids": torch.tensor([[7, 0], [8, 9]]), "attention_mask": mask, "pixel_values": mask})
    assert flat is not None
    assert flat.inputs["position_ids"].tolist() == [[7, 8, 9]]
    assert flat.inputs["pixel_values"] is mask


def test_without_a_mask_of_tokens_nothing_is_flattened() -> None:
    assert flatten({"input_ids": torch.ones(2, 3)}) is None
    assert flatten({"input_ids": torch.ones(2, 3), "attention_mask": torch.ones(2, 1, 3, 3)}) is None


def padded_and_flat(family: str) -> tuple[Backbone, Backbone]:
    """The same backbone twice, one on attention of variable lengths."""
    register()
    found = []
    for attention in ("sdpa", VARIABLE_LENGTHS):
        torch.manual_seed(0)
        backbone = tiny_backbone(family).double().eval()
        backbone.model.set_attn_implementation(attention)
        found.append(backbone)
    found[1].leave_padding_out()
    return found[0], found[1]


@pytest.mark.parametrize("layers", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FLAT)
def test_outputs_and_gradients_are_those_of_the_padded_batch(family: str, side: str, layers: bool) -> None:
    inputs = tiny_inputs(4)
    if side == "left":
        inputs = {name: value.flip(1) for name, value in inputs.items()}
    assert (inputs["attention_mask"] == 0).any()
    results = []
    for backbone in padded_and_flat(family):
        outputs = backbone(layers=layers, **inputs)
        mask = outputs["encoded_text_mask"].unsqueeze(-1)
        values = [each * mask for each in (*outputs.get("text_layers", ()), outputs["encoded_text"])]
        sum((value * torch.linspace(0, 1, value.numel()).view(value.shape)).sum() for value in values).backward()
        grads = {name: each.grad for name, each in backbone.named_parameters() if each.grad is not None}
        results.append((values, outputs["encoded_text_mask"], grads))
    (padded, mask, grads), (flat, flat_mask, flat_grads) = results
    assert torch.equal(mask, flat_mask)
    assert len(padded) == len(flat)
    assert (len(flat) > 1) == layers
    # Gemma normalizes in float32 whatever its weights are
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if family == "gemma" else {"rtol": 1e-8, "atol": 1e-10}
    for one, other in zip(padded, flat, strict=True):
        torch.testing.assert_close(other, one, **tolerance)
    assert grads.keys() == flat_grads.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(flat_grads[name], grad, **tolerance, msg=lambda text, at=name: f"{at}: {text}")


def test_padding_comes_out_as_zeros() -> None:
    _, flat = padded_and_flat("bert")
    inputs = tiny_inputs(4)
    encoded = flat(**inputs)["encoded_text"]
    assert (encoded[inputs["attention_mask"] == 0] == 0).all()


def test_full_has_its_rows_apart() -> None:
    inputs = tiny_inputs(4)
    mask = inputs["attention_mask"].bool()
    padded, flat = (backbone(**inputs, returnt="full") for backbone in padded_and_flat("bert"))
    for one, other in zip(padded, flat, strict=True):
        torch.testing.assert_close(other[mask], one[mask])
        assert other.shape == one.shape


def test_the_first_position_of_roberta_lies_behind_its_padding() -> None:
    assert find_first_position(tiny_backbone("roberta").model) > 0
    assert find_first_position(tiny_backbone("bert").model) == 0


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_of_one_length_is_refused(attention: str) -> None:
    backbone = tiny_backbone("bert")
    backbone.model.set_attn_implementation(attention)
    with pytest.raises(InputError, match=f"expected attention that takes variable lengths .* found '{attention}'"):
        backbone.leave_padding_out()


@pytest.mark.parametrize("family", ["vit", "t5", "clip"])
def test_other_kinds_are_refused(family: str) -> None:
    with pytest.raises(InputError, match="does not read text alone"):
        tiny_backbone(family).leave_padding_out()


def test_attention_across_rows_is_found_out() -> None:
    """A function that is not told, or does not heed, where sequences end."""

    def heedless(*args: Any, cu_seq_lens_q: Any = None, max_length_q: Any = None, **kwargs: Any) -> Any:
        return variable_lengths(*args, **kwargs)

    AttentionInterface.register("heedless", heedless)
    backbone = tiny_backbone("bert")
    backbone.model.set_attn_implementation("heedless")
    with pytest.raises(InputError, match="come out otherwise in one sequence than alone"):
        backbone.leave_padding_out()
    # and goes on as before
    assert backbone(**tiny_inputs(2))["encoded_text"].shape[0] == 2


def test_training_mode_is_kept() -> None:
    register()
    backbone = Backbone(BertModel(tiny_bert_config(), add_pooling_layer=False))
    backbone.model.set_attn_implementation(VARIABLE_LENGTHS)
    backbone.train()
    backbone.leave_padding_out()
    assert backbone.model.training


@pytest.mark.parametrize("family", sorted({*TEXT_ENCODERS, *TEXT_DECODERS} - set(FLAT)))
def test_all_other_families_are_refused(family: str) -> None:
    register()
    backbone = tiny_backbone(family).eval()
    backbone.model.config._attn_implementation = VARIABLE_LENGTHS
    with pytest.raises(InputError, match="padding_free"):
        backbone.leave_padding_out()


@pytest.mark.gpu
def test_flash_attention_equals_padded_batches() -> None:
    pytest.importorskip("flash_attn")
    results = []
    for attention in ("sdpa", "flash_attention_2"):
        torch.manual_seed(0)
        backbone = tiny_backbone("bert").to("cuda", torch.bfloat16).eval()
        backbone.model.set_attn_implementation(attention)
        if attention == "flash_attention_2":
            backbone.leave_padding_out()
        inputs = {name: value.cuda() for name, value in tiny_inputs(4).items()}
        outputs = backbone(**inputs)
        results.append((outputs["encoded_text"] * outputs["encoded_text_mask"].unsqueeze(-1)).float())
    torch.testing.assert_close(results[1], results[0], rtol=0.05, atol=0.05)
