"""Synaptic intelligence: the path integral of each step by hand, its importance, and what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from continual_steps import assert_same_gradients, gradients, scale_losses, scaled, set_gradients, stop_in_step
from continual_streams import class_stream, head_stream, make_continual, weights
from mt_transformers.continual.learner import Learner
from mt_transformers.continual.strategies.si import SynapticIntelligence
from mt_transformers.errors import InputError


class Watched(SynapticIntelligence):
    """Adds the path integrals up by itself, from the gradients before the penalty and the weights around the step."""

    def begin(self, learner: Learner) -> None:
        super().begin(learner)
        self.by_hand = {name: torch.zeros_like(each) for name, each in learner.model.named_parameters()}
        self.began = weights(learner.model)

    def end_backward(self, learner: Learner) -> None:
        self.before = gradients(learner.model), weights(learner.model)
        super().end_backward(learner)

    def end_step(self, learner: Learner) -> None:
        super().end_step(learner)
        found, before = self.before
        for name, each in learner.model.named_parameters():
            if found[name] is not None:
                self.by_hand[name] -= found[name] * (each.detach() - before[name])


@pytest.mark.parametrize(("c", "xi"), [(0.1, 0.1), (20.0, 1e-3)])
def test_path_and_importance_by_hand(c: float, xi: float, tmp_path: Path) -> None:
    """In the second experience, where there is a penalty, and a class that the first one had not."""
    strategy = Watched(c=c, xi=xi)
    given: dict[str, Any] = {"per_device_train_batch_size": 4, "weight_decay": 0.1}
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=1, step=2, **given)
    assert_same_gradients(dict(strategy._path), dict(strategy.by_hand))
    earlier = {name: each.clone() for name, each in strategy._importance.items()}
    assert not earlier["heads.kind.classifier.bias"][2:].any()
    strategy.end(learner)
    expected = {
        name: torch.relu(earlier[name] + strategy.by_hand[name] / ((each.detach() - strategy.began[name]) ** 2 + xi))
        for name, each in learner.model.named_parameters()
    }
    assert_same_gradients(dict(strategy._importance), dict(expected))


def test_importance_does_not_fall_below_0(tmp_path: Path) -> None:
    """A weight whose changes raised the loss is not pushed away."""
    strategy = SynapticIntelligence(xi=0.5)
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=0)
    name = "heads.kind.classifier.bias"
    strategy._path[name] = torch.tensor([-1.0, 3.0], dtype=torch.float64)
    strategy.end(learner)
    assert strategy._importance[name].tolist() == [0.0, 6.0]


def test_with_sgd_it_is_the_sum_of_squared_gradients(tmp_path: Path) -> None:
    """Equation 3 where the change is the learning rate times the gradient."""
    strategy = SynapticIntelligence()
    given: dict[str, Any] = {"optim": "sgd", "learning_rate": 0.01, "lr_scheduler_type": "constant"}
    learner = stop_in_step(
        tmp_path, class_stream(), strategy, number=0, step=1, max_grad_norm=0.0, weight_decay=0.0, **given
    )
    moved = {name: (strategy._anchor[name] - each.detach()) for name, each in learner.model.named_parameters()}
    expected = {name: each.square() / 0.01 for name, each in moved.items()}
    found = dict(strategy._path)
    for name, each in expected.items():
        torch.testing.assert_close(found[name], each, rtol=1e-6, atol=1e-15)
    assert sum(float(each.sum()) for each in found.values()) > 0


def test_the_penalty_by_hand(tmp_path: Path) -> None:
    """c * sum(Omega * (weight - anchor)^2), by autograd: equation 4."""
    strategy = SynapticIntelligence(c=7.0)
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=1, step=1)
    own, parameters = gradients(learner.model), dict(learner.model.named_parameters())
    terms = [
        (strategy._importance[name] * (parameters[name] - strategy._anchor[name]).square()).sum()
        for name in parameters
    ]
    (7.0 * torch.stack(terms).sum()).backward()
    expected = gradients(learner.model)
    set_gradients(learner.model, own)
    strategy.end_backward(learner)
    assert_same_gradients(gradients(learner.model), expected)
    assert any(not torch.equal(each, own[name]) for name, each in gradients(learner.model).items())


def test_a_head_without_a_row_has_no_path(tmp_path: Path) -> None:
    strategy = SynapticIntelligence()
    stop_in_step(tmp_path, head_stream(), strategy, step=1)
    assert not strategy._path["heads.names_head.classifier.weight"].any()
    assert strategy._path["heads.moods_head.classifier.weight"].any()
    assert strategy._importance["heads.names_head.classifier.weight"].any()


def test_gradients_are_taken_as_they_are_without_the_scale_of_fp16(tmp_path: Path) -> None:
    strategy = SynapticIntelligence()
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=1, step=1)
    own = gradients(learner.model)
    strategy.end_backward(learner)
    expected = {name: each for name, (each, _) in strategy._step.items()}
    scale_losses(learner, 256.0)
    set_gradients(learner.model, scaled(own, 256.0))
    strategy.end_backward(learner)
    assert_same_gradients({name: each for name, (each, _) in strategy._step.items()}, dict(expected))


def test_a_step_that_fp16_passes_over_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = SynapticIntelligence()
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=1, step=1)
    path = {name: each.clone() for name, each in strategy._path.items()}
    for each in learner.model.parameters():
        each.grad = torch.full_like(each, float("inf"))
    strategy.end_backward(learner)
    monkeypatch.setattr(type(learner.accelerator), "optimizer_step_was_skipped", True)
    strategy.end_step(learner)
    assert all(torch.equal(each, path[name]) for name, each in strategy._path.items())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"c: expected a number from 0 up, found -1\.0"):
        SynapticIntelligence(c=-1.0)
    with pytest.raises(InputError, match=r"xi: expected a number above 0, found 0\.0"):
        SynapticIntelligence(xi=0.0)


def test_less_is_forgotten_than_by_plain_training(tmp_path: Path) -> None:
    """The backbone that the second head learns on is held for the first one."""
    given = {"learning_rate": 3e-3, "num_train_epochs": 6}
    losses = []
    for number, strategy in enumerate(["naive", SynapticIntelligence(c=100.0, xi=1e-3)]):
        trainer = make_continual(tmp_path / str(number), head_stream(48), strategy, **given)
        results = trainer.train()
        assert trainer.trainer is not None
        learner = trainer.trainer.learner
        trainer.model.eval()
        (rows,) = learner.rows_of(0).values()
        with torch.no_grad():
            losses.append(float(learner.forward(learner.collate(list(rows)))["loss"]))
    assert losses[1] < 0.7 * losses[0]
    assert results.matrix[1, 1] > 0.8


def test_it_stands_beside_replay(tmp_path: Path) -> None:
    """With a weight of 0 it only looks on."""
    derpp, runs = {"name": "derpp", "buffer_size": 12}, []
    for number, strategy in enumerate([derpp, [derpp, SynapticIntelligence(c=0.0)]]):
        trainer = make_continual(tmp_path / str(number), class_stream(), strategy)
        trainer.train()
        runs.append(weights(trainer.model))
    assert all(torch.equal(each, runs[1][name]) for name, each in runs[0].items())
