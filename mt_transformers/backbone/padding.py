"""Padding goes to the right before the model sees it, so that no model's positions depend on its side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["find_mask", "has_tokens", "pad_right", "rotate"]

_OTHER_POSITIONS = ("pixel_", "image_", "visual_", "decoder_")
"""Beginnings of names of inputs that count something else than tokens, whatever their shape."""


def rotate(values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """
    Rotate each row to the left, by a number of steps of its own.

    Args:
        values (`torch.Tensor` of shape `(rows, length, ...)`): Any values.
        steps (`torch.Tensor` of shape `(rows,)`):
            Steps of each row, less than its length; negative ones lead to the right.

    Returns:
        `torch.Tensor` of the shape of `values`.

    Example:
        >>> rotate(torch.tensor([[0, 0, 7, 8], [5, 6, 0, 0]]), torch.tensor([2, 0]))
        tensor([[7, 8, 0, 0],
                [5, 6, 0, 0]])
    """
    rows, length = values.shape[:2]
    places = torch.arange(length, device=steps.device) + steps.unsqueeze(1)
    # not a remainder, which cannot be exported where the length is symbolic
    places = places + length * ((places < 0).long() - (places >= length).long())
    # one index over all rows: its gradient is an addition by index, which also runs deterministically
    index = places + torch.arange(rows, device=steps.device).unsqueeze(1) * length
    return values.flatten(0, 1).index_select(0, index.flatten()).reshape(values.shape)


def pad_right(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], torch.Tensor | None]:
    """
    Move the padding on the left of each row to its right, in all inputs that have a value for each token.

    Models count positions from the first column, from the first token or not at all, so that the side of the padding
    changes what some of them answer. With the padding on the right they all agree. Holes in a row stay where they are
    among its tokens. Nothing waits for the device.

    Args:
        inputs (`Mapping[str, Any]`): Inputs of a model.

    Returns:
        `tuple[dict[str, Any], torch.Tensor | None]`: The inputs, and by how many steps each row was rotated, for
        [`rotate`] to take it back; None if there is no mask with one value a token, or the caller gave positions.

    Example:
        >>> mask = torch.tensor([[0, 1, 1], [1, 1, 0]])
        >>> inputs, steps = pad_right({"input_ids": torch.tensor([[0, 5, 6], [7, 8, 0]]), "attention_mask": mask})
        >>> inputs["input_ids"].tolist(), steps.tolist()
        ([[5, 6, 0], [7, 8, 0]], [1, 0])
    """
    mask = inputs.get("attention_mask")
    if not isinstance(mask, torch.Tensor) or mask.dim() != 2 or inputs.get("position_ids") is not None:
        return dict(inputs), None
    # the first token of each row; a row without any stays as it is
    steps = mask.bool().int().argmax(dim=1)
    moved = {name: rotate(value, steps) for name, value in inputs.items() if has_tokens(name, value, mask)}
    return {**inputs, **moved}, steps


def has_tokens(name: str, value: Any, mask: torch.Tensor) -> bool:
    """
    Tell whether an input has a value for each token.

    Args:
        name (`str`): The input's name.
        value (`Any`): The input.
        mask (`torch.Tensor` of shape `(rows, length)`): The mask of the tokens.

    Returns:
        `bool`: False for what only happens to have the mask's shape, such as the positions of an image.
    """
    return (
        isinstance(value, torch.Tensor)
        and value.dim() >= 2
        and value.shape[:2] == mask.shape
        and not name.startswith(_OTHER_POSITIONS)
    )


def find_mask(mask: Any, encoded: torch.Tensor) -> torch.Tensor:
    """
    The mask of an output: the one that was given if it has one value a position, else True for all positions.

    Args:
        mask (`Any`): What was given as mask, if anything.
        encoded (`torch.Tensor` of shape `(rows, positions, hidden_size)`): The output.

    Returns:
        `torch.Tensor` of shape `(rows, positions)`, of type bool.

    Example:
        >>> find_mask(None, torch.zeros(1, 2, 8))
        tensor([[True, True]])
    """
    if isinstance(mask, torch.Tensor) and mask.shape == encoded.shape[:2]:
        return mask.bool()
    return torch.ones(encoded.shape[:2], dtype=torch.bool, device=encoded.device)
