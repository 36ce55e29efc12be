"""Section `overhead`: what the Trainer and the package add to a training step of the plain loop."""

from __future__ import annotations

from .measure import Measure, alternate, ratio
from .settings import Settings
from .tweets import tweet_runs

__all__ = ["measure"]


def measure(settings: Settings) -> list[Measure]:
    """
    Train on the same batches from the same weights, by the Trainer and by the plain loop.

    Args:
        settings ([`Settings`]): Sizes of the run.

    Returns:
        `list[Measure]`: Milliseconds of a step of both, and their ratio.
    """
    runs = tweet_runs(settings, settings.rows)
    rows, batches = runs.batches()
    seconds = alternate(
        {"plain loop": lambda: runs.time_plain(rows, batches), "MultiTaskTrainer": runs.time_trainer},
        settings.repeats,
        "overhead",
    )
    steps = len(batches)
    return [
        *(
            Measure("overhead", name, [1000 * each / steps for each in own], "ms a step")
            for name, own in seconds.items()
        ),
        Measure(
            "overhead",
            "MultiTaskTrainer / plain loop",
            ratio(seconds["MultiTaskTrainer"], seconds["plain loop"]),
            "x",
            at_most=1.03,
        ),
    ]
