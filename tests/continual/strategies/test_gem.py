"""GEM: the quadratic program against all subsets, a step by hand, and what it is for."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
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
from continual_streams import class_stream, head_stream, make_continual
from mt_transformers.continual.learner import Learner
from mt_transformers.continual.strategies.gem import Gem, dual_weights
from mt_transformers.errors import InputError


def references_by_hand(learner: Learner, strategy: Gem, head: str = "kind") -> list[dict[str, Any]]:
    return [
        gradients_by_hand(learner, [strategy.buffer[slot].prepared for slot in slots], head)
        for slots in strategy._drawn.values()
    ]


def nearest(gradient: np.ndarray, references: np.ndarray) -> np.ndarray:
    """The nearest vector whose product with no reference is below 0: of all faces of the cone, projected by hand."""
    found = []
    for size in range(len(references) + 1):
        for face in combinations(range(len(references)), size):
            basis = references[list(face)]
            candidate = gradient - np.linalg.pinv(basis) @ basis @ gradient if size else gradient
            if (references @ candidate >= -1e-9).all():
                found.append(candidate)
    return min(found, key=lambda each: float(np.linalg.norm(each - gradient)))


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_without_a_margin_it_is_the_nearest_gradient(seed: int, number: int) -> None:
    """References of very different lengths among them."""
    random = np.random.default_rng(seed)
    references = random.normal(size=(number, 5)) * 10.0 ** random.integers(-4, 1, size=(number, 1))
    gradient = random.normal(size=5)
    weights = dual_weights(references @ references.T, references @ gradient, margin=0.0)
    found = gradient if weights is None else gradient + weights @ references
    np.testing.assert_allclose(found, nearest(gradient, references), atol=1e-6)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.0, 2.0))
def test_weights_solve_the_dual_problem(seed: int, number: int, margin: float) -> None:
    """Equation 11 by its conditions: no weight below the margin, and its slope is 0 unless it is at the margin."""
    random = np.random.default_rng(seed)
    references, gradient = random.normal(size=(number, 6)), random.normal(size=6)
    gradient -= 3 * references[0]
    weights = dual_weights(references @ references.T, references @ gradient, margin)
    if weights is None:
        assert (references @ gradient >= 0).all()
        return
    slope = references @ (gradient + weights @ references)
    assert (weights >= margin - 1e-9).all()
    assert (slope >= -1e-7).all()
    np.testing.assert_allclose(slope * (weights - margin), 0, atol=1e-6)


def test_references_that_say_the_same_and_such_that_say_nothing() -> None:
    reference = np.array([3.0, 4.0])
    references = np.stack([reference, 2 * reference, np.zeros(2)])
    gradient = np.array([-1.0, 0.5])
    weights = dual_weights(references @ references.T, references @ gradient, margin=0.0)
    assert weights is not None
    assert weights[2] == 0
    np.testing.assert_allclose(gradient + weights @ references, nearest(gradient, references[:1]), atol=1e-9)


def test_an_overflow_makes_weights_that_are_no_numbers() -> None:
    weights = dual_weights(np.eye(2), np.array([np.inf, -1.0]), margin=0.5)
    assert weights is not None
    assert np.isnan(weights).all()


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_a_step_by_hand(margin: float, tmp_path: Path) -> None:
    """A gradient against one of two earlier experiences and along the other."""
    strategy = Gem(margin=margin, buffer_size=12)
    learner = stop_in_step(tmp_path, class_stream(), strategy)
    first, second = references_by_hand(learner, strategy)
    against = added(scaled(gradients(learner.model), 0.01), added(scaled(first, -1.0), second))
    set_gradients(learner.model, against)
    strategy.end_backward(learner)
    gram = torch.stack([torch.stack([product(one, other) for other in (first, second)]) for one in (first, second)])
    products = torch.stack([product(each, against) for each in (first, second)])
    assert products.min() < 0 < products.max()
    # eq. 11 on a grid of faces: each weight at the margin, or such that its slope is 0
    best: tuple[float, list[float]] | None = None
    for free in ([], [0], [1], [0, 1]):
        weights = torch.full((2,), margin, dtype=torch.float64)
        if free:
            weights[free] = torch.linalg.solve(
                gram[free][:, free],
                -(products + gram @ (weights * ~torch.isin(torch.arange(2), torch.tensor(free))))[free],
            )
        value = float(weights @ gram @ weights / 2 + products @ weights)
        if (weights >= margin - 1e-12).all() and (best is None or value < best[0]):
            best = value, weights.tolist()
    assert best is not None
    expected = added(against, added(scaled(first, best[1][0]), scaled(second, best[1][1])))
    assert_same_gradients(gradients(learner.model), expected)
    assert min(float(product(gradients(learner.model), each)) for each in (first, second)) > -1e-9


def test_a_gradient_that_harms_nothing_stays_and_others_reach_heads_without_a_row(tmp_path: Path) -> None:
    strategy = Gem(margin=0.0)
    learner = stop_in_step(tmp_path, head_stream(), strategy)
    (reference,) = references_by_hand(learner, strategy, "names_head")
    own = gradients(learner.model)
    along = {name: None if own[name] is None else value for name, value in reference.items()}
    assert along["heads.names_head.classifier.weight"] is None
    set_gradients(learner.model, along)
    strategy.end_backward(learner)
    assert_same_gradients(gradients(learner.model), along)
    set_gradients(learner.model, scaled(along, -1.0))
    strategy.end_backward(learner)
    factor = float(product(along, reference) / product(reference, reference))
    assert_same_gradients(gradients(learner.model), added(scaled(along, -1.0), scaled(reference, factor)))


def test_gradients_are_scaled_under_fp16_and_stay_so(tmp_path: Path) -> None:
    strategy = Gem()
    learner = stop_in_step(tmp_path, class_stream(), strategy)
    against = scaled(references_by_hand(learner, strategy)[0], -1.0)
    set_gradients(learner.model, against)
    strategy.end_backward(learner)
    expected = scaled(gradients(learner.model), 1024.0)
    scale_losses(learner, 1024.0)
    set_gradients(learner.model, scaled(against, 1024.0))
    strategy.end_backward(learner)
    assert_same_gradients(gradients(learner.model), expected)


def test_the_buffer_has_as_many_rows_of_each_experience(tmp_path: Path) -> None:
    strategy = Gem(buffer_size=11)
    stop_in_step(tmp_path, class_stream(), strategy)
    assert sorted(strategy.buffer.groups().values()) == [5, 6]
    assert {number: len(slots) for number, slots in strategy._drawn.items()} in ({0: 5, 1: 6}, {0: 6, 1: 5})
    assert all(strategy.buffer[slot].experience == number for number, own in strategy._drawn.items() for slot in own)


def test_as_many_rows_of_each_are_drawn_as_asked(tmp_path: Path) -> None:
    """For each of two micro-batches, and others in the next step."""
    drawn = []
    for step in (0, 1):
        strategy = Gem(buffer_size=24, replay_batch_size=2)
        given = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
        stop_in_step(tmp_path / str(step), class_stream(), strategy, step=step, **given)
        drawn.append(strategy._drawn)
    assert [[len(set(slots)) for slots in each.values()] for each in drawn] == [[4, 4], [4, 4]]
    assert drawn[0] != drawn[1]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"margin: expected a number from 0 up, found -1\.0"):
        Gem(margin=-1.0)
    with pytest.raises(
        InputError, match="'gem': expected a buffer of at least 2 rows, one of each earlier experience"
    ):
        Gem(buffer_size=1).check(class_stream())


def test_less_is_forgotten_than_by_plain_training(tmp_path: Path) -> None:
    given = {"learning_rate": 3e-3, "num_train_epochs": 4}
    naive, gem = (
        make_continual(tmp_path / str(name), class_stream(120), name, **given).train() for name in ("naive", Gem())
    )
    assert gem.matrix[-1].mean() > naive.matrix[-1].mean() + 0.2
