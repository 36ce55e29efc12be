"""Models of text: neither the side nor the amount of padding changes what they answer."""

from __future__ import annotations

import pytest
import torch
from transformers import XLNetConfig

from backbones import ENCODER_DECODERS, TEXT, TEXT_DECODERS, TEXT_ENCODERS, TEXTS, tiny_backbone, tiny_backbone_inputs
from fixtures import SPECIAL_TOKENS
from mt_transformers import Backbone
from mt_transformers.backbone.padding import rotate

PAD = 0


def padded(inputs: dict[str, torch.Tensor], left: int, right: int) -> dict[str, torch.Tensor]:
    """The inputs with more columns of padding."""
    return {name: torch.nn.functional.pad(value, (left, right), value=PAD) for name, value in inputs.items()}


def on_the_left(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inputs with the padding of each row moved to its left."""
    lengths = inputs["attention_mask"].sum(dim=1)
    return {name: rotate(value, lengths) for name, value in inputs.items()}


def test_on_the_left() -> None:
    inputs = {"input_ids": torch.tensor([[5, 6, 0]]), "attention_mask": torch.tensor([[1, 1, 0]])}
    assert {name: value.tolist() for name, value in on_the_left(inputs).items()} == {
        "input_ids": [[0, 5, 6]],
        "attention_mask": [[0, 1, 1]],
    }


def tokens(outputs: dict[str, torch.Tensor], name: str) -> list[torch.Tensor]:
    """What an output, or each of its layers, says of the tokens of each row, one row after the other."""
    mask = outputs["encoded_text_mask"]
    value = outputs[name]
    return [layer[mask] for layer in value] if isinstance(value, tuple) else [value[mask]]


@pytest.mark.parametrize("family", TEXTS)
def test_padding_does_not_change_the_encoded_tokens(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = tiny_backbone_inputs(family)
    names = list(backbone.info.hidden_sizes)
    names += [f"{name.removeprefix('encoded_')}_layers" for name in backbone.info.num_layers]
    ways = {
        "left": on_the_left(inputs),
        "more": padded(inputs, 0, 3),
        "more on the left": padded(on_the_left(inputs), 2, 0),
        "both sides": padded(on_the_left(inputs), 1, 2),
    }
    expected = backbone(layers=True, outputs=set(names), **inputs)
    alone = [
        backbone(layers=True, outputs=set(names), input_ids=ids[mask.bool()].unsqueeze(0))
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]
    for name in names:
        found = [torch.cat(rows) for rows in zip(*(tokens(each, name) for each in alone), strict=True)]
        torch.testing.assert_close(found, tokens(expected, name), rtol=1e-9, atol=1e-9, msg=f"alone: {name}")
        # the comparison can fail: rows and tokens differ
        assert tokens(expected, name)[-1].std(dim=0).min() > 1e-4
    for way, changed in ways.items():
        outputs = backbone(layers=True, outputs=set(names), **changed)
        assert torch.equal(outputs["token_ids"], changed["input_ids"])
        assert torch.equal(outputs["encoded_text_mask"], changed["attention_mask"].bool())
        for name in names:
            torch.testing.assert_close(
                tokens(outputs, name), tokens(expected, name), rtol=1e-9, atol=1e-9, msg=f"{way}: {name}"
            )


@pytest.mark.parametrize("family", [*TEXT_ENCODERS, *TEXT_DECODERS])
def test_right_padding_answers_as_the_model_itself(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = tiny_backbone_inputs(family)
    assert torch.equal(backbone(**inputs)["encoded_text"], backbone.model(**inputs).last_hidden_state)


@pytest.mark.parametrize("family", ["bert", "gpt2", "deberta-v2", "bart"])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_embeddings_in_place_of_ids(family: str, left: bool) -> None:
    backbone = tiny_backbone(family)
    inputs = tiny_backbone_inputs(family)
    inputs = on_the_left(inputs) if left else inputs
    embedded = backbone.model.get_input_embeddings()(inputs["input_ids"])
    outputs = backbone(inputs_embeds=embedded, attention_mask=inputs["attention_mask"])
    assert "token_ids" not in outputs
    assert torch.equal(outputs["encoded_text"], backbone(**inputs)["encoded_text"])


def test_token_types_move_with_their_tokens() -> None:
    backbone = tiny_backbone("bert")
    inputs = tiny_backbone_inputs("bert")
    inputs["token_type_ids"] = (torch.arange(7) > 2).long() * inputs["attention_mask"]
    torch.testing.assert_close(
        tokens(backbone(**on_the_left(inputs)), "encoded_text"), tokens(backbone(**inputs), "encoded_text")
    )
    plain = {name: value for name, value in inputs.items() if name != "token_type_ids"}
    assert not torch.equal(backbone(**plain)["encoded_text"], backbone(**inputs)["encoded_text"])


def test_positions_that_the_caller_gives_are_used_as_they_are() -> None:
    backbone = tiny_backbone("bert")
    inputs = on_the_left(tiny_backbone_inputs("bert")) | {"position_ids": torch.arange(7).flip(0).repeat(3, 1)}
    assert torch.equal(backbone(**inputs)["encoded_text"], backbone.model(**inputs).last_hidden_state)


@pytest.mark.parametrize("family", ["bert", "llama", "t5", "bart"])
def test_holes_hide_a_token_and_move_no_other(family: str) -> None:
    backbone = tiny_backbone(family)
    ids = torch.tensor([[7, 8, 9, 10, 11]])
    other = torch.tensor([[7, 8, 12, 10, 11]])
    mask = torch.tensor([[1, 1, 0, 1, 1]])
    names = list(backbone.info.hidden_sizes)
    with_one = backbone(outputs=set(names), input_ids=ids, attention_mask=mask)
    with_other = backbone(outputs=set(names), input_ids=other, attention_mask=mask)
    for name in names:
        kept = mask.bool() if name == "encoded_text" else torch.tensor([[True, True, True, False, True]])
        torch.testing.assert_close(with_one[name][kept], with_other[name][kept], rtol=1e-9, atol=1e-9)
    if family in ("bert", "bart"):
        # absolute positions: the tokens behind the hole keep theirs
        positions = torch.tensor([[0, 1, 3, 4]])
        model = backbone.model
        if family == "bert":
            packed = model(input_ids=ids[mask.bool()].unsqueeze(0), position_ids=positions).last_hidden_state
            torch.testing.assert_close(packed[0], with_one["encoded_text"][mask.bool()])


@pytest.mark.parametrize("family", TEXTS)
def test_gradients_reach_the_embeddings_of_the_tokens_and_only_those(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = on_the_left(tiny_backbone_inputs(family))
    encoded = backbone(**inputs)
    encoded["encoded_text"][encoded["encoded_text_mask"]].square().sum().backward()
    gradient = backbone.model.get_input_embeddings().weight.grad
    assert gradient is not None
    used = set(inputs["input_ids"][inputs["attention_mask"].bool()].tolist())
    assert set(gradient.abs().sum(dim=1).nonzero().flatten().tolist()) == used


def test_families_of_encoder_decoders_are_texts() -> None:
    assert set(ENCODER_DECODERS) < set(TEXTS)


@pytest.mark.parametrize("family", TEXTS)
def test_the_longest_text_is_read(family: str) -> None:
    backbone = tiny_backbone(family).eval()
    length = backbone.max_positions
    if length is None:
        pytest.skip("positions are relative, texts of any length are read")
    ids = torch.full((1, length), len(SPECIAL_TOKENS))
    with torch.no_grad():
        encoded = backbone(input_ids=ids, attention_mask=torch.ones_like(ids))["encoded_text"]
    assert encoded.shape[1] == length
    assert bool(torch.isfinite(encoded).all())
    # they count from behind the index of padding, which MPNet has fixed
    unused = {"roberta": 1, "xlm-roberta": 1, "mpnet": 2}
    assert length == TEXT["max_position_embeddings"] - unused.get(family, 0)


def test_a_config_without_a_longest_text() -> None:
    config = XLNetConfig(d_model=8, n_layer=1, n_head=2, d_inner=8, vocab_size=9)
    assert config.max_position_embeddings == -1
    assert Backbone.from_config(config).max_positions is None
