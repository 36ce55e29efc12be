"""A model on which summing gradients harms a task, and the methods that harm none do not."""

from __future__ import annotations

import pytest
import torch

from mt_transformers.balancing.aggregations import GramianAggregation, make_aggregation

pytest.importorskip("torchjd")
pytest.importorskip("quadprog")
pytest.importorskip("qpsolvers")

# One linear model for two tasks with an example each: what the first needs, at a hundred times the scale, is against
# what the second needs, but not all of it.
INPUTS = torch.tensor([[100.0, 0.0], [-0.6, 0.8]], dtype=torch.float64)
TARGETS = torch.tensor([100.0, 1.0], dtype=torch.float64)


def train(name: str, steps: int) -> torch.Tensor:
    """The losses before each step of a method, and after the last, as rows."""
    method = make_aggregation(name, ["large", "small"])
    assert isinstance(method, GramianAggregation)
    weights, losses = torch.zeros(2, dtype=torch.float64), []
    for _ in range(steps):
        errors = INPUTS @ weights - TARGETS
        losses.append(errors.square() / 2)
        gradients = INPUTS * errors[:, None]
        weights = weights - 1e-5 * method.weigh(gradients @ gradients.T, [0, 1]) @ gradients
    return torch.stack([*losses, (INPUTS @ weights - TARGETS).square() / 2])


def test_with_the_sum_the_small_task_gets_worse_in_each_step() -> None:
    changes = train("sum", 30).diff(dim=0)
    assert bool((changes[:, 0] < 0).all())
    assert bool((changes[:, 1] > 0).all())


@pytest.mark.parametrize("name", ["upgrad", "dualproj", "mgda", "pcgrad"])
def test_with_methods_that_harm_none_no_task_gets_worse(name: str) -> None:
    losses = train(name, 30)
    # up to what the solver adds to the diagonal, and less than a thousandth of what the sum does
    worst = train("sum", 30).diff(dim=0)[:, 1].min()
    assert float(losses.diff(dim=0).max()) < 1e-3 * float(worst)
    assert float(losses[-1].sum()) < float(losses[0].sum())
