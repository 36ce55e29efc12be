"""Rows as heads see them: where labels come from, how a row was cut into tokens, what its tokens stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["EncodedRows", "LabelSource", "SourceRow", "Span", "Word"]

Span = tuple[int, int]
"""Offsets of a piece of text: of its first character and behind its last one (characters)."""


class Word(NamedTuple):
    """One word of a row, for heads that label words: its first sub-token and its place in the text."""

    position: int
    """Index of the word's first sub-token in the row."""
    text: str
    start: int
    """Offset of the word's first character in the row's text (characters)."""
    end: int
    """Offset behind the word's last character in the row's text (characters)."""


def _no_input(name: str) -> list[Any]:
    raise KeyError(name)


@dataclass(frozen=True)
class LabelSource:
    """
    The label column of a task that trains a head, or several columns where a head's label has several parts.

    Args:
        task_name (`str`): The task.
        column (`str`): The column, or the columns with commas.
        feature (`Any`): Its `datasets` feature; for several parts a dict part -> feature, None if the head makes its
            labels from the row's input.
        read (`Callable[[], list[Any]]`): Gives the values in the training split; dicts for several parts.
        read_input (`Callable[[str], list[Any]]`): Gives the values of an input of the task, such as `tokens`, in the
            training split.
    """

    task_name: str
    column: str
    feature: Any
    read: Callable[[], list[Any]]
    read_input: Callable[[str], list[Any]] = _no_input

    @property
    def where(self) -> str:
        """The column, as messages name it."""
        return f"task {self.task_name!r}, column {self.column!r}"


@dataclass(frozen=True)
class EncodedRows:
    """
    Some rows of a split with their tokens, for [`HeadConfig.encode_labels`].

    Args:
        numbers (`Sequence[int]`): Row numbers in the split, for messages.
        inputs (`Mapping[str, Sequence[Any]]`, *optional*): The task's inputs as they are in the dataset, by name.
        word_ids (`Sequence[list[int | None]]`, *optional*):
            For each row the word that each sub-token belongs to, where the input is `tokens`.
        offsets (`Sequence[Sequence[Sequence[Span | None]]]`, *optional*):
            For each row, window and token the place in the context, None for tokens that are not the context's; where
            the input is `question` and `context`.
    """

    numbers: Sequence[int]
    inputs: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    word_ids: Sequence[list[int | None]] = ()
    offsets: Sequence[Sequence[Sequence[Span | None]]] = ()


@dataclass(frozen=True)
class SourceRow:
    """
    What the tokens of a row stand for, so that an answer can point into the text.

    Args:
        words (`Sequence[Word]`, *optional*): Its words.
        text (`str`, *optional*): The text that offsets point into: for questions the context.
        offsets (`Sequence[Sequence[Span | None]]`, *optional*): As in [`EncodedRows`], for this row.
        to_tokens (`Callable[[list[int]], list[str]]`, *optional*): Turns ids into tokens.
    """

    words: Sequence[Word] = ()
    text: str = ""
    offsets: Sequence[Sequence[Span | None]] = ()
    to_tokens: Callable[[Any], Any] | None = None
