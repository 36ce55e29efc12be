"""From an answer's characters to tokens of a window, and back: the best span of tokens over a row's windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from ..errors import InputError

__all__ = ["best_spans", "check_answer", "find_answer_tokens"]


def check_answer(context: str, text: str, start: int, where: str) -> None:
    """
    Make sure that an answer stands in its context where it is said to.

    Args:
        context (`str`): The context.
        text (`str`): The answer.
        start (`int`): Offset of the answer's first character in the context (characters).
        where (`str`): Where the answer was given, as the message shall say it.

    Raises:
        InputError: If it does not, saying what stands there instead and where in the context the answer does occur.

    Example:
        >>> check_answer("Ada met Ada.", "Ada", 8, "row 0")
        >>> check_answer("Ada met Bob.", "Bob", 7, "row 0")
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: row 0: expected the answer 'Bob' at character 7 of the context, found ' Bo',
        which differs from the answer's character 0 on. The answer occurs at character 8.
    """
    # a negative offset would count from the end
    found = context[start : start + len(text)] if start >= 0 else ""
    if found == text:
        return
    pairs = enumerate(zip(text, found, strict=False))
    same = next((number for number, (one, other) in pairs if one != other), len(found))
    nearest = _nearest(context, text, start)
    hint = "does not occur in the context" if nearest is None else f"occurs at character {nearest}"
    raise InputError(
        f"{where}: expected the answer {text!r:.80} at character {start} of the context, found {found!r:.80}, "
        f"which differs from the answer's character {same} on. The answer {hint}."
    )


def _nearest(context: str, text: str, start: int) -> int | None:
    """Offset nearest to `start` at which the text occurs, or None."""
    start = max(start, 0)
    found = [context.rfind(text, 0, start + len(text)), context.find(text, start)]
    return min((offset for offset in found if offset >= 0), key=lambda offset: abs(offset - start), default=None)


def find_answer_tokens(offsets: Sequence[tuple[int, int] | None], start: int, end: int) -> tuple[int, int] | None:
    """
    Find the tokens of a window that cover an answer.

    They are the tokens that share a character with it, so that a token which the answer's border cuts is covered. The
    space before a word may be the word's token's (byte-level tokenizers), a token of its own or no token's.

    Args:
        offsets (`Sequence[tuple[int, int] | None]`):
            For each token of the window the offsets in the context of its first character and behind its last one
            (characters), or None if it is none of the context: question, special token, padding. Tokens without
            characters, such as `(0, 0)`, are passed over.
        start (`int`): Offset of the answer's first character in the context (characters).
        end (`int`): Offset behind its last character (characters).

    Returns:
        `tuple[int, int]`: Positions of the first and of the last token, or None if the answer is empty, lies between
        the tokens, or begins before the window's first token or ends behind its last one.

    Example:
        >>> offsets = [None, (0, 3), (3, 7), (7, 9), None]
        >>> find_answer_tokens(offsets, 4, 8), find_answer_tokens(offsets, 4, 12)
        ((2, 3), None)
    """
    tokens = [(number, *span) for number, span in enumerate(offsets) if span is not None and span[0] < span[1]]
    if not any(first <= start for _, first, _ in tokens) or not any(last >= end for _, _, last in tokens):
        return None
    covered = [number for number, first, last in tokens if max(first, start) < min(last, end)]
    return (covered[0], covered[-1]) if covered else None


def best_spans(
    start_logits: torch.Tensor, end_logits: torch.Tensor, allowed: torch.Tensor, max_answer_length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Find for each row the span with the highest sum of start and end logit among all spans of all its windows.

    The search is exact: each start is paired with the best end that is not before it and near enough. Of equal spans
    the first counts: by window, then start, then end.

    Source: Devlin et al. (2019), https://aclanthology.org/N19-1423, section 4.2, for the score and `end >= start`.

    Args:
        start_logits (`torch.Tensor` of shape `(rows, windows, sequence_length)`): Scores of the first token.
        end_logits (`torch.Tensor` of shape `(rows, windows, sequence_length)`): Scores of the last token.
        allowed (`torch.Tensor` of shape `(rows, windows, sequence_length)`):
            True for tokens at which an answer may begin and end: those of the context. False for all of a window that
            a row does not have.
        max_answer_length (`int`): The most tokens of an answer.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Window, first and last token of each row's span, integers of shape
        `(rows, 3)`, and its score in float64, of shape `(rows,)`. A row for which nothing is allowed has the score
        minus infinity, and a span that means nothing.

    Raises:
        InputError: If `max_answer_length` is not positive.

    Example:
        >>> start = torch.tensor([[[0.0, 1.0, 5.0], [2.0, 0.0, 0.0]]])
        >>> end = torch.tensor([[[4.0, 3.0, 0.0], [0.0, 3.5, 9.0]]])
        >>> spans, scores = best_spans(start, end, torch.ones(1, 2, 3, dtype=torch.bool), max_answer_length=2)
        >>> spans.tolist(), scores.tolist()
        ([[1, 1, 2]], [9.0])
    """
    if max_answer_length < 1:
        raise InputError(f"max_answer_length: expected at least 1, found {max_answer_length}.")
    length = start_logits.shape[-1]
    reach = min(max_answer_length, length)
    # in float64, in which the sum of two logits is exact: rounding would make ties of what is none
    starts = start_logits.double().masked_fill(~allowed, -torch.inf)
    ends = end_logits.double().masked_fill(~allowed, -torch.inf)
    # (rows, windows, sequence_length): for each start the best end within reach, and how far it is
    best_ends, distances = functional.pad(ends, (0, reach - 1), value=-torch.inf).unfold(-1, reach, 1).max(dim=-1)
    scores, places = (starts + best_ends).flatten(1).max(dim=1)
    first = places % length
    last = first + distances.flatten(1).gather(1, places.unsqueeze(1)).squeeze(1)
    return torch.stack([places // length, first, last], dim=1), scores
