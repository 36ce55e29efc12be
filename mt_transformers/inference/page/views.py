"""How an answer is drawn: by what it is, so that the answers of heads of one's own are drawn alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .markup import bar, format_number, join, note, table
from .span_views import show_answer_span, show_spans
from .tree_view import show_tree

__all__ = ["is_wide", "show_answer"]

Row = Mapping[str, Any]
Fields = Mapping[str, tuple[type, ...]]

_NUMBER: tuple[type, ...] = (int, float)
_TEXT: tuple[type, ...] = (str,)
_OR_NONE: tuple[type, ...] = (type(None),)
_LABEL: Fields = {"label": _TEXT, "score": _NUMBER}
_SPAN: Fields = {**_LABEL, "start": (int,), "end": (int,)}
_MOST_NUMBERS = 64
_MOST_JSON = 20_000


def show_answer(answer: Any, row: Row) -> Markup:
    """
    Draw a head's answer.

    Args:
        answer (`Any`): What the head decoded, a JSON value.
        row (`Mapping[str, Any]`): The row that it is for.

    Returns:
        `Markup`: What no view is made for is shown as JSON.

    Example:
        >>> str(show_answer({"number": "<3"}, {"text": "a"}))
        '<pre class="mt-json">{&#34;number&#34;: &#34;&lt;3&#34;}</pre>'
    """
    for fields, is_list, view, _ in _VIEWS:
        if _fits(answer, fields, is_list):
            return view(answer, row)
    return _show_json(answer)


def is_wide(answer: Any) -> bool:
    """Whether an answer needs the whole width of the page, as a text with its spans does."""
    return next((wide for fields, is_list, _, wide in _VIEWS if _fits(answer, fields, is_list)), False)


def _fits(answer: Any, fields: Fields, is_list: bool) -> bool:
    """Whether an answer, or each item of one that is a list, has these fields of these types, and no others."""
    if is_list:
        return isinstance(answer, list) and bool(answer) and all(_fits(item, fields, False) for item in answer)
    return (
        isinstance(answer, Mapping)
        and set(answer) == set(fields)
        and all(isinstance(answer[name], types) for name, types in fields.items())
    )


def _text_of(row: Row) -> str:
    """The text that offsets count in; words count as joined by single spaces."""
    return " ".join(row["tokens"]) if "tokens" in row else str(row.get("context", row.get("text", "")))


def _show_label(answer: Any, _: Row) -> Markup:
    return bar(answer["label"], answer["score"], is_best=True)


def _show_labels(answer: Any, _: Row) -> Markup:
    return join(bar(each["label"], each["score"], number == 0) for number, each in enumerate(answer))


def _show_tree(answer: Any, _: Row) -> Markup:
    numbers = range(len(answer) + 1)
    return show_tree(answer) if all(word["head"] in numbers for word in answer) else _show_json(answer)


def _show_lemmas(answer: Any, _: Row) -> Markup:
    return table(["word", "lemma", "score"], [(each["text"], each["lemma"], each["score"]) for each in answer])


def _show_choice(answer: Any, row: Row) -> Markup:
    return _show_choices([answer], row)


def _show_choices(answer: Any, row: Row) -> Markup:
    names = dict(enumerate(row.get("choices", [])))
    return join(
        bar(names.get(each["choice"], f"choice {each['choice']}"), each["score"], number == 0)
        for number, each in enumerate(answer)
    )


def _show_value(answer: Any, _: Row) -> Markup:
    return Markup('<p class="mt-value">{}</p>').format(format_number(answer["value"]))


def _show_values(answer: Any, _: Row) -> Markup:
    if not all(isinstance(value, _NUMBER) for value in answer["values"]):
        return _show_json(answer)
    return table(["", "value"], [(number, value) for number, value in enumerate(answer["values"], start=1)])


def _show_score(answer: Any, _: Row) -> Markup:
    return Markup('<p class="mt-value">{}</p>').format(format_number(answer["score"]))


def _show_preference(answer: Any, _: Row) -> Markup:
    return table(["answer", "score"], [("chosen", answer["score"]), ("rejected", answer["rejected_score"])])


def _show_similarity(answer: Any, row: Row) -> Markup:
    return join([_show_score(answer, row), _show_embedding(answer, row)])


def _show_embedding(answer: Any, _: Row) -> Markup:
    numbers = answer["embedding"]
    shown = ", ".join(
        format_number(each) if isinstance(each, float) else str(each) for each in numbers[:_MOST_NUMBERS]
    )
    more = ", …" if len(numbers) > _MOST_NUMBERS else ""
    return Markup(
        '<details class="mt-details"><summary>Embedding, {} numbers</summary><code>{}</code></details>'
    ).format(len(numbers), shown + more)


def _show_token(answer: Any, _: Row) -> Markup:
    return bar("unknown token" if answer["token"] is None else answer["token"], answer["score"], is_best=True)


def _show_masks(answer: Any, _: Row) -> Markup:
    return table(["position", "token", "score"], [(each["position"], each["token"], each["score"]) for each in answer])


def _show_json(answer: Any) -> Markup:
    if answer in ([], {}, None):
        return note("None.")
    text = json.dumps(answer, ensure_ascii=False, default=str)
    shown = text if len(text) <= _MOST_JSON else f"{text[:_MOST_JSON]} …"
    return Markup('<pre class="mt-json">{}</pre>').format(shown)


View = Callable[[Any, Row], Markup]

# fields of an answer, whether it is a list of such, its view, whether that is a wide one
_VIEWS: Sequence[tuple[Fields, bool, View, bool]] = (
    (_LABEL, False, _show_label, False),
    (_LABEL, True, _show_labels, False),
    (_SPAN, True, lambda answer, row: show_spans(_text_of(row), answer), True),
    ({**_SPAN, "text": _TEXT}, True, lambda answer, row: show_spans(_text_of(row), answer), True),
    (
        {"text": _TEXT, "start": (int,), "end": (int,), "head": (int,), "deprel": _TEXT, "score": _NUMBER},
        True,
        _show_tree,
        True,
    ),
    (
        {"lemma": _TEXT, "score": _NUMBER, "text": _TEXT, "start": (int,), "end": (int,)},
        True,
        _show_lemmas,
        False,
    ),
    (
        {
            "answer": (str, *_OR_NONE),
            "score": (*_NUMBER, *_OR_NONE),
            "start": (int, *_OR_NONE),
            "end": (int, *_OR_NONE),
        },
        False,
        lambda answer, row: show_answer_span(_text_of(row), answer),
        True,
    ),
    ({"choice": (int,), "score": _NUMBER}, False, _show_choice, False),
    ({"choice": (int,), "score": _NUMBER}, True, _show_choices, False),
    ({"value": _NUMBER}, False, _show_value, False),
    ({"values": (list,)}, False, _show_values, False),
    ({"score": _NUMBER, "embedding": (list,)}, False, _show_similarity, False),
    ({"embedding": (list,)}, False, _show_embedding, False),
    ({"score": _NUMBER}, False, _show_score, False),
    ({"score": _NUMBER, "rejected_score": _NUMBER}, False, _show_preference, False),
    ({"token": (str, *_OR_NONE), "score": _NUMBER}, False, _show_token, False),
    ({"position": (int,), "token": (str, *_OR_NONE), "score": _NUMBER}, True, _show_masks, False),
)
