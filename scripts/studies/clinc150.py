"""CLINC150, class by class: fifteen experiences of ten intents."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mt_transformers import Task
from mt_transformers.continual.class_scenarios import class_incremental
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.heads import get_head_config

from .data import load_parquet, some_of_each
from .runs import Run, Study
from .settings import Setting, describe_training, runs_of, settle
from .texts import text_trainer

__all__ = ["make_study"]

_WITHOUT_BUFFER = ("naive", "joint", "cumulative", "lwf", "ewc_online", "si", "l2p", "ncm", "ranpac")
_WITH_BUFFER = ("replay", "er_ace", "der", "derpp", "icarl", "gdumb", "agem", "gem", "twf")
SETTING = Setting(
    strategies=(*_WITHOUT_BUFFER, *_WITH_BUFFER),
    buffers=(200, 1000),
    train_rows=30,
    test_rows=10,
    epochs=1.0,
    batch_size=10,
    learning_rate=1e-4,
    head_learning_rate=2e-3,
    # with all rows of the buffer at each step, or a backward pass for each row of an experience, they take hours
    options={"gem": {"replay_batch_size": 2}, "ewc_online": {"fisher_rows": 50}},
    # one epoch is too little to be the upper bound: features that were never trained would do better
    training={"joint": {"num_train_epochs": 5.0}, "l2p": {"learning_rate": 1e-2}},
)


def make_study(given: argparse.Namespace) -> Study:
    """
    The study.

    Args:
        given (`argparse.Namespace`): The arguments of the command line.

    Returns:
        [`Study`].
    """
    settled = settle(given, SETTING)
    splits = load_parquet("clinc150")
    rows = {
        "train": some_of_each(splits["train"], "intent", settled.train_rows),
        "test": some_of_each(splits["test"], "intent", settled.test_rows),
    }
    task = Task(dataset=rows, inputs={"text": "text"}, labels={"intent": "intent"})

    def build(run: Run, folder: Path) -> ContinualTrainer:
        head: dict[str, Any] = {"head_type": "sequence_classification", "pooling": "mean"}
        if run.strategy["name"] == "ranpac":
            head |= {"hidden_sizes": [2000], "hidden_act": "relu", "classifier_dropout": 0.0}
        scenario = class_incremental(
            {"clinc150": task}, {"intent": get_head_config("intent", head)}, experiences=15, seed=0
        )
        return text_trainer(settled, run, folder, scenario, max_length=32)

    setting = (
        f"all-MiniLM-L6-v2; 15 experiences of 10 intents, in an order of their own; {settled.train_rows} training and "
        f"{settled.test_rows} test rows an intent; {describe_training(settled)}"
    )
    return Study(title="CLINC150, class-incremental", setting=setting, runs=runs_of(settled), build=build)
