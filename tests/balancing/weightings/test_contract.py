"""What every method of loss weighting holds to: absent heads, state, devices, and the formulas as TorchJD has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mt_transformers.balancing.weightings import WEIGHTINGS, LossWeighting, make_weighting

HEADS = ["intent", "slots", "banking"]
# periods that end within the few steps of a test; a preference for one head only
OPTIONS: dict[str, dict[str, Any]] = {
    "dwa": {"period": 3, "temperature": 0.5},
    "running_mean": {"decay": 0.5},
    "stch": {"mu": 0.5},
    "pbi": {"preferences": {"banking": 2.0}},
    "cosmos": {"preferences": {"banking": 2.0}},
}
BELOW_ZERO = {"pbi", "cosmos"}
"""Methods that say that a weight may be below 0."""
REMEMBERING = set(WEIGHTINGS) - {"mean", "geometric_mean", "stch", "pbi", "cosmos"}
ALL = torch.ones(len(HEADS), dtype=torch.bool)

every_method = pytest.mark.parametrize("name", WEIGHTINGS)


def make(name: str, heads: list[str] = HEADS, **options: Any) -> LossWeighting:
    """The method in float64."""
    return make_weighting({"name": name, **OPTIONS.get(name, {}), **options}, heads).double()


def draw_steps(number: int, *, all_present: bool = False) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Losses, float64, and presence of some steps, the same in each call; at least one head is in each."""
    generator = torch.Generator().manual_seed(1)
    losses = 0.1 + 3 * torch.rand(number, len(HEADS), generator=generator, dtype=torch.float64)
    present = torch.rand(number, len(HEADS), generator=generator) < 0.6
    present[:, 0] |= ~present.any(dim=1)
    return list(zip(losses, present | all_present, strict=True))


def take_step(method: LossWeighting, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """An optimizer step as a trainer takes it: the method's own parameters by SGD, then a second look."""
    weights = method.weigh(losses, present)
    method.observe(losses, present)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter -= 0.1 * parameter.grad
    method.compare(losses, losses * torch.linspace(0.5, 0.9, len(losses)), present)
    return weights


def torchjd_counterparts() -> dict[str, Callable[[], Any]]:
    """Name -> what makes TorchJD's scalarizer of that name, with the options of `make`."""
    scalarization = pytest.importorskip("torchjd.scalarization")
    preferences = torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)
    return {
        "mean": scalarization.Mean,
        "uw": lambda: scalarization.UW(3).double(),
        "imtl_l": lambda: scalarization.IMTLL(3).double(),
        "dwa": lambda: scalarization.DWA(temperature=0.5),
        "famo": lambda: scalarization.FAMO(3).double(),
        "geometric_mean": scalarization.GeometricMean,
        "stch": lambda: scalarization.STCH(0.5),
        "pbi": lambda: scalarization.PBI(5.0, preferences),
        "cosmos": lambda: scalarization.COSMOS(2.0, preferences / 4),
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in ("mean", "uw", "imtl_l", "dwa", "famo", "geometric_mean", "stch", "pbi", "cosmos")]
    + [("dwa", {"period": None})],
)
def test_value_and_gradient_are_those_of_torchjd(name: str, options: dict[str, Any]) -> None:
    """Over several steps with all heads, what the methods learn between them included."""
    other = torchjd_counterparts()[name]()
    method = make(name, **options)
    for number, (losses, present) in enumerate(draw_steps(10, all_present=True), start=1):
        value = method(losses, present)
        leaf = losses.clone().requires_grad_()
        expected = other(leaf)
        expected.backward()
        torch.testing.assert_close(value, expected.detach(), rtol=1e-11, atol=0)
        weights = take_step(method, losses, present)
        torch.testing.assert_close(weights, leaf.grad, rtol=1e-11, atol=1e-14)
        with torch.no_grad():
            for parameter in other.parameters() if name != "famo" else ():
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
        if name == "dwa" and number % 3 == 0:
            other.step()
            method.end_epoch()
        if name == "famo":
            other.update(losses * torch.linspace(0.5, 0.9, len(losses)))


@every_method
def test_each_is_in_the_module_of_its_name_and_says_its_source(name: str) -> None:
    found = getattr(import_module(f"mt_transformers.balancing.weightings.{name}"), WEIGHTINGS[name])
    assert issubclass(found, LossWeighting)
    assert found.name == name
    assert "Source:" in (found.__doc__ or "")


@every_method
def test_the_weights_are_the_derivatives_of_the_value(name: str) -> None:
    """Whatever was learnt before, and however often the value is asked for."""
    method = make(name)
    for losses, present in draw_steps(6):
        take_step(method, losses, present)
    weights = method.weigh(losses, present)
    assert not weights.requires_grad
    assert weights.dtype == losses.dtype
    for _ in range(2):
        leaf = losses.clone().requires_grad_()
        value = method(leaf, present)
        assert value.shape == ()
        (gradient,) = torch.autograd.grad(value, leaf)
        assert torch.equal(gradient, weights)


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS if name not in ("dwa", "random")])
def test_an_absent_head_is_as_if_it_were_not_there(name: str) -> None:
    """The others have the weights of the method over them alone, step after step."""
    method, alone = make(name), make(name, [HEADS[0], HEADS[2]])
    present, others = torch.tensor([True, False, True]), torch.tensor([0, 2])
    for losses, _ in draw_steps(8):
        losses[1] = math.nan
        weights = take_step(method, losses, present)
        torch.testing.assert_close(weights[others], alone.weigh(losses[others], present[others]), rtol=1e-12, atol=0)
        assert weights[1] == 0
        alone.observe(losses[others], present[others])
        with torch.no_grad():
            for parameter in alone.parameters():
                parameter -= 0.1 * parameter.grad
        after = losses * torch.linspace(0.5, 0.9, len(losses))
        alone.compare(losses[others], after[others], present[others])


@every_method
@pytest.mark.parametrize("filling", [math.nan, math.inf, -1.0])
def test_the_entries_of_absent_heads_are_of_no_account(name: str, filling: float) -> None:
    plain, filled = make(name), make(name)
    for losses, present in draw_steps(10):
        expected = take_step(plain, losses, present)
        losses = torch.where(present, losses, filling)
        assert torch.equal(take_step(filled, losses, present), expected)
        leaf = losses.clone().requires_grad_()
        value = filled(leaf, present)
        assert value.isfinite()
        gradients = torch.autograd.grad(value, [leaf, *filled.parameters()])
        assert all(each.isfinite().all() for each in gradients)
    found = filled.state_dict()
    assert all(torch.equal(value, found[key]) for key, value in plain.state_dict().items())


@every_method
def test_what_is_kept_of_an_absent_head_stays(name: str) -> None:
    method = make(name)
    changed = set()
    for losses, present in draw_steps(12):
        before = {key: value.clone() for key, value in method.state_dict().items()}
        take_step(method, losses, present)
        for key, value in method.state_dict().items():
            # a period ends for the heads that were in it, absent or not in its last step
            if value.shape == (len(HEADS),) and not (name == "dwa" and method.steps_in_period == 0):
                assert torch.equal(value[~present], before[key][~present])
                changed |= {key} if not torch.equal(value, before[key]) else set()
    assert bool(changed) == (name in REMEMBERING - {"random"})


@every_method
@pytest.mark.parametrize("cut", [0, 1, 5, 7])
def test_a_resumed_run_goes_on_to_the_bit(name: str, cut: int, tmp_path: Path) -> None:
    steps = draw_steps(12)

    def run(method: LossWeighting, first: int) -> Iterator[torch.Tensor]:
        for losses, present in steps[first:]:
            yield take_step(method, losses, present)
            method.end_epoch()

    whole = make(name)
    at_first = {key: (value.shape, value.dtype) for key, value in whole.state_dict().items()}
    weights = []
    for number, each in enumerate(run(whole, 0), start=1):
        weights.append(each)
        if number == cut:
            save_file(whole.state_dict(), tmp_path / "state.safetensors")
    if cut == 0:
        save_file(make(name).state_dict(), tmp_path / "state.safetensors")
    assert {key: (value.shape, value.dtype) for key, value in whole.state_dict().items()} == at_first

    resumed = make(name)
    resumed.load_state_dict(load_file(tmp_path / "state.safetensors"), strict=True)
    assert all(torch.equal(*pair) for pair in zip(run(resumed, cut), weights[cut:], strict=True))
    final = resumed.state_dict()
    assert all(torch.equal(value, final[key]) for key, value in whole.state_dict().items())
    if cut == 7:
        # without the state it would not have
        anew = all(torch.equal(*pair) for pair in zip(run(make(name), cut), weights[cut:], strict=True))
        assert anew == (name not in REMEMBERING)


@every_method
def test_nothing_is_read_back_from_the_device(name: str) -> None:
    """Tensors of the meta device have no values: to ask for one, or for a shape that depends on one, is an error."""
    for options in ({}, {"period": 2}) if name == "dwa" else ({},):
        method = make_weighting({"name": name, **OPTIONS.get(name, {}), **options}, HEADS).to("meta")
        losses, present = torch.ones(3, device="meta"), ALL.to("meta")
        for _ in range(3):
            assert method.weigh(losses, present).shape == (3,)
            method.observe(losses, present)
            method.compare(losses, losses, present)
            method.end_epoch()
        assert all(each.is_meta for each in (*method.parameters(), *method.buffers()))


@every_method
def test_what_it_remembers_keeps_its_type(name: str) -> None:
    """A loss in float64 does not make the state of a method in float32 another."""
    method = make_weighting(name, HEADS)
    types = {key: value.dtype for key, value in method.state_dict().items()}
    for losses, present in draw_steps(3):
        take_step(method, losses, present)
        method.end_epoch()
    assert {key: value.dtype for key, value in method.state_dict().items()} == types


@every_method
@pytest.mark.parametrize("losses", [[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
def test_a_loss_of_zero_gives_finite_weights(name: str, losses: list[float]) -> None:
    method = make(name).float()
    for _ in range(4):
        weights = take_step(method, torch.tensor(losses), ALL)
        assert weights.isfinite().all()
        assert name in BELOW_ZERO or (weights >= 0).all()
    assert all(value.isfinite().all() for value in method.state_dict().values())


def loss_steps() -> st.SearchStrategy[list[Mapping[int, float]]]:
    """Some steps: place of a head -> its loss, of those that are present."""
    one = st.floats(min_value=0, max_value=1e3, exclude_min=True, allow_subnormal=False, width=32)
    return st.lists(st.dictionaries(st.integers(0, 2), one, min_size=1), min_size=1, max_size=5)


@every_method
@settings(max_examples=40)
@given(steps=loss_steps())
def test_weights_are_finite_and_zero_for_absent_heads(name: str, steps: list[Mapping[int, float]]) -> None:
    method = make_weighting({"name": name, **OPTIONS.get(name, {})}, HEADS)
    for step in steps:
        losses = torch.tensor([step.get(place, math.nan) for place in range(3)])
        present = torch.tensor([place in step for place in range(3)])
        weights = take_step(method, losses, present)
        assert weights.isfinite().all()
        assert not weights[~present].any()
        assert name in BELOW_ZERO or (weights >= 0).all()
