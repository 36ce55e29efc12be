"""Text and image together: heads that need both, on two towers (CLIP) and on one sequence (ViLT)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPProcessor, ViltImageProcessorPil, ViltProcessor

from backbones import IMAGE_SIZE, tiny_backbone_config
from fixtures import BAD, GOOD, NOUNS, tiny_tokenizer
from mt_transformers import (
    Mixture,
    MultiTaskConfig,
    MultiTaskModel,
    MultiTaskTrainer,
    MultiTaskTrainingArguments,
    Task,
)
from mt_transformers.errors import InputError
from mt_transformers.inference import MultiTaskPredictor, load_model

ANSWERS = ["same", "different"]
MOODS = ["bad", "good"]
COLORS = ["red", "blue"]
BOTH = ["encoded_text", "encoded_image"]


def head(**fields: Any) -> dict[str, Any]:
    return {"head_type": "sequence_classification", "id2label": ANSWERS, **fields}


def picture(color: int, size: tuple[int, int] = (12, 12)) -> Image.Image:
    pixels = np.zeros((*size, 3), dtype=np.uint8)
    pixels[..., 0 if color == 0 else 2] = 255
    return Image.fromarray(pixels)


KINDS = [(mood, color) for mood in (0, 1) for color in (0, 1)]


def sentence(mood: int, number: int) -> str:
    return f"the {NOUNS[number]} is {(BAD, GOOD)[mood][number]} ."


def rows_of_both(sizes: tuple[tuple[int, int], ...] = ((12, 12),)) -> Dataset:
    """Each word with each colour; the answer is whether one is good and the other blue, or neither: XOR."""
    kinds = [(mood, color, number) for number in range(4) for mood, color in KINDS]
    features = Features(
        {
            "text": Value("string"),
            "picture": datasets.Image(),
            "answer": ClassLabel(names=ANSWERS),
            "mood": ClassLabel(names=MOODS),
            "color": ClassLabel(names=COLORS),
        }
    )
    columns = {
        "text": [sentence(mood, number) for mood, _, number in kinds],
        "picture": [picture(color, sizes[number % len(sizes)]) for _, color, number in kinds],
        "answer": [mood ^ color for mood, color, _ in kinds],
        "mood": [mood for mood, _, _ in kinds],
        "color": [color for _, color, _ in kinds],
    }
    return Dataset.from_dict(columns, features=features)


def clip(heads: dict[str, Any], **config: Any) -> tuple[MultiTaskModel, CLIPProcessor]:
    model = MultiTaskModel(MultiTaskConfig(backbone_config=tiny_backbone_config("clip"), heads=heads, **config))
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    image_processor = CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=size)
    return model, CLIPProcessor(image_processor=image_processor, tokenizer=tiny_tokenizer())


def vilt(heads: dict[str, Any], **config: Any) -> tuple[MultiTaskModel, ViltProcessor]:
    backbone = tiny_backbone_config("vilt", initializer_range=0.2)
    model = MultiTaskModel(MultiTaskConfig(backbone_config=backbone, heads=heads, **config))
    image_processor = ViltImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, size_divisor=8)
    return model, ViltProcessor(image_processor=image_processor, tokenizer=tiny_tokenizer())


def train(
    folder: Path,
    model: MultiTaskModel,
    processor: Any,
    tasks: dict[str, Task],
    mixture: Mixture | None = None,
    **options: Any,
) -> MultiTaskTrainer:
    args = MultiTaskTrainingArguments(
        **{
            "output_dir": str(folder),
            "use_cpu": True,
            "report_to": [],
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_strategy": "no",
            "lr_scheduler_type": "constant",
            "learning_rate": 3e-3,
            "per_device_train_batch_size": 8,
            **options,
        }
    )
    trainer = MultiTaskTrainer(model, args, tasks=tasks, mixture=mixture, processing_class=processor)
    trainer.train()
    return trainer


def both_task(rows: Dataset, *heads: str) -> Task:
    """The task whose rows have a text and an image."""
    return Task(
        dataset={"train": rows, "validation": rows},
        inputs={"text": "text", "images": "picture"},
        labels=dict.fromkeys(heads, "answer"),
    )


def test_only_both_towers_together_know_the_answer(tmp_path: Path) -> None:
    hidden = {"hidden_sizes": [16], "classifier_dropout": 0.0}
    heads = {
        "concat": head(input=BOTH, **hidden),
        "sum": head(input=BOTH, fusion="sum", **hidden),
        "mul": head(input=BOTH, fusion="mul", classifier_dropout=0.0),
        "linear": head(input=BOTH),
        "text": head(input="encoded_text", **hidden),
        "image": head(input="encoded_image", **hidden),
    }
    model, processor = clip(heads)
    assert model.named_heads["concat"].hidden_size == 40
    assert model.named_heads["mul"].hidden_size == 20
    tasks = {"both": both_task(rows_of_both(), *heads)}
    trainer = train(tmp_path / "run", model, processor, tasks, num_train_epochs=40)
    results = trainer.evaluate()
    accuracy = {name: results[f"eval_both_{name}_accuracy"] for name in heads}
    assert accuracy["concat"] == accuracy["sum"] == accuracy["mul"] == 1
    # a sum of what each tower says cannot be an exclusive or, and one tower knows nothing
    assert accuracy["linear"] <= 0.75
    assert accuracy["text"] == accuracy["image"] == 0.5
    trainer.save_model(str(tmp_path / "saved"))
    predictor = MultiTaskPredictor(*load_model(tmp_path / "saved"), batch_size=3)
    rows = [{"text": sentence(mood, 1), "images": picture(color)} for mood, color in KINDS]
    found = predictor([*rows, {"text": sentence(0, 1)}, {"images": picture(0)}])
    for name in ("concat", "sum", "mul"):
        assert [answer[name]["label"] for answer in found[:4]] == [ANSWERS[mood ^ color] for mood, color in KINDS]
    assert [set(answer) for answer in found] == [set(heads)] * 4 + [{"text"}, {"image"}]


def test_tasks_of_text_of_images_and_of_both_over_one_clip(tmp_path: Path) -> None:
    heads = {
        "mood": head(id2label=MOODS, input="encoded_text"),
        "color": {"head_type": "image_classification", "id2label": COLORS},
        "answer": head(input=BOTH, fusion="mul", classifier_dropout=0.0),
    }
    model, processor = clip(heads)
    rows = rows_of_both()
    splits = {"train": rows, "validation": rows}
    tasks = {
        "texts": Task(dataset=splits, inputs={"text": "text"}, labels={"mood": "mood"}),
        "pictures": Task(dataset=splits, inputs={"images": "picture"}, labels={"color": "color"}),
        "both": both_task(rows, "answer"),
    }
    with pytest.raises(InputError, match="tasks 'texts' and 'pictures' read different kinds of input"):
        train(tmp_path, model, processor, tasks)
    trainer = train(tmp_path, model, processor, tasks, Mixture(batches="homogeneous"), num_train_epochs=25)
    results = trainer.evaluate()
    assert results["eval_texts_mood_accuracy"] == 1
    assert results["eval_pictures_color_accuracy"] == 1
    assert results["eval_both_answer_accuracy"] == 1
    answers = MultiTaskPredictor(model, processor)(
        [{"text": sentence(1, 0), "images": picture(0)}, {"images": picture(1)}, {"text": sentence(0, 2)}]
    )
    assert [{name: answer["label"] for name, answer in each.items()} for each in answers] == [
        {"mood": "good", "color": "red", "answer": "different"},
        {"color": "blue"},
        {"mood": "bad"},
    ]


def test_a_batch_has_the_inputs_of_its_task() -> None:
    color = {"head_type": "image_classification", "id2label": COLORS}
    model, processor = clip({"mood": head(id2label=MOODS), "color": color})
    model.eval()
    pixels = processor.image_processor([picture(0), picture(1)], return_tensors="pt")
    text = processor.tokenizer([sentence(0, 0), sentence(1, 1)], return_tensors="pt")
    labels = torch.tensor([0, 1])
    with_text = model(**text, labels={"mood": labels})
    with_images = model(**pixels, labels={"color": labels})
    together = model(**text, **pixels, labels={"mood": labels, "color": labels})
    torch.testing.assert_close(together["mood_logits"], with_text["mood_logits"])
    torch.testing.assert_close(together["color_logits"], with_images["color_logits"])
    torch.testing.assert_close(together["loss"], with_text["loss"] + with_images["loss"])


def test_one_sequence_of_text_and_image(tmp_path: Path) -> None:
    hidden = {"hidden_sizes": [16], "classifier_dropout": 0.0}
    heads = {
        "concat": head(input=BOTH, **hidden),
        "sum": head(input=BOTH, fusion="sum", **hidden),
        "mul": head(input=BOTH, fusion="mul", **hidden),
        # in one sequence each side has seen the other
        "text": head(),
        "image": {"head_type": "image_classification", "id2label": ANSWERS},
    }
    model, processor = vilt(heads)
    # images of two shapes, which are padded to one
    tasks = {"both": both_task(rows_of_both(sizes=((16, 16), (16, 24))), *heads)}
    trainer = train(tmp_path / "run", model, processor, tasks, num_train_epochs=60)
    results = trainer.evaluate()
    assert {name: results[f"eval_both_{name}_accuracy"] for name in heads} == dict.fromkeys(heads, 1)
    trainer.save_model(str(tmp_path / "saved"))
    predictor = MultiTaskPredictor(*load_model(tmp_path / "saved"))
    rows = [{"text": sentence(mood, 1), "images": picture(color, (16, 24))} for mood, color in KINDS]
    for name in heads:
        found = [answer[name]["label"] for answer in predictor(rows)]
        assert found == [ANSWERS[mood ^ color] for mood, color in KINDS]
    with pytest.raises(InputError, match="row 1: a 'vilt' backbone reads text and images together, found text"):
        predictor([rows[0], {"text": "a good one"}])


@pytest.mark.parametrize("inputs", [{"text": "text"}, {"images": "picture"}])
def test_one_sequence_needs_both(inputs: dict[str, str], tmp_path: Path) -> None:
    model, processor = vilt({"answer": head(input="encoded_text" if "text" in inputs else "encoded_image")})
    task = Task(dataset={"train": rows_of_both()}, inputs=inputs, labels={"answer": "answer"})
    message = f"task 'one' reads {next(iter(inputs))}, but a 'vilt' backbone reads text and images together"
    with pytest.raises(InputError, match=message):
        train(tmp_path, model, processor, {"one": task})
