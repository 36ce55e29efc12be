"""
Tiny models, tokenizers and tasks that need no download. Tests write `from fixtures import ...`.

- `VOCABULARY`, `tiny_tokenizer`, `sub_word_tokenizer`: two tokenizers over one list of words, whose ids agree.
- `tiny_bert_config`, `HEADS`, `tiny_config`, `tiny_model`: 2 layers, 32 wide, 4 heads, for either tokenizer.
- `two_tasks`, `TASK_HEADS`: two small tasks that a tiny model can learn, and the heads that they feed.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, PreTrainedConfig, PreTrainedTokenizerFast

from mt_transformers import MultiTaskConfig, MultiTaskModel, Task

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
"""Ids 0 to 4 of both tokenizers."""

SINGERS = ["adele", "björk", "cher", "dido"]
CITIES = ["rome", "oslo", "lima", "cairo"]
GOOD = ["great", "lovely", "superb", "fine"]
BAD = ["awful", "dull", "boring", "poor"]
NOUNS = ["film", "book", "song", "play"]
WORDS = [*SINGERS, *CITIES, *GOOD, *BAD, *NOUNS, "weather", "by", "in", "the", "is", "a", ".", "new", "old", "music"]
"""Words that both tokenizers have in one piece."""

PIECES = ["york", "un", "##york", "##ing", "##er", "##s", "##happy", "sing"]
"""Pieces of words that only the sub-word tokenizer makes use of."""

SPLIT_WORDS = {
    "newyork": ["new", "##york"],
    "singers": ["sing", "##er", "##s"],
    "unhappy": ["un", "##happy"],
    "playing": ["play", "##ing"],
}
"""Words that the sub-word tokenizer splits, with their pieces; one token each for the word-level tokenizer."""

VOCABULARY = [*SPECIAL_TOKENS, *WORDS, *PIECES, *SPLIT_WORDS]
"""All tokens; a token's place is its id."""

INTENTS = ["PlayMusic", "GetWeather"]
SLOTS = ["O", "B-singer", "I-singer", "B-city", "I-city"]
MOODS = ["negative", "positive"]

HEADS: dict[str, dict[str, Any]] = {
    "intent": {"head_type": "sequence_classification", "id2label": ["PlayMusic", "GetWeather", "BookTable"]},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "stars": {"head_type": "regression", "mean": [3.0], "std": [2.0]},
}
"""One complete head of each type: `intent` (3 classes), `slots` (5 BIO tags), `stars` (1 number)."""

TASK_HEADS: dict[str, dict[str, Any]] = {
    "intent": {"head_type": "sequence_classification"},
    "slots": {"head_type": "token_classification"},
    "mood": {"head_type": "sequence_classification"},
}
"""The heads that [`two_tasks`] feed. Their label names are left to the data: `INTENTS`, `SLOTS`, `MOODS`."""


def tiny_tokenizer(padding_side: str = "right") -> PreTrainedTokenizerFast:
    """
    A word-level tokenizer: each word of `VOCABULARY` is one token, any other is [UNK].

    Args:
        padding_side (`str`, *optional*, defaults to `"right"`): `right` or `left`.

    Example:
        >>> tiny_tokenizer()(["play", "dido"]).input_ids[0]
        [2, 24, 3]
    """
    ids = {token: index for index, token in enumerate(VOCABULARY)}
    return _bert_like(models.WordLevel(ids, unk_token="[UNK]"), padding_side)


def sub_word_tokenizer(padding_side: str = "right") -> PreTrainedTokenizerFast:
    """
    A WordPiece tokenizer, whose ids are those of [`tiny_tokenizer`]: it splits the words of `SPLIT_WORDS`.

    Args:
        padding_side (`str`, *optional*, defaults to `"right"`): `right` or `left`.

    Example:
        >>> sub_word_tokenizer().tokenize("cher in newyork")
        ['cher', 'in', 'new', '##york']
    """
    ids = {token: index for index, token in enumerate(VOCABULARY) if token not in SPLIT_WORDS}
    return _bert_like(models.WordPiece(ids, unk_token="[UNK]"), padding_side)


def _bert_like(model: models.Model, padding_side: str) -> PreTrainedTokenizerFast:
    """The tokenizer around a model: split as BERT does, with [CLS] and [SEP]."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", VOCABULARY.index("[SEP]")), ("[CLS]", VOCABULARY.index("[CLS]"))
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side=padding_side,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def tiny_bert_config(**changes: Any) -> BertConfig:
    """A BERT of 2 layers, 32 wide, 4 heads, 64 positions, with the vocabulary of both tokenizers."""
    values = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    return BertConfig(**{**values, **changes})


def tiny_config(
    heads: dict[str, Any] | None = None, backbone_config: PreTrainedConfig | None = None, **config: Any
) -> MultiTaskConfig:
    """A config over a tiny BERT (or `backbone_config`), with `HEADS` unless others are given."""
    return MultiTaskConfig(
        backbone_config=tiny_bert_config() if backbone_config is None else backbone_config,
        heads=HEADS if heads is None else heads,
        **config,
    )


def tiny_model(
    heads: dict[str, Any] | None = None, backbone_config: PreTrainedConfig | None = None, **config: Any
) -> MultiTaskModel:
    """
    A model with random weights in evaluation mode: no dropout until `.train()`.

    Args:
        heads (`dict[str, dict]`, *optional*): Fields of each head, `HEADS` by default.
        backbone_config (`PreTrainedConfig`, *optional*): Another backbone than a tiny BERT.
        config (`Any`): Further fields of [`MultiTaskConfig`], such as `loss_weights`.

    Example:
        >>> list(tiny_model().heads)
        ['intent', 'slots', 'stars']
    """
    return MultiTaskModel(tiny_config(heads, backbone_config, **config)).eval()


def tiny_inputs(rows: int = 4, length: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """
    Random token ids, padded on the right: row i has i % 3 tokens of padding.

    Args:
        rows (`int`, *optional*, defaults to 4): Rows.
        length (`int`, *optional*, defaults to 6): Length of the longest (tokens), 4 at least.
        seed (`int`, *optional*, defaults to 0): Which ids.

    Returns:
        `dict[str, torch.Tensor]`: `input_ids` and `attention_mask`, both of shape `(rows, length)`.
    """
    generator = torch.Generator().manual_seed(seed)
    first = len(SPECIAL_TOKENS)
    input_ids = torch.randint(first, len(VOCABULARY), (rows, length), generator=generator)
    lengths = length - torch.arange(rows) % 3
    attention_mask = (torch.arange(length) < lengths.unsqueeze(1)).long()
    return {"input_ids": input_ids * attention_mask, "attention_mask": attention_mask}


def two_tasks() -> dict[str, Task]:
    """
    Two small tasks, in memory, which a tiny model can learn.

    - `requests`: columns `tokens`, `intent` (ClassLabel), `slots` (list of ClassLabel); 16, 8 and 8 rows of train,
      validation and test; feeds the heads `intent` and `slots`.
    - `moods`: columns `text`, `label` (ClassLabel); 8, 4 and 4 rows; feeds the head `mood`.
    """
    return {
        "requests": Task(
            dataset=_splits(_requests(), 16),
            inputs={"tokens": "tokens"},
            labels={"intent": "intent", "slots": "slots"},
        ),
        "moods": Task(dataset=_splits(_moods(), 8), inputs={"text": "text"}, labels={"mood": "label"}),
    }


def _requests() -> Dataset:
    rows = []
    for index in range(32):
        singer, city, new = SINGERS[index // 2 % 4], CITIES[index // 2 % 4], index // 8 % 2 == 1
        if index % 2 == 0:
            tokens, slots = ["play", "music", "by", singer], [0, 0, 0, 1]
        else:
            tokens, slots = ["weather", "in", city], [0, 0, 3]
        if new:
            tokens, slots = [*tokens[:-1], "new", tokens[-1]], [*slots[:-1], slots[-1], slots[-1] + 1]
        rows.append({"tokens": tokens, "intent": index % 2, "slots": slots})
    features = Features(
        {"tokens": List(Value("string")), "intent": ClassLabel(names=INTENTS), "slots": List(ClassLabel(names=SLOTS))}
    )
    return Dataset.from_list(rows, features=features)


def _moods() -> Dataset:
    rows = []
    for index in range(16):
        word = (GOOD if index % 2 else BAD)[index // 2 % 4]
        rows.append({"text": f"the {NOUNS[index // 4]} is {word} .", "label": index % 2})
    return Dataset.from_list(rows, features=Features({"text": Value("string"), "label": ClassLabel(names=MOODS)}))


def _splits(rows: Dataset, train: int) -> DatasetDict:
    """The first `train` rows, then half as many for validation and for test."""
    validation = train + train // 2
    return DatasetDict(
        {
            "train": rows.select(range(train)),
            "validation": rows.select(range(train, validation)),
            "test": rows.select(range(validation, validation + train // 2)),
        }
    )
