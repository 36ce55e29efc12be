"""The trainer of a run over texts."""

from __future__ import annotations

import argparse
from pathlib import Path

from transformers import AutoTokenizer, set_seed

from mt_transformers import MultiTaskModel
from mt_transformers.continual import ContinualTrainer, Scenario

from .runs import Run
from .settings import training_arguments

__all__ = ["text_trainer"]


def text_trainer(
    settled: argparse.Namespace, run: Run, folder: Path, scenario: Scenario, max_length: int
) -> ContinualTrainer:
    """
    Put the first heads of a scenario on a pretrained backbone of text.

    Args:
        settled (`argparse.Namespace`): What [`settle`] gave.
        run ([`Run`]): The run.
        folder (`Path`): Its folder.
        scenario ([`Scenario`]): The experiences.
        max_length (`int`): Length to which rows are cut (tokens).

    Returns:
        [`ContinualTrainer`].
    """
    set_seed(run.seed)
    model = MultiTaskModel.from_backbone(settled.backbone, heads=scenario.heads_after(0))
    args = training_arguments(settled, run, folder, max_length=max_length)
    tokenizer = AutoTokenizer.from_pretrained(settled.backbone)
    return ContinualTrainer(model, args, scenario, run.strategy, processing_class=tokenizer)
