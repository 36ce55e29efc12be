"""CLINC150, class by class: fifteen experiences of ten intents."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, set_seed

from mt_transformers import MultiTaskModel, MultiTaskTrainingArguments, Task
from mt_transformers.continual.class_scenarios import class_incremental
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.heads import get_head_config

from .data import load_parquet, some_of_each
from .runs import Run, Study

__all__ = ["make_study"]

WITHOUT_BUFFER = ("naive", "joint", "cumulative", "lwf", "ewc_online", "si", "ncm", "ranpac", "lora_per_experience")
WITH_BUFFER = ("replay", "er_ace", "der", "derpp", "icarl", "gdumb", "agem", "gem", "twf")


def make_study(given: argparse.Namespace) -> Study:
    """
    The study.

    Args:
        given (`argparse.Namespace`): The arguments of the command line.

    Returns:
        [`Study`].
    """
    splits = load_parquet("clinc150")
    rows = {
        "train": some_of_each(splits["train"], "intent", given.train_rows),
        "test": some_of_each(splits["test"], "intent", given.test_rows),
    }
    task = Task(dataset=rows, inputs={"text": "text"}, labels={"intent": "intent"})

    def build(run: Run, folder: Path) -> ContinualTrainer:
        head: dict[str, Any] = {"head_type": "sequence_classification", "pooling": "mean"}
        if "ranpac" in run.label:
            head |= {"hidden_sizes": [2000], "hidden_act": "relu"}
        heads = {"intent": get_head_config("intent", head)}
        scenario = class_incremental({"clinc150": task}, heads, experiences=15, seed=0)
        set_seed(run.seed)
        model = MultiTaskModel.from_backbone(given.backbone, heads=scenario.heads_after(0))
        return ContinualTrainer(
            model,
            arguments(given, run, folder),
            scenario,
            run.strategy,
            processing_class=AutoTokenizer.from_pretrained(given.backbone),
        )

    sizes = [int(size) for size in given.buffers.split(",")]
    names = given.strategies.split(",") if given.strategies else [*WITHOUT_BUFFER, *WITH_BUFFER]
    seeds = [int(seed) for seed in given.seeds.split(",")]
    runs = [
        run
        for name in names
        for size in (sizes if name in WITH_BUFFER else [None])
        for seed in seeds
        for run in [_run(name, size, seed)]
    ]
    setting = (
        f"MiniLM (all-MiniLM-L6-v2), 15 experiences of 10 intents, {given.train_rows} training and {given.test_rows} "
        f"test rows an intent, {given.epochs:g} epochs an experience, batches of {given.batch_size}, learning rate "
        f"{given.learning_rate:g}; seeds {given.seeds}. Scores are those of the test rows of all experiences so far."
    )
    return Study(title="CLINC150, class-incremental", setting=setting, runs=runs, build=build)


def _run(name: str, size: int | None, seed: int) -> Run:
    if size is None:
        return Run(label=name, strategy=name, seed=seed)
    return Run(label=f"{name}, {size} rows", strategy={"name": name, "buffer_size": size, "seed": seed}, seed=seed)


def arguments(given: argparse.Namespace, run: Run, folder: Path) -> MultiTaskTrainingArguments:
    """The training arguments of a run."""
    return MultiTaskTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=given.epochs,
        per_device_train_batch_size=given.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=given.learning_rate,
        lr_scheduler_type="constant",
        max_length=32,
        seed=run.seed,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        save_strategy="no",
    )
