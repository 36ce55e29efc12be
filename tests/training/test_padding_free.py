"""Training without padding: the losses and weights of padded batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from attention import VARIABLE_LENGTHS, register
from mt_transformers import MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.errors import InputError

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]


class Shapes:
    """Rows and columns of what the backbone embeds in training."""

    def __init__(self) -> None:
        self.found: list[tuple[int, int]] = []

    def __call__(self, module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        if module.training:
            self.found.append((output.shape[0], output.shape[1]))


def run(tasks: dict[str, Task], model: MultiTaskModel, make_trainer: Trainers, **options: Any) -> MultiTaskTrainer:
    trainer = make_trainer(model.double(), tasks, max_steps=6, learning_rate=1e-2, **options)
    trainer.train()
    return trainer


def test_training_without_padding_is_training(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    register()
    found = []
    for attention in ("sdpa", VARIABLE_LENGTHS):
        torch.manual_seed(0)
        model = quiet_model()
        model.backbone.model.set_attn_implementation(attention)
        shapes = Shapes()
        model.backbone.model.embeddings.register_forward_hook(shapes)
        found.append((run(two_tasks, model, make_trainer, padding_free=attention != "sdpa"), shapes.found))
    (padded, padded_shapes), (flat, flat_shapes) = found
    assert [rows for rows, _ in padded_shapes] == [4] * 6
    assert [rows for rows, _ in flat_shapes] == [1] * 6
    assert sum(tokens for _, tokens in flat_shapes) < sum(rows * length for rows, length in padded_shapes)
    losses = [[line["loss"] for line in each.state.log_history if "loss" in line] for each in (padded, flat)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    for name, weight in padded.model.named_parameters():
        torch.testing.assert_close(dict(flat.model.named_parameters())[name], weight, rtol=1e-8, atol=1e-10)
    assert flat.evaluate()["eval_loss"] == pytest.approx(padded.evaluate()["eval_loss"], rel=1e-9)


def test_attention_that_cannot_is_refused_before_training(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    with pytest.raises(InputError, match=r"padding_free: expected attention .*flash_attention_2.*, found 'sdpa'"):
        make_trainer(quiet_model(), two_tasks, padding_free=True)
