"""Models with a text tower and an image tower side by side, such as CLIP and SigLIP."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import InputError
from ..heads.backbone_info import BackboneInfo
from .image import NORMS_OF_POOLED, flatten_map
from .kind import Arguments
from .padding import find_mask, pad_right, rotate
from .reader import Layers, Reader, in_dtype_of, parameters_of, token_ids

__all__ = ["TwoTowerReader"]

_TOWERS = {"text": ("text_",), "image": ("vision_", "visual_", "image_")}
"""Modality -> how the names of its tower's modules begin."""


class TwoTowerReader(Reader):
    """Runs each tower whose input is there; pooled features are projected to where both towers meet."""

    def __init__(self, model: PreTrainedModel, info: BackboneInfo) -> None:
        super().__init__(model, info)
        self.text_arguments = Arguments.of(type(model).get_text_features)  # type: ignore[attr-defined]
        self.image_arguments = Arguments.of(type(model).get_image_features)  # type: ignore[attr-defined]

    def read(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], layers: Layers, outputs: Collection[str] | None
    ) -> dict[str, Any]:
        """See [`Reader.read`]."""
        read: dict[str, Any] = {}
        if any(inputs.get(name) is not None for name in ("input_ids", "inputs_embeds")):
            read |= self._read_text(model, inputs, layers)
        if inputs.get("pixel_values") is not None:
            read |= self._read_image(model, inputs, layers)
        if not read:
            raise InputError(
                f"backbone {self.info.model_type!r}: expected input_ids or pixel_values, "
                f"found {', '.join(inputs) or 'none'}."
            )
        return {**read, **token_ids(inputs)}

    def unread(self, model: PreTrainedModel, read: Collection[str]) -> Iterable[nn.Parameter]:
        """Towers that are not read, projections and norms of pooled features that are not, and the common scale."""
        for modality, beginnings in _TOWERS.items():
            own = [name for name, _ in model.named_children() if name.startswith(beginnings)]
            pooled = f"encoded_{modality}_pooled" in read
            for name in own:
                if not pooled and (name.endswith("_projection") or f"encoded_{modality}" not in read):
                    yield from parameters_of(model, name)
                elif not pooled:
                    norm = NORMS_OF_POOLED.get(self.info.model_type, "pooler")
                    for part in ("head", "pooler", norm):
                        yield from parameters_of(model, f"{name}.{part}")
        towers = tuple(beginning for beginnings in _TOWERS.values() for beginning in beginnings)
        yield from (value for name, value in model.named_parameters() if not name.startswith(towers))

    def _read_text(self, model: Any, inputs: Mapping[str, Any], layers: Layers) -> dict[str, Any]:
        layers = self.wanted("encoded_text", layers)
        taken = {name: value for name, value in inputs.items() if name in self.text_arguments.names}
        taken, steps = pad_right(taken)
        output = self.run(model.get_text_features, self.text_arguments, taken, layers)
        encoded = output.last_hidden_state
        found = self.layers("encoded_text", output.hidden_states, encoded, steps, layers) if layers else {}
        encoded = encoded if steps is None else rotate(encoded, -steps)
        return {
            "encoded_text": encoded,
            "encoded_text_mask": find_mask(inputs.get("attention_mask"), encoded),
            "encoded_text_pooled": _class_token(output.pooler_output),
            **found,
        }

    def _read_image(self, model: Any, inputs: Mapping[str, Any], layers: Layers) -> dict[str, Any]:
        layers = self.wanted("encoded_image", layers)
        taken = {name: value for name, value in inputs.items() if name in self.image_arguments.names}
        # FLAVA has a mask of patches of the same name as the one of tokens
        taken.pop("attention_mask", None)
        taken = in_dtype_of(model, taken, "pixel_values")
        output = self.run(model.get_image_features, self.image_arguments, taken, layers)
        encoded = flatten_map(output.last_hidden_state)
        found = self.layers("encoded_image", output.hidden_states, encoded, layers=layers) if layers else {}
        return {
            "encoded_image": encoded,
            # SigLIP 2 takes images of any shape, padded
            "encoded_image_mask": find_mask(inputs.get("pixel_attention_mask"), encoded),
            "encoded_image_pooled": _class_token(output.pooler_output),
            **found,
        }


def _class_token(pooled: torch.Tensor) -> torch.Tensor:
    """Pooled features; FLAVA projects every position, of which its training compares the first."""
    return pooled[:, 0] if pooled.dim() == 3 else pooled.flatten(1)
