"""The state of the random numbers: what a pass draws that must not change training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["drawing_from", "random_state"]


def random_state(device: torch.device) -> list[torch.Tensor]:
    """
    Read the state of the random numbers.

    Args:
        device (`torch.device`): The device that the model is on.

    Returns:
        `list[torch.Tensor]`: That of the CPU, and that of the device if it has one of its own.
    """
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


@contextmanager
def drawing_from(state: list[torch.Tensor], device: torch.device) -> Iterator[None]:
    """
    Draw from a state of the random numbers, and leave their own one as it was.

    Args:
        state (`list[torch.Tensor]`): What [`random_state`] gave.
        device (`torch.device`): The device that the model is on.

    Example:
        >>> device = torch.device("cpu")
        >>> state = random_state(device)
        >>> with drawing_from(state, device):
        ...     first = torch.rand(2)
        >>> torch.equal(torch.rand(2), first)
        True
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if device.type == "cuda":
            torch.cuda.set_rng_state(state[1], device)
        yield
