"""Handwritten digits as images, two at a time: five experiences, through a tiny ResNet or ViT."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from sklearn.datasets import load_digits
from transformers import (
    ConvNextImageProcessorPil,
    PreTrainedConfig,
    ResNetConfig,
    ViTConfig,
    ViTImageProcessorPil,
    set_seed,
)

from mt_transformers import MultiTaskConfig, MultiTaskModel, Task
from mt_transformers.continual.class_scenarios import class_incremental, task_incremental
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.errors import check_known
from mt_transformers.heads import get_head_config

from .runs import Run, Study
from .settings import Setting, describe_training, runs_of, settle, training_arguments

__all__ = ["make_study"]

SETTING = Setting(
    strategies=(
        "naive",
        "joint",
        "lwf",
        "ewc_online",
        "si",
        "replay",
        "er_ace",
        "der",
        "derpp",
        "icarl",
        "agem",
        "gem",
    ),
    buffers=(50,),
    train_rows=0,
    test_rows=0,
    epochs=3.0,
    batch_size=16,
    learning_rate=2e-3,
    head_learning_rate=2e-3,
    kinds=("class", "task"),
)


def digit_rows() -> datasets.Dataset:
    """All 1,797 digits of scikit-learn, 8 by 8 pixels from 0 to 16."""
    found = load_digits()
    features = datasets.Features(
        {"image": datasets.Array2D((8, 8), "uint8"), "digit": datasets.ClassLabel(names=[str(n) for n in range(10)])}
    )
    images = list(found.images.astype(np.uint8))
    return datasets.Dataset.from_dict({"image": images, "digit": found.target.tolist()}, features=features)


def vit() -> tuple[PreTrainedConfig, Any]:
    """A vision transformer of two layers."""
    config = ViTConfig(
        image_size=16,
        patch_size=4,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        initializer_range=0.1,
    )
    return config, ViTImageProcessorPil(size={"height": 16, "width": 16}, rescale_factor=1 / 16)


def resnet() -> tuple[PreTrainedConfig, Any]:
    """A ResNet of two stages."""
    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1], layer_type="basic", hidden_act="relu"
    )
    return config, ConvNextImageProcessorPil(size={"shortest_edge": 16}, crop_pct=1.0, rescale_factor=1 / 16)


def make_study(given: argparse.Namespace) -> Study:
    """
    The study.

    Args:
        given (`argparse.Namespace`): The arguments of the command line.

    Returns:
        [`Study`].
    """
    settled, rows = settle(given, SETTING), digit_rows()
    splits = {
        "train": rows.select([number for number in range(len(rows)) if number % 5]),
        "test": rows.select(range(0, len(rows), 5)),
    }
    task = Task(dataset=splits, inputs={"images": "image"}, labels={"digit": "digit"})
    backbones, scenarios = {"vit": vit, "resnet": resnet}, {"class": class_incremental, "task": task_incremental}
    check_known([settled.backbone], backbones, "--backbone", "backbone")

    def build(run: Run, folder: Path) -> ContinualTrainer:
        head = get_head_config("digit", {"head_type": "image_classification"})
        scenario = scenarios[run.kind]({"digits": task}, {"digit": head}, experiences=5)
        config, processor = backbones[settled.backbone]()
        set_seed(run.seed)
        heads = {name: each.to_dict() for name, each in scenario.heads_after(0).items()}
        model = MultiTaskModel(MultiTaskConfig(backbone_config=config, heads=heads))
        args = training_arguments(settled, run, folder)
        return ContinualTrainer(model, args, scenario, run.strategy, processing_class=processor)

    return Study(
        title=f"Digits, two at a time, through a tiny {settled.backbone}",
        setting=f"1,437 training and 360 test images of 8 by 8 pixels; {describe_training(settled)}",
        # iCaRL is for a head that grows
        runs=[run for run in runs_of(settled) if (run.kind, run.strategy["name"]) != ("task", "icarl")],
        build=build,
    )
