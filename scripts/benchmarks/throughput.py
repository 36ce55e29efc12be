"""Section `throughput`: rows a second with batches of rows of like length."""

from __future__ import annotations

from typing import Any

from .measure import Measure, alternate, ratio
from .settings import Settings
from .tweets import tweet_runs

__all__ = ["GROUPED", "measure"]

GROUPED: dict[str, Any] = {"train_sampling_strategy": "group_by_length"}
"""The training argument that asks for batches of rows of like length."""


def measure(settings: Settings) -> list[Measure]:
    """
    Train one epoch on the same rows: plain loop in mixed batches, Trainer in the same, Trainer in grouped ones.

    Args:
        settings ([`Settings`]): Sizes of the run.

    Returns:
        `list[Measure]`: Rows a second of the three, and the grouped Trainer's gain over the plain loop.
    """
    runs = tweet_runs(settings, settings.rows)
    rows, batches = runs.batches()
    grouped = f"MultiTaskTrainer, {GROUPED['train_sampling_strategy']}"
    seconds = alternate(
        {
            "plain loop": lambda: runs.time_plain(rows, batches),
            "MultiTaskTrainer": runs.time_trainer,
            grouped: lambda: runs.time_trainer(**GROUPED),
        },
        settings.repeats,
        "throughput",
    )
    number = sum(len(batch) for batch in batches)
    rates = {name: [number / each for each in own] for name, own in seconds.items()}
    gain = ratio(rates[grouped], rates["plain loop"])
    return [
        *(Measure("throughput", name, own, "rows/s") for name, own in rates.items()),
        Measure("throughput", f"{grouped} / plain loop", gain, "x", at_least=1.7),
    ]
