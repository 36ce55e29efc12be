"""Unlabelled texts for heads that predict tokens, and tiny trainings on them. Tests import from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, Value
from transformers import GPT2Config, PreTrainedConfig

from fixtures import BAD, CITIES, GOOD, MOODS, NOUNS, VOCABULARY, tiny_bert_config, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments, Task

TEXTS = [
    "play music by adele",
    "weather in rome",
    "the film is great .",
    "the book is dull .",
    "the new song by dido is superb .",
    "a boring play in oslo",
]
"""Six texts of 3 to 8 tokens, special ones left out."""

MLM, CLM = "masked_language_modeling", "causal_language_modeling"

HEAD_TYPES = {MLM: "bert", CLM: "gpt2"}
"""Each head type with a backbone that suits it."""


def quiet_config(family: str, **changes: Any) -> PreTrainedConfig:
    """The config of a tiny BERT or GPT-2 without dropout, for the tiny tokenizers."""
    if family == "bert":
        return tiny_bert_config(**{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **changes})
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": len(VOCABULARY)}
    return GPT2Config(**{**sizes, **dropout, "bos_token_id": 2, "eos_token_id": 3, **changes})


def raw_task(texts: list[str] | None = None, head: str = "lm") -> Task:
    """A task of texts without labels; the validation rows are the training rows."""
    rows = Dataset.from_dict({"text": TEXTS if texts is None else texts})
    return Task(dataset={"train": rows, "validation": rows}, inputs={"text": "text"}, labels={head: None})


def moods_task(**labels: Any) -> Task:
    """A task of 12 texts with a mood, for the head `mood` and what else is given."""
    words = [*GOOD[:3], *BAD[:3]]
    rows = [{"text": f"the {noun} is {word} .", "label": word in GOOD} for noun in NOUNS[:2] for word in words]
    features = Features({"text": Value("string"), "label": ClassLabel(names=MOODS)})
    dataset = Dataset.from_list(rows, features=features)
    return Task(
        dataset={"train": dataset, "validation": dataset}, inputs={"text": "text"}, labels={"mood": "label", **labels}
    )


def cities_task() -> Task:
    """A task of 8 texts without labels, for the head `lm`."""
    return raw_task([f"{start} in {city}" for city in CITIES for start in ("weather", "the new music")])


def language_model(head_type: str, **fields: Any) -> MultiTaskModel:
    """A model with one head `lm` of that type on a backbone that suits it, without dropout."""
    return tiny_model({"lm": {"head_type": head_type, **fields}}, quiet_config(HEAD_TYPES[head_type]))


def make_trainer(model: MultiTaskModel, tasks: dict[str, Task], folder: Path, **given: Any) -> MultiTaskTrainer:
    """A trainer on the CPU that saves and logs nothing, unless told otherwise."""
    own = {name: given.pop(name) for name in ("mixture", "processing_class") if name in given}
    defaults: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "per_device_train_batch_size": 4,
        "learning_rate": 5e-3,
    }
    args = MultiTaskTrainingArguments(**{**defaults, **given})
    return MultiTaskTrainer(model, args, tasks=tasks, **{"processing_class": tiny_tokenizer(), **own})
