"""Handwritten digits as images: two heads on one image, through the image processors of ViT and ResNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from transformers import (
    ConvNextImageProcessorPil,
    PreTrainedConfig,
    ResNetConfig,
    ViTConfig,
    ViTImageProcessorPil,
)

from mt_transformers import MultiTaskConfig, MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments, Task
from mt_transformers.inference import MultiTaskPredictor

DIGITS = [str(digit) for digit in range(10)]
PARITY = ["even", "odd"]


def digit_rows(kind: str) -> datasets.Dataset:
    """All 1,797 digits, as arrays with pixels from 0 to 16 or as PNG files with pixels from 0 to 240."""
    found = load_digits()
    # (rows, 8, 8)
    pixels = found.images.astype(np.uint8)
    images: Any = list(pixels) if kind == "arrays" else [Image.fromarray(each * 15) for each in pixels]
    features = datasets.Features(
        {
            "image": datasets.Array2D((8, 8), "uint8") if kind == "arrays" else datasets.Image(),
            "digit": datasets.ClassLabel(names=DIGITS),
            "parity": datasets.ClassLabel(names=PARITY),
        }
    )
    return datasets.Dataset.from_dict(
        {"image": images, "digit": found.target.tolist(), "parity": (found.target % 2).tolist()}, features=features
    )


def vit() -> tuple[PreTrainedConfig, Any, str, dict[str, Any]]:
    """Arrays, in three channels."""
    config = ViTConfig(
        image_size=16,
        patch_size=4,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        initializer_range=0.1,
    )
    processor = ViTImageProcessorPil(size={"height": 16, "width": 16}, rescale_factor=1 / 16)
    return config, processor, "arrays", {"num_train_epochs": 8, "learning_rate": 2e-3}


def resnet() -> tuple[PreTrainedConfig, Any, str, dict[str, Any]]:
    """Files, in one channel."""
    config = ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1], layer_type="basic", hidden_act="relu"
    )
    processor = ConvNextImageProcessorPil(
        size={"shortest_edge": 16}, crop_pct=1.0, image_mean=[0.5], image_std=[0.5], resample=Image.Resampling.BILINEAR
    )
    return config, processor, "files", {"num_train_epochs": 3, "learning_rate": 3e-3}


@pytest.mark.parametrize("make", [vit, resnet])
def test_two_heads_learn_digits(make: Any, tmp_path: Path) -> None:
    config, processor, kind, training = make()
    heads = {
        "digit": {"head_type": "image_classification", "id2label": DIGITS},
        "parity": {"head_type": "image_classification", "id2label": PARITY},
    }
    model = MultiTaskModel(MultiTaskConfig(backbone_config=config, heads=heads))
    rows = digit_rows(kind)
    test_numbers = range(0, len(rows), 5)
    splits = {
        "train": rows.select([number for number in range(len(rows)) if number % 5]),
        "test": rows.select(test_numbers),
    }
    args = MultiTaskTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        lr_scheduler_type="cosine",
        warmup_steps=20,
        **training,
    )
    task = Task(dataset=splits, inputs={"images": "image"}, labels={"digit": "digit", "parity": "parity"})
    trainer = MultiTaskTrainer(model, args, tasks={"digits": task}, processing_class=processor)
    trainer.train()
    results = trainer.evaluate(split="test", metric_key_prefix="test")
    assert results["test_digits_digit_accuracy"] > 0.95
    assert results["test_digits_parity_accuracy"] > 0.95
    answers = MultiTaskPredictor(model, processor)([{"images": image} for image in splits["test"]["image"]])
    for head, names in (("digit", DIGITS), ("parity", PARITY)):
        labels = [names[label] for label in splits["test"][head]]
        right = [answer[head]["label"] == label for answer, label in zip(answers, labels, strict=True)]
        assert np.mean(right) == pytest.approx(results[f"test_digits_{head}_accuracy"])
