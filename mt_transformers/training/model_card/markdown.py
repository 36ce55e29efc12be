"""Text and tables of Markdown that no value can break."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["escape", "table"]

_MARKUP = re.compile(r"[\\`*\[\]<>&|~#$!]|(?<![^\W_])_|_(?![^\W_])")
"""Signs that may be markup; an underscore within a word is none."""


def escape(value: object) -> str:
    """
    Write a value as text of one line that Markdown shows as it is, in a cell of a table, too.

    Source: a numeric character reference is never markup, CommonMark 0.31.2, section 2.5.

    Args:
        value (`object`): What is to be shown.

    Returns:
        `str`.

    Example:
        >>> escape("a|b"), escape("card_arrival"), escape("two\\nlines"), escape("_so_")
        ('a&#124;b', 'card_arrival', 'two lines', '&#95;so&#95;')
    """
    text = "".join(sign if sign.isprintable() else " " for sign in str(value))
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """
    Lay out a table; columns that hold numbers in the first row stand flush right.

    Args:
        header (`Sequence[str]`): Names of the columns.
        rows (`Iterable[Sequence[object]]`):
            The cells: Markdown where they are texts, with what comes from elsewhere escaped.

    Returns:
        `str`: The lines, without a line break behind the last.

    Example:
        >>> print(table(["task", "rows"], [["snips", 1400]]))
        | task | rows |
        |---|--:|
        | snips | 1400 |
    """
    cells = list(rows)
    right = [isinstance(cell, int | float) for cell in cells[0]] if cells else [False] * len(header)
    marks = "".join("--:|" if flush else "---|" for flush in right)
    return "\n".join([_line(header), f"|{marks}", *map(_line, cells)])


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
