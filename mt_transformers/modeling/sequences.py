"""Which of the encoded sequences each head reads of each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..heads import Head
from ..routing import Rows, take_rows

__all__ = ["per_sequence", "read_features"]


def per_sequence(inputs: Mapping[str, Any], encoded: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """
    Find the inputs that have an entry for each sequence, so that heads get those of their own sequences.

    Args:
        inputs (`Mapping[str, Any]`): Inputs of the backbone.
        encoded (`Mapping[str, Any]`): The backbone's outputs over all sequences.

    Returns:
        `dict[str, torch.Tensor]`: The inputs with a first dimension of as many entries as there are sequences.

    Example:
        >>> masks = {"encoded_text_mask": torch.ones(2, 3)}
        >>> list(per_sequence({"input_ids": torch.ones(2, 3), "position_ids": torch.ones(1, 3)}, masks))
        ['input_ids']
    """
    number = max(value.shape[0] for name, value in encoded.items() if name.endswith("_mask"))
    return {
        name: value
        for name, value in inputs.items()
        if torch.is_tensor(value) and value.dim() > 0 and value.shape[0] == number
    }


def read_features(
    head: Head,
    encoded: Mapping[str, Any],
    sequences: torch.Tensor | None,
    rows: Rows,
    batch_size: int,
    takes: Callable[[str], bool] | None = None,
) -> dict[str, Any]:
    """
    Read what a head takes of the backbone's outputs, for its rows.

    A batch may hold more sequences than rows: the first `batch_size` are the rows' first ones, the others follow.

    Args:
        head ([`Head`]): The head.
        encoded (`Mapping[str, Any]`): The backbone's outputs over all sequences, and what else has an entry for each.
        sequences (`torch.Tensor` of shape `(batch_size, sequences)`, *optional*):
            For each row the sequences that the head reads, -1 where there are fewer. By default its first one.
        rows (`torch.Tensor` of shape `(rows,)`, *optional*): The head's rows; None for all.
        batch_size (`int`): Rows of the batch.
        takes (`Callable[[str], bool]`, *optional*):
            Tells whether the head takes an argument; others are left out. By default it takes all.

    Returns:
        `dict[str, Any]`: The backbone's outputs, and `encoded` and `encoded_mask` as [`Head.forward`] takes them.
    """
    if sequences is None:
        own = {name: _take_first(value, batch_size) for name, value in encoded.items()}
        features, mask = head.reader(own)
        taken = {**own, "encoded": features, "encoded_mask": mask}
        taken = {
            name: take_rows(value, rows, batch_size) for name, value in taken.items() if takes is None or takes(name)
        }
        if head.config.multi_sequence:
            taken = {name: value.unsqueeze(1) if torch.is_tensor(value) else value for name, value in taken.items()}
        return taken
    features, mask = head.reader(encoded)
    chosen = take_rows(sequences, rows, batch_size).to(features.device)
    if not head.config.multi_sequence:
        chosen = chosen[:, 0]
    places, total = chosen.clamp(min=0), mask.shape[0]
    taken = {**encoded, "encoded": features, "encoded_mask": mask}
    taken = {
        name: value[places] if torch.is_tensor(value) and value.shape[0] == total else value
        for name, value in taken.items()
        if takes is None or takes(name)
    }
    if "encoded_mask" in taken:
        taken["encoded_mask"] = taken["encoded_mask"] & (chosen >= 0).unsqueeze(-1)
    return taken


def _take_first(value: Any, batch_size: int) -> Any:
    """The part of an output, or of each of its layers, that belongs to the rows' first sequences."""
    if isinstance(value, tuple):
        return tuple(layer[:batch_size] for layer in value)
    return value[:batch_size] if torch.is_tensor(value) and value.shape[0] > batch_size else value
