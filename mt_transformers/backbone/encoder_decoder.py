"""Encoder-decoders of text, such as T5 and BART."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import InputError
from ..heads.backbone_info import BackboneInfo
from .kind import Arguments
from .padding import find_mask, pad_right, rotate
from .reader import Layers, Reader, token_ids

__all__ = ["EncoderDecoderReader", "shift_right"]

_DECODER = "encoded_text_decoder"


class EncoderDecoderReader(Reader):
    """
    Runs the encoder, and the decoder only where it is read.

    The decoder reads the same text, shifted right by one token, as BART does for classification. Source: Lewis et al.
    (2020), https://aclanthology.org/2020.acl-main.703, section 3.1.
    """

    def __init__(self, model: PreTrainedModel, info: BackboneInfo) -> None:
        super().__init__(model, info)
        self.encoder_arguments = Arguments.of(type(model.get_encoder()).forward)

    def read(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], layers: Layers, outputs: Collection[str] | None
    ) -> dict[str, Any]:
        """See [`Reader.read`]."""
        self._check_inputs(inputs)
        moved, steps = pad_right(inputs)
        encoder_layers = self.wanted("encoded_text", layers)
        encoder_output = self.run(model.get_encoder(), self.encoder_arguments, moved, encoder_layers)
        read = {"encoded_text": encoder_output.last_hidden_state}
        found = {}
        if encoder_layers:
            found = self.layers("encoded_text", encoder_output.hidden_states, read["encoded_text"], steps, layers)
        if outputs is not None and _DECODER in outputs:
            decoder_layers = self.wanted(_DECODER, layers)
            output = self._decode(model, moved, encoder_output, decoder_layers)
            read[_DECODER] = output.last_hidden_state
            if decoder_layers:
                found |= self.layers(_DECODER, output.decoder_hidden_states, read[_DECODER], steps, layers)
        results: dict[str, Any] = {}
        for name, encoded in read.items():
            results[name] = encoded if steps is None else rotate(encoded, -steps)
            results[f"{name}_mask"] = find_mask(inputs.get("attention_mask"), encoded)
        return {**results, **found, **token_ids(inputs)}

    def unread(self, model: PreTrainedModel, read: Collection[str]) -> Iterable[nn.Parameter]:
        """All but the encoder, unless the decoder is read; its embeddings are the encoder's, too."""
        if _DECODER in read:
            return []
        kept = {id(parameter) for parameter in model.get_encoder().parameters()}
        return [parameter for parameter in model.parameters() if id(parameter) not in kept]

    def _check_inputs(self, inputs: Mapping[str, Any]) -> None:
        for name, value in inputs.items():
            if value is not None and name.startswith(("decoder_", "encoder_outputs", "past_key_values")):
                raise InputError(f"{name}: the decoder of a backbone reads the text that the encoder reads.")

    def _decode(self, model: PreTrainedModel, inputs: Mapping[str, Any], encoder_output: Any, layers: Layers) -> Any:
        input_ids, mask = inputs.get("input_ids"), inputs.get("attention_mask")
        if input_ids is None:
            raise InputError(f"{_DECODER}: expected input_ids for the decoder to read, found {', '.join(inputs)}.")
        decoder_inputs = {
            "encoder_outputs": encoder_output,
            "attention_mask": mask,
            "decoder_input_ids": shift_right(model, input_ids),
        }
        if isinstance(mask, torch.Tensor) and mask.dim() == 2:
            # the start token counts, and from then on each token where it has moved to
            decoder_inputs["decoder_attention_mask"] = torch.cat([torch.ones_like(mask[:, :1]), mask[:, :-1]], dim=1)
        return self.run(model, self.arguments, decoder_inputs, layers)


def shift_right(model: PreTrainedModel, input_ids: torch.Tensor) -> torch.Tensor:
    """
    Shift token ids right by one, with what the model starts from in front.

    Args:
        model (`PreTrainedModel`): An encoder-decoder. Where its config has no `decoder_start_token_id`, mBART and
            PLBart start from each row's last token and the others from padding.
        input_ids (`torch.Tensor` of shape `(rows, sequence_length)`): The ids, padded on the right.

    Returns:
        `torch.Tensor` of shape `(rows, sequence_length)`.

    Raises:
        InputError: If the config says neither what to start from nor what padding is.

    Example:
        >>> from transformers import T5Config, T5Model
        >>> sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 9}
        >>> shift_right(T5Model(T5Config(**sizes)), torch.tensor([[5, 6, 7]]))
        tensor([[0, 5, 6]])
    """
    start: Any = getattr(model.config, "decoder_start_token_id", None)
    padding: Any = getattr(model.config, "pad_token_id", None)
    if start is None and padding is None:
        raise InputError(
            f"backbone {model.config.model_type!r}: its config has no decoder_start_token_id for the decoder."
        )
    own = getattr(sys.modules[type(model).__module__], "shift_tokens_right", None)
    if start is None and own is not None:
        shifted: torch.Tensor = own(input_ids, padding)
        return shifted
    first = torch.full_like(input_ids[:, :1], padding if start is None else start)
    return torch.cat([first, input_ids[:, :-1]], dim=1)
