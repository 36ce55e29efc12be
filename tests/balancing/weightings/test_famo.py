"""FAMO: its weights and the Adam of its logits, by hand and beside torch's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mt_transformers.balancing.weightings import LossWeighting, make_weighting

HEADS = ["intent", "slots", "banking"]
ALL = torch.ones(3, dtype=torch.bool)
BEFORE = torch.tensor([4.0, 1.0, 2.0], dtype=torch.float64)


def make(**options: Any) -> LossWeighting:
    return make_weighting({"name": "famo", **options}, HEADS).double()


def test_the_weights() -> None:
    """Of logits 0, log 2 and log 5: shares in the proportions of 1, 2 and 5, each divided by its loss."""
    method = make()
    method.logits.copy_(torch.tensor([0.0, math.log(2), math.log(5)]))
    found = method.weigh(BEFORE, ALL).tolist()
    assert found == pytest.approx([0.25 / 4.75, 2 / 4.75, 2.5 / 4.75], rel=1e-6)
    found = method.weigh(BEFORE, torch.tensor([True, False, True])).tolist()
    assert found == pytest.approx([0.25 / 2.75, 0, 2.5 / 2.75], rel=1e-6)
    # shares of 1/6 and 5/6, divided by the sum of each over its loss
    value = method(BEFORE, torch.tensor([True, False, True])).item()
    assert value == pytest.approx((math.log(4) / 6 + math.log(2) * 5 / 6) / (1 / 24 + 5 / 12), rel=1e-6)


def test_nearly_all_goes_to_a_loss_of_zero() -> None:
    found = make().weigh(torch.tensor([1.0, 0.0, 1.0]), ALL).tolist()
    assert found == pytest.approx([0, 1, 0], abs=1e-6)


def test_the_first_step_of_its_adam_is_as_long_as_its_rate() -> None:
    """The head whose loss fell by the larger factor loses logit, the other wins."""
    for options, rate in (({}, 0.025), ({"learning_rate": 0.5}, 0.5)):
        method = make(**options)
        method.compare(BEFORE, BEFORE * torch.tensor([0.1, 0.9, math.nan]), torch.tensor([True, True, False]))
        assert method.logits.tolist() == pytest.approx([-rate, rate, 0], rel=1e-6)
        assert method.steps.tolist() == [1, 1, 0]


@pytest.mark.parametrize("options", [{}, {"learning_rate": 0.3, "weight_decay": 0.5}, {"weight_decay": 0}], ids=str)
def test_it_is_torchs_adam(options: dict[str, float]) -> None:
    """The gradient by autograd, through the softmax, as the method's authors have it."""
    method = make(**options)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    rate, decay = options.get("learning_rate", 0.025), options.get("weight_decay", 0.001)
    adam = torch.optim.Adam([logits], lr=rate, weight_decay=decay)
    for factors in torch.rand(6, 3, dtype=torch.float64) + 0.5:
        after = BEFORE * factors
        method.compare(BEFORE, after, ALL)
        fallen = (BEFORE + 1e-8).log() - (after + 1e-8).log()
        logits.grad = torch.autograd.grad(torch.softmax(logits, dim=0), logits, fallen)[0]
        adam.step()
        torch.testing.assert_close(method.logits, logits.detach(), rtol=1e-11, atol=0)


def test_each_head_counts_its_own_steps() -> None:
    """One that was absent goes on as if nothing had been, for all that the others did meanwhile."""
    one, other = make(), make()
    pair, factors = torch.tensor([True, True, False]), torch.tensor([0.5, 0.8, math.nan])
    for method in (one, other):
        method.compare(BEFORE, BEFORE * factors, pair)
    kept = other.logits[:2].clone()
    other.compare(BEFORE, BEFORE * 0.9, torch.tensor([False, False, True]))
    assert torch.equal(other.logits[:2], kept)
    for method in (one, other):
        method.compare(BEFORE, BEFORE * factors, pair)
    assert torch.equal(one.logits[:2], other.logits[:2])


def test_its_logits_are_not_the_optimizers() -> None:
    method = make()
    assert list(method.parameters()) == []
    assert {"logits", "exp_avg", "exp_avg_sq", "steps"} == set(method.state_dict())
    method.weigh(BEFORE, ALL)
    method.observe(BEFORE, ALL)
    assert not method.logits.any()
