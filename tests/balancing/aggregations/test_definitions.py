"""Each method against its definition, written out here for a few gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from mt_transformers.balancing.aggregations import CoordinateAggregation, GramianAggregation, make_aggregation

pytest.importorskip("torchjd")
for part in ("cvxpy", "clarabel", "ecos", "scipy", "qpsolvers", "quadprog"):
    pytest.importorskip(part)


def tensor(*rows: Any) -> torch.Tensor:
    """Numbers in float64."""
    return torch.tensor(rows, dtype=torch.float64)


# A linear model with two outputs: the gradients of squared errors are the inputs times the errors.
INPUTS = tensor([1.0, 2.0, -0.5], [0.5, -1.0, 1.0])
OPPOSED = INPUTS * tensor([3.0], [0.4])
OTHERS = tensor([1.0, 2.0, -0.5], [-2.0, 0.5, 1.0], [0.3, -1.5, -1.0])


def weigh(name: str, gradients: torch.Tensor, tasks: int | None = None, **options: Any) -> torch.Tensor:
    """The combined gradient of the first step of a method."""
    method = make_aggregation({"name": name, **options}, [f"task{place}" for place in range(tasks or len(gradients))])
    assert isinstance(method, GramianAggregation)
    return method.weigh(gradients @ gradients.T, range(len(gradients))) @ gradients


def without(gradient: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A gradient less its part against another."""
    return gradient - min(float(gradient @ other), 0.0) / (other @ other) * other


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_the_gradients_of_the_linear_model_oppose_each_other() -> None:
    assert float(OPPOSED[0] @ OPPOSED[1]) < 0


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e3, 1e-5])
def test_upgrad_averages_the_projections(factor: float) -> None:
    first, second = OPPOSED[0], factor * OPPOSED[1]
    expected = (without(first, second) + without(second, first)) / 2
    found = weigh("upgrad", torch.stack([first, second]))
    close(found, expected, 1e-7)
    # as close to harmless for the smaller gradient as for the larger
    assert float(found @ first) >= -1e-7 * float(first.norm() * found.norm())
    assert float(found @ second) >= -1e-7 * float(second.norm() * found.norm())


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_upgrad_knows_no_gradients_that_are_too_small_or_too_large(factor: float) -> None:
    first, second = OPPOSED
    expected = (without(first, second) + without(second, first)) / 2
    close(weigh("upgrad", factor * OPPOSED) / factor, expected, 1e-7)


def test_upgrad_and_dualproj_weigh_by_preferences() -> None:
    first, second = OPPOSED
    preferences = {"task0": 0.2, "task1": 3.0}
    close(
        weigh("upgrad", OPPOSED, preferences=preferences),
        0.2 * without(first, second) + 3.0 * without(second, first),
        1e-7,
    )
    close(weigh("dualproj", OPPOSED, preferences=preferences), without(0.2 * first + 3.0 * second, first), 1e-7)


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e3])
def test_dualproj_projects_the_mean(factor: float) -> None:
    first, second = OPPOSED[0], factor * OPPOSED[1]
    mean = (first + second) / 2
    # with two gradients the mean is against one of them at most
    close(weigh("dualproj", torch.stack([first, second])), without(without(mean, first), second), 1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_dualproj_is_the_nearest_vector_that_harms_none(seed: int) -> None:
    gradients = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gradients *= tensor([1.0], [0.01], [10.0], [1.0])
    mean, gramian = gradients.mean(dim=0), gradients @ gradients.T
    method = make_aggregation("dualproj", list("abcd"))
    assert isinstance(method, GramianAggregation)
    weights = method.weigh(gramian, range(4))
    found, lengths = weights @ gradients, gradients.norm(dim=1)
    # the conditions of Karush, Kuhn and Tucker, which of a convex problem are enough
    multipliers, slacks = (weights - 0.25) * lengths, gradients @ found / lengths
    assert float(multipliers.min()) > -1e-6
    assert float(slacks.min()) > -1e-6
    close(multipliers * slacks, torch.zeros(4, dtype=torch.float64), 1e-5)
    close(found - mean, (weights - 0.25) @ gradients)


@pytest.mark.parametrize("factor", [1.0, 0.2, 1e-3, 1e3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_mgda_is_the_shortest_weighted_mean_of_two(factor: float, sign: float) -> None:
    first, second = OPPOSED[0], sign * factor * OPPOSED[1]
    share = float((second - first) @ second / (first - second).square().sum())
    share = min(max(share, 0.0), 1.0)
    close(weigh("mgda", torch.stack([first, second])), share * first + (1 - share) * second)


def test_pcgrad_projects_each_of_two_and_sums() -> None:
    first, second = OPPOSED
    close(weigh("pcgrad", OPPOSED), without(first, second) + without(second, first))


def test_pcgrad_draws_the_order_of_three() -> None:
    def surgery(place: int, order: Sequence[int]) -> torch.Tensor:
        gradient = OTHERS[place]
        for other in order:
            gradient = without(gradient, OTHERS[other])
        return gradient

    pairs = [[other for other in range(3) if other != place] for place in range(3)]
    possible = [
        sum(surgery(place, pairs[place][:: 1 if forward else -1]) for place, forward in enumerate(orders))
        for orders in itertools.product([True, False], repeat=3)
    ]
    method = make_aggregation("pcgrad", list("abc"))
    assert isinstance(method, GramianAggregation)
    seen = set()
    for _ in range(80):
        found = method.weigh(OTHERS @ OTHERS.T, range(3)) @ OTHERS
        near = [place for place, each in enumerate(possible) if torch.allclose(found, each, rtol=1e-9)]
        assert near
        seen.add(near[0])
    different = {tuple(torch.round(each, decimals=8).tolist()) for each in possible}
    assert len(different) > 2
    assert len(seen) == len(different)


@pytest.mark.parametrize("c", [0.0, 0.5, 0.9])
def test_cagrad_serves_the_worst_served_task_best(c: float) -> None:
    gradients = tensor([3.0, 1.0], [-0.6, 0.4], [0.1, 0.5])
    mean = gradients.mean(dim=0)
    found = weigh("cagrad", gradients, c=c)
    assert float((found - mean).norm()) == pytest.approx(c * float(mean.norm()), rel=1e-5)
    angles = torch.linspace(0, 2 * math.pi, 20_001, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    disc = mean + c * mean.norm() * torch.cat([radius * circle for radius in (0.25, 0.5, 0.75, 1.0)])
    best = (disc @ gradients.T).amin(dim=1).max()
    assert float((gradients @ found).min()) == pytest.approx(float(best), abs=1e-5)


@pytest.mark.parametrize("gradients", [OPPOSED, OTHERS], ids=["two", "three"])
@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_nash_mtl_bargains(gradients: torch.Tensor, factor: float) -> None:
    gramian = factor**2 * gradients @ gradients.T
    method = make_aggregation({"name": "nash_mtl", "max_norm": 0}, [f"task{place}" for place in range(len(gradients))])
    assert isinstance(method, GramianAggregation)
    weights = method.weigh(gramian, range(len(gradients)))
    close(weights * (gramian @ weights), torch.ones_like(weights), 1e-5)
    assert float(weights.min()) > 0


@pytest.mark.parametrize(("max_norm", "expected"), [(0, 2**0.5), (2, 2**0.5), (1, 1.0), (0.3, 0.3)])
def test_nash_mtl_cuts_long_gradients(max_norm: float, expected: float) -> None:
    assert float(weigh("nash_mtl", OPPOSED, max_norm=max_norm).norm()) == pytest.approx(expected, rel=1e-6)
    alone = weigh("nash_mtl", OPPOSED[:1], tasks=2, max_norm=max_norm)
    assert float(alone.norm()) == pytest.approx(min(expected, 1.0), rel=1e-12)


def test_nash_mtl_takes_the_last_weights_between_searches_and_keeps_those_of_the_absent() -> None:
    method = make_aggregation({"name": "nash_mtl", "max_norm": 0, "update_weights_every": 3}, list("abc"))
    assert isinstance(method, GramianAggregation)
    gramian = OTHERS @ OTHERS.T
    first = method.weigh(gramian, [0, 1, 2])
    assert torch.equal(method.weigh(4 * gramian[:2, :2], [0, 1]), first[:2])
    method.weigh(gramian[:1, :1], [0])
    method.weigh(gramian[1:, 1:], [1, 2])
    second = method.state_dict()["weights"]
    assert second[0] == first[0]
    close(second[1:] * (gramian[1:, 1:] @ second[1:]), torch.ones(2, dtype=torch.float64), 1e-5)
    # a task that never bargained is as long as gradients are on average
    fresh = make_aggregation({"name": "nash_mtl", "max_norm": 0, "update_weights_every": 3}, list("abc"))
    assert isinstance(fresh, GramianAggregation)
    fresh.weigh(gramian[:2, :2], [0, 1])
    found = fresh.weigh(gramian[1:, 1:], [1, 2])
    assert float(found[1]) == pytest.approx(float(gramian.diagonal()[1:].mean() ** -0.5), rel=1e-12)


@pytest.mark.parametrize("gradients", [OPPOSED, OTHERS], ids=["two", "three"])
def test_imtl_g_has_equal_projections(gradients: torch.Tensor) -> None:
    method = make_aggregation("imtl_g", [f"task{place}" for place in range(len(gradients))])
    assert isinstance(method, GramianAggregation)
    weights = method.weigh(gradients @ gradients.T, range(len(gradients)))
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)
    projections = gradients @ (weights @ gradients) / gradients.norm(dim=1)
    close(projections, projections.mean().expand(len(gradients)))


@pytest.mark.parametrize("mode", ["min", "median", "rmse"])
def test_aligned_mtl_averages_gradients_of_condition_number_1(mode: str) -> None:
    left, values, right = torch.linalg.svd(OTHERS, full_matrices=False)
    scale = {"min": values.min(), "median": values.median(), "rmse": values.square().mean().sqrt()}[mode]
    aligned = scale * left @ right
    assert float(torch.linalg.cond(aligned)) == pytest.approx(1.0, abs=1e-12)
    close(weigh("aligned_mtl", OTHERS, scale_mode=mode), aligned.mean(dim=0))
    preferences = {"task0": 1, "task1": 2, "task2": 0.5}
    found = weigh("aligned_mtl", OTHERS, scale_mode=mode, preferences=preferences)
    close(found, tensor(1, 2, 0.5) @ aligned)


def turned(gradient: torch.Tensor, other: torch.Tensor, target: float) -> torch.Tensor:
    """A gradient plus as much of another as gives them a cosine."""
    cosine = float(gradient @ other / gradient.norm() / other.norm())
    length = gradient.norm() * (target * math.sqrt(1 - cosine**2) - cosine * math.sqrt(1 - target**2))
    found = gradient + length / (other.norm() * math.sqrt(1 - target**2)) * other
    assert float(found @ other / found.norm() / other.norm()) == pytest.approx(target)
    return found


def test_gradvac_turns_gradients_to_the_cosine_they_used_to_have() -> None:
    method = make_aggregation({"name": "gradvac", "beta": 0.2, "eps": 0}, list("abc"))
    assert isinstance(method, GramianAggregation)
    first, second = OPPOSED
    # what has nothing to do with both, so that it decides nothing about them
    across = torch.linalg.cross(first, second)
    two, three = torch.stack([first, second]), torch.stack([first, across, second])
    cosine = float(first @ second / first.norm() / second.norm())

    # at first the target is 0, for both
    close(method.weigh(two @ two.T, [0, 2]) @ two, without(first, second) + without(second, first))
    target = 0.2 * cosine
    # then it is what they had, and the task that comes changes nothing about it
    expected = turned(first, second, target) + turned(second, first, target)
    close(method.weigh(three @ three.T, [0, 1, 2]) @ three, expected + across)
    target = 0.8 * target + 0.2 * cosine
    expected = turned(first, second, target) + turned(second, first, target)
    close(method.weigh(two @ two.T, [0, 2]) @ two, expected)
    target = 0.8 * target + 0.2 * cosine
    cosines = method.state_dict()["cosines"]
    assert cosines[[0, 2], [2, 0]].tolist() == pytest.approx([target, target])

    # a step of others leaves that of these alone
    others = torch.stack([first, OTHERS[1]])
    method.weigh(others @ others.T, [0, 1])
    assert torch.equal(method.state_dict()["cosines"][[0, 2], [2, 0]], cosines[[0, 2], [2, 0]])
    assert float(method.state_dict()["cosines"][0, 1]) != float(cosines[0, 1])


@pytest.mark.parametrize("gradients", [OPPOSED, OTHERS], ids=["two", "three"])
def test_config_has_equal_cosines_and_the_length_that_gradients_have_in_it(gradients: torch.Tensor) -> None:
    found = weigh("config", gradients)
    cosines = gradients @ found / gradients.norm(dim=1) / found.norm()
    assert float(cosines.min()) > 0
    close(cosines, cosines.mean().expand(len(gradients)))
    assert float(found.norm()) == pytest.approx(float((gradients @ found).sum() / found.norm()))


def test_config_has_cosines_in_the_ratio_of_preferences() -> None:
    found = weigh("config", OPPOSED, preferences={"task0": 1, "task1": 3})
    first, second = OPPOSED @ found / OPPOSED.norm(dim=1)
    assert float(second / first) == pytest.approx(3.0)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("factor", [1e-4, 1.0, 1e3])
def test_fairgrad_solves_its_equation(alpha: float, factor: float) -> None:
    gradients = factor * OTHERS
    gramian = gradients @ gradients.T
    method = make_aggregation({"name": "fairgrad", "alpha": alpha}, list("abc"))
    assert isinstance(method, GramianAggregation)
    weights = method.weigh(gramian, range(3))
    close(gramian @ weights * weights ** (1 / alpha), torch.ones(3, dtype=torch.float64), 1e-5)


def test_fairgrad_with_alpha_0_is_the_mean() -> None:
    close(weigh("fairgrad", 1e-3 * OTHERS, alpha=0), 1e-3 * OTHERS.mean(dim=0))


@pytest.mark.parametrize(("byzantine", "selected"), [(0, 1), (1, 1), (1, 3), (2, 2)])
def test_krum_takes_those_nearest_to_their_nearest(byzantine: int, selected: int) -> None:
    gradients = torch.randn(6, 4, generator=torch.Generator().manual_seed(byzantine), dtype=torch.float64)
    distances = torch.cdist(gradients, gradients)
    scores = [float(row.sort().values[1 : 6 - byzantine - 1].sum()) for row in distances]
    nearest = sorted(range(6), key=scores.__getitem__)[:selected]
    found = weigh("krum", gradients, n_byzantine=byzantine, n_selected=selected)
    close(found, gradients[nearest].mean(dim=0))


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, 2), ({"n_byzantine": 1}, 3), ({"n_selected": 4}, 3)],
    ids=["two", "byzantine", "selected"],
)
def test_krum_is_the_mean_where_too_few_are_present(options: dict[str, int], size: int) -> None:
    close(weigh("krum", OTHERS[:size], tasks=5, **options), OTHERS[:size].mean(dim=0))


@pytest.mark.parametrize("tau", [0.0, 0.02, 0.7])
def test_pcd_gives_the_other_task_its_share(tau: float) -> None:
    method = make_aggregation({"name": "pcd", "tau": tau, "beta": 0.5, "eps": 0}, ["a", "b", "c"])
    assert isinstance(method, GramianAggregation)

    def step(scale: torch.Tensor, averages: torch.Tensor) -> None:
        gradients = OPPOSED * scale[:, None]
        first, other = gradients / averages.sqrt()[:, None]
        needed = (tau * other.square().sum() - first @ other) / other.square().sum()
        direction = first + max(float(needed), 0.0) * other
        expected = direction / direction.norm() * gradients[0].norm()
        close(method.weigh(gradients @ gradients.T, [0, 2]) @ gradients, expected)

    squares = OPPOSED.square().sum(dim=1)
    step(tensor(1.0, 1.0), squares)
    # the first alone: only its average moves, to (1 * 1 + 2 * 9) / 3 of what it was
    method.weigh(9 * squares[:1, None], [0])
    # and both: (1 * 1 + 2 * 9 + 4 * 4) / 7, and (1 * 1 + 2 * 0.25) / 3
    step(tensor(2.0, 0.5), squares * tensor(5.0, 0.5))
    assert method.state_dict()["steps"].tolist() == [3, 0, 2]


@pytest.mark.parametrize(("options", "first"), [({}, 0), ({"primary": "c"}, 2)])
def test_pcd_puts_one_task_first(options: dict[str, str], first: int) -> None:
    method = make_aggregation({"name": "pcd", "tau": 0, **options}, ["a", "b", "c"])
    assert isinstance(method, GramianAggregation)
    orthogonal = torch.eye(3, dtype=torch.float64) * tensor(3.0, 2.0, 1.0)
    # nothing opposes it, and nobody needs a share
    close(method.weigh(orthogonal @ orthogonal, range(3)), torch.eye(3, dtype=torch.float64)[first])
    # without it the first of the others stands in
    others = [place for place in range(3) if place != first]
    two = orthogonal[others]
    close(method.weigh(two @ two.T, others), tensor(1.0, 0.0))


def test_sum() -> None:
    close(weigh("sum", OTHERS[:2], tasks=3), OTHERS[:2].sum(dim=0))


def test_graddrop_keeps_one_sign_of_each_entry() -> None:
    method = make_aggregation("graddrop", ["a", "b", "c"])
    assert isinstance(method, CoordinateAggregation)
    size = 4000
    gradients = tensor([3.0], [-1.0], [1.0]).expand(3, size)
    method.begin_step()
    parts = [method.combine(gradients, range(3)) for _ in range(2)]
    method.begin_step()
    parts.append(method.combine(gradients, range(3)))
    for part in parts:
        assert set(part.tolist()) == {4.0, -1.0}
        # four fifths of what is there is positive
        assert float((part > 0).double().mean()) == pytest.approx(0.8, abs=4 * (0.8 * 0.2 / size) ** 0.5)
    # each part of a step, and each step, has draws of its own
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(parts, 2))


def test_graddrop_leaks() -> None:
    method = make_aggregation({"name": "graddrop", "leak": {"a": 0, "b": 0.25, "c": 1}}, ["a", "b", "c"])
    assert isinstance(method, CoordinateAggregation)
    method.begin_step()
    found = method.combine(tensor([8.0], [-4.0]).expand(2, 200), [0, 1])
    assert set(found.tolist()) == {8.0 - 1.0, -4.0}
    kept = method.combine(tensor([8.0], [-4.0]).expand(2, 200), [0, 2])
    assert set(kept.tolist()) == {8.0 - 4.0, -4.0}


def test_trimmed_mean_leaves_out_the_most_extreme() -> None:
    gradients = torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for trimmed in (0, 1, 2):
        method = make_aggregation({"name": "trimmed_mean", "trim_number": trimmed}, list("abcde"))
        assert isinstance(method, CoordinateAggregation)
        columns = [sorted(column)[trimmed : 5 - trimmed] for column in gradients.T.tolist()]
        close(method.combine(gradients, range(5)), tensor(*(sum(each) / len(each) for each in columns)))
    # with as few as two there is nothing left
    close(method.combine(gradients[:2], [0, 3]), gradients[:2].mean(dim=0))
