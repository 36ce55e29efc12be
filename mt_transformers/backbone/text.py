"""Models of text with one stack of layers: encoders such as BERT, decoders such as GPT-2."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from ..errors import InputError
from .flattening import find_first_position, flatten
from .padding import find_mask, pad_right, rotate
from .reader import Layers, Reader, token_ids

__all__ = ["TextReader"]

_FIXED_LENGTHS = ("eager", "sdpa", "flex_attention")
"""Attention of transformers that knows no variable lengths."""


class TextReader(Reader):
    """Runs a model of text, whichever side the padding is on, or without any."""

    _first_position: int | None = None
    """Position of a row's first token, where padding is left out."""

    def read(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], layers: Layers, outputs: Collection[str] | None
    ) -> dict[str, Any]:
        """See [`Reader.read`]."""
        layers = self.wanted("encoded_text", layers)
        flat = None if self._first_position is None else flatten(inputs, self._first_position)
        moved, steps = pad_right(inputs) if flat is None else (flat.inputs, None)
        output = self.run(model, self.arguments, moved, layers)
        encoded = output.last_hidden_state
        found = self.layers("encoded_text", output.hidden_states, encoded, steps, layers) if layers else {}
        if flat is not None:
            encoded = flat.unflatten(encoded)
            found = {name: tuple(map(flat.unflatten, values)) for name, values in found.items()}
        encoded = encoded if steps is None else rotate(encoded, -steps)
        mask = find_mask(inputs.get("attention_mask"), encoded)
        return {"encoded_text": encoded, "encoded_text_mask": mask, **found, **token_ids(inputs)}

    def leave_padding_out(self, model: PreTrainedModel) -> None:
        """
        Put the rows of a batch in one sequence from now on.

        Args:
            model (`PreTrainedModel`): The model that will be run.

        Raises:
            InputError: If rows would not come out as they do alone.
        """
        attention = model.config._attn_implementation
        if attention in _FIXED_LENGTHS:
            raise InputError(
                "padding_free: expected attention that takes variable lengths (attn_implementation: "
                f"flash_attention_2), found {attention!r}."
            )
        if not self.arguments.take("position_ids") or not self.arguments.take("cu_seq_lens_q"):
            raise InputError(f"padding_free: a {self.info.model_type!r} backbone takes no positions, or no lengths.")
        self._first_position = find_first_position(model)
        difference = self._difference(model)
        if not difference < (1e-4 if model.dtype in (torch.float32, torch.float64) else 1e-2):
            self._first_position = None
            raise InputError(
                f"padding_free: rows of a {self.info.model_type!r} backbone with {attention!r} come out otherwise in "
                f"one sequence than alone (relative difference {difference:.1e})."
            )

    @torch.no_grad()
    def _difference(self, model: PreTrainedModel) -> float:
        """How far two short rows in one sequence are from the same rows alone."""
        training = model.training
        model.eval()
        lengths, device = torch.tensor([3, 5], device=model.device), model.device
        # ids of padding would be no tokens to RoBERTa and its like
        known = [each for each in range(self.info.vocab_size or 0) if each != model.config.pad_token_id][:10]
        ids = torch.tensor((known * 10)[:10], device=device).view(2, 5)
        mask = (torch.arange(5, device=device) < lengths.unsqueeze(1)).long()
        together = self.read(model, {"input_ids": ids, "attention_mask": mask}, False, None)["encoded_text"]
        alone = torch.zeros_like(together)
        for row, length in enumerate(lengths.tolist()):
            inputs = {"input_ids": ids[row : row + 1, :length]}
            alone[row, :length] = self.run(model, self.arguments, inputs).last_hidden_state[0]
        model.train(training)
        return float((together - alone).float().norm() / alone.float().norm())
