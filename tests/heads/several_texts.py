"""Rows of several texts for heads that read them apart: tensors, and tiny trainings. Tests import from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fixtures import tiny_bert_config, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskTrainer, MultiTaskTrainingArguments, Task

POOLINGS = ("cls", "mean", "max", "last", "attention")
"""How a sequence of tokens becomes a vector."""


def single_tokens(rows: list[list[list[float]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Features and mask of sequences of one token each, given as vectors; rows may have different numbers of them.

    Where a row has fewer the features are 7, as if another row's stood there.
    """
    widest, size = max(map(len, rows)), len(rows[0][0])
    encoded = torch.full((len(rows), widest, 1, size), 7.0, dtype=torch.float64)
    mask = torch.zeros(len(rows), widest, 1, dtype=torch.bool)
    for row, vectors in enumerate(rows):
        encoded[row, : len(vectors), 0] = torch.tensor(vectors, dtype=torch.float64)
        mask[row, : len(vectors)] = True
    return encoded, mask


def random_sequences(
    counts: list[int], length: int = 4, size: int = 3, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random features and mask of rows with these numbers of sequences, of 1 to `length` tokens, padded with 9."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, length + 1, (len(counts), max(counts)), generator=generator)
    lengths = lengths * (torch.arange(max(counts)) < torch.tensor(counts).unsqueeze(1))
    mask = torch.arange(length) < lengths.unsqueeze(-1)
    encoded = torch.randn(*mask.shape, size, generator=generator, dtype=torch.float64)
    return encoded.masked_fill(~mask.unsqueeze(-1), 9.0), mask


def overfit(heads: dict[str, Any], tasks: dict[str, Task], folder: Path, **given: Any) -> MultiTaskTrainer:
    """A trainer whose tiny model has been trained on the rows for long, without any dropout."""
    defaults: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "num_train_epochs": 20,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 8,
    }
    bert = tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = tiny_model(heads, bert, tasks={name: list(task.labels) for name, task in tasks.items()})
    args = MultiTaskTrainingArguments(**{**defaults, **given})
    trainer = MultiTaskTrainer(model, args, tasks=tasks, processing_class=tiny_tokenizer())
    trainer.train()
    return trainer
