"""One training run, by the Trainer or by the plain loop, over the same rows from the same weights."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments, Task
from mt_transformers.errors import InputError

from .measure import clock
from .plain_loop import LOGGING_STEPS, PlainLoop, PlainModel, PlainRow
from .settings import Settings

__all__ = [
    "TWEETS",
    "Stopwatch",
    "TrainingRuns",
    "classifier",
    "load_tokenizer",
    "make_trainer",
    "read_rows",
    "text_tasks",
]

TWEETS = ("emotion", "irony", "offensive", "hate")
"""The tasks of TweetEval that are trained on."""


class Stopwatch(TrainerCallback):
    """
    Takes the time of a Trainer's optimizer steps.

    Args:
        device (`str`): `cpu` or `cuda`.
        after (`int`, *optional*, defaults to 0): Steps that are over when the time begins.
    """

    def __init__(self, device: str, after: int = 0) -> None:
        self.device = device
        self.after = after
        self.start = self.end = 0.0

    @property
    def seconds(self) -> float:
        """From the start of the epoch, or the end of step `after`, to the end of the last step."""
        return self.end - self.start

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step == 0:
            self.start = clock(self.device)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step == self.after:
            self.start = clock(self.device)
        if state.global_step == state.max_steps:
            self.end = clock(self.device)


def read_rows(data: Path, name: str, split: str) -> Dataset:
    """
    Read a split of a data set.

    Args:
        data (`Path`): Folder of the data sets.
        name (`str`): The data set.
        split (`str`): The split.

    Returns:
        `datasets.Dataset`: Its rows.

    Raises:
        InputError: If there is no such file.
    """
    file = data / name / f"{split}.parquet"
    if not file.is_file():
        raise InputError(f"--data: expected the file {file}, found none.")
    return load_dataset("parquet", data_files={split: str(file)})[split]


def load_tokenizer(settings: Settings) -> PreTrainedTokenizerBase:
    """The backbone's tokenizer."""
    try:
        return AutoTokenizer.from_pretrained(settings.backbone)
    except (OSError, ValueError) as error:
        raise InputError(f"--backbone {settings.backbone!r} cannot be loaded: {error}") from error


def text_tasks(
    data: Path, names: Mapping[str, str], rows: int = 0, splits: tuple[str, ...] = ("train",)
) -> dict[str, Task]:
    """
    Tasks that classify whole texts; each trains a head of its own name.

    Args:
        data (`Path`): Folder of the data sets.
        names (`Mapping[str, str]`): For each task its data set, with the columns `text` and `label`.
        rows (`int`, *optional*, defaults to 0):
            Training rows of all tasks together, each task's share what it has of all; 0 for all rows.
        splits (`tuple[str, ...]`, *optional*): The splits to read.

    Returns:
        `dict[str, Task]`: The tasks.
    """
    found = {name: {split: read_rows(data, folder, split) for split in splits} for name, folder in names.items()}
    total = sum(len(each["train"]) for each in found.values())
    if 0 < rows < total:
        for each in found.values():
            share = max(1, len(each["train"]) * rows // total)
            each["train"] = each["train"].shuffle(seed=0).select(range(share))
    return {name: Task(dataset=each, inputs={"text": "text"}, labels={name: "label"}) for name, each in found.items()}


def classifier(names: list[str]) -> dict[str, Any]:
    """The config of a head over whole texts."""
    return {"head_type": "sequence_classification", "id2label": names, "pooling": "mean", "metrics": ["f1_macro"]}


def make_trainer(
    model: MultiTaskModel,
    tasks: Mapping[str, Task],
    tokenizer: PreTrainedTokenizerBase,
    settings: Settings,
    mixture: Mixture | None = None,
    callbacks: tuple[TrainerCallback, ...] = (),
    **arguments: Any,
) -> MultiTaskTrainer:
    """
    A trainer that writes nothing and reports nothing.

    Args:
        model ([`MultiTaskModel`]): The model.
        tasks (`Mapping[str, Task]`): The tasks.
        tokenizer (`PreTrainedTokenizerBase`): The backbone's.
        settings ([`Settings`]): Sizes of the run.
        mixture ([`Mixture`], *optional*): How rows are interleaved.
        callbacks (`tuple[TrainerCallback, ...]`, *optional*): Further callbacks.
        arguments (`Any`): Further training arguments.

    Returns:
        [`MultiTaskTrainer`].
    """
    values: dict[str, Any] = {
        "output_dir": tempfile.gettempdir(),
        "use_cpu": settings.device == "cpu",
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "num_train_epochs": 1,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": 2 * settings.batch_size,
        "learning_rate": settings.learning_rate,
        "logging_steps": LOGGING_STEPS,
        "max_length": settings.max_length,
        "optim": "adamw_torch_fused",
        "seed": 0,
    }
    args = MultiTaskTrainingArguments(**{**values, **arguments})
    trainer = MultiTaskTrainer(
        model, args, tasks=tasks, mixture=mixture, processing_class=tokenizer, callbacks=list(callbacks)
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class TrainingRuns:
    """
    Runs over the same tasks from the same weights, by the Trainer and by the plain loop.

    Args:
        settings ([`Settings`]): Sizes, backbone, data.
        model ([`MultiTaskModel`]): Where every run starts; it stays as it is.
        tasks (`Mapping[str, Task]`): The tasks; each trains the head of its own name.
        arguments (`Any`): Further training arguments.
    """

    def __init__(self, settings: Settings, model: MultiTaskModel, tasks: Mapping[str, Task], **arguments: Any) -> None:
        self.settings = settings
        self.model = model
        self.tasks = dict(tasks)
        self.tokenizer = load_tokenizer(settings)
        self.arguments = arguments

    def trainer(self, after: int = 0, **arguments: Any) -> tuple[MultiTaskTrainer, Stopwatch]:
        """A trainer of a copy of the model, with what takes the time of its steps behind the first `after` ones."""
        watch = Stopwatch(self.settings.device, after)
        given = {**self.arguments, **arguments}
        model = copy.deepcopy(self.model)
        return make_trainer(model, self.tasks, self.tokenizer, self.settings, None, (watch,), **given), watch

    def batches(self, **arguments: Any) -> tuple[list[PlainRow], list[list[int]]]:
        """The rows of all tasks, and for each step of the first epoch the numbers of its rows."""
        trainer, _ = self.trainer(**arguments)
        dataset: Any = trainer.train_dataset
        heads = {name: number for number, name in enumerate(self.model.heads)}
        of_tasks = [heads[name] for name in dataset.task_names]
        names = dataset.task_names
        rows = [
            PlainRow(row["input_ids"], of_tasks[row["task_index"]], row[f"labels_{names[row['task_index']]}"])
            for row in dataset.__getitems__(range(len(dataset)))
        ]
        sampler: Any = trainer.get_train_dataloader().batch_sampler
        return rows, list(sampler)

    def time_trainer(self, after: int = 0, **arguments: Any) -> float:
        """Seconds of an epoch by the Trainer, without its first `after` steps."""
        trainer, watch = self.trainer(after, **arguments)
        trainer.train()
        return watch.seconds

    def plain_loop(self, rows: list[PlainRow], **options: Any) -> PlainLoop:
        """The plain loop over these rows."""
        return PlainLoop(
            rows,
            num_heads=len(self.model.heads),
            pad_token_id=self.tokenizer.pad_token_id,
            learning_rate=self.settings.learning_rate,
            device=self.settings.device,
            pad_to_multiple_of=8 if self.settings.device == "cuda" else 1,
            **options,
        )

    def time_plain(self, rows: list[PlainRow], batches: list[list[int]], **options: Any) -> float:
        """Seconds of the same batches by the plain loop."""
        return self.plain_loop(rows, **options).train(PlainModel(self.model), batches)
