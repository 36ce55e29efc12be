"""Dynamic weight average: the periods, and heads that miss some of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mt_transformers.balancing.weightings import LossWeighting, make_weighting

HEADS = ["intent", "slots"]
NONE = math.nan


def make(**options: Any) -> LossWeighting:
    return make_weighting({"name": "dwa", **options}, HEADS).double()


def observe(method: LossWeighting, *steps: list[float]) -> None:
    """Steps of these losses; a NaN is an absent head."""
    for losses in steps:
        values = torch.tensor(losses, dtype=torch.float64)
        method.observe(values, ~values.isnan())


def weights(method: LossWeighting, present: tuple[bool, bool] = (True, True)) -> list[float]:
    found: list[float] = method.weigh(torch.ones(2, dtype=torch.float64), torch.tensor(present)).tolist()
    return found


def by_hand(first: float, second: float, temperature: float = 2.0) -> Any:
    """The weights of two heads with these ratios."""
    powers = [math.exp(first / temperature), math.exp(second / temperature)]
    return pytest.approx([2 * each / sum(powers) for each in powers], rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"period": 2}], ids=["epochs", "period"])
def test_the_ratio_of_two_averages(options: dict[str, int]) -> None:
    """Averages of 4 and 2, then of 3 and 1: weights from the second period's end, and new ones at the third's."""
    method = make(**options)
    for losses, ratios in (
        ([[5.0, 1.0], [3.0, 3.0]], (1, 1)),
        ([[2.0, 1.5], [4.0, 0.5]], (3 / 4, 1 / 2)),
        ([[6.0, 1.0], [3.0, 3.0]], (4.5 / 3, 2)),
    ):
        observe(method, losses[0])
        before = weights(method)
        observe(method, losses[1])
        assert weights(method) == (by_hand(*ratios) if options else before)
        method.end_epoch()
        assert weights(method) == by_hand(*ratios)


def test_weights_hold_for_the_whole_period() -> None:
    method = make(period=3)
    observe(method, *[[4.0, 4.0]] * 3, *[[1.0, 2.0]] * 3)
    held = weights(method)
    assert held == by_hand(0.25, 0.5)
    for _ in range(2):
        observe(method, [100.0, 1.0])
        assert weights(method) == held
    observe(method, [100.0, 1.0])
    assert weights(method) == by_hand(100, 0.5)


def test_a_longer_period_is_no_epoch() -> None:
    method = make(period=100)
    for losses in ([4.0, 4.0], [1.0, 2.0]):
        observe(method, losses)
        method.end_epoch()
    assert weights(method) == [1, 1]


def test_the_temperature() -> None:
    method = make(period=1, temperature=0.5)
    observe(method, [4.0, 4.0], [1.0, 2.0])
    assert weights(method) == by_hand(0.25, 0.5, temperature=0.5)


def test_an_average_goes_over_the_steps_with_the_head() -> None:
    method = make(period=2)
    observe(method, [4.0, NONE], [2.0, 8.0], [1.0, 2.0], [NONE, 4.0])
    assert weights(method) == by_hand(1 / 3, 3 / 8)


def test_a_head_that_misses_a_period_keeps_its_ratio_and_its_average() -> None:
    method = make(period=1)
    observe(method, [4.0, 4.0], [1.0, 2.0], [0.5, NONE])
    assert weights(method) == by_hand(0.5, 0.5)
    observe(method, [2.0, 3.0])
    assert weights(method) == by_hand(4, 1.5)


def test_a_head_without_two_averages_counts_as_one_that_does_not_move() -> None:
    method = make(period=1)
    observe(method, [4.0, NONE], [1.0, 2.0])
    assert weights(method) == by_hand(0.25, 1)


def test_the_weight_of_a_head_is_the_same_beside_an_absent_one() -> None:
    method = make(period=1)
    observe(method, [4.0, 4.0], [1.0, 2.0])
    both = weights(method)
    assert sum(both) == pytest.approx(2)
    assert weights(method, (True, False)) == [both[0], 0]


def test_an_average_of_zero_gives_no_ratio() -> None:
    method = make(period=1)
    observe(method, [4.0, 4.0], [0.0, 2.0])
    assert weights(method) == by_hand(0, 0.5)
    observe(method, [3.0, 1.0])
    assert weights(method) == by_hand(0, 0.5)
    observe(method, [6.0, 1.0])
    assert weights(method) == by_hand(2, 1)


def test_an_epoch_without_a_step_changes_nothing() -> None:
    method = make()
    for losses in ([4.0, 4.0], [1.0, 2.0]):
        observe(method, losses)
        method.end_epoch()
        method.end_epoch()
    assert weights(method) == by_hand(0.25, 0.5)
