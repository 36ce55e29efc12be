"""Five unlike text tasks in a row, each with heads of its own: what is forgotten, with and without replay."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import datasets

from mt_transformers import Task
from mt_transformers.continual.task_scenarios import new_heads
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.heads import get_head_config

from .data import load_parquet
from .runs import Run, Study
from .settings import Setting, describe_training, settle
from .texts import text_trainer

__all__ = ["make_study"]

SETTING = Setting(
    strategies=("naive", "joint", "replay 1%", "replay 5%", "replay 10%"),
    buffers=(),
    train_rows=1500,
    test_rows=400,
    epochs=1.0,
    batch_size=16,
    learning_rate=1e-4,
    head_learning_rate=1e-3,
)
_ONE_LABEL = {"head_type": "sequence_classification"}
_TASKS: dict[str, tuple[dict[str, str], dict[str, tuple[str, dict[str, Any]]]]] = {
    "tweeteval_emotion": ({"text": "text"}, {"emotion": ("label", _ONE_LABEL)}),
    "tweeteval_offensive": ({"text": "text"}, {"offensive": ("label", _ONE_LABEL)}),
    "banking77": ({"text": "text"}, {"banking": ("label", _ONE_LABEL)}),
    "snips": (
        {"tokens": "tokens"},
        {"intent": ("intent", _ONE_LABEL), "slots": ("slots", {"head_type": "token_classification"})},
    ),
    "subj": ({"text": "text"}, {"subjectivity": ("label", _ONE_LABEL)}),
}
"""For each data set its input, and for each head the column and the config."""


def make_study(given: argparse.Namespace) -> Study:
    """
    The study.

    Args:
        given (`argparse.Namespace`): The arguments of the command line.

    Returns:
        [`Study`].
    """
    settled = settle(given, SETTING)
    tasks = {
        name: Task(
            dataset=_some_rows(load_parquet(name), settled.train_rows, settled.test_rows),
            inputs=inputs,
            labels={head: column for head, (column, _) in heads.items()},
        )
        for name, (inputs, heads) in _TASKS.items()
    }

    def build(run: Run, folder: Path) -> ContinualTrainer:
        configs = {
            head: get_head_config(head, config) for _, heads in _TASKS.values() for head, (_, config) in heads.items()
        }
        scenario = new_heads(tasks, configs, order=None)
        return text_trainer(settled, run, folder, scenario, max_length=64)

    runs = [
        Run(label=name, strategy=_strategy(name, seed), seed=seed)
        for name in settled.strategies
        for seed in settled.seeds
    ]
    setting = (
        f"all-MiniLM-L6-v2; five experiences, a task each: {', '.join(_TASKS)}; at most {settled.train_rows} training "
        f"and {settled.test_rows} test rows a task; {describe_training(settled)} The ratio of replay is the buffer's "
        "size over the training rows of all tasks. The second table has each head's primary metric when it was "
        "learnt, and in the end."
    )
    return Study(title="Five text tasks in a row", setting=setting, runs=runs, build=build)


def _strategy(name: str, seed: int) -> Any:
    kind, _, percent = name.partition(" ")
    return {"name": kind, "ratio": int(percent.rstrip("%")) / 100, "seed": seed} if percent else {"name": kind}


def _some_rows(splits: dict[str, datasets.Dataset], train_rows: int, test_rows: int) -> dict[str, datasets.Dataset]:
    sizes = {"train": train_rows, "test": test_rows}
    return {
        name: splits[name].shuffle(seed=0).select(range(min(size, len(splits[name])))) for name, size in sizes.items()
    }
