"""
A tiny task for every head type. Tests write `from head_tasks import ...`.

- `TASKS`: head type -> a task with a train split, and what its head's config says beside the type.
- `processing_for`: what prepares the inputs of a family of backbones.
- `head_batch`: a batch of the task of a head type, as the trainer would make it, and the head's complete config.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import ViTImageProcessor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from backbones import AUDIO, IMAGE_SIZE, IMAGES, MEL_BINS, SAMPLES, TWO_INPUTS
from fixtures import GOOD, NOUNS, tiny_tokenizer
from mt_transformers import DataCollatorForMultiTask, HeadConfig, Task, get_head_config
from mt_transformers.data import (
    MultiTaskDataset,
    Processing,
    complete_heads,
    label_sources,
    load_splits,
    prepare_split,
)

ROWS = 4
WHISPER_SECONDS = 0.03
"""Length to which Whisper's features are padded: 24 frames at 800 a second."""


@dataclass(frozen=True)
class HeadTask:
    """The task of a head type."""

    inputs: dict[str, Any]
    labels: Any
    fields: dict[str, Any] = field(default_factory=dict)


TASKS: dict[str, HeadTask] = {
    "sequence_classification": HeadTask({"text": "text"}, "mood"),
    "regression": HeadTask({"text": "text", "text_pair": "other"}, "stars"),
    "token_classification": HeadTask({"tokens": "tokens"}, "tags", {"crf": True}),
    "dependency_parsing": HeadTask(
        {"tokens": "tokens"}, {"heads": "heads", "deprels": "deprels"}, {"arc_size": 8, "relation_size": 4}
    ),
    "lemmatization": HeadTask({"tokens": "tokens"}, "lemmas"),
    "question_answering": HeadTask({"question": "other", "context": "text"}, "answers"),
    "multiple_choice": HeadTask({"text": "text", "choices": "choices"}, "choice"),
    "masked_language_modeling": HeadTask({"text": "text"}, None),
    "causal_language_modeling": HeadTask({"text": "text"}, None),
    "sentence_similarity": HeadTask({"sentences": ["text", "other"]}, "stars"),
    "preference": HeadTask({"chosen": "text", "rejected": "other"}, None),
    "image_classification": HeadTask({"images": "images"}, "mood"),
    "audio_classification": HeadTask({"audio": "audio"}, "mood"),
}


@lru_cache
def _rows() -> Dataset:
    generator = np.random.default_rng(0)
    rows = [
        {
            "text": f"the {noun} is {good}" + " ." * (number % 2),
            "other": f"is the {noun}",
            "tokens": ["the", noun, "is", good],
            "mood": number % 2,
            "stars": float(number),
            "tags": [0, 1, 0, 2 - number % 2],
            "heads": [2, 3, 0, 3],
            "deprels": ["det", "nsubj", "root", "xcomp" if number % 2 else "obj"],
            "lemmas": ["the", noun, "be", good],
            "answers": {"text": [noun], "answer_start": [4]},
            "choices": ["great", "poor", "dull"][: 2 + number % 2],
            "choice": number % 2,
            "images": generator.integers(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3)).tolist(),
            "audio": generator.normal(size=SAMPLES - 40 * (number % 2)).tolist(),
        }
        for number, (noun, good) in enumerate(zip(NOUNS, GOOD, strict=True))
    ]
    words = List(Value("string"))
    features = Features(
        {
            **{name: Value("string") for name in ("text", "other")},
            **dict.fromkeys(("tokens", "deprels", "lemmas", "choices"), words),
            "mood": ClassLabel(names=["bad", "good"]),
            "stars": Value("float32"),
            "tags": List(ClassLabel(names=["O", "B-x", "I-x"])),
            "heads": List(Value("int32")),
            "answers": {"text": words, "answer_start": List(Value("int32"))},
            "choice": Value("int64"),
            "images": List(List(List(Value("uint8")))),
            "audio": List(Value("float32")),
        }
    )
    return Dataset.from_list(rows[:ROWS], features=features)


def task_for(head_type: str, family: str) -> Task:
    """The task of a head type; a head that reads anything reads what the family does."""
    found = TASKS[head_type]
    inputs: dict[str, Any] = dict(found.inputs)
    if head_type in ("sequence_classification", "regression"):
        if family in IMAGES:
            inputs = {"images": "images"}
        elif family in AUDIO:
            inputs = {"audio": "audio"}
    if family == "vilt":
        inputs |= {"images": "images"} | ({"text": "text"} if head_type == "image_classification" else {})
    return Task(dataset={"train": _rows()}, inputs=inputs, labels={"head": found.labels})


def processing_for(family: str) -> Processing:
    """What prepares the inputs of a family."""
    images = ViTImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    if family in IMAGES:
        return Processing(image_processor=images)
    if family == "whisper":
        whisper = WhisperFeatureExtractor(
            feature_size=MEL_BINS, sampling_rate=16000, hop_length=20, chunk_length=1, n_fft=40
        )
        whisper.n_samples, whisper.nb_max_frames = 480, 24
        return Processing(feature_extractor=whisper)
    if family in AUDIO:
        return Processing(feature_extractor=Wav2Vec2FeatureExtractor(return_attention_mask=True))
    return Processing(tokenizer=tiny_tokenizer(), image_processor=images if family in TWO_INPUTS else None)


@lru_cache
def _complete_fields(head_type: str) -> dict[str, Any]:
    config = get_head_config("head", {"head_type": head_type, **TASKS[head_type].fields})
    task = task_for(head_type, "bert")
    complete_heads({"head": config}, label_sources({"task": task}, {"task": load_splits("task", task)}))
    config.complete_from_tokenizer(tiny_tokenizer())
    return config.to_dict()


def head_config(head_type: str, **fields: Any) -> HeadConfig:
    """The config of a head type, complete but for what the backbone settles."""
    return get_head_config("head", {**_complete_fields(head_type), **fields})


def head_batch(head_type: str, family: str, config: HeadConfig) -> dict[str, Any]:
    """All rows of the task as one batch, without `task_index`."""
    task, processing = task_for(head_type, family), processing_for(family)
    split = prepare_split("task", task, "train", load_splits("task", task)["train"], {"head": config}, processing, 32)
    rows = MultiTaskDataset({"task": split}).__getitems__(range(ROWS))
    batch = DataCollatorForMultiTask(processing, {"head": config})(rows)
    del batch["task_index"]
    return batch
