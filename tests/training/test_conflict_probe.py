"""Looking at the gradients of tasks: what is seen is right, and training does not notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures import INTENTS, MOODS, SLOTS, tiny_model
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.balancing import ConflictReport
from mt_transformers.balancing.conflicts import ConflictRecord
from mt_transformers.errors import InputError
from mt_transformers.modeling import get_peft_model

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]


DROPPING = {
    "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "mood": {"head_type": "sequence_classification", "id2label": MOODS},
}
"""Heads with the default dropout."""


def numbers_of(records: list[ConflictRecord]) -> list[float]:
    """All that is in records, one after another; -9 where tasks did not meet."""
    found: list[float | None] = []
    for each in records:
        found += [each.conflicts, *each.norms, *(cosine for row in each.cosines for cosine in row)]
    return [-9.0 if entry is None else entry for entry in found]


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
@pytest.mark.parametrize("size", [8, 4, 1])
def test_gradients_are_those_that_aggregation_compares(
    size: int, batches: Any, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    """The plain sum compares those of every step, and trains as if it did not."""
    found = []
    for given in ({"balancing": "sum"}, {"conflict_steps": 1}):
        torch.manual_seed(0)
        trainer = make_trainer(
            quiet_model(loss_weights={"slots": 2.0}).double(),
            two_tasks,
            mixture=Mixture(batches=batches),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size,
            max_steps=4,
            learning_rate=1e-2,
            **given,
        )
        trainer.train()
        found.append(ConflictReport.load(tmp_path / "out" / "conflicts.json"))
    expected, looked = found
    assert looked.names == expected.names == ["requests", "moods"]
    assert [each.step for each in looked.records] == [1, 2, 3, 4]
    assert numbers_of(looked.records) == pytest.approx(numbers_of(expected.records), rel=1e-6)


@pytest.mark.parametrize("balancing", [None, "uw", "famo"])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_training_does_not_notice(
    accumulated: int, balancing: str | None, two_tasks: dict[str, Task], make_trainer: Trainers
) -> None:
    """To the bit, with dropout, and running metrics count no row twice."""
    found, metrics = [], []
    for steps in (None, 1, 3):
        torch.manual_seed(0)
        model = tiny_model(DROPPING)
        trainer = make_trainer(
            model,
            two_tasks,
            balancing=balancing,
            conflict_steps=steps,
            gradient_accumulation_steps=accumulated,
            max_steps=5,
            learning_rate=1e-2,
        )
        trainer.train()
        found.append({name: value.clone() for name, value in model.state_dict().items()})
        metrics.append([line["loss"] for line in trainer.state.log_history if "loss" in line])
        lines = [line for line in trainer.state.log_history if "loss" in line]
        # a step with rows of one task has no pair
        due = [steps is not None and number % steps == 0 for number in range(5)]
        both = [0 < line["share_moods"] < 1 for line in lines]
        assert sum(both) > 2
        assert ["conflicts" in line for line in lines] == [each and pair for each, pair in zip(due, both, strict=True)]
        if balancing is not None:
            assert "weight_intent" in lines[0]
    for other in found[1:]:
        assert all(torch.equal(other[name], value) for name, value in found[0].items())
    assert metrics[0] == metrics[1] == metrics[2]


def test_what_is_seen_over_several_steps_is_their_mean(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    norms = []
    for logging_steps in (1, 4):
        torch.manual_seed(0)
        given = {"conflict_steps": 2, "max_steps": 4, "logging_steps": logging_steps}
        make_trainer(quiet_model(), two_tasks, per_device_train_batch_size=8, **given).train()
        records = ConflictReport.load(tmp_path / "out" / "conflicts.json").records
        norms.append([each.norms[0] for each in records])
    assert len(norms[0]) == 2
    assert norms[1] == [pytest.approx(sum(norms[0]) / 2)]


def test_a_resumed_run_has_the_report_of_the_whole(
    two_tasks: dict[str, Task], make_trainer: Trainers, tmp_path: Path
) -> None:
    """With dropout, so that it needs the random numbers of the step that it goes on with."""

    def train(folder: str, checkpoint: str | None = None) -> list[ConflictRecord]:
        torch.manual_seed(0)
        trainer = make_trainer(
            tiny_model(DROPPING),
            two_tasks,
            output_dir=str(tmp_path / folder),
            conflict_steps=2,
            max_steps=6,
            save_strategy="steps",
            save_steps=2,
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        return ConflictReport.load(tmp_path / folder / "conflicts.json").records

    whole = train("whole")
    assert [each.step for each in whole] == [1, 3, 5]
    assert train("resumed", str(tmp_path / "whole" / "checkpoint-4")) == whole


def test_adapters_make_small_gradients(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    model = get_peft_model(quiet_model(), peft.LoraConfig(r=2, target_modules=["query"]))
    trainer = make_trainer(model, two_tasks, conflict_steps=1, max_steps=2, per_device_train_batch_size=8)
    sizes = [each.numel() * 4 for name, each in model.named_parameters() if "lora" in name]
    assert trainer._balancer.memory() == 2 * sum(sizes)  # type: ignore[attr-defined]
    trainer.train()
    assert len(ConflictReport.load(tmp_path / "out" / "conflicts.json").records) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"conflict_steps": 0}, "conflict_steps: expected a number of optimizer steps from 1 up, found 0"),
        ({"conflict_steps": 1.5}, "conflict_steps: expected a number of optimizer steps from 1 up, found 1.5"),
        ({"conflict_steps": True}, "conflict_steps: expected a number of optimizer steps from 1 up, found True"),
        ({"balancing": "sum"}, "conflict_steps: balancing 'sum' compares the gradients of every step anyway"),
        ({"fsdp": "full_shard"}, "conflict_steps: needs each gradient as a whole, which fsdp keeps in shards"),
    ],
)
def test_what_is_refused(
    given: dict[str, Any], message: str, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    with pytest.raises(InputError, match=message):
        make_trainer(quiet_model(), two_tasks, **{"conflict_steps": 1, **given})


def test_a_model_that_shares_nothing_is_refused(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    with pytest.raises(InputError, match="conflict_steps: expected at least two tasks to be compared, found moods"):
        make_trainer(model, {"moods": two_tasks["moods"]}, conflict_steps=1)
    model.freeze_backbone()
    with pytest.raises(
        InputError, match="conflict_steps: needs parameters that tasks share, but the backbone is froz"
    ):
        make_trainer(model, two_tasks, conflict_steps=1)
