"""A pass that only looks changes nothing of a run, whatever the model draws and counts, and nothing seen is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import TrainingArguments

from fixtures import INTENTS, MOODS, SLOTS, tiny_model
from mt_transformers import MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.balancing import ConflictReport
from mt_transformers.data.task_parts import divide_by_task
from mt_transformers.errors import InputError

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]

DROPPING = {
    "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "mood": {"head_type": "sequence_classification", "id2label": MOODS},
}
# transformers 5.23 renamed it
NAMES = {each.name for each in fields(TrainingArguments)}
CHECKPOINTING = "activation_checkpointing" if "activation_checkpointing" in NAMES else "gradient_checkpointing"


class Counting(nn.Module):
    """Batch normalization over tokens, which counts its batches, times a number drawn from NumPy in training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(32)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        normal: torch.Tensor = self.norm(features.transpose(1, 2)).transpose(1, 2)
        return normal * (1 + 0.1 * np.random.rand()) if self.training else normal


@pytest.mark.parametrize(
    ("plain", "looking"),
    [({}, {"conflict_steps": 1}), ({"balancing": "mean"}, {"balancing": "mean", "conflict_steps": 2})],
)
def test_buffers_and_random_numbers_of_numpy(
    plain: dict[str, Any],
    looking: dict[str, Any],
    two_tasks: dict[str, Task],
    quiet_model: Models,
    make_trainer: Trainers,
) -> None:
    found = []
    for given in (plain, looking):
        torch.manual_seed(0)
        model = quiet_model()
        model.backbone.model.embeddings.LayerNorm = Counting()
        make_trainer(model, two_tasks, max_steps=3, gradient_accumulation_steps=2, **given).train()
        found.append(model.state_dict())
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), name
    assert found[1]["backbone.model.embeddings.LayerNorm.norm.num_batches_tracked"] == 6


def test_running_means_see_rows_once_where_losses_are_looked_at_again(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    model.backbone.model.embeddings.LayerNorm = norm = Counting()
    make_trainer(model, two_tasks, max_steps=3, gradient_accumulation_steps=2, balancing="famo").train()
    assert norm.norm.num_batches_tracked == 6


class Failing:
    """The forward pass of a head whose losses are NaN every other time, by chance, in training."""

    def __init__(self, head: nn.Module) -> None:
        self.forward = head.forward

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        outputs = self.forward(*args, **kwargs)
        if torch.rand(()) < 0.5:
            outputs["row_losses"] = outputs["row_losses"] * torch.nan
        return outputs  # type: ignore[no-any-return]


def test_losses_that_are_not_finite_count_where_they_are_trained_on(
    two_tasks: dict[str, Task], make_trainer: Trainers
) -> None:
    """Which steps go without a head does not depend on a look, whose passes draw other numbers."""
    found = []
    for steps in (None, 1):
        torch.manual_seed(0)
        model = tiny_model(DROPPING)
        model.heads["mood"].forward = Failing(model.heads["mood"])
        given = {"nonfinite_loss": "skip", "per_device_train_batch_size": 8, "max_steps": 12, "seed": 0}
        trainer = make_trainer(model, two_tasks, conflict_steps=steps, **given)
        trainer.train()
        skipped = [line.get("skipped_mood") for line in trainer.state.log_history if "loss" in line]
        found.append((skipped, trainer.model.state_dict()))
    assert {None, 1.0} <= set(found[0][0])
    assert found[1][0] == found[0][0]
    for name, value in found[0][1].items():
        assert torch.equal(found[1][1][name], value), name


@pytest.mark.parametrize("given", [{"conflict_steps": 2}, {"balancing": "sum"}], ids=["looked at", "aggregated"])
def test_a_run_that_goes_on_between_two_lines_of_the_log(
    given: dict[str, Any], two_tasks: dict[str, Task], make_trainer: Trainers, tmp_path: Path
) -> None:
    """Its report is that of the whole run, with dropout; and what comes behind the last line of the log is in it."""

    def train(folder: str, checkpoint: str | None = None) -> str:
        own: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3, "logging_steps": 4, "max_steps": 7}
        torch.manual_seed(0)
        trainer = make_trainer(tiny_model(DROPPING), two_tasks, output_dir=str(tmp_path / folder), **own, **given)
        trainer.train(resume_from_checkpoint=checkpoint)
        return (tmp_path / folder / "conflicts.json").read_text(encoding="utf-8")

    whole = train("whole")
    assert train("resumed", str(tmp_path / "whole" / "checkpoint-3")) == whole
    assert [each.step for each in ConflictReport.load(tmp_path / "whole" / "conflicts.json").records] == [4, 7]


def test_a_checkpoint_of_other_tasks_is_refused(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"conflict_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    make_trainer(quiet_model(), two_tasks, **given).train()
    others = {"asks": two_tasks["requests"], "moods": two_tasks["moods"]}
    trainer = make_trainer(quiet_model(), others, **given)
    with pytest.raises(InputError, match=r"conflicts\.json compares requests, moods, expected asks, moods"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))


def test_activations_that_cannot_be_differentiated_in_part_are_refused(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    given = {CHECKPOINTING: True, "conflict_steps": 1, "max_steps": 1}
    with pytest.raises(InputError, match="expected activation checkpointing with use_reentrant: false, found true"):
        make_trainer(quiet_model(), two_tasks, **given, **{f"{CHECKPOINTING}_kwargs": {"use_reentrant": True}})
    make_trainer(quiet_model(), two_tasks, **given).train()


def test_batches_that_do_not_say_which_rows_are_of_a_head() -> None:
    """As a collator of the user's own may give them."""
    parts = divide_by_task(
        {
            "input_ids": torch.arange(4).view(4, 1),
            "labels": {"intent": torch.tensor([1, -100, 2, 3])},
            "task_index": torch.tensor([1, 0, 1, 1]),
        }
    )
    assert parts[1]["labels"]["intent"].tolist() == [1, 2, 3]
    assert all("rows" not in part for part in parts.values())
