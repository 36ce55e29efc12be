"""What a study runs unless the command line says otherwise."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mt_transformers import MultiTaskTrainingArguments
from mt_transformers.errors import check_known

from .runs import Run

__all__ = ["WITH_BUFFER", "Setting", "describe_training", "runs_of", "settle", "training_arguments"]

WITH_BUFFER = frozenset({"replay", "er_ace", "der", "derpp", "icarl", "gdumb", "agem", "gem", "twf"})
"""Strategies that are run with each size of the buffer."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """
    Defaults of a study.

    Args:
        strategies (`Sequence[str]`): What is compared.
        buffers (`Sequence[int]`): Sizes of the buffer (rows).
        train_rows (`int`): Training rows of a class, or of a task.
        test_rows (`int`): Test rows of a class, or of a task.
        epochs (`float`): Epochs of each experience.
        batch_size (`int`): Rows of a batch.
        learning_rate (`float`): The backbone's learning rate, which is constant.
        head_learning_rate (`float`): That of the heads.
        kinds (`Sequence[str]`, *optional*): Scenarios that each strategy is run on, where there are several.
        options (`Mapping[str, Mapping[str, Any]]`, *optional*): For a strategy options that are not its defaults.
        training (`Mapping[str, Mapping[str, Any]]`, *optional*): For a strategy training arguments of its own.
    """

    strategies: Sequence[str]
    buffers: Sequence[int]
    train_rows: int
    test_rows: int
    epochs: float
    batch_size: int
    learning_rate: float
    head_learning_rate: float
    kinds: Sequence[str] = ("",)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def settle(given: argparse.Namespace, setting: Setting) -> argparse.Namespace:
    """
    Fill what the command line leaves open.

    Args:
        given (`argparse.Namespace`): The arguments of the command line.
        setting ([`Setting`]): The defaults.

    Returns:
        `argparse.Namespace`: With a value for each field of the setting; lists where it is written with commas.
    """
    values = {
        name: default if getattr(given, name, None) is None else getattr(given, name)
        for name, default in vars(setting).items()
    }
    for name, kind in (("strategies", str), ("buffers", int), ("seeds", int)):
        value = getattr(given, name) if name == "seeds" else values[name]
        values[name] = [kind(each) for each in value.split(",")] if isinstance(value, str) else list(value)
    check_known(values["strategies"], setting.strategies, "--strategies", "strategy")
    return argparse.Namespace(**{**vars(given), **values})


def runs_of(settled: argparse.Namespace) -> list[Run]:
    """
    List the runs of a study.

    Args:
        settled (`argparse.Namespace`): What [`settle`] gave.

    Returns:
        `list[Run]`: Each strategy on each kind of scenario, with each size of the buffer and each seed.
    """
    return [
        _run(kind, name, size, seed, settled.options.get(name, {}))
        for kind in settled.kinds
        for name in settled.strategies
        for size in (settled.buffers if name in WITH_BUFFER else [None])
        for seed in settled.seeds
    ]


def _run(kind: str, name: str, size: int | None, seed: int, options: Mapping[str, Any]) -> Run:
    own: dict[str, Any] = {"name": name, **options}
    if size is None:
        return Run(label=name, strategy=own, seed=seed, kind=kind)
    seeded = {} if name == "icarl" else {"seed": seed}
    return Run(label=f"{name}, {size} rows", strategy={**own, "buffer_size": size, **seeded}, seed=seed, kind=kind)


def describe_training(settled: argparse.Namespace) -> str:
    """
    Say how each experience is trained.

    Args:
        settled (`argparse.Namespace`): What [`settle`] gave.

    Returns:
        `str`: The end of a sentence.
    """
    own = "".join(
        f"; {name}: {key} {value:g}"
        for name in settled.strategies
        for key, value in {**settled.options.get(name, {}), **settled.training.get(name, {})}.items()
    )
    return (
        f"epochs {settled.epochs:g}, batches of {settled.batch_size}, constant learning rates: "
        f"{settled.learning_rate:g}, heads {settled.head_learning_rate:g}{own}."
    )


def training_arguments(settled: argparse.Namespace, run: Run, folder: Path, **more: Any) -> MultiTaskTrainingArguments:
    """
    The training arguments of a run.

    Args:
        settled (`argparse.Namespace`): What [`settle`] gave.
        run ([`Run`]): The run.
        folder (`Path`): Its folder.
        more (`Any`): Further arguments.

    Returns:
        [`MultiTaskTrainingArguments`].
    """
    given = {
        "num_train_epochs": settled.epochs,
        "per_device_train_batch_size": settled.batch_size,
        "per_device_eval_batch_size": 64,
        "learning_rate": settled.learning_rate,
        "learning_rates": {"heads": settled.head_learning_rate},
        "lr_scheduler_type": "constant",
        "report_to": [],
        "disable_tqdm": True,
        "logging_strategy": "no",
        "save_strategy": "no",
        **settled.training.get(run.strategy["name"], {}),
        **more,
    }
    return MultiTaskTrainingArguments(output_dir=str(folder), seed=run.seed, **given)
