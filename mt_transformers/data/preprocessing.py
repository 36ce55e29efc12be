"""From the rows of a task to rows that a collator can put together."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import datasets
from datasets.fingerprint import Hasher

from ..errors import InputError, check_known
from ..heads import HeadConfig, LabelSource
from ..version import __version__
from .dataset import LABEL_PREFIX
from .task import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["RowEncoder", "complete_heads", "find_max_length", "make_encoder", "prepare_split"]

_NO_LIMIT = 1_000_000


def complete_heads(
    heads: Mapping[str, HeadConfig], sources: Mapping[str, Sequence[LabelSource]], all_fed: bool = True
) -> None:
    """
    Fill what the heads' configs leave open from the label columns, and check that heads and columns fit.

    Args:
        heads (`Mapping[str, HeadConfig]`): The heads; their configs are changed.
        sources (`Mapping[str, Sequence[LabelSource]]`): For each head its label columns.
        all_fed (`bool`, *optional*, defaults to `True`): Whether a head that no task feeds is an error.

    Raises:
        InputError: If a task feeds an unknown head, a head is fed by none, or a column cannot train its head.
    """
    for name, columns in sources.items():
        check_known([name], heads, f"{columns[0].where}", "head")
    for name, config in heads.items():
        if name in sources:
            try:
                config.complete(sources[name])
            except InputError as error:
                raise InputError(f"head {name!r}: {error}") from error
        elif all_fed:
            raise InputError(f"head {name!r}: no task has labels for it. Heads with labels: {', '.join(sources)}.")


def find_max_length(
    tokenizer: PreTrainedTokenizerBase, max_positions: int | None, asked: int | None = None
) -> int | None:
    """
    Length to which rows are cut (tokens): what was asked for, else the most that tokenizer and backbone take.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Its `model_max_length` is a limit.
        max_positions (`int`, *optional*): Positions that the backbone has.
        asked (`int`, *optional*): What the user asked for.

    Returns:
        `int` or `None`: The length, None if nothing limits it.

    Raises:
        InputError: If more was asked for than tokenizer and backbone take, or less than 3.
    """
    limits = [limit for limit in (tokenizer.model_max_length, max_positions) if limit and limit < _NO_LIMIT]
    limit = min(limits, default=None)
    if asked is None:
        return limit
    if asked < 3 or (limit is not None and asked > limit):
        raise InputError(f"max_length: expected 3 to {limit or 'any number of'} tokens, found {asked}.")
    return asked


def prepare_split(
    task_name: str,
    task: Task,
    split_name: str,
    split: datasets.Dataset,
    heads: Mapping[str, HeadConfig],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    num_proc: int | None = None,
) -> datasets.Dataset:
    """
    Tokenize the inputs of a split and encode its labels, through the cache of `datasets`.

    Args:
        task_name (`str`): The task.
        task ([`Task`]): Its columns.
        split_name (`str`): The split, for messages.
        split (`datasets.Dataset`): Its rows.
        heads (`Mapping[str, HeadConfig]`): The heads, complete.
        tokenizer (`PreTrainedTokenizerBase`): A fast tokenizer.
        max_length (`int`, *optional*): Length to which rows are cut (tokens).
        num_proc (`int`, *optional*): Processes to work with.

    Returns:
        `datasets.Dataset`: Columns `input_ids` and what else the tokenizer gives, `length` (tokens), and for each
        head of the task `labels_<head>`.

    Raises:
        InputError: If a value is missing or wrong, naming task, column, row and value.
    """
    encoder = make_encoder(task_name, task, split_name, split.features, heads, tokenizer, max_length)
    prepared = split.map(
        encoder,
        batched=True,
        with_indices=True,
        remove_columns=split.column_names,
        num_proc=num_proc if num_proc and num_proc > 1 and len(split) > 1000 else None,
        new_fingerprint=_fingerprint(split, encoder),
        desc=f"Preparing {task_name} {split_name}",
    )
    _warn_of_lost_words(encoder.where, prepared)
    return prepared.remove_columns(["cut_words", "unseen_words"])


def make_encoder(
    task_name: str,
    task: Task,
    split_name: str,
    features: Mapping[str, Any],
    heads: Mapping[str, HeadConfig],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
) -> RowEncoder:
    """
    Make what prepares a split's rows, after a check that task, heads and tokenizer fit.

    Args:
        task_name (`str`): The task.
        task ([`Task`]): Its columns.
        split_name (`str`): The split, for messages.
        features (`Mapping[str, Any]`): `datasets` features of the columns.
        heads (`Mapping[str, HeadConfig]`): The heads, complete.
        tokenizer (`PreTrainedTokenizerBase`): A fast tokenizer.
        max_length (`int`, *optional*): Length to which rows are cut (tokens).

    Returns:
        [`RowEncoder`]: For `map(..., batched=True, with_indices=True)`.

    Raises:
        InputError: If they do not fit.
    """
    _check_tokenizer(task_name, task, heads, tokenizer)
    return RowEncoder(
        where=f"task {task_name!r}, split {split_name!r}",
        inputs=task.inputs,
        labels={
            head: (heads[head], LabelSource(task_name, column, features[column], list))
            for head, column in task.labels.items()
        },
        tokenizer=tokenizer,
        max_length=max_length,
    )


def _check_tokenizer(
    task_name: str, task: Task, heads: Mapping[str, HeadConfig], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse what would put labels of words in the wrong place, before any row is read."""
    if not tokenizer.is_fast:
        raise InputError(f"expected a fast tokenizer, found {type(tokenizer).__name__}.")
    for head in task.labels:
        if heads[head].word_level and "tokens" not in task.inputs:
            raise InputError(
                f"task {task_name!r}: head {head!r} labels words, but the input is a text. "
                "Name a column with lists of words as 'tokens'."
            )
        if heads[head].word_level and tokenizer.truncation_side != "right":
            raise InputError(
                f"task {task_name!r}: head {head!r} labels words, expected a tokenizer whose truncation_side is "
                f"'right', found {tokenizer.truncation_side!r}."
            )


def _fingerprint(split: datasets.Dataset, encoder: RowEncoder) -> str:
    """Names the cache file by all that the result depends on, and by nothing that changes from run to run."""
    heads = {head: (config.to_dict(), source.column) for head, (config, source) in encoder.labels.items()}
    tokenizer = encoder.tokenizer
    # a call leaves its truncation and padding in the tokenizer: no part of what it is
    state = {**json.loads(tokenizer.backend_tokenizer.to_str()), "truncation": None, "padding": None}
    sides = [tokenizer.truncation_side, tokenizer.model_input_names, encoder.max_length]
    parts = [split._fingerprint, encoder.where, encoder.inputs, heads, state, sides, __version__]
    return str(Hasher.hash(json.dumps(parts, sort_keys=True)))


def _warn_of_lost_words(where: str, prepared: datasets.Dataset) -> None:
    cut, unseen = sum(prepared["cut_words"]), sum(prepared["unseen_words"])
    if cut:
        warnings.warn(f"{where}: {cut} words lie behind the maximum length, their labels are not used.", stacklevel=3)
    if unseen:
        warnings.warn(f"{where}: {unseen} words have no sub-token, their labels are not used.", stacklevel=3)


@dataclass
class RowEncoder:
    """Turns a batch of rows into model inputs and encoded labels."""

    where: str
    inputs: dict[str, str]
    labels: dict[str, tuple[HeadConfig, LabelSource]]
    tokenizer: PreTrainedTokenizerBase
    max_length: int | None

    def __call__(self, batch: Mapping[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
        columns = [self.inputs[part] for part in ("text", "text_pair", "tokens") if part in self.inputs]
        texts = [batch[column] for column in columns]
        for column, values in zip(columns, texts, strict=True):
            self._check_texts(column, values, rows)
        split_into_words = "tokens" in self.inputs
        encoding = self.tokenizer(
            *texts,
            is_split_into_words=split_into_words,
            truncation=self.max_length is not None,
            max_length=self.max_length,
            return_attention_mask=False,
        )
        word_ids = [encoding.word_ids(index) for index in range(len(rows))] if split_into_words else []
        encoded: dict[str, list[Any]] = {**encoding, "length": [len(ids) for ids in encoding["input_ids"]]}
        encoded["cut_words"], encoded["unseen_words"] = self._lost_words(texts[0], word_ids, len(rows))
        for head, (config, source) in self.labels.items():
            values = batch[source.column]
            if config.word_level:
                self._check_word_labels(source, texts[0], values, rows)
            encoded[LABEL_PREFIX + head] = config.encode_labels(values, source, rows, word_ids)
        return encoded

    def _check_texts(self, column: str, values: list[Any], rows: list[int]) -> None:
        for row, value in zip(rows, values, strict=True):
            if value is None or (isinstance(value, list) and None in value):
                raise InputError(f"{self.where}, column {column!r}, row {row}: expected a text, found None.")

    def _check_word_labels(self, source: LabelSource, words: list[Any], values: list[Any], rows: list[int]) -> None:
        for row, row_words, value in zip(rows, words, values, strict=True):
            if value is not None and len(value) != len(row_words):
                raise InputError(
                    f"{self.where}, column {source.column!r}, row {row}: expected {len(row_words)} labels, "
                    f"one for each word, found {len(value)}."
                )

    def _lost_words(
        self, words: list[Any], word_ids: list[list[int | None]], rows: int
    ) -> tuple[list[int], list[int]]:
        """For each row the words behind the maximum length, and those before it without a sub-token."""
        if not any(config.word_level for config, _ in self.labels.values()):
            return [0] * rows, [0] * rows
        cut, unseen = [], []
        for row_words, ids in zip(words, word_ids, strict=True):
            seen = {word for word in ids if word is not None}
            end = max(seen, default=-1) + 1
            full = self.max_length is not None and len(ids) >= self.max_length
            cut.append(len(row_words) - end if full else 0)
            unseen.append((end if full else len(row_words)) - len(seen))
        return cut, unseen
