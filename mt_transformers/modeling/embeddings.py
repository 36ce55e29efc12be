"""The backbone's token embeddings as the model's own, and what depends on their number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from ..backbone import Backbone
from ..configuration import MultiTaskConfig
from ..heads import Head

__all__ = ["EmbeddingsMixin"]


class EmbeddingsMixin(PreTrainedModel):
    """Adds what transformers does with token embeddings to a model with a `backbone` and `named_heads`."""

    backbone: Backbone
    config: MultiTaskConfig

    @property
    def named_heads(self) -> Mapping[str, Head]:
        """The heads by name."""
        raise NotImplementedError

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings of the backbone."""
        embeddings: nn.Module = _embedding_model(self.backbone.model).get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings of the backbone."""
        _embedding_model(self.backbone.model).set_input_embeddings(value)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """As `PreTrainedModel.resize_token_embeddings`; heads over the vocabulary follow."""
        embeddings = super().resize_token_embeddings(*args, **kwargs)
        for name, head in self.named_heads.items():
            head.resize_vocabulary(embeddings.num_embeddings)
            self.config.heads[name] = head.config.to_dict()
        return embeddings


def _embedding_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model, or its text tower where the whole does not know that tower's embeddings (CLIP)."""
    try:
        model.get_input_embeddings()
    except NotImplementedError:
        tower = getattr(model, "text_model", None)
        if isinstance(tower, PreTrainedModel):
            return tower
    return model
