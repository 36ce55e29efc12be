"""Section `cuda`: a backbone of BERT-base's size on a GPU, in bfloat16, at 128 tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from datasets import ClassLabel, Dataset, Features, Value
from transformers import BertConfig

from mt_transformers import MultiTaskConfig, MultiTaskModel, Task

from .measure import Measure, alternate, ratio
from .settings import Settings
from .training_runs import TrainingRuns, classifier

__all__ = ["measure", "training_flops"]

LENGTH = 128
BATCH_SIZE = 128
HEADS = ("first", "second")
LABELS = ["no", "yes"]

PEAK_TFLOPS = {"H200": 989.4, "H100 PCIe": 756.0, "H100": 989.4, "A100": 312.0, "L40S": 362.0, "A10G": 70.0}
"""
Peak of dense matrix products in bfloat16 (TFLOP/s) by a part of the GPU's name, the longer names first.

Source: NVIDIA's data sheets of these GPUs, half of what they state with sparsity.
"""


def training_flops(parameters: int, layers: int, hidden_size: int, length: int) -> int:
    """
    Floating-point operations of forward and backward pass for one token.

    Source: Chowdhery et al. (2022), https://huggingface.co/papers/2204.02311, appendix B: 6 N + 12 L H Q T, where
    H Q is the hidden size.

    Args:
        parameters (`int`): Parameters without embeddings.
        layers (`int`): Layers.
        hidden_size (`int`): Size of a token's features.
        length (`int`): Length of the rows (tokens).

    Returns:
        `int`: Operations.

    Example:
        >>> training_flops(parameters=10, layers=2, hidden_size=3, length=5)
        420
    """
    return 6 * parameters + 12 * layers * hidden_size * length


def measure(settings: Settings) -> list[Measure]:
    """
    Train by both, with and without `torch.compile`, the steps in which it compiles left out.

    Args:
        settings ([`Settings`]): Repeats, and the number of steps: `rows` / `batch_size`.

    Returns:
        `list[Measure]`: Rows a second, the share of the GPU's peak where that is known, and ratios.
    """
    steps = settings.rows // settings.batch_size
    settings = replace(settings, batch_size=BATCH_SIZE, max_length=LENGTH, rows=2 * steps * BATCH_SIZE)
    model = MultiTaskModel(
        MultiTaskConfig(backbone_config=BertConfig(), heads=dict.fromkeys(HEADS, classifier(LABELS)))
    )
    tasks = {name: _task(name, settings.rows // len(HEADS)) for name in HEADS}
    runs = TrainingRuns(settings, model, tasks, bf16=True)
    rows, batches = runs.batches()
    variants: dict[str, Callable[[], float]] = {}
    for compiled in (False, True):
        suffix = ", compiled" if compiled else ""
        options = {"bf16": True, "compiled": compiled, "after": steps}
        variants[f"plain loop{suffix}"] = partial(runs.time_plain, rows, batches, **options)
        variants[f"MultiTaskTrainer{suffix}"] = partial(runs.time_trainer, after=steps, torch_compile=compiled)
    seconds = alternate(variants, settings.repeats, "cuda")
    rates = {name: [steps * BATCH_SIZE / each for each in own] for name, own in seconds.items()}
    measures = [Measure("cuda", name, own, "rows/s") for name, own in rates.items()]
    peak = settings.peak_tflops or _known_peak()
    if peak is not None:
        backbone = model.backbone.model
        flops = LENGTH * training_flops(
            backbone.num_parameters(exclude_embeddings=True),
            backbone.config.num_hidden_layers,
            backbone.config.hidden_size,
            LENGTH,
        )
        measures += [
            Measure(
                "cuda", f"{name}, share of {peak} TFLOP/s", [each * flops / peak / 1e12 for each in own], "fraction"
            )
            for name, own in rates.items()
        ]
    return measures + [
        Measure(
            "cuda",
            f"MultiTaskTrainer{suffix} / plain loop{suffix}",
            ratio(seconds[f"MultiTaskTrainer{suffix}"], seconds[f"plain loop{suffix}"]),
            "x",
        )
        for suffix in ("", ", compiled")
    ]


def _task(name: str, rows: int) -> Task:
    """Rows that are cut to the full length."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=LABELS)})
    values = {"text": ["the " * LENGTH] * rows, "label": [row % 2 for row in range(rows)]}
    dataset = Dataset.from_dict(values, features=features)
    return Task(dataset={"train": dataset}, inputs={"text": "text"}, labels={name: "label"})


def _known_peak() -> float | None:
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)
