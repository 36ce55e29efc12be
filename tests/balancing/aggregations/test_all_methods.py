"""What holds for every method of gradient aggregation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from mt_transformers.balancing.aggregations import (
    AGGREGATIONS,
    CoordinateAggregation,
    GradientAggregation,
    GramianAggregation,
    make_aggregation,
)
from mt_transformers.balancing.aggregations.step_draws import StepDraws

pytest.importorskip("torchjd")
for part in ("cvxpy", "clarabel", "ecos", "scipy", "qpsolvers", "quadprog"):
    pytest.importorskip(part)

TASKS = ["pos", "ner", "parse", "lemma"]
PREFERENCES = {"pos": 2.0, "ner": 0.5, "parse": 1.0, "lemma": 0.25}

# Options that leave out what depends on the scale of gradients, where a method has such.
SCALE_FREE = {"nash_mtl": {"max_norm": 0}, "pcd": {"eps": 0}}

# The power of a factor of all gradients that the combined one is multiplied by, where that is not 1.
POWERS = {"nash_mtl": 0.0, "fairgrad": -1 / 3}


def make(name: str, tasks: Sequence[str] = TASKS, **options: Any) -> GradientAggregation:
    """A method by its name."""
    return make_aggregation({"name": name, **options}, tasks)


def combine(
    method: GradientAggregation, gradients: torch.Tensor, present: Sequence[int] | None = None
) -> torch.Tensor:
    """One step of a method, with all tasks if not said otherwise."""
    places = list(range(len(method.tasks)) if present is None else present)
    if isinstance(method, CoordinateAggregation):
        method.begin_step()
        return method.combine(gradients[places], places)
    assert isinstance(method, GramianAggregation)
    weights = method.weigh(gradients[places] @ gradients[places].T, places)
    assert weights.shape == (len(places),)
    assert weights.dtype == torch.float64
    return weights @ gradients[places]


def random_gradients(seed: int, tasks: int = len(TASKS)) -> torch.Tensor:
    """Gradients of a few parameters, with norms from a third to three."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.logspace(-0.5, 0.5, tasks, dtype=torch.float64)
    return torch.randn(tasks, 7, generator=generator, dtype=torch.float64) * lengths[:, None] / 7**0.5


def aggregators() -> dict[str, tuple[Mapping[str, Any], Callable[[], Any], float]]:
    """Name -> options, the same of TorchJD on the whole matrix, and how near to it."""
    from torchjd import aggregation, linalg

    preferred = torch.tensor(list(PREFERENCES.values()), dtype=torch.float64)

    def projector() -> linalg.QuadprogProjector:
        return linalg.QuadprogProjector(reg_eps=1e-9)

    given = {"preferences": PREFERENCES}
    return {
        "upgrad": ({}, lambda: aggregation.UPGrad(projector=projector()), 1e-6),
        "upgrad, preferences": (given, lambda: aggregation.UPGrad(preferred, projector()), 1e-6),
        "dualproj": ({}, lambda: aggregation.DualProj(projector=projector()), 1e-6),
        "dualproj, preferences": (given, lambda: aggregation.DualProj(preferred, projector()), 1e-6),
        "mgda": ({}, aggregation.MGDA, 1e-10),
        "mgda, options": ({"epsilon": 0.1, "max_iters": 3}, lambda: aggregation.MGDA(0.1, 3), 1e-10),
        "pcgrad": ({}, aggregation.PCGrad, 1e-10),
        "cagrad": ({}, lambda: aggregation.CAGrad(0.5), 1e-6),
        "cagrad, options": ({"c": 0.9, "norm_eps": 0.01}, lambda: aggregation.CAGrad(0.9, 0.01), 1e-6),
        "nash_mtl": ({}, lambda: aggregation.NashMTL(4), 1e-5),
        "nash_mtl, options": (
            {"max_norm": 0, "update_weights_every": 2, "optim_niter": 3},
            lambda: aggregation.NashMTL(4, 0, 2, 3),
            1e-5,
        ),
        "imtl_g": ({}, aggregation.IMTLG, 1e-9),
        "aligned_mtl": ({}, aggregation.AlignedMTL, 1e-9),
        "aligned_mtl, options": (
            {**given, "scale_mode": "rmse"},
            lambda: aggregation.AlignedMTL(preferred, "rmse"),
            1e-9,
        ),
        "gradvac": ({}, aggregation.GradVac, 1e-6),
        "gradvac, options": ({"beta": 0.1, "eps": 1e-12}, lambda: aggregation.GradVac(0.1, 1e-12), 1e-9),
        "config": ({}, aggregation.ConFIG, 1e-9),
        "config, preferences": (given, lambda: aggregation.ConFIG(preferred), 1e-9),
        "fairgrad": ({}, lambda: aggregation.FairGrad(2.0), 1e-5),
        "fairgrad, options": ({"alpha": 1, "max_iters": 50}, lambda: aggregation.FairGrad(1.0, 50), 1e-5),
        "krum": ({}, lambda: aggregation.Krum(0), 1e-12),
        "krum, options": ({"n_byzantine": 1, "n_selected": 2}, lambda: aggregation.Krum(1, 2), 1e-12),
        "pcd": ({}, aggregation.PCD, 1e-9),
        "pcd, options": ({"tau": 0.5, "beta": 0, "eps": 0.1}, lambda: aggregation.PCD(0.5, 0.0, 0.1), 1e-9),
        "sum": ({}, aggregation.Sum, 1e-12),
        "graddrop": ({}, aggregation.GradDrop, 1e-12),
        "graddrop, options": (
            {"leak": {"pos": 0, "ner": 0.5, "parse": 1, "lemma": 0.1}},
            lambda: aggregation.GradDrop(leak=torch.tensor([0, 0.5, 1, 0.1], dtype=torch.float64)),
            1e-12,
        ),
        "trimmed_mean": ({}, lambda: aggregation.TrimmedMean(1), 1e-12),
    }


def test_every_method_is_compared_with_torchjd() -> None:
    assert {case.split(",")[0] for case in aggregators()} == set(AGGREGATIONS)


@pytest.mark.parametrize("case", aggregators())
def test_gives_what_torchjd_gives_for_the_whole_matrix(case: str) -> None:
    options, make_aggregator, tolerance = aggregators()[case]
    method, aggregator = make(case.split(",")[0], **options), make_aggregator()
    draws = StepDraws(0)
    for seed in range(5):
        gradients = random_gradients(seed)
        draws.begin_step()
        with draws.drawing(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cvxpy has something to say about each problem of NashMTL
            expected = aggregator(gradients)
        torch.testing.assert_close(combine(method, gradients), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [name for name in AGGREGATIONS if name != "nash_mtl"])
def test_tasks_that_are_absent_have_no_part(name: str) -> None:
    given = {"preferences": PREFERENCES} if name in ("upgrad", "dualproj", "aligned_mtl", "config") else {}
    few, gradients = ["pos", "parse", "lemma"], random_gradients(3)
    alone = {"preferences": {task: PREFERENCES[task] for task in few}} if given else {}
    found = combine(make(name, **given), gradients, [0, 2, 3])
    expected = combine(make(name, few, **alone), gradients[[0, 2, 3]])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", AGGREGATIONS)
@pytest.mark.parametrize("place", [0, 2])
def test_a_task_alone_keeps_its_gradient(name: str, place: int) -> None:
    method, gradients = make(name), random_gradients(1) / 10
    for _ in range(2):
        found = combine(method, gradients, [place])
        if name == "nash_mtl":  # which makes gradients of its own length
            torch.testing.assert_close(found, gradients[place] / gradients[place].norm(), rtol=1e-12, atol=0)
        else:
            assert torch.equal(found, gradients[place])


SETS = ([0, 1, 2, 3], [1, 3], [0, 1, 2], [2], [0, 1, 2, 3], [0, 3], [1, 2, 3], [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in AGGREGATIONS), ("nash_mtl", {"update_weights_every": 3})]
)
def test_a_method_goes_on_to_the_bit_where_it_was_saved(name: str, options: dict[str, Any]) -> None:
    method, shapes = make(name, **options), None
    expected = []
    for step, present in enumerate(SETS):
        if step == 4:
            saved = save(method.state_dict())
        state = method.state_dict()
        found = {key: (each.shape, each.dtype, each.device.type) for key, each in state.items()}
        shapes = shapes or found
        assert found == shapes
        expected.append(combine(method, random_gradients(step), present))
        # what was given away is no window on what goes on
        assert all(torch.equal(load(save(state))[key], each) for key, each in state.items())
    resumed = make(name, **options)
    resumed.load_state_dict(load(saved))
    for step in range(4, len(SETS)):
        assert torch.equal(combine(resumed, random_gradients(step), SETS[step]), expected[step])
    assert save(resumed.state_dict()) == save(method.state_dict())


STATEFUL = {"gradvac", "pcd", "pcgrad", "graddrop", "nash_mtl"}


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_a_state_is_there_where_it_matters(name: str) -> None:
    method = make(name, **({"update_weights_every": 2} if name == "nash_mtl" else {}))
    first = [combine(method, random_gradients(step)) for step in range(3)]
    combine(method, random_gradients(8))
    second = [combine(method, random_gradients(step)) for step in range(3)]
    same = all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert same == (name not in STATEFUL)
    assert bool(method.state_dict()) == (name in STATEFUL)
    if not method.state_dict():
        with pytest.raises(ValueError, match="remembers nothing, found step"):
            method.load_state_dict({"step": torch.tensor(1)})


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_the_global_generator_decides_nothing_and_is_left_alone(name: str) -> None:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before, method = torch.get_rng_state(), make(name)
        found.append(torch.stack([combine(method, random_gradients(step)) for step in range(2)]))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("name", AGGREGATIONS)
@pytest.mark.parametrize("factor", [1e-4, 1e3])
def test_the_gradient_follows_the_scale_of_those_of_the_tasks(name: str, factor: float) -> None:
    options, expected_factor = SCALE_FREE.get(name, {}), factor ** POWERS.get(name, 1.0)
    method, scaled = make(name, **options), make(name, **options)
    for step in range(3):
        gradients = random_gradients(step)
        expected = combine(method, gradients)
        found = combine(scaled, factor * gradients) / expected_factor
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1, 2, 5])
@pytest.mark.parametrize("factor", [1e-4, 1e3])
def test_fairgrad_is_scaled_by_a_power_of_the_factor(alpha: float, factor: float) -> None:
    gradients = random_gradients(0)
    expected = combine(make("fairgrad", alpha=alpha), gradients) * factor ** ((1 - alpha) / (1 + alpha))
    found = combine(make("fairgrad", alpha=alpha), factor * gradients)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", [name for name in AGGREGATIONS if name not in ("graddrop", "trimmed_mean")])
@pytest.mark.parametrize("present", [[1], [0, 1, 3]])
def test_what_is_not_finite_is_passed_on_and_forgotten(name: str, present: list[int]) -> None:
    method, gradients = make(name), random_gradients(0)
    combine(method, gradients)
    before = save(method.state_dict())
    broken = gradients.clone()
    broken[1, 0] = torch.inf
    assert not bool(combine(method, broken, present).isfinite().all())
    if name != "sum":
        assert save(method.state_dict()) == before


@pytest.mark.parametrize("name", AGGREGATIONS)
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], id="all the same"),
        pytest.param([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0], [-3.0, 0.0]], id="on one line"),
        pytest.param([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)], [1e-5, 0.0]], id="no way out"),
        pytest.param([[1e4, 1.0], [-1e-4, 1e-4], [1.0, 1.0], [0.0, 2.0]], id="of very different length"),
    ],
)
def test_hard_gradients_give_a_finite_one(name: str, rows: list[list[float]]) -> None:
    method, gradients = make(name), torch.tensor(rows, dtype=torch.float64)
    for _ in range(2):
        found = combine(method, gradients)
        assert bool(found.isfinite().all())
        if name not in ("nash_mtl", "fairgrad", "imtl_g"):
            # none of these is longer than all gradients together
            assert found.norm() <= gradients.norm(dim=1).sum() * (1 + 1e-6)


@pytest.mark.parametrize("name", [name for name in AGGREGATIONS if name not in ("graddrop", "trimmed_mean")])
def test_inner_products_that_were_rounded_to_float32_will_do(name: str) -> None:
    method, negative = make(name), 0
    assert isinstance(method, GramianAggregation)
    for seed in range(8):
        # of rank 1 or 2, so that rounding makes eigenvalues of 0 go below
        gradients = random_gradients(seed)[:, : 1 + seed % 2].float()
        gramian = (gradients @ gradients.T).double()
        negative += float(torch.linalg.eigvalsh(gramian).min()) < -1e-9
        assert bool(method.weigh(gramian, range(len(TASKS))).isfinite().all())
    assert negative
