"""What a call may be asked to return instead of all outputs: Mammoth's `returnt`."""

from __future__ import annotations

from typing import Literal, get_args

from ..errors import InputError

__all__ = ["Returnt", "check_returnt"]

Returnt = Literal["out", "features", "both", "full"]
"""Logits, what the classification layer reads, both, or the output of every layer."""


def check_returnt(returnt: str) -> None:
    """
    Refuse what is no such thing.

    Args:
        returnt (`str`): What a call was asked to return.

    Raises:
        InputError: If it is none of `out`, `features`, `both` and `full`.

    Example:
        >>> check_returnt("logits")
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: returnt: expected one of out, features, both, full, found 'logits'.
    """
    known = get_args(Returnt)
    if returnt not in known:
        raise InputError(f"returnt: expected one of {', '.join(known)}, found {returnt!r}.")
