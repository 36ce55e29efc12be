"""Each method's weights by hand, on small cases, and what each option is for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from mt_transformers.balancing.weightings import LossWeighting, make_weighting

HEADS = ["intent", "slots", "banking"]
Step = tuple[list[float], list[bool]]


def make(name: str, **options: Any) -> LossWeighting:
    return make_weighting({"name": name, **options}, HEADS).double()


def step_of(losses: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """A step's losses and presence; a NaN is an absent head."""
    values = torch.tensor(losses, dtype=torch.float64)
    return values, ~values.isnan()


def weigh(method: LossWeighting, losses: list[float]) -> list[float]:
    found: list[float] = method.weigh(*step_of(losses)).tolist()
    return found


def observe(method: LossWeighting, *steps: list[float]) -> LossWeighting:
    for losses in steps:
        method.observe(*step_of(losses))
    return method


def softmax(*logits: float) -> list[float]:
    powers = [math.exp(each) for each in logits]
    return [each / sum(powers) for each in powers]


def near(*values: float) -> Any:
    return pytest.approx(values, rel=1e-9)


NONE = math.nan


def test_mean() -> None:
    assert weigh(make("mean"), [4.0, 1.0, 7.0]) == near(1 / 3, 1 / 3, 1 / 3)
    assert weigh(make("mean"), [4.0, NONE, 7.0]) == near(1 / 2, 0, 1 / 2)
    assert make("mean")(*step_of([4.0, NONE, 7.0])) == 5.5


def test_uw() -> None:
    method = make("uw")
    method.log_variances.data.copy_(torch.tensor([0.0, math.log(4), math.log(0.5)], dtype=torch.float64))
    assert weigh(method, [4.0, 1.0, 7.0]) == near(0.5, 0.125, 1.0)
    assert method(*step_of([4.0, 1.0, NONE])).item() == pytest.approx(2 + 0.125 + math.log(4) / 2)
    observe(method, [4.0, 1.0, NONE])
    assert method.log_variances.grad.tolist() == near(0.5 - 2, 0.5 - 0.125, 0)


def test_imtl_l() -> None:
    method = make("imtl_l")
    method.log_scales.data.copy_(torch.tensor([0.0, math.log(4), math.log(0.5)], dtype=torch.float64))
    assert weigh(method, [4.0, 1.0, 7.0]) == near(1, 4, 0.5)
    assert method(*step_of([NONE, 1.0, 7.0])).item() == pytest.approx(4 - math.log(4) + 3.5 - math.log(0.5))
    observe(method, [NONE, 1.0, 7.0])
    assert method.log_scales.grad.tolist() == near(0, 3, 2.5)


@pytest.mark.parametrize("name", ["uw", "imtl_l"])
def test_the_learning_rate_of_their_own_parameters(name: str) -> None:
    assert make(name).learning_rate == 0.01
    assert make(name, learning_rate=1).learning_rate == 1


def test_initial_loss() -> None:
    """The first loss of each head, whenever that is; one of 0 is passed over."""
    method = make("initial_loss")
    assert weigh(method, [4.0, 1.0, 7.0]) == [1, 1, 1]
    observe(method, [4.0, NONE, 0.0])
    assert weigh(method, [1.0, 1.0, 1.0]) == [0.25, 1, 1]
    observe(method, [2.0, 0.5, 1e-9])
    assert weigh(method, [1.0, 1.0, NONE]) == [0.25, 2, 0]
    observe(method, [8.0, 8.0, 8.0])
    assert weigh(method, [1.0, 1.0, 1.0]) == [0.25, 2, 0.125]


def test_running_mean() -> None:
    """With a decay of d the losses a, b, c have the mean (d d a + d b + c) / (d d + d + 1)."""
    method = make("running_mean", decay=0.5)
    assert weigh(method, [4.0, 1.0, 7.0]) == [1, 1, 1]
    observe(method, [4.0, NONE, 1e-9])
    assert weigh(method, [1.0, 1.0, 1.0]) == near(1 / 4, 1, 1)
    observe(method, [1.0, 3.0, NONE], [2.0, NONE, NONE])
    assert weigh(method, [1.0, 1.0, 1.0]) == near(1.75 / (1 + 0.5 + 2), 1 / 3, 1)
    assert weigh(observe(make("running_mean"), [4.0] * 3, [1.0] * 3), [1.0] * 3) == near(*[1.99 / (0.99 * 4 + 1)] * 3)
    assert weigh(observe(make("running_mean", decay=0), [4.0] * 3, [1.0] * 3), [1.0] * 3) == near(1, 1, 1)


def test_geometric_mean() -> None:
    """The mean divided by the loss and by how many there are; below 1e-8 there is nothing to lower."""
    assert weigh(make("geometric_mean"), [1.0, 4.0, 2.0]) == near(2 / 3, 2 / 12, 2 / 6)
    assert weigh(make("geometric_mean"), [NONE, 8.0, 2.0]) == near(0, 4 / 16, 4 / 4)
    assert weigh(make("geometric_mean"), [0.0, 1.0, NONE]) == near(0, 1e-4 / 2, 0)
    assert make("geometric_mean")(*step_of([NONE, 8.0, 2.0])).item() == pytest.approx(4)


def test_stch() -> None:
    """A softmax over the losses, each of which has the preference 1 / m."""
    losses = [1.0, 4.0, 2.5]
    for options, mu in (({}, 1.0), ({"mu": 0.2}, 0.2)):
        expected = softmax(*(each / 3 / mu for each in losses))
        assert weigh(make("stch", **options), losses) == near(*(each / 3 for each in expected))
        few = softmax(1.0 / 2 / mu, 4.0 / 2 / mu)
        assert weigh(make("stch", **options), [1.0, 4.0, NONE]) == near(few[0] / 2, few[1] / 2, 0)
        value = make("stch", **options)(*step_of([1.0, 4.0, NONE])).item()
        assert value == pytest.approx(mu * math.log(math.exp(0.5 / mu) + math.exp(2 / mu)))


def test_stch_of_large_losses_and_a_small_mu() -> None:
    """Their quotient is beyond float32."""
    found = make_weighting({"name": "stch", "mu": 1e-37}, HEADS).weigh(
        torch.tensor([1e3, 3e3, 2e3]), torch.ones(3) > 0
    )
    assert found.tolist() == pytest.approx([0, 1 / 3, 0])


def test_pbi() -> None:
    """Losses 3 and 4 beside the direction (1, 1): 7 / sqrt(2) along it, 1 / sqrt(2) from it."""
    root = math.sqrt(2)
    for options, theta in (({}, 5.0), ({"theta": 0.25}, 0.25)):
        method = make("pbi", **options)
        assert method(*step_of([3.0, NONE, 4.0])).item() == pytest.approx((7 + theta) / root)
        assert weigh(method, [3.0, NONE, 4.0]) == near((1 - theta) / root, 0, (1 + theta) / root)
    method = make("pbi", theta=0, preferences={"slots": 0.75, "banking": 1})
    assert weigh(method, [NONE, 3.0, 1.0]) == near(0, 0.6, 0.8)
    # in the proportions of the preferences they have no distance
    method = make("pbi", preferences={"slots": 6, "banking": 8})
    assert weigh(method, [NONE, 3.0, 4.0]) == near(0, 0.6, 0.8)


def test_pbi_with_a_small_theta_has_no_weight_below_zero() -> None:
    """For m equal preferences up to 1 / sqrt(m - 1); just above it, a head whose loss is 0 has one."""
    losses = [0.0, 1.0, 1.0]
    assert weigh(make("pbi", theta=1 / math.sqrt(2)), losses)[0] == pytest.approx(0, abs=1e-9)
    assert weigh(make("pbi", theta=0.72), losses)[0] < 0


def test_cosmos() -> None:
    """The cosine of (3, 4) and (1, 1) is 7 / (5 root), its derivatives are 4 / (125 root) and -3 / (125 root)."""
    root = math.sqrt(2)
    for options, penalty in (({}, 2.0), ({"penalty": 50}, 50.0)):
        method = make("cosmos", **options)
        assert method(*step_of([3.0, NONE, 4.0])).item() == pytest.approx(3.5 - penalty * 7 / (5 * root))
        expected = (0.5 - penalty * 4 / (125 * root), 0, 0.5 + penalty * 3 / (125 * root))
        assert weigh(method, [3.0, NONE, 4.0]) == near(*expected)
    method = make("cosmos", penalty=0, preferences={"slots": 3})
    assert weigh(method, [9.0, 1.0, 4.0]) == near(0.2, 0.6, 0.2)
    assert weigh(method, [9.0, 1.0, NONE]) == near(0.25, 0.75, 0)


def test_random() -> None:
    """A softmax of normal draws over the heads in the step, new for each step and each seed."""
    method, everyone, some = make("random"), [1.0, 1.0, 1.0], [1.0, NONE, 1.0]
    whole, part = weigh(method, everyone), weigh(make("random"), some)
    assert sum(whole) == pytest.approx(1)
    assert sum(part) == pytest.approx(1)
    assert part[0] / part[2] == pytest.approx(whole[0] / whole[2])
    assert part[1] == 0
    later = weigh(method, everyone)
    assert later != near(*whole)
    assert weigh(make("random", seed=0), [5.0, 6.0, 7.0]) == whole
    assert weigh(make("random", seed=1), everyone) not in (near(*whole), near(*later))


def test_random_weights_are_those_of_normal_draws() -> None:
    """The logarithm of the quotient of two weights is the difference of two draws: its variance is 2."""
    method = make("random")
    found = torch.stack([method.weigh(*step_of([1.0, 1.0, 1.0])) for _ in range(3000)]).log()
    differences = found[:, :2] - found[:, 1:]
    assert np.allclose(differences.mean(dim=0), 0, atol=0.1)
    assert np.allclose(differences.var(dim=0), 2, rtol=0.1)


def test_random_weights_leave_the_other_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    weigh(make("random"), [1.0, 1.0, 1.0])
    assert torch.equal(torch.get_rng_state(), before)
