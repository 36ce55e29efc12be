"""What a test starts on two processes, and calls on one to compare: short runs over streams, in float64."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixtures import INTENTS, MOODS, SLOTS, tiny_bert_config, tiny_model, tiny_tokenizer, two_tasks
from launching import leave, spare_imports
from mt_transformers import Mixture, MultiTaskTrainer, MultiTaskTrainingArguments, Task

PROCESSES = 2

RUNS: dict[str, dict[str, Any]] = {
    "random": {"mixture": {"stop": "all"}},
    # 3 files are dealt out row by row, 4 file by file
    "workers": {"mixture": {}, "workers": 2, "files": 3},
    "round_robin": {"mixture": {"order": "round_robin", "stop": "first"}, "accumulation": 2, "files": 4},
    "sequential": {"mixture": {"order": "sequential"}, "workers": 2, "files": 4, "accumulation": 2},
}
"""Each run's mixture; workers of a process, files of a stream, and micro-batches of a step where there are several."""

RESUMED = ("random", "workers", "round_robin")
"""Runs that are also resumed from a checkpoint in their middle, with dropout."""

STEPS = 12


class _BothProcesses(IterableDataset[dict[str, Any]]):
    """The batches of all processes, as micro-batches of one."""

    def __init__(self, loaders: list[DataLoader[Any]]) -> None:
        self._loaders = loaders

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batches in zip(*self._loaders, strict=True):
            yield from batches


class ReferenceTrainer(MultiTaskTrainer):
    """Trains on one process on what several processes read."""

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The loaders of the processes, one after the other."""
        loaders: list[DataLoader[Any]] = [
            DataLoader(
                self.prepared.train_dataset(
                    self.mixture, 0, endless=True, process_index=rank, num_processes=PROCESSES
                ),
                batch_size=self.args.per_device_train_batch_size,
                num_workers=self.args.dataloader_num_workers,
                collate_fn=self.data_collator,
            )
            for rank in range(PROCESSES)
        ]
        return DataLoader(_BothProcesses(loaders), batch_size=None, collate_fn=lambda batch: batch)


def streamed(files: int) -> dict[str, Task]:
    """Two tasks over streams, a head that makes its sequences in each pass among those that they feed."""
    tasks = two_tasks()
    labels = {"requests": tasks["requests"].labels, "moods": {**tasks["moods"].labels, "mlm": None}}
    return {
        name: Task(
            dataset={
                "train": task.dataset["train"].to_iterable_dataset(num_shards=files),
                "validation": task.dataset["validation"],
            },
            inputs=task.inputs,
            labels=labels[name],
        )
        for name, task in tasks.items()
    }


def make_trainer(name: str, folder: Path, reference: bool = False, seed: int = 0, **options: Any) -> MultiTaskTrainer:
    """
    Make the trainer of one of `RUNS`.

    Args:
        name (`str`): The run.
        folder (`Path`): Where it saves.
        reference (`bool`, *optional*, defaults to `False`): Whether one process stands for all.
        seed (`int`, *optional*, defaults to 0): Seed of the weights; another one on other processes must not matter.
        options (`Any`): Further training arguments, and `dropout`.
    """
    run = RUNS[name]
    dropout = options.pop("dropout", 0.0)
    heads = {
        "intent": {"head_type": "sequence_classification", "id2label": INTENTS, "classifier_dropout": dropout},
        "slots": {"head_type": "token_classification", "id2label": SLOTS, "classifier_dropout": dropout},
        "mood": {"head_type": "sequence_classification", "id2label": MOODS, "classifier_dropout": dropout},
        "mlm": {"head_type": "masked_language_modeling"},
    }
    torch.manual_seed(seed)
    bert = tiny_bert_config(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    model = tiny_model(heads, bert, loss_weights={"slots": 2.0}).double()
    args = MultiTaskTrainingArguments(
        output_dir=str(folder),
        **{
            "max_steps": STEPS,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": run.get("accumulation", 1) * (PROCESSES if reference else 1),
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
            "logging_steps": 1,
            "save_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
            "data_seed": 0,
            "dataloader_num_workers": run.get("workers", 0),
            **options,
        },
    )
    kind = ReferenceTrainer if reference else MultiTaskTrainer
    mixture = Mixture(**{"sampling": "uniform", **run["mixture"]})
    return kind(model, args, streamed(run.get("files", 1)), mixture, tiny_tokenizer())


def save(trainer: MultiTaskTrainer, folder: Path, name: str, rank: int = 0) -> None:
    """Save a process's weights and log."""
    torch.save(trainer.model.state_dict(), folder / f"{name}_{rank}.pt")
    report = {"steps": trainer.state.global_step, "log": trainer.state.log_history}
    (folder / f"{name}_{rank}.json").write_text(json.dumps(report))


def main() -> None:
    """Train all runs, and some again from their middle."""
    from accelerate import PartialState

    state = PartialState(cpu=True)
    folder, rank = Path(sys.argv[1]), state.process_index
    for name in RUNS:
        trainer = make_trainer(name, folder / name, seed=rank)
        trainer.train()
        save(trainer, folder, name, rank)
        state.wait_for_everyone()
    for name in RESUMED:
        saving = {"dropout": 0.1, "save_strategy": "steps", "save_steps": 5, "eval_strategy": "steps", "eval_steps": 4}
        for label in ("whole", "resumed"):
            trainer = make_trainer(name, folder / f"{name}_{label}", seed=rank, **saving)
            checkpoint = str(folder / f"{name}_whole" / "checkpoint-5") if label == "resumed" else None
            trainer.train(resume_from_checkpoint=checkpoint)
            save(trainer, folder, f"{name}_{label}", rank)
            state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    spare_imports()
    main()
    leave()
