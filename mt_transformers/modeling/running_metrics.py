"""Metrics over all batches since they were last asked for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional

from ..heads import IGNORED, Head

__all__ = ["RunningMetrics"]


class RunningMetrics:
    """
    Keeps what metrics need of each batch, and scores all of it together: no average of the batches' metrics.

    With several processes each asks for the metrics, and gets those over the rows of all.
    """

    def __init__(self) -> None:
        self._kept: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def add(self, name: str, predictions: torch.Tensor, labels: torch.Tensor) -> None:
        """
        Keep the predictions of a head for a batch.

        Args:
            name (`str`): The head.
            predictions (`torch.Tensor` of shape `(rows, ...)`): What [`Head.predictions`] gave.
            labels (`torch.Tensor` of shape `(rows, ...)`): The labels.
        """
        # labels of one number a row come with or without the second dimension
        labels = labels.reshape(predictions.shape) if labels.numel() == predictions.numel() else labels
        self._kept.setdefault(name, []).append((predictions.detach(), labels.detach()))

    def forget(self, name: str) -> None:
        """Drop what was kept of a head, which is no longer there."""
        self._kept.pop(name, None)

    def compute(self, heads: Mapping[str, Head], reset: bool) -> dict[str, float]:
        """
        Score everything that was kept.

        Args:
            heads (`Mapping[str, Head]`): The heads of the model.
            reset (`bool`): Whether to forget it then.

        Returns:
            `dict[str, float]`: `<head>_<metric>` of the heads that had labelled rows; heads whose metrics need more
            than labels, such as the texts of answers, are left out.
        """
        joined = {name: tuple(map(_join, zip(*pairs, strict=True))) for name, pairs in self._kept.items()}
        by_process = _gather(joined)
        names = dict.fromkeys(name for each in by_process for name in each if name in heads)
        metrics: dict[str, float] = {}
        for name in names:
            pairs = [each[name] for each in by_process if name in each]
            predictions, labels = (_join([pair[side] for pair in pairs]) for side in (0, 1))
            config = heads[name].config
            if not config.needs_gold and (config.count_items(labels) > 0).any():
                found = config.compute_metrics(_to_numpy(predictions), _to_numpy(labels))
                metrics.update({f"{name}_{metric}": value for metric, value in found.items()})
        if reset:
            self._kept.clear()
        return metrics


def _join(parts: list[torch.Tensor] | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """One tensor of all rows, on the CPU; sequences of other lengths are filled up as ignored."""
    parts = [part.cpu() for part in parts]
    if parts[0].dim() > 1:
        length = max(part.shape[1] for part in parts)
        fill = float("nan") if parts[0].is_floating_point() else IGNORED
        rest = (0, 0) * (parts[0].dim() - 2)
        parts = [functional.pad(part, (*rest, 0, length - part.shape[1]), value=fill) for part in parts]
    return torch.cat(parts)


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _gather(own: dict[str, tuple[torch.Tensor, ...]]) -> list[dict[str, tuple[torch.Tensor, ...]]]:
    """What every process has kept, in the order of the processes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    gathered: list[dict[str, tuple[torch.Tensor, ...]]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(gathered, own)
    return gathered
