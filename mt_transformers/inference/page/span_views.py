"""Parts of a text: entities, words, an answer in its context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .colors import color_labels
from .markup import format_number, join, note

__all__ = ["show_answer_span", "show_spans"]

Spans = Sequence[Mapping[str, Any]]


def show_spans(text: str, spans: Spans) -> Markup:
    """
    The text with its spans marked, and a legend.

    Where every word has a label, labels stand beneath the words, else behind the spans.

    Args:
        text (`str`): The text.
        spans (`Sequence[Mapping[str, Any]]`): Each with `label`, `score`, `start` and `end` (characters).

    Returns:
        `Markup`: Of spans that overlap the first is marked.

    Example:
        >>> "<mark" in show_spans("in Rome", [{"label": "city", "score": 0.9, "start": 3, "end": 7}])
        True
    """
    colors = color_labels(span["label"] for span in spans)
    covered = {place for span in spans for place in range(max(span["start"], 0), min(span["end"], len(text)))}
    everywhere = all(place in covered or sign.isspace() for place, sign in enumerate(text))
    kind = "mt-words" if everywhere else "mt-spans"
    return join([_text(_marked(text, spans, colors), kind), _legend(spans, colors)])


def show_answer_span(text: str, answer: Mapping[str, Any]) -> Markup:
    """
    A context with the answer marked in it.

    Args:
        text (`str`): The context.
        answer (`Mapping[str, Any]`): `answer`, `score`, and `start` and `end` (characters), which may be None.

    Returns:
        `Markup`.

    Example:
        >>> str(show_answer_span("in Rome", {"answer": "", "score": 0.75, "start": None, "end": None}))
        '<p class="mt-note">No answer (score 0.750).</p>'
    """
    if answer["start"] is None or answer["end"] is None:
        score = "" if answer["score"] is None else f" (score {format_number(answer['score'])})"
        return note(f"No answer{score}.")
    span = {"label": "answer", **answer}
    head = Markup('<p class="mt-answer">{}<small>{}</small></p>').format(
        answer["answer"], format_number(answer["score"])
    )
    return join([head, _text(_marked(text, [span], color_labels(["answer"])), "mt-spans")])


def _text(pieces: Markup, kind: str) -> Markup:
    return Markup('<div class="mt-text {}">{}</div>').format(kind, pieces)


def _marked(text: str, spans: Spans, colors: Mapping[str, int]) -> Markup:
    pieces: list[Any] = []
    done = 0
    for span in sorted(spans, key=lambda each: each["start"]):
        start, end = span["start"], min(span["end"], len(text))
        if start < done or start >= end:
            continue
        mark = Markup('<mark class="mt-color-{}" title="{} {}"><span>{}</span><b>{}</b></mark>')
        label = span["label"]
        score = format_number(span["score"])
        pieces += [text[done:start], mark.format(colors[label], label, score, text[start:end], label)]
        done = end
    return join([*pieces, text[done:]])


def _legend(spans: Spans, colors: Mapping[str, int]) -> Markup:
    """Each label with how often it is there, and the mean of its scores."""
    numbers = Counter(span["label"] for span in spans)
    pieces = []
    for label, color in colors.items():
        mean = sum(span["score"] for span in spans if span["label"] == label) / numbers[label]
        often = f" {numbers[label]} times" if numbers[label] > 1 else ""
        chip = Markup('<li class="mt-color-{}"><b>{}</b>{} <small>{}</small></li>')
        pieces.append(chip.format(color, label, often, format_number(mean)))
    return Markup('<ul class="mt-legend">{}</ul>').format(join(pieces))
