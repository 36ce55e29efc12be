"""
A run that is broken off in an optimizer step, to look at what a strategy does with its gradients.

Tests write `from continual_steps import ...`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from continual_streams import make_continual
from mt_transformers.continual.learner import Learner
from mt_transformers.continual.scenario import Scenario
from mt_transformers.continual.strategies import Strategy

Gradients = dict[str, torch.Tensor | None]


class _BrokenOffError(Exception):
    """The step has come."""


def stop_in_step(
    folder: Path, scenario: Scenario, strategy: Strategy, number: int = -1, step: int = 0, **given: Any
) -> Learner:
    """
    Train in float64 up to a step of an experience, whose gradients the strategy has not yet seen.

    Args:
        folder (`Path`): Where the run may write.
        scenario ([`Scenario`]): The experiences.
        strategy ([`Strategy`]): The strategy.
        number (`int`, *optional*): The experience, by default the last one.
        step (`int`, *optional*, defaults to 0): The step.
        given (`Any`): Training arguments.
    """
    trainer = make_continual(folder, scenario, strategy, **given)
    trainer.model.double()
    end_backward = strategy.end_backward
    last = number % len(scenario.experiences)

    def end_or_stop(learner: Learner) -> None:
        if learner.number == last and trainer.trainer.state.global_step == step:
            raise _BrokenOffError
        end_backward(learner)

    trainer.strategy.end_backward = end_or_stop  # type: ignore[method-assign]
    with pytest.raises(_BrokenOffError):
        trainer.train()
    assert trainer.trainer is not None
    return trainer.trainer.learner


def gradients(model: torch.nn.Module) -> Gradients:
    """A copy of the gradients of all parameters."""
    return {name: None if each.grad is None else each.grad.clone() for name, each in model.named_parameters()}


def set_gradients(model: torch.nn.Module, values: Gradients) -> None:
    """Give each parameter its gradient, or none."""
    for name, each in model.named_parameters():
        value = values.get(name)
        each.grad = None if value is None else value.clone()


def gradients_by_hand(learner: Learner, rows: list[dict[str, Any]], head: str) -> Gradients:
    """The gradients of the mean cross-entropy of rows in one batch."""
    kept, was_training = gradients(learner.model), learner.model.training
    learner.model.zero_grad()
    learner.model.eval()
    batch = learner.collate(rows)
    logits = learner.forward(batch)[f"{head}_logits"]
    functional.cross_entropy(logits, batch["labels"][head]).backward()
    found = gradients(learner.model)
    learner.model.train(was_training)
    set_gradients(learner.model, kept)
    return found


def product(first: Gradients, second: Gradients) -> torch.Tensor:
    """The product of two gradients, of which either may lack some."""
    terms = [
        (each * other).sum()
        for name, each in first.items()
        if each is not None and (other := second[name]) is not None
    ]
    return torch.stack(terms).sum()


def scaled(values: Gradients, factor: float) -> Gradients:
    """Gradients times a number."""
    return {name: None if each is None else factor * each for name, each in values.items()}


def added(first: Gradients, second: Gradients) -> Gradients:
    """The sum of gradients; a parameter without one in both has none."""
    return {
        name: second[name] if each is None else each if second[name] is None else each + second[name]  # type: ignore[operator]
        for name, each in first.items()
    }


def assert_same_gradients(found: Gradients, expected: Gradients) -> None:
    """Fail where they differ by more than rounding, or one is missing."""
    assert [name for name, each in found.items() if each is None] == [
        name for name, each in expected.items() if each is None
    ]
    size = max(float(each.abs().max()) for each in expected.values() if each is not None)
    for name, each in found.items():
        if each is not None:
            torch.testing.assert_close(
                each, expected[name], rtol=1e-8, atol=1e-10 * size, msg=lambda text, name=name: f"{name}: {text}"
            )


def scale_losses(learner: Learner, scale: float) -> None:
    """As under fp16."""
    learner.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
