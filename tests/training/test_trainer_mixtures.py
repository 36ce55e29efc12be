"""Training under mixtures that follow the metrics, over streams, and on batches without a label."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from training.recipes import recipe_values, write_recipe
from transformers import TrainerCallback

from fixtures import INTENTS, MOODS, SLOTS, tiny_model
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.training import load_recipe, read_recipe, run_recipe

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]

DROPPING = {
    "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "mood": {"head_type": "sequence_classification", "id2label": MOODS},
}
"""Heads with the default dropout, so that a run that goes on needs the state of the random numbers, too."""


def train_lines(trainer: MultiTaskTrainer) -> list[dict[str, Any]]:
    """The lines of the log that are about training."""
    return [line for line in trainer.state.log_history if "loss" in line]


def evaluations(trainer: MultiTaskTrainer) -> list[dict[str, Any]]:
    """The lines of the log that are about evaluations."""
    return [line for line in trainer.state.log_history if "eval_score" in line]


def scores_in(metrics: dict[str, float]) -> dict[str, float]:
    return {name: metrics[f"eval_{name}_score"] for name in ("requests", "moods")}


def moods_beyond_reach(**options: Any) -> Mixture:
    """`moods` has a target that no accuracy reaches, `requests` one that every score does."""
    return Mixture(sampling="dynamic", targets={"requests": 0.0, "moods": 2.0}, **options)


def streamed(tasks: dict[str, Task]) -> dict[str, Task]:
    """The tasks with their train splits as streams."""
    return {
        name: Task(
            dataset={**task.dataset, "train": task.dataset["train"].to_iterable_dataset()},
            inputs=task.inputs,
            labels=task.labels,
        )
        for name, task in tasks.items()
    }


def assert_same_weights(one: MultiTaskModel, other: MultiTaskModel) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


# shares that follow the metrics


class ScoresOfTheMixture(TrainerCallback):
    """Keeps what the mixture knows after each evaluation."""

    def __init__(self) -> None:
        self.trainer: MultiTaskTrainer | None = None
        self.found: list[dict[str, float]] = []

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        assert self.trainer is not None
        self.found.append(dict(self.trainer.mixture.state_dict()["scores"]))


def test_the_mixture_hears_of_each_evaluation(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    keeping, mixture = ScoresOfTheMixture(), moods_beyond_reach()
    keeping.trainer = trainer = make_trainer(
        quiet_model(),
        two_tasks,
        mixture=mixture,
        callbacks=[keeping],
        num_train_epochs=4,
        learning_rate=1e-2,
        eval_strategy="epoch",
    )
    trainer.train()
    expected = [scores_in(metrics) for metrics in evaluations(trainer)]
    assert keeping.found == expected
    assert len(expected) == 4
    assert len({str(each) for each in expected}) > 1
    # the mixture that was given is no part of the run
    assert mixture.state_dict()["scores"] == {}


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        # a twelfth of 24 rows
        ("mixed", [12 / 24, 22 / 24, 22 / 24]),
        # half a batch of 6, rounded up, since the tasks' remainders are alike
        ("homogeneous", [3 / 6, None, None]),
    ],
)
def test_the_task_below_its_target_gets_more_rows(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, batches: Any, expected: list[Any]
) -> None:
    trainer = make_trainer(
        quiet_model(),
        two_tasks,
        mixture=moods_beyond_reach(batches=batches),
        num_train_epochs=3,
        eval_strategy="epoch",
        logging_strategy="epoch",
    )
    trainer.train()
    lines = train_lines(trainer)
    assert [line["step"] for line in lines] == [6, 12, 18]
    for line, share in zip(lines, expected, strict=True):
        if share is None:
            assert line["share_moods"] > 0.8
        else:
            assert line["share_moods"] == pytest.approx(share)
        assert line["share_requests"] == pytest.approx(1 - line["share_moods"])


def test_other_mixtures_keep_their_shares(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    options = {"num_train_epochs": 2, "eval_strategy": "epoch", "logging_strategy": "epoch"}
    trainer = make_trainer(quiet_model(), two_tasks, mixture=Mixture(sampling="uniform"), **options)
    trainer.train()
    assert [line["share_moods"] for line in train_lines(trainer)] == pytest.approx([0.5, 0.5])


def test_an_evaluation_within_an_epoch_leaves_its_batches(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(
        quiet_model(),
        two_tasks,
        mixture=moods_beyond_reach(),
        num_train_epochs=2,
        eval_strategy="steps",
        eval_steps=1,
        logging_strategy="epoch",
    )
    trainer.train()
    assert [line["share_moods"] for line in train_lines(trainer)] == pytest.approx([12 / 24, 22 / 24])


def test_only_evaluations_under_their_own_name_count(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(
        quiet_model(), two_tasks, mixture=moods_beyond_reach(), num_train_epochs=1, eval_strategy="epoch"
    )
    trainer.train()
    before = trainer.mixture.state_dict()
    trainer.evaluate(split="test", metric_key_prefix="test")
    trainer.predict()
    assert trainer.mixture.state_dict() == before


def test_a_second_run_of_a_trainer_begins_anew(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """The first epoch is settled by the seed, not by what an earlier run found."""
    options = {"num_train_epochs": 1, "eval_strategy": "epoch", "logging_strategy": "epoch"}
    trainer = make_trainer(quiet_model(), two_tasks, mixture=moods_beyond_reach(), **options)
    for _ in range(2):
        trainer.train()
        assert train_lines(trainer)[-1]["share_moods"] == pytest.approx(0.5)


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_a_resumed_dynamic_run_equals_an_uninterrupted_one(
    two_tasks: dict[str, Task], make_trainer: Trainers, tmp_path: Path, batches: Any
) -> None:
    """Bit for bit, from the middle of each epoch and from their boundaries, before and after an evaluation."""

    def trainer(folder: str) -> MultiTaskTrainer:
        return make_trainer(
            tiny_model(DROPPING),
            two_tasks,
            mixture=moods_beyond_reach(batches=batches),
            output_dir=str(tmp_path / folder),
            num_train_epochs=3,
            learning_rate=1e-2,
            eval_strategy="steps",
            eval_steps=3,
            save_strategy="steps",
            save_steps=1,
        )

    def own(run: MultiTaskTrainer, after: int) -> list[dict[str, Any]]:
        kept = ("loss", "share_", "eval_requests", "eval_moods", "eval_score", "step")
        return [
            {key: value for key, value in line.items() if key.startswith(kept)}
            for line in run.state.log_history
            if line["step"] > after and "train_loss" not in line
        ]

    whole = trainer("whole")
    whole.train()
    assert whole.state.global_step == 18
    shares = [line["share_moods"] for line in train_lines(whole)]
    assert sum(shares[6:12]) > sum(shares[:6])
    for step in (2, 4, 6, 8, 10, 13):
        resumed = trainer(f"from_{step}")
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert own(resumed, step) == own(whole, step)
        assert_same_weights(resumed.model, whole.model)
        assert resumed.mixture.state_dict() == whole.mixture.state_dict()


def test_checkpoints_hold_the_state_of_the_mixture(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    def trainer(num_train_epochs: int) -> MultiTaskTrainer:
        return make_trainer(
            quiet_model(),
            two_tasks,
            mixture=moods_beyond_reach(),
            num_train_epochs=num_train_epochs,
            eval_strategy="steps",
            eval_steps=3,
            save_strategy="steps",
            save_steps=3,
        )

    first = trainer(2)
    first.train()
    states = {}
    for checkpoint in (tmp_path / "out").glob("checkpoint-*"):
        assert not [file.name for file in checkpoint.iterdir() if file.name.startswith(".")]
        states[checkpoint.name] = json.loads((checkpoint / "mixture_state.json").read_text())
    steps = [f"checkpoint-{step}" for step in (3, 6, 9, 12)]
    assert set(states) == set(steps)
    both = [[12, 12], [2, 22]]
    assert [states[name]["history"] for name in steps] == [both[:1], both[:1], both, both]
    scores = [scores_in(metrics) for metrics in evaluations(first)]
    assert [states[name]["mixture"]["scores"] for name in steps] == scores
    # the last one is found, too
    second = trainer(3)
    second.train(resume_from_checkpoint=True)
    lines = train_lines(second)
    assert lines[-1]["step"] == 18
    assert sum(line["share_moods"] for line in lines[-6:]) == pytest.approx(6 * 22 / 24)


def test_a_checkpoint_of_an_epochs_last_step_knows_its_evaluation(
    two_tasks: dict[str, Task], make_trainer: Trainers, tmp_path: Path
) -> None:
    """It is saved within the epoch, before the evaluation at the epoch's end settles the next one's shares."""

    def trainer(folder: str) -> MultiTaskTrainer:
        return make_trainer(
            tiny_model(DROPPING),
            two_tasks,
            mixture=moods_beyond_reach(),
            output_dir=str(tmp_path / folder),
            num_train_epochs=2,
            eval_strategy="epoch",
            save_strategy="steps",
            save_steps=3,
        )

    whole, resumed = trainer("whole"), trainer("resumed")
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-6"))
    shares = [[line["share_moods"] for line in train_lines(each)[6:]] for each in (resumed, whole)]
    assert shares[0] == shares[1]
    assert_same_weights(resumed.model, whole.model)


def test_batch_sizes_reach_the_batches(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    mixture = Mixture(order="sequential", batches="homogeneous", batch_sizes={"requests": 6})
    trainer = make_trainer(quiet_model(), two_tasks, mixture=mixture, num_train_epochs=1)
    found = [batch["task_index"].tolist() for batch in trainer.get_train_dataloader()]
    assert found == [[0] * 6, [0] * 6, [0] * 4, [1] * 4, [1] * 4]
    trainer.train()
    assert trainer.state.global_step == 5


# streams


def stream_trainer(
    make_trainer: Trainers, model: MultiTaskModel, tasks: dict[str, Task], order: str = "round_robin", **options: Any
) -> MultiTaskTrainer:
    mixture = Mixture(sampling="uniform", order=order)
    return make_trainer(model, streamed(tasks), mixture=mixture, **options)


def test_training_over_streams(two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers) -> None:
    model = quiet_model()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    trainer = stream_trainer(
        make_trainer, model, two_tasks, max_steps=12, learning_rate=1e-2, eval_strategy="steps", eval_steps=6
    )
    trainer.train()
    assert trainer.state.global_step == 12
    lines = train_lines(trainer)
    assert [line["step"] for line in lines] == list(range(1, 13))
    # the first pass ends with the last of the 16 requests, in the eighth step
    assert [line["share_moods"] for line in lines[:7]] == [0.5] * 7
    for line in lines:
        assert line["share_requests"] + line["share_moods"] == pytest.approx(1.0)
        assert all(math.isfinite(line[key]) for key in ("loss", "loss_intent", "loss_slots", "loss_mood", "grad_norm"))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert [name for name, value in model.named_parameters() if torch.equal(value, before[name])] == []
    found = evaluations(trainer)
    assert [line["step"] for line in found] == [6, 12]
    assert {"eval_requests_intent_accuracy", "eval_requests_slots_entity_f1", "eval_moods_mood_accuracy"} <= set(
        found[0]
    )


def test_streams_are_evaluated_as_tables_are(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    one = make_trainer(model, two_tasks).evaluate()
    other = stream_trainer(make_trainer, model, two_tasks, max_steps=1).evaluate()
    timings = ("runtime", "per_second")
    assert {key: value for key, value in one.items() if not key.endswith(timings)} == {
        key: value for key, value in other.items() if not key.endswith(timings)
    }


def test_streams_come_again_and_again_in_other_orders(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """A pass has 16 requests and 15 moods between them."""
    seen: list[list[list[int]]] = []

    trainer = stream_trainer(make_trainer, quiet_model(), two_tasks, max_steps=20)
    collate = trainer.data_collator

    def keeping(rows: list[dict[str, Any]]) -> dict[str, Any]:
        seen.append([row["input_ids"] for row in rows])
        return collate(rows)

    trainer.data_collator = keeping
    trainer.train()
    assert trainer.state.global_step == 20
    assert len(seen) >= 20
    rows = [str(row) for batch in seen for row in batch]
    requests = [rows[start : start + 31 : 2] for start in (0, 31)]
    assert sorted(requests[0]) == sorted(requests[1])
    assert requests[0] != requests[1]


@pytest.mark.parametrize("order", ["random", "round_robin"])
@pytest.mark.parametrize("step", [3, 10])
def test_a_resumed_run_over_streams_equals_an_uninterrupted_one(
    two_tasks: dict[str, Task], make_trainer: Trainers, tmp_path: Path, order: str, step: int
) -> None:
    """In the first pass over the streams and in the second."""

    def trainer(folder: str) -> MultiTaskTrainer:
        return stream_trainer(
            make_trainer,
            tiny_model(DROPPING),
            two_tasks,
            order,
            output_dir=str(tmp_path / folder),
            max_steps=12,
            learning_rate=1e-2,
            save_strategy="steps",
            save_steps=1,
        )

    whole, resumed = trainer("whole"), trainer("resumed")
    whole.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
    losses = [{line["step"]: line["loss"] for line in train_lines(each)[step:]} for each in (resumed, whole)]
    assert losses[0] == losses[1]
    assert_same_weights(resumed.model, whole.model)


def test_streams_need_max_steps(two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers) -> None:
    with pytest.raises(ValueError, match="max_steps"):
        stream_trainer(make_trainer, quiet_model(), two_tasks, num_train_epochs=1).train()


def test_batches_of_streams_are_always_full(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """A pass of 16 and 15 rows makes no batches of 5 without a rest: the next pass fills the last one up."""
    trainer = stream_trainer(make_trainer, quiet_model(), two_tasks, max_steps=1, per_device_train_batch_size=5)
    batches = islice(trainer.get_train_dataloader(), 14)
    assert [len(batch["task_index"]) for batch in batches] == [5] * 14


def test_a_recipe_over_streams_is_saved(tiny_backbone: str, tmp_path: Path) -> None:
    """The folder's card is about rows without a number."""
    values = recipe_values(tiny_backbone, tmp_path)
    values["mixture"] = {"sampling": "uniform", "order": "round_robin"}
    values["training"]["max_steps"] = 3
    loaded = load_recipe(read_recipe(write_recipe(tmp_path, values)))
    loaded.recipe.tasks = streamed(loaded.recipe.tasks)
    results = run_recipe(loaded)
    assert math.isfinite(results["train_loss"])
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"config.json", "model.safetensors", "README.md", "all_results.json"} <= names
    assert not [name for name in names if name.startswith(".")]


# batches without a label


def half_labelled() -> Task:
    """Four rows without a label, and four with one."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=MOODS)})
    labels = [-1, None, -1, None, 0, 1, 0, 1]
    rows = Dataset.from_dict({"text": [f"a film {'by' * n}" for n in range(8)], "label": labels}, features=features)
    return Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"mood": "label"})


@pytest.mark.parametrize("reduction", ["per_head", "per_row"])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_batch_without_a_label_trains_nothing(
    quiet_model: Models, make_trainer: Trainers, reduction: str, accumulated: int
) -> None:
    task = half_labelled()
    task.dataset["train"] = task.dataset["train"].select([0, 1, 2, 3])
    model = quiet_model(loss_reduction=reduction)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    trainer = make_trainer(
        model,
        {"moods": task},
        max_steps=2,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=accumulated,
        learning_rate=0.1,
    )
    trainer.train()
    lines = train_lines(trainer)
    assert [(line["loss"], line["grad_norm"], line["share_moods"]) for line in lines] == [(0.0, 0.0, 1.0)] * 2
    assert "loss_mood" not in lines[0]
    assert [name for name, value in model.named_parameters() if not torch.equal(value, before[name])] == []


def test_rows_without_a_label_leave_the_loss_of_the_others(quiet_model: Models, make_trainer: Trainers) -> None:
    """A step of two batches, one of which has no label, is a step of the other."""
    whole, moved = half_labelled(), []
    for rows, accumulated in ((range(8), 2), (range(4, 8), 1)):
        torch.manual_seed(0)
        model = quiet_model().double()
        task = Task(dataset={"train": whole.dataset["train"].select(rows)}, inputs=whole.inputs, labels=whole.labels)
        trainer = make_trainer(
            model,
            {"moods": task},
            max_steps=1,
            gradient_accumulation_steps=accumulated,
            learning_rate=0.1,
            optim="sgd",
        )
        trainer.train()
        assert train_lines(trainer)[0]["loss"] > 0
        moved.append(torch.cat([value.detach().flatten() for value in model.parameters()]))
    assert torch.allclose(moved[0], moved[1], rtol=0, atol=1e-12)
