"""A compiled backbone and mixed precision: the same training, one graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, Task

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]


def graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def train(
    tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, batches: Any, **options: Any
) -> MultiTaskTrainer:
    torch.manual_seed(0)
    # two rows a batch: now one task's heads, now the other's, now those of both, and lengths from 5 to 8 tokens
    trainer = make_trainer(
        quiet_model(),
        tasks,
        mixture=Mixture(batches=batches),
        max_steps=12,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        **options,
    )
    trainer.train()
    return trainer


def losses(trainer: MultiTaskTrainer) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.fixture
def fresh_compiler() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_the_backbone_is_compiled_once_whatever_heads_run(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, batches: Any
) -> None:
    plain = train(two_tasks, quiet_model, make_trainer, batches)
    assert graphs() == 0
    compiled = train(two_tasks, quiet_model, make_trainer, batches, torch_compile=True, torch_compile_backend="eager")
    sets = {tuple(key for key in line if key.startswith("loss_")) for line in compiled.state.log_history}
    assert len(sets) >= 2
    assert graphs() == 1
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-5)
    # one more for evaluation mode
    compiled.evaluate()
    compiled.evaluate()
    assert graphs() == 2


@pytest.mark.usefixtures("fresh_compiler")
def test_what_is_saved_knows_nothing_of_it(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    trainer = train(two_tasks, quiet_model, make_trainer, "mixed", torch_compile=True, torch_compile_backend="eager")
    trainer.save_model(str(tmp_path / "saved"))
    loaded = MultiTaskModel.from_pretrained(tmp_path / "saved")
    expected = dict(trainer.model.named_parameters())
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, expected[name])


def test_mixed_precision_keeps_weights_and_losses_in_full(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    plain = train(two_tasks, quiet_model, make_trainer, "mixed")
    mixed = train(two_tasks, quiet_model, make_trainer, "mixed", bf16=True)
    assert {parameter.dtype for parameter in mixed.model.parameters()} == {torch.float32}
    assert losses(mixed) != losses(plain)
    assert losses(mixed) == pytest.approx(losses(plain), rel=0.05)
    metrics = mixed.evaluate()
    assert metrics["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=0.1)
