"""Section `accuracy`: whether batches of rows of like length cost accuracy."""

from __future__ import annotations

import copy
from collections.abc import Callable

from tqdm.auto import tqdm
from transformers import set_seed

from mt_transformers import MultiTaskModel

from .measure import Measure
from .plain_loop import PlainModel, copy_into
from .settings import Settings
from .throughput import GROUPED
from .training_runs import TrainingRuns
from .tweets import tweet_runs

__all__ = ["measure"]


def measure(settings: Settings) -> list[Measure]:
    """
    Train by the plain loop in mixed batches and by the Trainer in grouped ones, on as many rows, over several seeds.

    Args:
        settings ([`Settings`]): Sizes of the run.

    Returns:
        `list[Measure]`: Macro-F1 of each task's validation split for both, one value a seed.
    """
    runs = tweet_runs(settings, settings.accuracy_rows, ("train", "validation"))
    variants: dict[str, Callable[[TrainingRuns, int], MultiTaskModel]] = {
        "plain loop": _plain,
        f"MultiTaskTrainer, {GROUPED['train_sampling_strategy']}": _grouped,
    }
    scores: dict[tuple[str, str], list[float]] = {}
    with tqdm(total=len(variants) * settings.seeds, desc="accuracy", leave=False) as bar:
        for seed in range(settings.seeds):
            for name, train in variants.items():
                for task_name, score in _scores(runs, train(runs, seed)).items():
                    scores.setdefault((name, task_name), []).append(score)
                bar.update()
    return [Measure("accuracy", f"{name}, {task_name}", own, "macro-F1") for (name, task_name), own in scores.items()]


def _plain(runs: TrainingRuns, seed: int) -> MultiTaskModel:
    rows, batches = runs.batches(seed=seed)
    set_seed(seed)
    plain, model = PlainModel(runs.model), copy.deepcopy(runs.model)
    runs.plain_loop(rows).train(plain, batches)
    copy_into(plain, model)
    return model


def _grouped(runs: TrainingRuns, seed: int) -> MultiTaskModel:
    trainer, _ = runs.trainer(seed=seed, **GROUPED)
    trainer.train()
    return trainer.model


def _scores(runs: TrainingRuns, model: MultiTaskModel) -> dict[str, float]:
    trainer, _ = runs.trainer()
    trainer.model.load_state_dict(model.state_dict())
    metrics = trainer.evaluate()
    return {name: metrics[f"eval_{name}_{name}_f1_macro"] for name in runs.tasks}
