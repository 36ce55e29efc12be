"""Negative log-likelihood and perplexity: numbers computed by hand, and the cases that are not defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.errors import InputError
from mt_transformers.metrics import NegativeLogLikelihood, Perplexity

rows = st.lists(st.tuples(st.floats(0, 50), st.integers(0, 20)), min_size=1, max_size=20)


def scores(losses: object, counts: object) -> tuple[float, float]:
    """Negative log-likelihood and perplexity."""
    nll = NegativeLogLikelihood().compute(predictions=losses, references=counts)
    perplexity = Perplexity().compute(predictions=losses, references=counts)
    assert (list(nll), list(perplexity)) == (["nll"], ["perplexity"])
    return nll["nll"], perplexity["perplexity"]


def test_every_token_counts_the_same() -> None:
    # not the mean of 2 and 6, nor exp of it
    assert scores([6.0, 6.0], [3, 1]) == (3.0, pytest.approx(math.e**3))


def test_the_perplexity_of_equal_chances_is_their_number() -> None:
    nll, perplexity = scores([5 * math.log(7), 2 * math.log(7)], [5, 2])
    assert nll == pytest.approx(math.log(7))
    assert perplexity == pytest.approx(7)


def test_a_certain_model_has_perplexity_one() -> None:
    assert scores([0.0], [4]) == (0.0, 1.0)


def test_agreement_with_the_cross_entropy_of_torch() -> None:
    logits, labels = torch.randn(3, 5, 11, dtype=torch.double), torch.randint(11, (3, 5))
    labels[0, 3:] = labels[2] = -100
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(dim=1)
    nll, perplexity = scores(losses.numpy(), (labels != -100).sum(dim=1).numpy())
    expected = float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))
    assert nll == pytest.approx(expected)
    assert perplexity == pytest.approx(math.exp(expected))


def test_the_sum_is_taken_in_float64() -> None:
    # in float32 the ones would vanish beside the first row
    losses = np.array([2.0**25, *[1.0] * 1000], dtype=np.float32)
    nll, _ = scores(losses, np.ones(1001, dtype=np.int32))
    assert nll == (2**25 + 1000) / 1001


def test_rows_without_tokens_are_left_out() -> None:
    assert scores([2.0, math.nan, 5.0], [2, 0, 0]) == (1.0, math.e)


@pytest.mark.parametrize(
    ("losses", "counts"),
    [
        ([], []),
        ([0.0], [0]),
        ([1.0, math.nan], [1, 1]),
        ([1.0, math.inf], [1, 1]),
        ([1.0, -math.inf], [1, 1]),
        ([math.inf, -math.inf], [1, 1]),
        ([1.7e308, 1.7e308], [1, 1]),
    ],
)
def test_not_defined_is_the_worst_value(losses: list[float], counts: list[int]) -> None:
    assert scores(losses, counts) == (math.inf, math.inf)


def test_a_perplexity_too_large_for_a_float_is_infinite() -> None:
    assert scores([2 * 709.0], [2]) == (709.0, math.exp(709.0))
    assert scores([2 * 710.0], [2]) == (710.0, math.inf)


@pytest.mark.parametrize("metric", [NegativeLogLikelihood, Perplexity])
@pytest.mark.parametrize(
    ("losses", "counts", "message"),
    [
        ([1.0, 2.0], [1], r"expected .* one shape \(rows,\), found \(2,\) and \(1,\)"),
        ([[1.0]], [[1]], r"expected .* one shape \(rows,\), found \(1, 1\) and \(1, 1\)"),
        ([1.0, 2.0], [1, -100], "references: expected numbers of tokens, found -100"),
        ([1.0], [2.5], "references: expected numbers of tokens, found 2.5"),
        ([1.0], [math.nan], "references: expected numbers of tokens, found nan"),
        ([1.0], [math.inf], "references: expected numbers of tokens, found inf"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    metric: type[NegativeLogLikelihood | Perplexity], losses: list[object], counts: list[object], message: str
) -> None:
    with pytest.raises(InputError, match=f"{metric().name}: {message}"):
        metric().compute(predictions=losses, references=counts)


@given(rows=rows, data=st.data())
def test_neither_the_order_nor_the_division_into_rows_matters(
    rows: list[tuple[float, int]], data: st.DataObject
) -> None:
    rows = [(loss if count else 0.0, count) for loss, count in rows]
    shuffled = data.draw(st.permutations(rows))
    nll, perplexity = scores([loss for loss, _ in rows], [count for _, count in rows])
    for losses, counts in (
        ([loss for loss, _ in shuffled], [count for _, count in shuffled]),
        ([sum(loss for loss, _ in rows)], [sum(count for _, count in rows)]),
    ):
        assert scores(losses, counts) == (pytest.approx(nll), pytest.approx(perplexity))
