"""How much each head shall count, as a direction that methods compare the losses with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...errors import InputError, check_known
from ..option_checks import is_number

__all__ = ["read_preferences"]


def read_preferences(preferences: Any, heads: Sequence[str]) -> torch.Tensor:
    """
    Check preferences and put them in the order of the heads.

    Args:
        preferences (`Mapping[str, float]` or None): Head -> its preference, above 0.
        heads (`Sequence[str]`): Names of the heads.

    Returns:
        `torch.Tensor` of shape `(num_heads,)`: The preferences, 1 where none is given.

    Raises:
        InputError: If it is no mapping, a head is unknown or a preference is no number above 0.

    Example:
        >>> read_preferences({"slots": 3}, ["intent", "slots"])
        tensor([1., 3.])
    """
    if preferences is None:
        preferences = {}
    if not isinstance(preferences, Mapping):
        raise InputError(f"preferences: expected a mapping from a head to a number above 0, found {preferences!r}.")
    check_known(preferences, heads, "preferences", "head")
    for head, value in preferences.items():
        if not is_number(value) or value <= 0:
            raise InputError(f"preferences of head {head!r}: expected a number above 0, found {value!r}.")
    return torch.tensor([float(preferences.get(head, 1.0)) for head in heads])
