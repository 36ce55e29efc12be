"""
What a test starts, kills and starts again: short runs on a tiny model with dropout, on any number of processes.

    killed.py FOLDER start whole-KIND ...     trains each kind to its end
    killed.py FOLDER start on_step-KIND ...   is killed in the middle of an epoch
    killed.py FOLDER start in_save-KIND ...   is killed while it writes a checkpoint
    killed.py FOLDER resume NAME ...          goes on from the last whole checkpoint of that run
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixtures import INTENTS, MOODS, SLOTS, tiny_model, tiny_tokenizer, two_tasks
from launching import spare_imports
from mt_transformers import Mixture, MultiTaskTrainer, MultiTaskTrainingArguments, Task

KINDS: dict[str, dict[str, Any]] = {
    # an epoch has 6 optimizer steps of 4 rows
    "mixed": {"mixture": {}, "accumulation": 2, "global_batch": 2},
    "homogeneous": {"mixture": {"batches": "homogeneous"}, "accumulation": 1, "global_batch": 4},
    # a task that never reaches its target gets nearly all rows from the second epoch on
    "dynamic": {
        "mixture": {"sampling": "dynamic", "targets": {"requests": 0.0, "moods": 9.0}},
        "accumulation": 1,
        "global_batch": 4,
    },
    "streamed": {"mixture": {"sampling": "uniform"}, "accumulation": 1, "global_batch": 4, "streamed": True},
}

HEADS = {
    "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "mood": {"head_type": "sequence_classification", "id2label": MOODS},
}

STEPS, SAVED, KILLED = 15, 3, 8
"""Optimizer steps of a run, those between two checkpoints, and the step in which a run is killed."""

HALF_WRITTEN = 9
"""The checkpoint that a run is killed in."""


class _KillOnStep(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)


class _KillInSave(MultiTaskTrainer):
    def _save_rng_state(self, output_dir: str) -> None:
        """The model and the optimizer are written by now, the Trainer's state is not."""
        if self.state.global_step == HALF_WRITTEN:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._save_rng_state(output_dir)


def _streamed(task: Task) -> Task:
    train = task.dataset["train"]
    assert isinstance(train, Dataset)
    splits = {**task.dataset, "train": train.to_iterable_dataset(num_shards=4)}
    return Task(dataset=splits, inputs=task.inputs, labels=task.labels)


def make_trainer(name: str, folder: Path, trainer_class: type[MultiTaskTrainer], **options: Any) -> MultiTaskTrainer:
    """A trainer of one of `KINDS` that writes into a folder of the run's name."""
    run = KINDS[name.split("-")[1]]
    tasks = two_tasks()
    if run.get("streamed"):
        tasks = {task_name: _streamed(task) for task_name, task in tasks.items()}
    torch.manual_seed(0)
    args = MultiTaskTrainingArguments(
        output_dir=str(folder / name),
        max_steps=STEPS,
        gradient_accumulation_steps=run["accumulation"],
        learning_rate=1e-2,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=SAVED,
        save_strategy="steps",
        save_steps=SAVED,
        save_total_limit=1,
        disable_tqdm=True,
        use_cpu=True,
    )
    args.per_device_train_batch_size = run["global_batch"] // args.world_size
    return trainer_class(tiny_model(HEADS), args, tasks, Mixture(**run["mixture"]), tiny_tokenizer(), **options)


def run(name: str, resume: bool, folder: Path) -> None:
    """Make one run; what is not killed leaves its weights, its log and the warnings that it gave."""
    from accelerate import PartialState

    state = PartialState(cpu=True)
    mode = "resumed" if resume else name.split("-")[0]
    trainer_class = _KillInSave if mode == "in_save" else MultiTaskTrainer
    callbacks = [_KillOnStep()] if mode == "on_step" else []
    trainer = make_trainer(name, folder, trainer_class, callbacks=callbacks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train(resume_from_checkpoint=resume)
    if trainer.is_world_process_zero():
        torch.save(trainer.model.state_dict(), folder / f"{name}.pt")
        report = {"log": trainer.state.log_history, "warnings": [str(each.message) for each in caught]}
        (folder / f"{name}.json").write_text(json.dumps(report))
    state.wait_for_everyone()


def main() -> None:
    """Make the runs that the command line names; where this is the only process, each in a process of its own."""
    folder, action, *names = sys.argv[1:]
    resume = action == "resume"
    for name in names:
        if "RANK" in os.environ:
            run(name, resume, Path(folder))
            continue
        process = multiprocessing.get_context("fork").Process(target=run, args=(name, resume, Path(folder)))
        process.start()
        process.join()
        if resume and process.exitcode:
            sys.exit(process.exitcode)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    spare_imports()
    main()
