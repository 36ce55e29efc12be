"""Models of text with one stack of layers: encoders such as BERT, decoders such as GPT-2."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from transformers import PreTrainedModel

from .padding import find_mask, pad_right, rotate
from .reader import Reader, token_ids

__all__ = ["TextReader"]


class TextReader(Reader):
    """Runs a model of text, whichever side the padding is on."""

    def read(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], layers: bool, outputs: Collection[str] | None
    ) -> dict[str, Any]:
        """See [`Reader.read`]."""
        layers = layers and "encoded_text" in self.info.num_layers
        moved, steps = pad_right(inputs)
        output = self.run(model, self.arguments, moved, layers)
        encoded = output.last_hidden_state
        found = self.layers("encoded_text", output.hidden_states, encoded, steps) if layers else {}
        encoded = encoded if steps is None else rotate(encoded, -steps)
        mask = find_mask(inputs.get("attention_mask"), encoded)
        return {"encoded_text": encoded, "encoded_text_mask": mask, **found, **token_ids(inputs)}
