"""Pooling: exact numbers of each mode, with the padding on either side."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mt_transformers.errors import InputError
from mt_transformers.heads import BackboneInfo, Pooling, RegressionHeadConfig, masked_mean
from mt_transformers.heads.pooling import check_pooling

TOKENS = torch.tensor([[1.0, -4.0], [5.0, -8.0], [3.0, -6.0]])
PADDING = torch.tensor([[99.0, 99.0], [-99.0, -99.0]])
SIDES = {
    "none": (TOKENS, [1, 1, 1]),
    "right": (torch.cat([TOKENS, PADDING]), [1, 1, 1, 0, 0]),
    "left": (torch.cat([PADDING, TOKENS]), [0, 0, 1, 1, 1]),
}
MODES = ["cls", "mean", "max", "last", "attention"]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("cls", [1.0, -4.0]), ("mean", [3.0, -6.0]), ("max", [5.0, -4.0]), ("last", [3.0, -6.0])],
)
def test_exact_numbers(side: str, pooling: str, expected: list[float]) -> None:
    encoded, mask = SIDES[side]
    # the second row is without padding, in a batch with the first one
    batch = torch.stack([encoded, torch.zeros_like(encoded)])
    pooled = Pooling(pooling, 2)(batch, torch.tensor([mask, [1] * len(mask)]))
    assert pooled.tolist() == [expected, [0.0, 0.0]]


@pytest.mark.parametrize("side", SIDES)
def test_attention_weighs_tokens_by_the_softmax_of_their_scores(side: str) -> None:
    encoded, mask = SIDES[side]
    pooling = Pooling("attention", 2)
    assert pooling.score is not None
    with torch.no_grad():
        pooling.score.weight.copy_(torch.tensor([[math.log(2), 0.0]]))
        pooling.score.bias.fill_(0.7)
    # scores log 2 x (1, 5, 3): weights 2, 32 and 8 of 42; the bias cancels out
    expected = (2 * TOKENS[0] + 32 * TOKENS[1] + 8 * TOKENS[2]) / 42
    torch.testing.assert_close(pooling(encoded[None], torch.tensor([mask]))[0], expected)


@pytest.mark.parametrize("pooling", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_row_of_padding_only_is_finite(pooling: str, dtype: torch.dtype) -> None:
    encoded = torch.randn(2, 3, 4).to(dtype)
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    pooled = Pooling(pooling, 4).to(dtype)(encoded, mask)
    assert pooled.dtype == dtype
    assert bool(torch.isfinite(pooled).all())


def test_the_mean_of_nothing_is_zero() -> None:
    assert masked_mean(torch.ones(1, 2, 3), torch.zeros(1, 2)).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("pooling", MODES)
def test_the_mask_may_have_any_type(pooling: str) -> None:
    pool, encoded = Pooling(pooling, 2), SIDES["right"][0][None]
    mask = torch.tensor([SIDES["right"][1]])
    for other in (mask.bool(), mask.float()):
        assert torch.equal(pool(encoded, other), pool(encoded, mask))


@pytest.mark.parametrize("pooling", MODES)
def test_only_attention_learns(pooling: str) -> None:
    assert len(list(Pooling(pooling, 2).parameters())) == (2 if pooling == "attention" else 0)


def test_pooled_features_have_one_position() -> None:
    assert Pooling("pooled", 2)(torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), torch.ones(2, 1)).tolist() == [
        [1.0, 2.0],
        [3.0, 4.0],
    ]
    assert not list(Pooling("pooled", 2).parameters())


CLIP = BackboneInfo(
    model_type="clip",
    hidden_sizes={"encoded_text": 8, "encoded_text_pooled": 4, "encoded_image": 6, "encoded_image_pooled": 4},
    num_layers={"encoded_text": 3, "encoded_image": 3},
    default_pooling={"encoded_text": "last", "encoded_image": "pooled"},
    causal=True,
    vocab_size=9,
    embedding_size=8,
)


@pytest.mark.parametrize(
    ("fields", "pooling", "reads_pooled"),
    [
        ({}, "last", False),
        ({"input": "encoded_text", "layer": 1}, "last", False),
        ({"input": "encoded_image"}, "pooled", True),
        # pooled features come from the last layer
        ({"input": "encoded_image", "layer": 1}, "mean", False),
        ({"input": "encoded_image", "layer": "scalar_mix"}, "mean", False),
        ({"input": "encoded_image", "pooling": "cls"}, "cls", False),
        ({"input": "encoded_text", "pooling": "pooled"}, "pooled", True),
        ({"input": ["encoded_text", "encoded_image"]}, "pooled", True),
    ],
)
def test_what_auto_stands_for(fields: dict[str, Any], pooling: str, reads_pooled: bool) -> None:
    config = RegressionHeadConfig(**fields)
    config.resolve(CLIP)
    assert (config.pooling, config.reads_pooled) == (pooling, reads_pooled)


@pytest.mark.parametrize("pooling", MODES)
def test_several_inputs_are_fused_once_pooled(pooling: str) -> None:
    inputs = ["encoded_text", "encoded_image"]
    with pytest.raises(InputError, match=f"^pooling: several inputs are fused once pooled, .*found '{pooling}'"):
        RegressionHeadConfig(input=inputs, pooling=pooling)
    assert RegressionHeadConfig(input=inputs, pooling="pooled").reads_pooled


def test_unknown_pooling() -> None:
    with pytest.raises(InputError, match="one of auto, cls, mean, max, last, attention, pooled, found 'first'"):
        Pooling("first", 2)
    with pytest.raises(ValueError, match="'auto' is resolved by the model's config"):
        Pooling("auto", 2)
    check_pooling("auto")
