"""What the tests of the training room share: trainers on a tiny model, and rows for every kind of label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from fixtures import INTENTS, MOODS, SLOTS, WORDS, tiny_bert_config, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments, Task

TrainerMaker = Callable[..., MultiTaskTrainer]

_NAMES = {"intent": INTENTS, "slots": SLOTS, "mood": MOODS}
_TYPES = {"intent": "sequence_classification", "slots": "token_classification", "mood": "sequence_classification"}


def _quiet_model(**config: Any) -> MultiTaskModel:
    """The heads of `two_tasks` (or `heads`) on a tiny BERT, without any dropout."""
    default = {name: {"head_type": _TYPES[name], "id2label": _NAMES[name]} for name in _NAMES}
    heads = {
        name: {"classifier_dropout": 0.0, **head} for name, head in (config.pop("heads", None) or default).items()
    }
    bert = tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return tiny_model(heads, bert, **config)


@pytest.fixture
def quiet_model() -> Callable[..., MultiTaskModel]:
    """Makes a tiny model without dropout, with the heads of `two_tasks` unless others are given."""
    return _quiet_model


@pytest.fixture
def make_trainer(tmp_path: Path) -> TrainerMaker:
    """Makes a trainer: `make_trainer(model, tasks, mixture=..., callbacks=..., **training arguments)`."""

    def make(model: MultiTaskModel, tasks: dict[str, Task], **given: Any) -> MultiTaskTrainer:
        own = {name: given.pop(name) for name in ("mixture", "callbacks", "data_collator") if name in given}
        defaults: dict[str, Any] = {
            "output_dir": str(tmp_path / "out"),
            "use_cpu": True,
            "report_to": [],
            "disable_tqdm": True,
            "save_strategy": "no",
            "per_device_train_batch_size": 4,
            "logging_steps": 1,
        }
        args = MultiTaskTrainingArguments(**{**defaults, **given})
        return MultiTaskTrainer(model, args, tasks=tasks, processing_class=tiny_tokenizer(), **own)

    return make


ALL_KINDS: dict[str, dict[str, Any]] = {
    "single": {"head_type": "sequence_classification", "id2label": ["a", "b", "c"]},
    "several": {
        "head_type": "sequence_classification",
        "id2label": ["x", "y", "z"],
        "problem_type": "multi_label_classification",
    },
    "tags": {"head_type": "token_classification", "id2label": SLOTS},
    "score": {"head_type": "regression"},
}


@pytest.fixture
def all_kinds() -> tuple[dict[str, Task], dict[str, dict[str, Any]]]:
    """
    Two tasks, and the heads that they feed: one label, several, one a word, a number.

    `labelled` has 16 rows of 2 to 6 words, each kind of label missing in some of them; `extra` has 6 rows, which feed
    the head `single`, too.
    """
    rows = [
        {
            "tokens": [WORDS[(index * 5 + place * 3) % len(WORDS)] for place in range(2 + index % 5)],
            "single": None if index % 3 == 0 else index % 3,
            "several": None if index % 4 == 1 else [label for label in range(3) if (index >> label) % 2],
            "tags": None if index % 5 in (0, 1) else [(index + place) % 2 for place in range(2 + index % 5)],
            "score": None if index % 2 else index / 2 - 3.0,
        }
        for index in range(16)
    ]
    features = Features(
        {
            "tokens": List(Value("string")),
            "single": ClassLabel(names=["a", "b", "c"]),
            "several": List(ClassLabel(names=["x", "y", "z"])),
            "tags": List(ClassLabel(names=SLOTS)),
            "score": Value("float64"),
        }
    )
    labelled = Dataset.from_list(rows, features=features)
    extra = Dataset.from_list(
        [{"text": f"the {WORDS[index]} is {WORDS[index + 9]}", "label": index % 2} for index in range(6)],
        features=Features({"text": Value("string"), "label": ClassLabel(names=["c", "a"])}),
    )
    tasks = {
        "labelled": Task(
            dataset={"train": labelled, "validation": labelled},
            inputs={"tokens": "tokens"},
            labels={name: name for name in ALL_KINDS},
        ),
        "extra": Task(
            dataset={"train": extra, "validation": extra}, inputs={"text": "text"}, labels={"single": "label"}
        ),
    }
    return tasks, ALL_KINDS
