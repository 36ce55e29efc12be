"""Methods that TorchJD has: how one is made, and what all that need a Gramian have in common."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch

from ...errors import InputError
from .base import GramianAggregation

__all__ = ["TorchJDAggregation", "make_torchjd", "square_root", "unit_scale"]


def make_torchjd(method: str, path: str, parts: Sequence[str] = (), **options: Any) -> Any:
    """
    Make an object of TorchJD, which is imported here.

    Args:
        method (`str`): Name of the method, for the message.
        path (`str`): Module and class, below `torchjd`.
        parts (`Sequence[str]`, *optional*): Packages that this class needs and TorchJD alone does not bring.
        **options (`Any`): Its arguments.

    Returns:
        `Any`: The object.

    Raises:
        InputError: If TorchJD or such a package cannot be imported, or TorchJD refuses an option.

    Example:
        >>> make_torchjd("mgda", "aggregation.MGDAWeighting", epsilon=0)
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: mgda: epsilon must be positive, but got 0.
    """
    module, name = path.rsplit(".", 1)
    try:
        # a broken package is found by its import only, and TorchJD would find it in the middle of training
        for part in parts:
            import_module(part)
        cls = getattr(import_module(f"torchjd.{module}"), name)
        return cls(**options)
    except ImportError as error:
        raise InputError(
            f'{method} needs TorchJD with its optional parts: pip install "mt_transformers[balancing]" ({error}).'
        ) from error
    except ValueError as error:
        raise InputError(f"{method}: {error}") from error


def unit_scale(gramian: torch.Tensor) -> torch.Tensor:
    """
    Scale a Gramian to a mean of 1 on its diagonal.

    The constants of TorchJD that keep it from dividing by zero suit gradients with a norm around 1. Those of a large
    batch can be so small that it would take them for zero.

    Args:
        gramian (`torch.Tensor` of shape `(t, t)`): Inner products of gradients; no zero on the diagonal.

    Returns:
        `torch.Tensor` of shape `(t, t)`: The scaled ones.

    Example:
        >>> unit_scale(torch.tensor([[1e-8, 0.0], [0.0, 3e-8]]))
        tensor([[0.5000, 0.0000],
                [0.0000, 1.5000]])
    """
    return gramian / gramian.diagonal().mean()


def square_root(gramian: torch.Tensor) -> torch.Tensor:
    """
    Find a matrix whose rows have given inner products.

    Args:
        gramian (`torch.Tensor` of shape `(t, t)`): The inner products.

    Returns:
        `torch.Tensor` of shape `(t, rank)`: The matrix, with orthogonal columns.

    Source:
        The tolerance below which an eigenvalue counts as zero is that of `numpy.linalg.matrix_rank`.

    Example:
        >>> square_root(torch.tensor([[4.0, -4.0], [-4.0, 4.0]])).abs()
        tensor([[2.0000],
                [2.0000]])
    """
    values, vectors = torch.linalg.eigh(gramian)
    kept = values > values.max() * len(values) * torch.finfo(values.dtype).eps
    rows: torch.Tensor = vectors[:, kept] * values[kept].sqrt()
    return rows


class TorchJDAggregation(GramianAggregation):
    """
    Base class of the methods that TorchJD finds the weights for.

    With one task alone its gradient is taken as it is. Inner products that are not finite give weights of NaN and
    leave what the method remembers as it was, so that they are noticed where all gradients are looked at.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        path (`str`): Module and class, below `torchjd`.
        parts (`Sequence[str]`, *optional*): Packages that this class needs and TorchJD alone does not bring.
        **options (`Any`): Its arguments.

    Raises:
        InputError: If TorchJD or such a package cannot be imported, or TorchJD refuses an option.
    """

    def __init__(self, tasks: Sequence[str], path: str, parts: Sequence[str] = (), **options: Any) -> None:
        super().__init__(tasks)
        self._torchjd = make_torchjd(self.name, path, parts, **options)

    def weigh(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        if not bool(gramian.isfinite().all()):
            return torch.full((len(present),), torch.nan, dtype=torch.float64)
        return self._weigh_one(gramian, present) if len(present) == 1 else self._weigh_several(gramian, present)

    def _weigh_one(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        """Find the weight of a task that is alone in the step."""
        return torch.ones(1, dtype=torch.float64)

    def _weigh_several(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        """Find the weights of at least two tasks."""
        weights: torch.Tensor = self._torchjd(unit_scale(gramian))
        return weights
