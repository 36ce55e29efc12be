"""The penalty on weights: its gradient by hand, for what there was, and what is written of it."""

from __future__ import annotations

from pathlib import Path

import torch

from continual_steps import assert_same_gradients, gradients, scale_losses, scaled, set_gradients, stop_in_step
from continual_streams import class_stream, head_stream
from mt_transformers.continual.learner import Learner
from mt_transformers.continual.strategies.weight_penalty import WeightPenalty, grown


class Held(WeightPenalty):
    """Every weight of experience 0 matters as much as it is large."""

    name = "held"

    def end(self, learner: Learner) -> None:
        if learner.number == 0:
            self._importance = {name: each.detach().abs().clone() for name, each in learner.model.named_parameters()}


def shift(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for each in model.parameters():
            each += 0.1


def test_what_was_kept_grows_with_zeros() -> None:
    assert grown(torch.tensor([1.0, 2.0]), torch.ones(3)).tolist() == [1, 2, 0]
    assert grown(torch.ones(1, 1), torch.ones(2, 2)).tolist() == [[1, 0], [0, 0]]


def test_the_gradient_by_hand_and_new_classes_are_free(tmp_path: Path) -> None:
    strategy = Held()
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=1)
    own = gradients(learner.model)
    shift(learner.model)
    strategy.add_penalty(learner, 3.0)
    name = "heads.kind.classifier.weight"
    expected = {
        key: None if each is None else each + 3.0 * strategy._importance[key] * 0.1 for key, each in own.items()
    }
    found = gradients(learner.model)
    assert_same_gradients(found, expected)
    # two classes, and two that came with this experience
    assert torch.equal(found[name][2:], own[name][2:])
    assert not torch.isclose(found[name][:2], own[name][:2]).any()


def test_a_head_without_a_row_stays_without_a_gradient(tmp_path: Path) -> None:
    strategy = Held()
    learner = stop_in_step(tmp_path, head_stream(), strategy)
    own = gradients(learner.model)
    assert strategy._importance["heads.names_head.classifier.weight"].any()
    assert own["heads.names_head.classifier.weight"] is None
    shift(learner.model)
    strategy.add_penalty(learner, 1.0)
    found = gradients(learner.model)
    assert found["heads.names_head.classifier.weight"] is None
    # a head that came later is free
    assert torch.equal(found["heads.moods_head.classifier.weight"], own["heads.moods_head.classifier.weight"])


def test_it_is_scaled_as_the_gradients_are_under_fp16(tmp_path: Path) -> None:
    strategy = Held()
    learner = stop_in_step(tmp_path, class_stream(), strategy)
    own = gradients(learner.model)
    shift(learner.model)
    strategy.add_penalty(learner, 1.0)
    expected = scaled(gradients(learner.model), 64.0)
    scale_losses(learner, 64.0)
    set_gradients(learner.model, scaled(own, 64.0))
    strategy.add_penalty(learner, 1.0)
    assert_same_gradients(gradients(learner.model), expected)


def test_what_is_remembered_comes_back(tmp_path: Path) -> None:
    strategy, other = Held(), Held()
    learner = stop_in_step(tmp_path / "run", class_stream(), strategy)
    strategy.save(tmp_path)
    other.load(tmp_path, learner)
    for kept, found in ((strategy._importance, other._importance), (strategy._anchor, other._anchor)):
        assert kept.keys() == found.keys()
        assert all(torch.equal(found[name], each) for name, each in kept.items())
    # float64: importance and anchor of every parameter
    assert strategy.memory() == 2 * 8 * sum(each.numel() for each in learner.model.parameters())
