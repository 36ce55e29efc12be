"""Rows in one sequence without padding, for attention that takes sequences of variable lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .padding import has_tokens

__all__ = ["FlatRows", "find_first_position", "flatten"]


def find_first_position(model: nn.Module) -> int:
    """
    Find the position of a sequence's first token.

    Args:
        model (`nn.Module`): A model of text.

    Returns:
        `int`: 0, or the first one behind the padding's index for RoBERTa and its like, which count from there.
    """
    first = [
        module.padding_idx + 1
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]
    return max(first, default=0)


@dataclass
class FlatRows:
    """
    Rows that follow on each other in one sequence.

    Args:
        inputs (`dict[str, Any]`):
            Inputs of a model, those with a value for each token of shape `(1, tokens, ...)`, with `position_ids` that
            begin anew in each row, and `cu_seq_lens_q`, `cu_seq_lens_k`, `max_length_q` and `max_length_k`, as
            transformers' `DataCollatorWithFlattening` gives them to flash attention.
        mask (`torch.Tensor` of shape `(rows, length)`): True for tokens, False for padding.
    """

    inputs: dict[str, Any]
    mask: torch.Tensor
    _places: torch.Tensor

    def unflatten(self, values: torch.Tensor) -> torch.Tensor:
        """
        Give each row a dimension of its own again.

        Args:
            values (`torch.Tensor` of shape `(1, tokens, ...)`): A value for each token.

        Returns:
            `torch.Tensor` of shape `(rows, length, ...)`, 0 where there is padding.
        """
        rows, length = self.mask.shape
        padded = values.new_zeros(rows * length, *values.shape[2:])
        return padded.index_copy(0, self._places, values[0]).view(rows, length, *values.shape[2:])


def flatten(inputs: Mapping[str, Any], first_position: int = 0) -> FlatRows | None:
    """
    Put the tokens of all rows behind one another and leave the padding out.

    The number of tokens has to be known: on a GPU this waits for the device, once for each batch.

    Args:
        inputs (`Mapping[str, Any]`): Inputs of a model.
        first_position (`int`, *optional*, defaults to 0):
            Position of a row's first token; RoBERTa and its like begin behind the index of their padding.

    Returns:
        [`FlatRows`]; None if the inputs have no mask with one value a token.

    Example:
        >>> mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
        >>> flat = flatten({"input_ids": torch.tensor([[5, 6, 0], [7, 8, 9]]), "attention_mask": mask})
        >>> flat.inputs["input_ids"].tolist(), flat.inputs["position_ids"].tolist()
        ([[5, 6, 7, 8, 9]], [[0, 1, 0, 1, 2]])
        >>> flat.inputs["cu_seq_lens_q"].tolist(), flat.unflatten(flat.inputs["input_ids"]).tolist()
        ([0, 2, 5], [[5, 6, 0], [7, 8, 9]])
    """
    given = inputs.get("attention_mask")
    if not isinstance(given, torch.Tensor) or given.dim() != 2:
        return None
    mask = given.bool()
    places = mask.flatten().nonzero().squeeze(1)
    flat = {
        name: value.flatten(0, 1).index_select(0, places).unsqueeze(0) if has_tokens(name, value, mask) else value
        for name, value in inputs.items()
        if name != "attention_mask"
    }
    if flat.get("position_ids") is None:
        # counted from each row's first token; (rows, length)
        positions = torch.arange(mask.shape[1], device=mask.device) - mask.int().argmax(dim=1, keepdim=True)
        flat["position_ids"] = positions.flatten().index_select(0, places).unsqueeze(0) + first_position
    ends = functional.pad(mask.sum(1, dtype=torch.int32).cumsum(0, dtype=torch.int32), (1, 0))
    # an upper bound is enough, and is known without the device
    length = mask.shape[1]
    flat |= {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": length, "max_length_k": length}
    return FlatRows(flat, mask, places)
