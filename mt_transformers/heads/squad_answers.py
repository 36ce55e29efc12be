"""Answers as SQuAD has them: from a column's values to tokens of windows, and back to characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError
from .answer_spans import check_answer, find_answer_tokens
from .config import IGNORED
from .labels import element_feature
from .rows import LabelSource, Span

__all__ = [
    "NOWHERE",
    "answer_characters",
    "answer_tokens",
    "check_answer_feature",
    "context_range",
    "read_answers",
]

NOWHERE = (IGNORED, IGNORED)
"""First and last token of an answer in a window that does not hold it whole."""


def check_answer_feature(source: LabelSource) -> None:
    """
    Refuse a column that does not hold SQuAD's structs of two lists.

    Args:
        source ([`LabelSource`]): The column.

    Raises:
        InputError: If it holds anything else.
    """
    import datasets

    parts = source.feature if isinstance(source.feature, Mapping) else {}
    elements = {name: element_feature(parts.get(name)) for name in ("text", "answer_start")}
    dtypes = {name: each.dtype for name, each in elements.items() if isinstance(each, datasets.Value)}
    texts = dtypes.get("text") in ("string", "large_string")
    if not texts or not dtypes.get("answer_start", "").startswith(("int", "uint")):
        raise InputError(
            f"{source.where}: expected SQuAD's answers, 'text' with a list of texts and 'answer_start' with a list of "
            f"integers, found {source.feature}."
        )


def read_answers(value: Any, context: str, where: str) -> list[tuple[str, int]] | None:
    """
    Read the gold answers of a row.

    Args:
        value (`dict`, *optional*): `text` and `answer_start`, lists of one length; any of the three may be None.
        context (`str`): The context.
        where (`str`): Where the value stands, as messages shall say it.

    Returns:
        `list[tuple[str, int]]`: Each answer with its offset in the context (characters); empty if the question has
        none, None if that is not known.

    Raises:
        InputError: If an answer is empty or does not stand where it is said to, or the lists differ in length.

    Example:
        >>> read_answers({"text": ["Ada"], "answer_start": [8]}, "Bob met Ada.", "row 0")
        [('Ada', 8)]
    """
    if value is None or value["text"] is None or value["answer_start"] is None:
        return None
    texts, starts = value["text"], value["answer_start"]
    if len(texts) != len(starts):
        raise InputError(f"{where}: expected an 'answer_start' for each of {len(texts)} answers, found {len(starts)}.")
    for text, start in zip(texts, starts, strict=True):
        if not text or start is None:
            raise InputError(
                f"{where}: expected a text and its offset, found {text!r} at {start!r}. A question without an answer "
                "has empty lists."
            )
        check_answer(context, text, start, where)
    return list(zip(texts, starts, strict=True))


def answer_tokens(
    answers: Sequence[tuple[str, int]], windows: Sequence[Sequence[Span | None]]
) -> list[tuple[int, int]]:
    """
    Find the places of the first answer that some window holds whole.

    Args:
        answers (`Sequence[tuple[str, int]]`): Answers with their offsets in the context (characters).
        windows (`Sequence[Sequence[Span | None]]`): For each window and token its place in the context, None for
            tokens that are not the context's.

    Returns:
        `list[tuple[int, int]]`: For each window positions of the answer's first and last token, [`NOWHERE`] where it
        is not whole.

    Example:
        >>> windows = [[None, (0, 3), (4, 7)], [None, (4, 7), (8, 11)]]
        >>> answer_tokens([("Bob met Ada", 0), ("met", 4)], windows), answer_tokens([("met Ada", 4)], windows)
        ([(2, 2), (1, 1)], [(-100, -100), (1, 2)])
    """
    for text, start in answers:
        found = [find_answer_tokens(window, start, start + len(text)) for window in windows]
        if any(found):
            return [place or NOWHERE for place in found]
    return [NOWHERE] * len(windows)


def context_range(window: Sequence[Span | None]) -> tuple[int, int]:
    """
    Find the tokens of a window that are the context's: they stand side by side.

    Args:
        window (`Sequence[Span | None]`): As in [`answer_tokens`].

    Returns:
        `tuple[int, int]`: Positions of the first one and behind the last one; two zeros if there is none.

    Example:
        >>> context_range([None, None, (0, 3), (4, 7), None]), context_range([None, None])
        ((2, 4), (0, 0))
    """
    positions = [position for position, span in enumerate(window) if span is not None]
    return (positions[0], positions[-1] + 1) if positions else (0, 0)


def answer_characters(
    place: Sequence[int], context: str, windows: Sequence[Sequence[Sequence[int] | None]]
) -> Span | None:
    """
    Find the characters that a predicted answer stands for, without spaces around it.

    Args:
        place (`Sequence[int]`): Window, first and last token; a negative window for no answer.
        context (`str`): The context.
        windows (`Sequence[Sequence[Span | None]]`): As in [`answer_tokens`].

    Returns:
        `tuple[int, int]`: Offsets of the first character and behind the last one, None for no answer.

    Example:
        >>> answer_characters([0, 1, 2], "Bob met Ada.", [[None, (3, 7), (7, 11)]])
        (4, 11)
    """
    number, first, last = place
    first_span, last_span = (windows[number][first], windows[number][last]) if number >= 0 else (None, None)
    if first_span is None or last_span is None:
        return None
    start, end = first_span[0], last_span[1]
    text = context[start:end]
    start += len(text) - len(text.lstrip())
    return start, start + len(text.strip())
