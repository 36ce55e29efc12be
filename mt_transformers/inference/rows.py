"""Rows to predict, checked before any work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..data import check_inputs
from ..errors import InputError, check_known

__all__ = ["check_row"]

_TEXTS = ("text", "text_pair", "question", "context", "chosen", "rejected")
_LISTS = ("tokens", "choices", "sentences")
_MEDIA = ("images", "audio")


def check_row(row: Any, tasks: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """
    Check one input.

    Args:
        row (`Any`):
            A text, a tuple of two texts, a list of words, or a dict with inputs as a [`Task`] has them, such as
            `text`, `text` and `text_pair`, or `tokens` (words), and optionally `task`. `images` is the name of a file,
            relative to the working directory, a PIL image or an array; `audio` an array of samples at the rate of the
            feature extractor.
        tasks (`Mapping[str, Sequence[str]]`): For each task its heads.

    Returns:
        `dict[str, Any]`: The row as a dict.

    Raises:
        InputError: If it is none of these, or its task is unknown.

    Example:
        >>> check_row("hello", {}), check_row(("a premise", "a hypothesis"), {}), check_row(["two", "words"], {})
        ({'text': 'hello'}, {'text': 'a premise', 'text_pair': 'a hypothesis'}, {'tokens': ['two', 'words']})
    """
    if isinstance(row, str):
        row = {"text": row}
    elif isinstance(row, tuple) and len(row) == 2:
        row = {"text": row[0], "text_pair": row[1]}
    elif isinstance(row, list):
        row = {"tokens": row}
    if not isinstance(row, dict):
        raise InputError(f"expected a text, a pair of texts, a list of words or an object, found {_kind(row)}.")
    check_known(row, (*_TEXTS, *_LISTS, *_MEDIA, "task"), "row")
    check_inputs([name for name in row if name != "task"])
    for name in _TEXTS:
        if name in row:
            _check_text(name, row[name])
    for name in _LISTS:
        if name in row:
            _check_list(name, row[name])
    for name in _MEDIA:
        if name in row:
            _check_media(name, row[name])
    if "task" in row:
        if not isinstance(row["task"], str):
            raise InputError(f"unknown task {row['task']!r}, expected one of {', '.join(tasks)}.")
        check_known([row["task"]], tasks, "row", "task")
    return row


def _kind(row: Any) -> str:
    return f"{len(row)} texts in a tuple" if isinstance(row, tuple) else type(row).__name__


def _check_list(name: str, values: Any) -> None:
    what = "words" if name == "tokens" else "texts"
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{name}: expected a list of {what}, found {values!r:.80}.")
    if name != "tokens" and not values:
        raise InputError(f"{name}: expected at least one text, found none.")
    for value in values:
        _check_text(name, value)


def _check_media(name: str, value: Any) -> None:
    """Refuse what is no image or no recording, as far as can be seen without reading it."""
    if name == "images" and isinstance(value, str | os.PathLike):
        if not os.path.isfile(value):
            raise InputError(f"images: there is no file {os.fspath(value)!r}.")
        return
    is_array = isinstance(value, list) or hasattr(value, "__array__")
    is_other = hasattr(value, "convert") if name == "images" else isinstance(value, dict) and "array" in value
    if not is_array and not is_other:
        expected = "the name of a file, an image or an array" if name == "images" else "an array of samples"
        raise InputError(f"{name}: expected {expected}, found {value!r:.80}.")


def _check_text(name: str, text: Any) -> None:
    """Refuse what is no text, and halves of surrogate pairs, which JSON can hold and no tokenizer takes."""
    if not isinstance(text, str):
        raise InputError(f"{name}: expected a text, found {type(text).__name__}.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"a surrogate without its pair at character {error.start}.") from error
