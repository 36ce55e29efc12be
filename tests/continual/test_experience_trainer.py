"""The trainer of one experience: the hooks of a strategy, and what transformers' Trainer is relied on for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import Trainer, TrainerCallback

from continual_streams import class_stream, make_continual
from mt_transformers import MultiTaskTrainer
from mt_transformers.continual import Strategy
from mt_transformers.continual.experience_trainer import ExperienceTrainer


@dataclass(kw_only=True)
class Listening(Strategy):
    """Notes the order of the hooks."""

    name: ClassVar[str] = "listening"
    heard: list[str] = field(default_factory=list)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        hooks = {name for name, value in vars(Strategy).items() if inspect.isfunction(value)} - {"options", "memory"}
        if name in hooks:
            super().__getattribute__("heard").append(name)
        return found


def test_the_hooks_come_in_the_order_that_is_documented(tmp_path: Path) -> None:
    strategy = Listening()
    trainer = make_continual(tmp_path, class_stream(rows=24), strategy, per_device_train_batch_size=4)
    trainer.train()
    step = ["rehearse", "observe", "row_losses", "added_loss", "end_backward", "end_step"]
    heard = [each for each in strategy.heard if each not in ("modules", "save")]
    first = [
        "check",
        "start",
        "training_rows",
        "answering",
        "begin",
        "learn",
        *step,
        *step,
        "end",
        "answering",
    ]
    assert heard[: len(first)] == first


@pytest.mark.parametrize("name", ["create_optimizer", "train", "compute_loss", "training_step"])
def test_an_override_takes_what_the_overridden_method_takes(name: str) -> None:
    theirs = list(inspect.signature(getattr(Trainer, name)).parameters)[1:]
    inspect.signature(getattr(ExperienceTrainer, name)).bind("self", *theirs)
    assert {name for name, value in vars(ExperienceTrainer).items() if inspect.isfunction(value)} >= {name}


def test_all_overrides_are_those_of_the_package_or_are_tested_here() -> None:
    own = {name for name, value in vars(ExperienceTrainer).items() if inspect.isfunction(value)}
    tested = {"__init__", "create_optimizer", "train", "compute_loss", "training_step"}
    assert {name for name in own if hasattr(Trainer, name)} == tested
    hooks = {"_take_tasks", "_save_own_state", "_rehearse", "_revise_loss", "_plan_for_card", "card_contents"}
    assert {name for name in own - tested if hasattr(MultiTaskTrainer, name)} == hooks
    assert str(inspect.signature(TrainerCallback.on_optimizer_step)).startswith("(self, args")


def test_weights_have_changed_when_a_step_ends_and_gradients_are_there_before(tmp_path: Path) -> None:
    @dataclass(kw_only=True)
    class Watching(Strategy):
        name: ClassVar[str] = "watching"
        seen: list[bool] = field(default_factory=list)

        def end_backward(self, learner: Any) -> None:
            self._before, self._gradient = learner.model.get_params(), learner.model.get_grads()

        def end_step(self, learner: Any) -> None:
            moved = learner.model.get_params() - self._before
            # plain gradient descent
            self.seen.append(torch.allclose(moved, -0.1 * self._gradient, atol=1e-6))

    strategy = Watching()
    given = {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_grad_norm": 0}
    make_continual(tmp_path, class_stream(rows=24), strategy, **given).train()
    assert strategy.seen == [True] * 3


def test_row_losses_of_a_strategy_take_the_place_of_the_heads(tmp_path: Path) -> None:
    @dataclass(kw_only=True)
    class Scaled(Strategy):
        name: ClassVar[str] = "scaled"
        by: float | None = None

        def row_losses(
            self, learner: Any, head: str, inputs: Any, outputs: Mapping[str, torch.Tensor], *, rehearsed: bool
        ) -> torch.Tensor | None:
            return None if self.by is None else self.by * outputs[f"{head}_row_losses"]

    found = []
    for by, rate in ((None, 0.2), (2.0, 0.1), (1.0, 0.1)):
        given = {"optim": "sgd", "learning_rate": rate, "max_grad_norm": 0}
        trainer = make_continual(tmp_path / f"{by}", class_stream(), Scaled(by=by), **given)
        trainer.train()
        found.append(trainer.model.get_params())
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-3)


def test_a_strategys_loss_that_is_not_finite_stops_the_run_before_a_weight_is_changed(tmp_path: Path) -> None:
    @dataclass(kw_only=True)
    class Infinite(Strategy):
        name: ClassVar[str] = "infinite"

        def added_loss(self, learner: Any, inputs: Any, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
            return outputs["kind_logits"].sum() * torch.inf

    trainer = make_continual(tmp_path, class_stream(), Infinite())
    before = trainer.model.get_params()
    with pytest.raises(ValueError, match=r"step 1: the sum of all losses is not finite"):
        trainer.train()
    assert trainer.model.get_params().equal(before)


def test_modules_of_a_strategy_are_trained_with_the_model(tmp_path: Path) -> None:
    @dataclass(kw_only=True)
    class WithModule(Strategy):
        name: ClassVar[str] = "with_module"

        def start(self, learner: Any) -> None:
            self.scale = torch.nn.Linear(1, 1, bias=False)
            torch.nn.init.ones_(self.scale.weight)

        def modules(self) -> list[torch.nn.Module]:
            return [self.scale]

        def added_loss(self, learner: Any, inputs: Any, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
            return (self.scale.weight**2).sum() / 2

    strategy = WithModule()
    given = {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_grad_norm": 0}
    make_continual(tmp_path, class_stream(rows=24), strategy, **given).train()
    # three steps along the gradient of half the square
    torch.testing.assert_close(strategy.scale.weight.detach(), torch.tensor([[0.9**3]]))


def test_what_is_frozen_for_some_steps_gets_no_gradient_from_a_strategy_either(tmp_path: Path) -> None:
    @dataclass(kw_only=True)
    class Pulling(Strategy):
        name: ClassVar[str] = "pulling"

        def end_backward(self, learner: Any) -> None:
            learner.model.set_grads(torch.ones_like(learner.model.get_params()))

    trainer = make_continual(tmp_path, class_stream(rows=24), Pulling(), freeze_until={"backbone": 100})
    before = trainer.model.backbone.get_params()
    trainer.train()
    assert trainer.model.backbone.get_params().equal(before)
