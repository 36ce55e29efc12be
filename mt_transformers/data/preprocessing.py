"""From the rows of a task to rows that a collator can put together."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import datasets
from datasets.fingerprint import Hasher

from ..errors import InputError, check_known
from ..heads import EncodedRows, HeadConfig, LabelSource
from ..version import __version__
from .dataset import GOLD_PREFIX, LABEL_PREFIX, MORE_PREFIX
from .inputs import APART, MEDIA, encode_texts, outputs_given, text_inputs
from .media_columns import MediaChecker, add_media
from .processing import Processing
from .task import Task, make_source, read_input, read_labels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["RowEncoder", "complete_heads", "find_max_length", "make_encoder", "name_media", "prepare_split"]

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
            for source in sources[name]:
                column = None if source.feature is None else source.column
                _check_column(f"task {source.task_name!r}, head {name!r}", column, config)
            try:
                config.complete(sources[name])
            except InputError as error:
                raise InputError(f"head {name!r}: {error}") from error
        elif all_fed:
            raise InputError(f"head {name!r}: no task has labels for it. Heads with labels: {', '.join(sources)}.")


def find_max_length(
    tokenizer: PreTrainedTokenizerBase | None, max_positions: int | None, asked: int | None = None
) -> int | None:
    """
    Length to which rows are cut (tokens): what was asked for, else the most that tokenizer and backbone take.

    Args:
        tokenizer (`PreTrainedTokenizerBase`, *optional*): Its `model_max_length` is a limit.
        max_positions (`int`, *optional*): Positions that the backbone has.
        asked (`int`, *optional*): What the user asked for.

    Returns:
        `int` or `None`: The length, None if nothing limits it.

    Raises:
        InputError: If more was asked for than tokenizer and backbone take, or less than 3.
    """
    own = None if tokenizer is None else tokenizer.model_max_length
    limits = [limit for limit in (own, max_positions) if limit and limit < _NO_LIMIT]
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
    processing_class: Any,
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
        processing_class (`Any`): A fast tokenizer, or what else the inputs need, see [`Processing`].
        max_length (`int`, *optional*): Length to which rows are cut (tokens).
        num_proc (`int`, *optional*): Processes to work with.

    Returns:
        `datasets.Dataset`: Columns `input_ids` and what else the tokenizer gives, the same with `more_` in front for
        all sequences of the row, `images` or `audio` as they were, `length` (tokens of the longest sequence, without
        text samples of the recording if it is an array, else 1), and for each head of the task `labels_<head>`, and
        `gold_<head>` where metrics need more than labels.

    Raises:
        InputError: If a value is missing or wrong, naming task, column, row and value.
    """
    encoder = make_encoder(task_name, task, split_name, split.features, heads, processing_class, max_length)
    split = name_media(split, task, encoder.processing)
    processes = num_proc if num_proc and num_proc > 1 and len(split) > 1000 else None
    prepared = split.map(
        encoder,
        batched=True,
        with_indices=True,
        remove_columns=split.column_names,
        num_proc=processes,
        new_fingerprint=_fingerprint(split, encoder),
        desc=f"Preparing {task_name} {split_name}",
    )
    _warn_of_lost_words(encoder.where, prepared)
    prepared = prepared.remove_columns(["cut_words", "unseen_words"])
    return add_media(prepared, split, encoder.media_checker, processes)


def name_media(split: Any, task: Task, processing: Processing) -> Any:
    """
    Give the column with images or audio the name of the input; it is read when batches are put together.

    Args:
        split (`datasets.Dataset` or `datasets.IterableDataset`): The rows.
        task ([`Task`]): Its inputs.
        processing ([`Processing`]): Audio is decoded at the rate of its feature extractor.

    Returns:
        `datasets.Dataset` or `datasets.IterableDataset`: The rows, other columns as they were.
    """
    for name in MEDIA:
        column = task.inputs.get(name)
        if not isinstance(column, str):
            continue
        if column != name:
            others = [name] if name in split.column_names else []
            split = split.remove_columns(others).rename_column(column, name)
        feature = split.features[name]
        if isinstance(feature, datasets.Audio) and feature.decode:
            rate = processing.feature_extractor.sampling_rate
            split = split.cast_column(name, datasets.Audio(sampling_rate=rate))
    return split


def make_encoder(
    task_name: str,
    task: Task,
    split_name: str,
    features: Mapping[str, Any],
    heads: Mapping[str, HeadConfig],
    processing_class: Any,
    max_length: int | None,
) -> RowEncoder:
    """
    Make what prepares a split's rows, after a check that task, heads and processing fit.

    Args:
        task_name (`str`): The task.
        task ([`Task`]): Its columns.
        split_name (`str`): The split, for messages.
        features (`Mapping[str, Any]`): `datasets` features of the columns.
        heads (`Mapping[str, HeadConfig]`): The heads, complete.
        processing_class (`Any`): A fast tokenizer, or what else the inputs need, see [`Processing`].
        max_length (`int`, *optional*): Length to which rows are cut (tokens).

    Returns:
        [`RowEncoder`]: For `map(..., batched=True, with_indices=True)`.

    Raises:
        InputError: If they do not fit.
    """
    processing = Processing.of(processing_class)
    processing.check(f"task {task_name!r}", task.inputs)
    for head in task.labels:
        _check_head(f"task {task_name!r}, head {head!r}", task, task.labels[head], heads[head], processing)
    return RowEncoder(
        where=f"task {task_name!r}, split {split_name!r}",
        task=task,
        labels={
            head: (heads[head], make_source(task_name, task, head, features, _read_nothing)) for head in task.labels
        },
        processing=processing,
        max_length=max_length,
    )


def _read_nothing(columns: list[str]) -> dict[str, list[Any]]:
    return {column: [] for column in columns}


def _check_column(where: str, column: Any, config: HeadConfig) -> None:
    """Refuse a task without a column for a head that needs one, and with one for a head that makes its labels."""
    if column is None and config.label_column == "required":
        raise InputError(f"{where}: {config.head_type} needs a column with labels, found none.")
    if column is not None and config.label_column == "none":
        raise InputError(
            f"{where}: {config.head_type} makes its labels from the input: expected no column, found {column!r}."
        )


def _check_head(where: str, task: Task, column: Any, config: HeadConfig, processing: Processing) -> None:
    """Refuse a task that cannot train a head, before any row is read."""
    lacking = [name for name in config.task_inputs if name not in task.inputs]
    if lacking:
        expected, found = ", ".join(config.task_inputs), ", ".join(task.inputs)
        raise InputError(f"{where}: {config.head_type} needs the inputs {expected}, found {found}.")
    given = outputs_given(task.inputs)
    lacking = [name for name in config.inputs if name != "auto" and name not in given]
    if lacking:
        raise InputError(f"{where} reads {lacking[0]}, but the task's input is {', '.join(task.inputs)}.")
    apart = [name for name in task.inputs if name in APART]
    if apart and not config.multi_sequence:
        raise InputError(f"{where}: {config.head_type} reads one text a row, but {apart[0]!r} gives several.")
    _check_column(where, column, config)
    parts = tuple(column) if isinstance(column, Mapping) else ()
    if column is not None and sorted(parts) != sorted(config.label_parts):
        expected = f"a column for each of {', '.join(config.label_parts)}" if config.label_parts else "one column"
        raise InputError(f"{where}: {config.head_type} needs {expected}, found {column!r}.")
    if not config.word_level:
        return
    if "tokens" not in task.inputs:
        raise InputError(
            f"{where} labels words, but the input is a text. Name a column with lists of words as 'tokens'."
        )
    if processing.tokenizer is not None and processing.tokenizer.truncation_side != "right":
        raise InputError(
            f"{where} labels words, expected a tokenizer whose truncation_side is 'right', "
            f"found {processing.tokenizer.truncation_side!r}."
        )


def _fingerprint(split: datasets.Dataset, encoder: RowEncoder) -> str:
    """Names the cache file by all that the result depends on, and by nothing that changes from run to run."""
    columns = {name: dict(each) if isinstance(each, Mapping) else each for name, each in encoder.task.labels.items()}
    heads = {head: (config.to_dict(), columns[head]) for head, (config, _) in encoder.labels.items()}
    processing = encoder.processing
    # the tokens that were added since the tokenizer was named
    size = 0 if processing.tokenizer is None else len(processing.tokenizer)
    state = [processing.tokenizer_hash, size, encoder.max_length]
    parts = [split._fingerprint, encoder.where, dict(encoder.task.inputs), heads, state, __version__]
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
    task: Task
    labels: dict[str, tuple[HeadConfig, LabelSource]]
    processing: Processing
    max_length: int | None

    @property
    def media_checker(self) -> MediaChecker:
        """What checks the images or the audio of the same rows."""
        columns = {name: str(self.task.inputs[name]) for name in MEDIA if name in self.task.inputs}
        return MediaChecker(self.where, columns, self.processing)

    def __call__(self, batch: Mapping[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
        texts = {name: read_input(self.task, name, batch) for name in text_inputs(self.task.inputs)}
        for name, values in texts.items():
            self._check_texts(name, values, rows)
        encoded: dict[str, list[Any]] = {}
        encoded_rows = EncodedRows(rows, texts)
        if texts:
            encoded, encoded_rows = self._encode_texts(texts, rows)
        words = texts.get("tokens", [])
        encoded["cut_words"], encoded["unseen_words"] = self._lost_words(words, encoded_rows.word_ids, len(rows))
        for head, (config, source) in self.labels.items():
            values = read_labels(self.task, head, batch, len(rows))
            if config.word_level:
                self._check_word_labels(source, words, values, rows)
            encoded[LABEL_PREFIX + head] = config.encode_labels(values, source, encoded_rows)
            if config.needs_gold:
                encoded[GOLD_PREFIX + head] = config.encode_gold(values, source, encoded_rows)
        return encoded

    def _encode_texts(
        self, texts: Mapping[str, list[Any]], rows: list[int]
    ) -> tuple[dict[str, list[Any]], EncodedRows]:
        tokenizer = cast("PreTrainedTokenizerBase", self.processing.tokenizer)
        strides = [config.window_stride for config, _ in self.labels.values() if config.window_stride is not None]
        found = encode_texts(texts, tokenizer, self.max_length, max(strides, default=None))
        names = [name for name in tokenizer.model_input_names if name in found.encoding]
        encoded = {name: [found.encoding[name][own[0]] for own in found.sequences] for name in names}
        lengths = [len(ids) for ids in found.encoding["input_ids"]]
        encoded["length"] = [max(lengths[place] for place in own) for own in found.sequences]
        if self.task.reads_several and any(config.multi_sequence for config, _ in self.labels.values()):
            for name in names:
                # the first one too: where many rows have no other, Arrow would not know the type of the column
                encoded[MORE_PREFIX + name] = [
                    [found.encoding[name][place] for place in own] for own in found.sequences
                ]
        word_ids = found.word_ids() if "tokens" in texts else []
        offsets = [found.context_offsets(row) for row in range(len(rows))] if "context" in texts else []
        return encoded, EncodedRows(rows, texts, word_ids, offsets)

    def _check_texts(self, name: str, values: list[Any], rows: list[int]) -> None:
        columns = self.task.inputs[name]
        where = f"{self.where}, column {columns!r}" if isinstance(columns, str) else f"{self.where}, columns {columns}"
        for row, value in zip(rows, values, strict=True):
            if value is None or (isinstance(value, list) and None in value):
                raise InputError(f"{where}, row {row}: expected a text, found None.")
            if name in ("choices", "sentences") and not value:
                raise InputError(f"{where}, row {row}: expected at least one text, found none.")

    def _check_word_labels(self, source: LabelSource, words: list[Any], values: list[Any], rows: list[int]) -> None:
        for row, row_words, value in zip(rows, words, values, strict=True):
            for part in value.values() if isinstance(value, dict) else [value]:
                if part is not None and len(part) != len(row_words):
                    raise InputError(
                        f"{self.where}, column {source.column!r}, row {row}: expected {len(row_words)} labels, "
                        f"one for each word, found {len(part)}."
                    )

    def _lost_words(
        self, words: Sequence[Any], word_ids: Sequence[list[int | None]], rows: int
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
