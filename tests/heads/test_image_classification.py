"""Labels of images, on every kind of backbone that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import Array3D, ClassLabel, Dataset, Features, List, Value
from PIL import Image
from transformers import ViTImageProcessorPil

from backbones import IMAGE_SIZE, IMAGES, tiny_backbone_config, tiny_backbone_inputs
from fixtures import tiny_tokenizer
from mt_transformers import (
    MultiTaskConfig,
    MultiTaskModel,
    MultiTaskTrainer,
    MultiTaskTrainingArguments,
    Task,
    get_head_config,
)
from mt_transformers.backbone import describe_backbone
from mt_transformers.data import complete_heads, label_sources
from mt_transformers.errors import InputError
from mt_transformers.heads import ImageClassificationHead, SequenceClassificationHead
from mt_transformers.inference import MultiTaskPredictor, load_model

COLORS = ["red", "green", "blue"]
MARKS = ["bright", "framed"]


def head(**fields: Any) -> dict[str, Any]:
    return {"head_type": "image_classification", "id2label": COLORS, **fields}


def model_of(family: str, heads: dict[str, Any], **changes: Any) -> MultiTaskModel:
    config = MultiTaskConfig(backbone_config=tiny_backbone_config(family, **changes), heads=heads)
    return MultiTaskModel(config).eval()


def processor() -> ViTImageProcessorPil:
    return ViTImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})


def picture(color: int, bright: bool, framed: bool) -> Image.Image:
    """A picture of one colour, perhaps bright, perhaps in a white frame."""
    pixels = np.zeros((12, 10, 3), dtype=np.uint8)
    pixels[..., color] = 255 if bright else 120
    if framed:
        pixels[[0, 1, -1, -2]] = 255
    return Image.fromarray(pixels)


KINDS = [(color, bright, framed) for color in range(3) for bright in (False, True) for framed in (False, True)]


def picture_rows() -> Dataset:
    """All kinds of pictures, with their colour and their marks; the last row has neither."""
    features = Features(
        {"image": datasets.Image(), "color": ClassLabel(names=COLORS), "marks": List(ClassLabel(names=MARKS))}
    )
    marks: list[Any] = [[mark for mark, there in enumerate(kind[1:]) if there] for kind in KINDS]
    columns = {
        "image": [*(picture(*kind) for kind in KINDS), picture(0, True, True)],
        "color": [*(kind[0] for kind in KINDS), None],
        "marks": [*marks, None],
    }
    return Dataset.from_dict(columns, features=features)


def training(folder: Path, **options: Any) -> MultiTaskTrainingArguments:
    values = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "lr_scheduler_type": "constant",
        "learning_rate": 1e-2,
        **options,
    }
    return MultiTaskTrainingArguments(**values)


# what it reads


@pytest.mark.parametrize("family", [*IMAGES, "clip", "siglip", "vilt"])
def test_auto_is_the_image(family: str) -> None:
    model = model_of(family, {"color": head(), "any": {**head(), "head_type": "sequence_classification"}})
    config = model.named_heads["color"].config
    assert (config.input, config.pooling) == ("encoded_image", "pooled")
    # any output suits the other head, so that it reads the first one
    assert model.named_heads["any"].config.input == ("encoded_image" if family in IMAGES else "encoded_text")
    inputs = tiny_backbone_inputs(family)
    outputs = model(**inputs)
    encoded = model.backbone(**inputs)
    expected = model.named_heads["color"].classifier(encoded["encoded_image_pooled"])
    torch.testing.assert_close(outputs["color_logits"], expected)
    assert outputs["color_logits"].shape == (3, 3)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "wav2vec2"])
def test_backbones_that_read_no_images_are_refused(family: str) -> None:
    with pytest.raises(InputError, match=f"image_classification reads encoded_image, but a '{family}' backbone gives"):
        model_of(family, {"color": head()})


def test_other_inputs_are_refused() -> None:
    with pytest.raises(InputError, match="image_classification reads encoded_image, found the input 'encoded_text'"):
        model_of("clip", {"color": head(input="encoded_text")})
    with pytest.raises(InputError, match="found the input 'encoded_text'"):
        model_of("clip", {"color": head(input=["encoded_image", "encoded_text"])})


def test_poolings_and_layers() -> None:
    heads = {
        "mean": head(pooling="mean"),
        "cls": head(pooling="cls"),
        "attention": head(pooling="attention"),
        "deep": head(layer=1),
        "mix": head(layer="scalar_mix", pooling="max"),
    }
    model = model_of("vit", heads)
    assert model.named_heads["deep"].config.pooling == "mean"
    inputs = tiny_backbone_inputs("vit")
    outputs, encoded = model(**inputs), model.backbone(layers=True, **inputs)
    patches = encoded["encoded_image"]
    features = {
        "mean": patches.mean(dim=1),
        "cls": patches[:, 0],
        "deep": encoded["image_layers"][1].mean(dim=1),
        # new weights mix evenly
        "mix": torch.stack(encoded["image_layers"]).mean(dim=0).amax(dim=1),
    }
    for name, expected in features.items():
        torch.testing.assert_close(outputs[f"{name}_logits"], model.named_heads[name].classifier(expected))
    assert outputs["attention_logits"].shape == (3, 3)
    with pytest.raises(InputError, match="layer: only -1, the last, can be read of a 'resnet' backbone"):
        model_of("resnet", {"color": head(layer=1)})


def test_it_is_the_head_of_texts_for_images() -> None:
    options = {"class_weights": [1.0, 2.0, 3.0], "label_smoothing": 0.1, "hidden_sizes": [5], "pooling": "mean"}
    config = get_head_config("color", head(**options))
    text = get_head_config("color", {**head(**options), "head_type": "sequence_classification"})
    assert config.to_dict() == {**text.to_dict(), "head_type": "image_classification"}
    own = ImageClassificationHead(config, 4)  # type: ignore[arg-type]
    other = SequenceClassificationHead(config, 4)  # type: ignore[arg-type]
    other.load_state_dict(own.state_dict())
    features, mask, labels = torch.randn(3, 6, 4), torch.ones(3, 6, dtype=torch.bool), torch.tensor([0, 2, -100])
    for each in (own, other):
        each.eval()
    for key, value in own(features, mask, labels).items():
        assert torch.equal(value, other(features, mask, labels)[key])
    config.resolve(describe_backbone(tiny_backbone_config("vit")))
    assert config.answer_inputs == config.task_inputs == ("images",)


def test_a_task_of_text_is_refused(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"text": ["red"], "color": [0]})
    task = Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"color": "color"})
    model, args = model_of("clip", {"color": head()}), training(tmp_path)
    with pytest.raises(InputError, match="head 'color': image_classification needs the inputs images, found text"):
        MultiTaskTrainer(model, args, tasks={"t": task}, processing_class=tiny_tokenizer())


# from rows to answers


@pytest.mark.parametrize("family", ["vit", "swin", "convnext", "resnet"])
def test_two_heads_learn_from_one_image(family: str, tmp_path: Path) -> None:
    marks = head(id2label=MARKS, problem_type="multi_label_classification", hidden_sizes=[16])
    changes, rate = ({}, 2e-2) if family == "resnet" else ({"initializer_range": 0.2}, 3e-3)
    model = model_of(family, {"color": head(), "marks": marks}, **changes)
    splits = dict.fromkeys(("train", "validation"), picture_rows())
    task = Task(dataset=splits, inputs={"images": "image"}, labels={"color": "color", "marks": "marks"})
    args = training(tmp_path / "run", num_train_epochs=60, per_device_train_batch_size=13, learning_rate=rate)
    trainer = MultiTaskTrainer(model, args, tasks={"pictures": task}, processing_class=processor())
    trainer.train()
    results = trainer.evaluate()
    assert results["eval_pictures_color_accuracy"] == 1
    assert results["eval_pictures_marks_f1_macro"] == 1
    trainer.save_model(str(tmp_path / "saved"))
    predictor = MultiTaskPredictor(*load_model(tmp_path / "saved"))
    pixels = processor()([picture(*kind) for kind in KINDS], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = [each.eval()(pixel_values=pixels)["color_logits"] for each in (model, predictor.model)]
    assert torch.equal(*logits)
    answers = predictor([{"images": picture(*kind)} for kind in KINDS])
    assert [answer["color"]["label"] for answer in answers] == [COLORS[kind[0]] for kind in KINDS]
    found = [{each["label"] for each in answer["marks"]} for answer in answers]
    assert found == [{mark for mark, there in zip(MARKS, kind[1:], strict=True) if there} for kind in KINDS]


def test_balanced_weights_come_from_the_rows(tmp_path: Path) -> None:
    features = Features({"image": Array3D((4, 4, 3), "uint8"), "color": Value("string")})
    columns = {"image": [np.zeros((4, 4, 3))] * 4, "color": ["red", "red", "red", "blue"]}
    rows = Dataset.from_dict(columns, features=features)
    model = model_of("vit", {"color": head(id2label=["red", "blue"])})
    task = Task(dataset={"train": rows}, inputs={"images": "image"}, labels={"color": "color"})
    config = get_head_config("color", head(id2label=["red", "blue"], class_weights="balanced"))
    complete_heads({"color": config}, label_sources({"t": task}, {"t": {"train": rows}}))
    assert config.class_weights == pytest.approx([4 / 6, 2.0])  # type: ignore[attr-defined]
    trainer = MultiTaskTrainer(model, training(tmp_path), tasks={"t": task}, processing_class=processor())
    assert trainer.splits["t"]["train"]["labels_color"][:] == [0, 0, 0, 1]
