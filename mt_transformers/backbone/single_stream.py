"""Models that read text and image as one sequence, the text first, such as ViLT."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from ..errors import InputError
from ..heads.backbone_info import BackboneInfo
from .image import has_class_token
from .padding import find_mask, pad_right, rotate
from .reader import Layers, Reader, in_dtype_of, token_ids

__all__ = ["SingleStreamReader"]


class SingleStreamReader(Reader):
    """Runs the model once and parts its positions into those of the text and those of the image."""

    def __init__(self, model: PreTrainedModel, info: BackboneInfo) -> None:
        super().__init__(model, info)
        self.has_class_token = has_class_token(model)

    def read(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], layers: Layers, outputs: Collection[str] | None
    ) -> dict[str, Any]:
        """See [`Reader.read`]."""
        tokens = inputs.get("input_ids") if inputs.get("inputs_embeds") is None else inputs["inputs_embeds"]
        if tokens is None or inputs.get("pixel_values") is None:
            raise InputError(
                f"backbone {self.info.model_type!r}: expected both input_ids and pixel_values, "
                f"found {', '.join(name for name, value in inputs.items() if value is not None) or 'none'}."
            )
        if len(tokens) != len(inputs["pixel_values"]):
            raise InputError(
                f"backbone {self.info.model_type!r}: expected an image for each sequence of text, found "
                f"{len(inputs['pixel_values'])} and {len(tokens)}. Heads that read several sequences of a row, or one "
                "of their own beside other heads, need a text that is encoded without the image."
            )
        layers = self.wanted("encoded_text", layers)
        moved, steps = pad_right(in_dtype_of(model, inputs, "pixel_values"))
        output = self.run(model, self.arguments, moved, layers)
        encoded, length = output.last_hidden_state, tokens.shape[1]
        text, image = encoded[:, :length], encoded[:, length:]
        if layers:
            states = tuple(output.hidden_states or ())
            found = self.layers("encoded_text", tuple(state[:, :length] for state in states), text, steps, layers)
            found |= self.layers("encoded_image", tuple(each[:, length:] for each in states), image, layers=layers)
        mask = self._image_mask(model, inputs.get("pixel_mask"), image)
        return {
            "encoded_text": text if steps is None else rotate(text, -steps),
            "encoded_text_mask": find_mask(inputs.get("attention_mask"), text),
            "encoded_image": image,
            "encoded_image_mask": mask,
            "encoded_image_pooled": self._pool(image, mask),
            **(found if layers else {}),
            **token_ids(inputs),
        }

    def _image_mask(self, model: PreTrainedModel, pixel_mask: Any, image: torch.Tensor) -> torch.Tensor:
        """
        Which positions of the image are no padding.

        ViLT puts the class token first, then the patches that a mask over the pixels leaves, in an order of its own,
        and fills up with others.
        """
        if pixel_mask is None:
            return find_mask(None, image)
        size = model.config.patch_size
        height, width = pixel_mask.shape[1] // size, pixel_mask.shape[2] // size
        patches = functional.interpolate(pixel_mask.unsqueeze(1).float(), size=(height, width)).long()
        # (rows, 1)
        number = 1 + patches.flatten(1).sum(dim=1, keepdim=True)
        return torch.arange(image.shape[1], device=image.device) < number

    def _pool(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.has_class_token:
            return image[:, 0]
        weights = mask.unsqueeze(-1).to(image.dtype)
        return (image * weights).sum(dim=1) / weights.sum(dim=1)
