"""Micro-batches give what one batch of all their rows gives, for every type of head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from backbones import FAMILIES
from fixtures import tiny_model
from head_tasks import ROWS, TASKS, head_config, processing_for, task_for
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments, Task

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]

BACKBONES = {
    "image_classification": "vit",
    "audio_classification": "whisper",
    "causal_language_modeling": "llama",
}
"""Backbones of the head types that read no text, or only what stands before a word; all others have BERT."""


def without_dropout(config: Any) -> Any:
    for name, value in vars(config).items():
        if ("dropout" in name or name.endswith("drop")) and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


@pytest.mark.parametrize("head_type", TASKS)
def test_one_step_of_every_head_type(head_type: str, tmp_path: Path) -> None:
    """As one batch of 4 rows, as 2 x 2, and as 4 x 1, in float64."""
    family = BACKBONES.get(head_type, "bert")
    config = without_dropout(FAMILIES[family]())
    moved = []
    for size in (ROWS, ROWS // 2, 1):
        torch.manual_seed(0)
        model = tiny_model({"head": without_dropout(head_config(head_type))}, config).double()
        start = parameters_to_vector(model.parameters()).detach().clone()
        args = MultiTaskTrainingArguments(
            output_dir=str(tmp_path),
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
            per_device_train_batch_size=size,
            gradient_accumulation_steps=ROWS // size,
            max_steps=1,
            learning_rate=0.05,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            optim="sgd",
        )
        tasks = {"task": task_for(head_type, family)}
        trainer = MultiTaskTrainer(model, args, tasks, processing_class=processing_for(family))
        trainer.train()
        moved.append(parameters_to_vector(model.parameters()).detach() - start)
    assert moved[0].norm() > 1e-4
    for other in moved[1:]:
        assert (other - moved[0]).norm() / moved[0].norm() < 1e-9


def test_loss_curves_lie_on_each_other_in_float32(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """Heads that are missing from some micro-batches and from some steps; AdamW, weight decay and clipping."""
    curves = []
    for size in (8, 4, 1):
        torch.manual_seed(0)
        trainer = make_trainer(
            quiet_model(),
            two_tasks,
            mixture=Mixture(sampling="temperature", temperature=2.0),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size,
            max_steps=20,
            learning_rate=5e-3,
            weight_decay=0.1,
        )
        trainer.train()
        lines = [line for line in trainer.state.log_history if "loss" in line]
        curves.append([line[key] for line in lines for key in ("loss", "loss_intent", "loss_slots", "grad_norm")])
    assert curves[0][-4] < curves[0][0]
    for other in curves[1:]:
        assert other == pytest.approx(curves[0], rel=1e-3)
