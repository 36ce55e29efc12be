"""The state of the random numbers: what a pass draws that must not change training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["RandomState", "drawing_from", "random_state"]


@dataclass(frozen=True)
class RandomState:
    """
    Where the random numbers stand that a pass draws: dropout from torch, masks over the time of audio from NumPy.

    Args:
        cpu (`torch.Tensor`): That of torch on the CPU.
        cuda (`torch.Tensor`, *optional*): That of torch on the device, if it has one of its own.
        numpy (`Any`): That of NumPy.
        python (`Any`): That of Python.
    """

    cpu: torch.Tensor
    cuda: torch.Tensor | None
    numpy: Any
    python: Any


def random_state(device: torch.device) -> RandomState:
    """
    Read the state of the random numbers.

    Args:
        device (`torch.device`): The device that the model is on.

    Returns:
        [`RandomState`].
    """
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return RandomState(torch.get_rng_state(), cuda, np.random.get_state(), random.getstate())


@contextmanager
def drawing_from(state: RandomState, device: torch.device) -> Iterator[None]:
    """
    Draw from a state of the random numbers, and leave their own one as it was.

    Args:
        state ([`RandomState`]): What [`random_state`] gave.
        device (`torch.device`): The device that the model is on.

    Example:
        >>> device = torch.device("cpu")
        >>> state = random_state(device)
        >>> with drawing_from(state, device):
        ...     first = torch.rand(2)
        >>> torch.equal(torch.rand(2), first)
        True
    """
    before = random_state(device)
    _set(state, device)
    try:
        yield
    finally:
        _set(before, device)


def _set(state: RandomState, device: torch.device) -> None:
    torch.set_rng_state(state.cpu)
    if state.cuda is not None:
        torch.cuda.set_rng_state(state.cuda, device)
    np.random.set_state(state.numpy)
    random.setstate(state.python)
