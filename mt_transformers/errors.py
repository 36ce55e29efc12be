"""The one exception for input that cannot be used, so that a command line can tell it from a defect."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any

__all__ = ["InputError", "check_known"]


class InputError(ValueError):
    """
    Something that the user gave cannot be used: a recipe, a column, a label, a folder, a name.

    The message says what was expected, what was found and where (file, task, head, column, row). The command line
    prints it alone and exits with status 2; in Python it is a `ValueError`.
    """


def check_known(found: Iterable[Any], known: Collection[str], where: str, what: str = "key") -> None:
    """
    Refuse names that are not known, with the nearest known one as a hint.

    Args:
        found (`Iterable[Any]`): The names that were given; what is no string is no name.
        known (`Collection[str]`): The names that exist.
        where (`str`): Where they were given, as the message shall say it.
        what (`str`, *optional*, defaults to `"key"`): What such a name is called.

    Raises:
        InputError: If a name in `found` is not in `known`.

    Example:
        >>> check_known(["poolng"], ["pooling", "metrics"], "head")
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: head: unknown key 'poolng', did you mean 'pooling'? Known: metrics, pooling.
    """
    for name in found:
        if not isinstance(name, str) or name not in known:
            names = sorted(known)
            near = get_close_matches(str(name), names, n=1)
            hint = f", did you mean {near[0]!r}?" if near else "."
            raise InputError(f"{where}: unknown {what} {name!r}{hint} Known: {', '.join(names) or 'none'}.")
