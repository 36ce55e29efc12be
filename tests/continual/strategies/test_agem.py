"""A-GEM: equation 11 by hand, who is moved by it, and what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from continual_steps import (
    added,
    assert_same_gradients,
    gradients,
    gradients_by_hand,
    product,
    scale_losses,
    scaled,
    set_gradients,
    stop_in_step,
)
from continual_streams import class_stream, head_stream, make_continual, weights
from mt_transformers.continual.learner import Learner
from mt_transformers.continual.strategies.agem import AGem, project

# more rows than a batch has, so that the reference is computed in several
OPTIONS = {"buffer_size": 12, "replay_batch_size": 10}


def reference_by_hand(learner: Learner, strategy: AGem, head: str) -> dict[str, torch.Tensor | None]:
    rows = [strategy.buffer[slot].prepared for slot in strategy._drawn]
    return gradients_by_hand(learner, rows, head)


def test_equation_11(tmp_path: Path) -> None:
    """A gradient against the reference loses its part along it; the head has grown since the rows came."""
    strategy = AGem(**OPTIONS)
    learner = stop_in_step(tmp_path, class_stream(), strategy)
    reference, own = reference_by_hand(learner, strategy, "kind"), gradients(learner.model)
    against = added(scaled(own, 0.1), scaled(reference, -1.0))
    set_gradients(learner.model, against)
    strategy.end_backward(learner)
    factor = float(product(against, reference) / product(reference, reference))
    assert factor < 0
    expected = added(against, scaled(reference, -factor))
    assert_same_gradients(gradients(learner.model), expected)
    assert abs(product(gradients(learner.model), reference)) < 1e-9


def test_a_gradient_that_harms_nothing_stays(tmp_path: Path) -> None:
    strategy = AGem(**OPTIONS)
    learner = stop_in_step(tmp_path, class_stream(), strategy)
    along = added(scaled(gradients(learner.model), 0.1), reference_by_hand(learner, strategy, "kind"))
    set_gradients(learner.model, along)
    strategy.end_backward(learner)
    assert_same_gradients(gradients(learner.model), along)


def test_only_the_reference_gives_a_head_without_a_row_a_gradient(tmp_path: Path) -> None:
    strategy = AGem(**OPTIONS)
    learner = stop_in_step(tmp_path, head_stream(), strategy)
    learner.model.add_head("idle", {"head_type": "regression", "mean": [0.0], "std": [1.0]})
    learner.model.double()
    reference, own = reference_by_hand(learner, strategy, "names_head"), gradients(learner.model)
    assert own["heads.names_head.classifier.weight"] is None
    assert reference["heads.names_head.classifier.weight"] is not None
    # along the reference: nothing is to be done, not even zeros for weight decay to work with
    backbone = {name: value if own[name] is not None else None for name, value in reference.items()}
    set_gradients(learner.model, backbone)
    strategy.end_backward(learner)
    assert_same_gradients(gradients(learner.model), backbone)
    # against it
    against = scaled(backbone, -1.0)
    set_gradients(learner.model, against)
    strategy.end_backward(learner)
    factor = float(product(against, reference) / product(reference, reference))
    assert_same_gradients(gradients(learner.model), added(against, scaled(reference, -factor)))
    assert all(each.grad is None for each in learner.model.heads["idle"].parameters())


def test_gradients_are_scaled_under_fp16_and_stay_so(tmp_path: Path) -> None:
    """The reference as well, for which small gradients would be lost."""
    strategy = AGem(**OPTIONS)
    learner = stop_in_step(tmp_path, class_stream(), strategy)
    reference = strategy.reference(learner, strategy._drawn).flat
    against = added(gradients(learner.model), scaled(reference_by_hand(learner, strategy, "kind"), -3.0))
    set_gradients(learner.model, against)
    strategy.end_backward(learner)
    expected = scaled(gradients(learner.model), 1024.0)
    scale_losses(learner, 1024.0)
    torch.testing.assert_close(strategy.reference(learner, strategy._drawn).flat, 1024 * reference)
    set_gradients(learner.model, scaled(against, 1024.0))
    strategy.end_backward(learner)
    assert_same_gradients(gradients(learner.model), expected)


def test_the_buffer_has_rows_of_earlier_experiences_only(tmp_path: Path) -> None:
    strategy = AGem(buffer_size=20)
    learner = stop_in_step(tmp_path, class_stream(), strategy, step=1)
    assert {slot.experience for slot in strategy.buffer.slots} == {0, 1}
    assert len(strategy.buffer) == 20
    assert learner.number == 2


def test_nothing_is_drawn_in_the_first_experience(tmp_path: Path) -> None:
    strategy = AGem()
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=0, step=1)
    own = gradients(learner.model)
    strategy.end_backward(learner)
    assert strategy._drawn == []
    assert_same_gradients(gradients(learner.model), own)


@pytest.mark.parametrize(("size", "drawn"), [(None, 8), (3, 3)])
def test_as_many_rows_are_drawn_as_asked(size: int | None, drawn: int, tmp_path: Path) -> None:
    strategy = AGem(buffer_size=12, replay_batch_size=size)
    stop_in_step(tmp_path, class_stream(), strategy)
    assert len(set(strategy._drawn)) == drawn


def test_a_head_that_is_held_still_is_not_moved(tmp_path: Path) -> None:
    given = {"learning_rate": 1e-2, "num_train_epochs": 3}
    moved, held = (
        make_continual(tmp_path / name, head_stream(), AGem(), **given, **more)
        for name, more in (("moved", {}), ("held", {"freeze_until": {"names_head": 1000}}))
    )
    before = weights(held.model.heads["names_head"])
    moved.train()
    held.train()
    for name, value in weights(held.model.heads["names_head"]).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert not torch.equal(weights(moved.model)["heads.names_head.classifier.weight"], before["classifier.weight"])


def test_less_is_forgotten_than_by_plain_training(tmp_path: Path) -> None:
    given = {"learning_rate": 3e-3, "num_train_epochs": 4}
    naive, agem = (
        make_continual(tmp_path / str(name), class_stream(120), name, **given).train() for name in ("naive", AGem())
    )
    assert agem.matrix[-1].mean() > naive.matrix[-1].mean() + 0.2


@given(st.lists(st.tuples(*[st.floats(-10, 10)] * 2), min_size=1, max_size=6))
def test_a_projection_never_points_against_the_reference(values: list[tuple[float, float]]) -> None:
    gradient, reference = torch.tensor(values, dtype=torch.float64).T
    found = project(gradient, reference)
    size = float(gradient.norm() * reference.norm())
    assert float(found @ reference) >= -1e-9 * (1 + size)
    # it is the nearest one: projected again it stays, and it is not longer
    torch.testing.assert_close(project(found, reference), found, rtol=1e-6, atol=1e-6)
    assert found.norm() <= gradient.norm() + 1e-9
    if gradient @ reference >= 0:
        assert torch.equal(found, gradient)
