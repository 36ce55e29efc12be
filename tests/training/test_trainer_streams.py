"""Training over streams with workers: what may not change the rows, and what a loader of them has to know."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import DataLoaderShard
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from fixtures import MOODS, SLOTS, tiny_model
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.data import streaming

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]

# a machine may have fewer cores than these tests have workers
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

HEADS = {
    "intent": {"head_type": "sequence_classification", "id2label": ["PlayMusic", "GetWeather"]},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "mood": {"head_type": "sequence_classification", "id2label": MOODS},
    "mlm": {"head_type": "masked_language_modeling"},
}
"""With the default dropout, and a head whose sequences depend on the pass."""


def streamed(tasks: dict[str, Task], files: int = 3) -> dict[str, Task]:
    """The tasks with their train splits as streams; moods feed the head `mlm`, too."""
    labels = {"requests": tasks["requests"].labels, "moods": {**tasks["moods"].labels, "mlm": None}}
    return {
        name: Task(
            dataset={**task.dataset, "train": task.dataset["train"].to_iterable_dataset(num_shards=files)},
            inputs=task.inputs,
            labels=labels[name],
        )
        for name, task in tasks.items()
    }


def losses(trainer: MultiTaskTrainer) -> list[dict[str, float]]:
    return [
        {key: value for key, value in line.items() if key.startswith(("loss", "share_", "grad_norm"))}
        for line in trainer.state.log_history
        if "loss" in line
    ]


@pytest.fixture
def make(two_tasks: dict[str, Task], make_trainer: Trainers, tmp_path: Path) -> Callable[..., MultiTaskTrainer]:
    """Makes a trainer over streams: `make(folder, order=..., stop=..., **training arguments)`."""

    def make(folder: str = "out", order: str = "random", stop: Any = None, **options: Any) -> MultiTaskTrainer:
        torch.manual_seed(0)
        given: dict[str, Any] = {"max_steps": 12, "learning_rate": 1e-2, "per_device_train_batch_size": 2, **options}
        mixture = Mixture(sampling="uniform", order=order, stop=stop)
        folder = str(tmp_path / folder)
        return make_trainer(tiny_model(HEADS), streamed(two_tasks), mixture=mixture, output_dir=folder, **given)

    return make


# the same rows


@pytest.mark.parametrize(
    ("workers", "order", "stop", "accumulated"),
    [
        (0, "random", "longest", 1),
        (0, "round_robin", "all", 2),
        (2, "random", "all", 2),
        (2, "sequential", None, 1),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    make: Trainers, tmp_path: Path, workers: int, order: str, stop: Any, accumulated: int
) -> None:
    """Bit for bit, from the first pass of 24 rows and from a later one."""
    given: dict[str, Any] = {
        "order": order,
        "stop": stop,
        "dataloader_num_workers": workers,
        "gradient_accumulation_steps": accumulated,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    whole = make("whole", **given)
    whole.train()
    for step in (3, 11):
        resumed = make(f"from_{step}", **given)
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert losses(resumed) == losses(whole)
        found = resumed.model.state_dict()
        assert [name for name, value in whole.model.state_dict().items() if not torch.equal(value, found[name])] == []


def keep(stream: Any) -> list[int]:
    """Note how many rows a stream prepares."""
    kept: list[int] = []
    prepare = stream.prepare

    def keeping(rows: Any) -> Any:
        kept.append(len(rows))
        return prepare(rows)

    stream.prepare = keeping
    return kept


@pytest.mark.parametrize("own_collator", [False, True])
def test_a_resumed_run_does_not_prepare_what_it_drops(
    make: Trainers, make_trainer: Trainers, tmp_path: Path, own_collator: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a collator of the user's own would have to put empty rows together."""
    monkeypatch.setattr(streaming, "_PREPARED_AT_ONCE", 2)
    given: dict[str, Any] = {"save_strategy": "steps", "save_steps": 10, "max_steps": 12}
    whole = make("whole", **given)
    whole.train()
    resumed = make("resumed", **given)
    if own_collator:
        collate = resumed.data_collator
        resumed.data_collator = lambda rows: collate(rows)
    kept = [keep(stream) for stream in resumed.prepared.streams.values()]
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-10"))
    assert losses(resumed) == losses(whole)
    # two steps of two rows, and one batch that is read ahead
    assert sum(map(sum, kept)) == (26 if own_collator else 6)
    # from its beginning
    resumed.train()
    assert len(losses(resumed)) == 12


class EndsAnEpoch(TrainerCallback):
    """Ends the first epoch early, after so many steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_epoch_stop = state.global_step == self.step


@pytest.mark.parametrize("options", [{}, {"ignore_data_skip": True}], ids=str)
def test_only_what_is_dropped_is_skipped(make: Trainers, tmp_path: Path, options: dict[str, Any]) -> None:
    """An empty row that is not dropped would stop the run."""
    make("whole", save_strategy="steps", save_steps=5).train()
    resumed = make("resumed", max_steps=10, callbacks=[EndsAnEpoch(7)], **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-5"))
    assert resumed.state.global_step == 10
    shares = [line["share_requests"] + line["share_moods"] for line in losses(resumed)]
    assert shares == [pytest.approx(1.0)] * 10


@pytest.mark.parametrize(
    "options",
    [
        {"eval_strategy": "steps", "eval_steps": 3},
        {"eval_on_start": True},
        {"dataloader_persistent_workers": True, "eval_strategy": "steps", "eval_steps": 5},
        {"dataloader_prefetch_factor": 4},
    ],
    ids=str,
)
def test_what_does_not_change_the_rows(make: Trainers, options: dict[str, Any]) -> None:
    found = []
    for given in ({}, options):
        trainer = make(dataloader_num_workers=2, **given)
        trainer.train()
        found.append(losses(trainer))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "options", [{}, {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}], ids=str
)
def test_training_again_reads_the_same_rows(make: Trainers, options: dict[str, Any]) -> None:
    trainer = make(learning_rate=0.0, **options)
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        trainer.train()
        found.append(losses(trainer))
    assert len(found[0]) == 12
    assert found[0] == found[1]
    assert len({str(line) for line in found[0]}) == 12


def test_another_seed_reads_other_rows(make: Trainers) -> None:
    found = []
    for seed in (1, 2):
        trainer = make(data_seed=seed)
        trainer.train()
        found.append(losses(trainer))
    assert found[0] != found[1]


# the loader


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_is_one_that_accelerate_knows(make: Trainers, workers: int) -> None:
    trainer = make(dataloader_num_workers=workers)
    loader = trainer.get_train_dataloader()
    # neither dispatched from the first process nor divided once more
    assert type(loader) is not DataLoader
    assert isinstance(loader, DataLoaderShard)
    assert loader.dataset is trainer.train_dataset
    assert loader.device == trainer.accelerator.device
    state = trainer.accelerator.gradient_state
    for number, batch in enumerate(islice(loader, 20)):
        assert batch["task_index"].device == trainer.accelerator.device
        assert state.active_dataloader is loader
        assert not state.end_of_dataloader
        assert len(batch["task_index"]) == 2, number
    whole = [batch["input_ids"].tolist() for batch in islice(trainer.get_train_dataloader(), 10)]
    rest = islice(skip_first_batches(trainer.get_train_dataloader(), 6), 4)
    assert [batch["input_ids"].tolist() for batch in rest] == whole[6:]
