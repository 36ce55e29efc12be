"""What is saved and loaded: checkpoints, the best model, a run that goes on, and the plain Trainer of transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch.nn import functional
from transformers import (
    AutoModel,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from fixtures import MOODS, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, Task

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]
AllKinds = tuple[dict[str, Task], dict[str, dict[str, Any]]]

NAMES = {"intent": ["PlayMusic", "GetWeather"], "slots": ["O", "B-singer", "I-singer", "B-city", "I-city"]}
DROPPING = {
    "intent": {"head_type": "sequence_classification", "id2label": NAMES["intent"]},
    "slots": {"head_type": "token_classification", "id2label": NAMES["slots"]},
    "mood": {"head_type": "sequence_classification", "id2label": MOODS},
}
"""Heads with the default dropout, so that a run that goes on needs the state of the random numbers, too."""


def train_losses(trainer: MultiTaskTrainer) -> dict[int, dict[str, float]]:
    """For each step what the log says of the losses and shares."""
    return {
        line["step"]: {key: value for key, value in line.items() if key.startswith(("loss", "share_"))}
        for line in trainer.state.log_history
        if "loss" in line
    }


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert set(one) == set(other)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    two_tasks: dict[str, Task], make_trainer: Trainers, tmp_path: Path, batches: Any
) -> None:
    """Bit for bit, from the middle of either epoch and from their boundary."""

    def trainer(folder: str) -> MultiTaskTrainer:
        return make_trainer(
            tiny_model(DROPPING),
            two_tasks,
            # 16 rows of either task in an epoch: 8 steps, one task's rows twice
            mixture=Mixture(sampling="uniform", batches=batches),
            output_dir=str(tmp_path / folder),
            num_train_epochs=3,
            learning_rate=1e-2,
            save_strategy="steps",
            save_steps=1,
        )

    whole = trainer("whole")
    whole.train()
    assert whole.state.global_step == 24
    losses = train_losses(whole)
    for step in (3, 8, 13, 16):
        resumed = trainer(f"from_{step}")
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        found = {number: line for number, line in train_losses(resumed).items() if number > step}
        assert found == {number: line for number, line in losses.items() if number > step}
        assert_same_weights(resumed.model.state_dict(), whole.model.state_dict())


def test_resuming_with_accumulated_batches(two_tasks: dict[str, Task], make_trainer: Trainers, tmp_path: Path) -> None:
    def trainer(folder: str) -> MultiTaskTrainer:
        return make_trainer(
            tiny_model(DROPPING),
            two_tasks,
            output_dir=str(tmp_path / folder),
            num_train_epochs=2,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            save_strategy="steps",
            save_steps=1,
        )

    whole = trainer("whole")
    whole.train()
    for step in (1, 4):
        resumed = trainer(f"from_{step}")
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert_same_weights(resumed.model.state_dict(), whole.model.state_dict())


class ScriptedScores(TrainerCallback):
    """Puts made-up scores in the place of the evaluations' own."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = list(scores)

    def on_evaluate(self, *_: Any, metrics: dict[str, float], **__: Any) -> None:
        assert "eval_score" in metrics
        metrics["eval_score"] = self.scores.pop(0)


def test_the_best_model_is_that_of_the_highest_score(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    """With no metric named: scores 0.1, 0.9, 0.5, 0.3 and a patience of 2 end after four steps with the second."""
    trainer = make_trainer(
        quiet_model(),
        two_tasks,
        callbacks=[ScriptedScores([0.1, 0.9, 0.5, 0.3]), EarlyStoppingCallback(early_stopping_patience=2)],
        num_train_epochs=5,
        learning_rate=1e-2,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
    )
    trainer.train()
    assert trainer.state.global_step == 4
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (0.9, 2)
    second, fourth = (load_file(tmp_path / "out" / f"checkpoint-{step}" / "model.safetensors") for step in (2, 4))
    assert_same_weights(dict(trainer.model.state_dict()), second)
    assert not torch.equal(second["heads.intent.classifier.weight"], fourth["heads.intent.classifier.weight"])


def test_the_real_score_chooses_the_best_model(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(
        quiet_model(),
        two_tasks,
        num_train_epochs=4,
        learning_rate=1e-2,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
    )
    trainer.train()
    scores = [line["eval_score"] for line in trainer.state.log_history if "eval_score" in line]
    assert len(scores) == 4
    assert trainer.state.best_metric == max(scores)
    assert trainer.evaluate()["eval_score"] == max(scores)


def test_a_saved_model_loads_with_equal_logits(
    all_kinds: AllKinds, quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    tasks, heads = all_kinds
    trainer = make_trainer(quiet_model(heads=heads), tasks, max_steps=4, learning_rate=1e-2)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    inputs = tiny_inputs()
    with torch.no_grad():
        expected = trainer.model.eval()(**inputs)
        for loaded in (
            AutoModel.from_pretrained(tmp_path / "saved"),
            MultiTaskModel.from_pretrained(tmp_path / "saved"),
        ):
            assert isinstance(loaded, MultiTaskModel)
            found = loaded(**inputs)
            for head in heads:
                assert torch.equal(found[f"{head}_logits"], expected[f"{head}_logits"])
    # the statistics of the targets came from the data
    assert loaded.heads["score"].config.mean == pytest.approx([0.5])


# the plain Trainer


def plain_trainer(folder: Path, tasks: dict[str, Task], model: MultiTaskModel, **given: Any) -> Trainer:
    """A `transformers.Trainer` over the rows of `moods` with one label column."""
    tokenizer = tiny_tokenizer()

    def encode(rows: Dataset) -> Dataset:
        encoded = tokenizer(rows["text"][:])
        return Dataset.from_dict({**encoded, "labels": rows["label"][:], "unused": rows["text"][:]})

    splits = tasks["moods"].dataset
    defaults: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 2,
    }
    return Trainer(
        model,
        TrainingArguments(**{**defaults, **given}),
        train_dataset=encode(splits["train"]),
        eval_dataset=encode(splits["validation"]),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )


def one_head(make: Models) -> MultiTaskModel:
    return make(heads={"mood": {"head_type": "sequence_classification", "id2label": MOODS}})


def test_the_plain_trainer_trains_one_head(two_tasks: dict[str, Task], quiet_model: Models, tmp_path: Path) -> None:
    model = one_head(quiet_model)
    trainer = plain_trainer(
        tmp_path, two_tasks, model, num_train_epochs=25, learning_rate=1e-2, lr_scheduler_type="constant"
    )
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[0] == pytest.approx(float(np.log(2)), abs=0.3)
    assert max(losses[-3:]) < 0.2
    rows = two_tasks["moods"].dataset["validation"]
    with torch.no_grad():
        logits = model.eval()(**tiny_tokenizer()(rows["text"][:], return_tensors="pt", padding=True))["mood_logits"]
    expected = float(functional.cross_entropy(logits, torch.tensor(rows["label"][:])))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-4)
    answer = trainer.predict(trainer.eval_dataset)
    assert answer.predictions == pytest.approx(logits.numpy(), abs=1e-5)
    assert answer.label_ids.tolist() == rows["label"][:]


def test_the_plain_trainer_accumulates_rightly(
    two_tasks: dict[str, Task], quiet_model: Models, tmp_path: Path
) -> None:
    """Its count of the labelled items is the divisor of the head's loss."""
    start = one_head(quiet_model).double()
    moved = []
    for size, accumulated in ((4, 1), (1, 4)):
        model = one_head(quiet_model).double()
        model.load_state_dict(start.state_dict())
        trainer = plain_trainer(
            tmp_path,
            two_tasks,
            model,
            num_train_epochs=2,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulated,
            learning_rate=0.05,
            optim="sgd",
        )
        trainer.train()
        weights = zip(model.parameters(), start.parameters(), strict=True)
        moved.append(torch.cat([(after - before).detach().flatten() for after, before in weights]))
    assert (moved[1] - moved[0]).norm() / moved[0].norm() < 1e-9
