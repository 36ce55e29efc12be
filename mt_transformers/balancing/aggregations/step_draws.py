"""Random numbers that follow from a seed and the number of the step."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["StepDraws"]


class StepDraws:
    """
    Lets others draw from PyTorch's global generators what only a seed, the step and a part of it decide.

    So every process draws the same, a resumed run draws what it would have drawn, and the global generators are as
    they were.

    Args:
        seed (`int`): The seed.

    Example:
        >>> draws = StepDraws(0)
        >>> draws.begin_step()
        >>> with draws.drawing():
        ...     first = torch.rand(2)
        >>> with draws.drawing():
        ...     print(torch.equal(torch.rand(2), first))
        True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.step = 0

    def begin_step(self) -> None:
        """Count a step."""
        self.step += 1

    @contextmanager
    def drawing(self, part: int = 0, device: torch.device | None = None) -> Iterator[None]:
        """
        Set the global generators while the context lasts.

        Args:
            part (`int`, *optional*, defaults to 0): Number of what is drawn for, within the step.
            device (`torch.device`, *optional*): A CUDA device, where it is to be drawn on one instead of the CPU.
        """
        seed = zlib.crc32(f"{self.seed} {self.step} {part}".encode())
        with torch.random.fork_rng(devices=[] if device is None else [device]):
            # torch.manual_seed would set the generators of all devices, of which no copy was kept
            torch.default_generator.manual_seed(seed)
            if device is not None:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            yield

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The number of the step."""
        return {"step": torch.tensor(self.step)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on after that step."""
        self.step = int(state["step"])
