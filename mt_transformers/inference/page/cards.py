"""The lower part of the page: a card for each head, and what the backbone read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .markup import join
from .prediction import Prediction
from .views import is_wide, show_answer

__all__ = ["show_error", "show_prediction"]


def show_prediction(prediction: Prediction, row: Mapping[str, Any], head_types: Mapping[str, str]) -> Markup:
    """
    Draw every head's answer.

    Args:
        prediction ([`Prediction`]): The answers.
        row (`Mapping[str, Any]`): The row that they are for.
        head_types (`Mapping[str, str]`): For each head, in the order of their cards, its type.

    Returns:
        `Markup`.

    Example:
        >>> prediction = Prediction({"mood": {"label": "good", "score": 1.0}})
        >>> "mood" in show_prediction(prediction, {"text": "fine"}, {"mood": "sequence_classification"})
        True
    """
    cards = []
    for name, head_type in head_types.items():
        if name in prediction.answers:
            answer = prediction.answers[name]
            cards.append(_card(name, head_type, show_answer(answer, row), "mt-wide" if is_wide(answer) else ""))
        elif name in prediction.errors:
            message = Markup('<p class="mt-error-text">{}</p>').format(prediction.errors[name])
            cards.append(_card(name, head_type, message, "mt-error"))
    grid = Markup('<div class="mt-cards">{}</div>').format(join(cards))
    return join([grid, _footer(prediction)])


def show_error(message: str) -> Markup:
    """
    Draw the message for input that cannot be used, in place of answers.

    Args:
        message (`str`): The message.

    Returns:
        `Markup`.

    Example:
        >>> "&lt;b&gt;" in show_error("unknown head <b>")
        True
    """
    return Markup(
        '<div class="mt-cards"><section class="mt-card mt-wide mt-error" role="alert">{}</section></div>'
    ).format(Markup('<p class="mt-error-text">{}</p>').format(message))


def _card(name: str, head_type: str, body: Markup, kind: str) -> Markup:
    return Markup('<section class="mt-card {}" data-head="{}"><h3>{}<small>{}</small></h3>{}</section>').format(
        kind, name, name, head_type.replace("_", " "), body
    )


def _footer(prediction: Prediction) -> Markup:
    """Time of the pass, and the tokens as the backbone saw them."""
    number = sum(map(len, prediction.tokens))
    time = f"One pass: {prediction.milliseconds:.1f} ms"
    if not number:
        return Markup('<p class="mt-time">{}</p>').format(time)
    sequences = f" in {len(prediction.tokens)} sequences" if len(prediction.tokens) > 1 else ""
    return Markup('<details class="mt-tokens" open=""><summary>{}, {} tokens{}</summary>{}</details>').format(
        time, number, sequences, join(map(_sequence, prediction.tokens))
    )


def _sequence(tokens: Sequence[str]) -> Markup:
    return Markup("<p>{}</p>").format(join(Markup("<code>{}</code> ").format(token) for token in tokens))
