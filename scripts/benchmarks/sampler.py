"""Section `sampler`: how long the first batch of a very large mixture takes, and how much memory."""

from __future__ import annotations

import time
import tracemalloc

from accelerate.data_loader import SkipBatchSampler
from tqdm.auto import tqdm

from mt_transformers import Mixture
from mt_transformers.data import MultiTaskBatchSampler

from .measure import Measure
from .settings import Settings

__all__ = ["measure"]


def measure(settings: Settings) -> list[Measure]:
    """
    Start an epoch over many tasks whose sizes fall by a constant factor, and one that is resumed at its half.

    Args:
        settings ([`Settings`]): Tasks and rows.

    Returns:
        `list[Measure]`: Seconds to the first batch, bytes a row at the peak, seconds to the first batch behind half
        an epoch that is skipped as accelerate skips it.
    """
    sizes = task_sizes(settings.sampler_tasks, settings.sampler_rows)
    first, skipped = [], []
    for _ in tqdm(range(settings.repeats), desc="sampler", leave=False):
        sampler, start = MultiTaskBatchSampler(sizes, Mixture(), settings.batch_size), time.perf_counter()
        next(iter(sampler))
        first.append(time.perf_counter() - start)
        half, start = SkipBatchSampler(sampler, skip_batches=len(sampler) // 2), time.perf_counter()
        next(iter(half))
        skipped.append(time.perf_counter() - start)
    return [
        Measure("sampler", "first batch", first, "s"),
        Measure("sampler", "peak of memory", [_peak(sizes, settings.batch_size)], "bytes a row"),
        Measure("sampler", "first batch behind half an epoch", skipped, "s"),
    ]


def task_sizes(tasks: int, rows: int) -> dict[str, int]:
    """
    Sizes that fall by a quarter from task to task, as large collections of tasks do, and add up to `rows`.

    Example:
        >>> task_sizes(3, 100)
        {'task0': 44, 'task1': 32, 'task2': 24}
    """
    weights = [0.75**number for number in range(tasks)]
    sizes = [max(1, int(rows * weight / sum(weights))) for weight in weights]
    sizes[0] += rows - sum(sizes)
    return {f"task{number}": size for number, size in enumerate(sizes)}


def _peak(sizes: dict[str, int], batch_size: int) -> float:
    """Bytes a row at the peak, in a run of its own, for tracing takes time."""
    tracemalloc.start()
    try:
        next(iter(MultiTaskBatchSampler(sizes, Mixture(), batch_size)))
        return tracemalloc.get_traced_memory()[1] / sum(sizes.values())
    finally:
        tracemalloc.stop()
