"""Pieces of HTML that several views are made of; whatever is put into one is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

__all__ = ["bar", "format_number", "join", "note", "table"]


def join(pieces: Iterable[Any]) -> Markup:
    """
    Put pieces one behind the other.

    Args:
        pieces (`Iterable[Any]`): Markup, which stays as it is, and texts, which are escaped.

    Returns:
        `Markup`.

    Example:
        >>> str(join([Markup("<b>"), "<i>"]))
        '<b>&lt;i&gt;'
    """
    return Markup("").join(pieces)


def format_number(value: float) -> str:
    """
    A number as people read it.

    Args:
        value (`float`): The number.

    Returns:
        `str`: With three digits behind the point, with four digits in all where it is large or tiny.

    Example:
        >>> format_number(0.98765), format_number(12345.6), format_number(0.00001)
        ('0.988', '1.235e+04', '1e-05')
    """
    in_range = value == 0 or 0.001 <= abs(value) < 10_000
    return f"{value:.3f}" if in_range else f"{value:.4g}"


def bar(label: str, score: float, is_best: bool = False) -> Markup:
    """
    A label with its score, and a bar as long as that.

    Args:
        label (`str`): The label.
        score (`float`): From 0 to 1; what is outside is drawn as the nearer of these.
        is_best (`bool`, *optional*, defaults to `False`): Whether it stands out.

    Returns:
        `Markup`.

    Example:
        >>> "width:25.0%" in bar("a", 0.25)
        True
    """
    width = 0.0 if math.isnan(score) else 100 * min(max(score, 0.0), 1.0)
    return Markup(
        '<div class="mt-bar{}"><span class="mt-bar-label" title="{}">{}</span><span class="mt-bar-score">{}</span>'
        '<span class="mt-bar-track"><span style="width:{}%"></span></span></div>'
    ).format(" mt-best" if is_best else "", label, label, format_number(score), f"{width:.1f}")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """
    A table; numbers stand flush right.

    Args:
        header (`Sequence[str]`): Names of the columns.
        rows (`Iterable[Sequence[Any]]`): The cells; floats are rounded.

    Returns:
        `Markup`.

    Example:
        >>> table(["word"], [["<b>"], ["c"]]).count("<td>")
        2
    """
    head = join(Markup("<th>{}</th>").format(name) for name in header)
    body = join(Markup("<tr>{}</tr>").format(join(map(_cell, row))) for row in rows)
    return Markup('<table class="mt-table"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>').format(head, body)


def _cell(value: Any) -> Markup:
    if isinstance(value, (int, float)):
        text = format_number(value) if isinstance(value, float) else value
        return Markup('<td class="mt-number">{}</td>').format(text)
    return Markup("<td>{}</td>").format(value)


def note(text: str) -> Markup:
    """A remark in place of an answer, such as that there is none."""
    return Markup('<p class="mt-note">{}</p>').format(text)
