"""Models of audio: Wav2Vec2 and its like over samples, the encoder of Whisper and its like over spectrograms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import InputError
from ..heads.backbone_info import BackboneInfo
from .kind import Arguments
from .padding import find_mask, pad_right
from .reader import Layers, Reader, in_dtype_of, parameters_of

__all__ = ["AudioReader"]


class AudioReader(Reader):
    """
    Runs a model of audio; of an encoder-decoder the encoder alone.

    Positions are frames. Padding on the left of the samples moves to the right and stays there: it need not be a whole
    number of frames long.
    """

    def __init__(self, model: PreTrainedModel, info: BackboneInfo) -> None:
        super().__init__(model, info)
        self.has_decoder = "decoder_input_ids" in self.arguments.names
        if self.has_decoder:
            self.arguments = Arguments.of(type(model.get_encoder()).forward)

    def read(
        self, model: Any, inputs: Mapping[str, Any], layers: Layers, outputs: Collection[str] | None
    ) -> dict[str, Any]:
        """See [`Reader.read`]."""
        layers = self.wanted("encoded_audio", layers)
        inputs, _ = pad_right(in_dtype_of(model, inputs, model.main_input_name))
        if self.has_decoder and model.training and hasattr(model, "_mask_input_features"):
            # SpecAugment, which the whole model does before its encoder, and in place
            name = model.main_input_name
            features = model._mask_input_features(inputs[name].clone(), attention_mask=inputs.get("attention_mask"))
            inputs = {**inputs, name: features}
        function = model.get_encoder() if self.has_decoder else model
        output = self.run(function, self.arguments, inputs, layers)
        encoded = output.last_hidden_state
        found = self.layers("encoded_audio", output.hidden_states, encoded, layers=layers) if layers else {}
        mask = self._frame_mask(model, inputs.get("attention_mask"), encoded)
        return {"encoded_audio": encoded, "encoded_audio_mask": mask, **found}

    def unread(self, model: PreTrainedModel, read: Collection[str]) -> Iterable[nn.Parameter]:
        """A decoder, and what stands for masked frames if none are masked."""
        if self.has_decoder:
            kept = {id(parameter) for parameter in model.get_encoder().parameters()}
            yield from (parameter for parameter in model.parameters() if id(parameter) not in kept)
        config = model.config
        if not (getattr(config, "apply_spec_augment", True) and getattr(config, "mask_time_prob", 0) > 0):
            yield from parameters_of(model, "masked_spec_embed")

    def _frame_mask(self, model: Any, mask: Any, encoded: torch.Tensor) -> torch.Tensor:
        """The mask of samples, or of frames of a spectrogram, as one of the model's frames."""
        if mask is None or mask.shape == encoded.shape[:2]:
            return find_mask(mask, encoded)
        if not hasattr(model, "_get_feat_extract_output_lengths"):
            raise InputError(
                f"backbone {self.info.model_type!r}: it does not say which of its {encoded.shape[1]} frames are "
                f"padding; call it without an attention_mask."
            )
        # (rows, 1)
        lengths = model._get_feat_extract_output_lengths(mask.long().sum(dim=-1)).unsqueeze(1)
        frames = torch.arange(encoded.shape[1], device=encoded.device)
        mask_of_frames: torch.Tensor = frames < lengths
        return mask_of_frames
