"""What heads may know of the backbone that they stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BackboneInfo"]

_POOLED = "_pooled"


@dataclass(frozen=True)
class BackboneInfo:
    """
    What a head may know of the backbone that it stands on.

    Args:
        model_type (`str`): The backbone's `model_type`, such as `bert`.
        hidden_sizes (`Mapping[str, int]`):
            Size of every output, pooled ones included; the main output comes first.
        num_layers (`Mapping[str, int]`):
            For each output how many hidden states can be read, the embeddings' included (`num_hidden_layers + 1`). An
            output whose layers differ in shape (Swin, ConvNeXt, ResNet) is not in it.
        default_pooling (`Mapping[str, str]`):
            For each output that is not pooled what the pooling `auto` stands for: `last` where it only looks back,
            `mean` for other text and audio, `pooled` for images and for both sides of CLIP and its like.
        causal (`bool`): Whether the text side only looks back.
        vocab_size (`int`, *optional*): Number of token ids; None if the backbone reads no text.
        embedding_size (`int`, *optional*):
            Width of the input embeddings, which in ALBERT and ELECTRA is not the hidden size; None if the backbone
            reads no text.
        reads_together (`bool`, *optional*, defaults to `False`):
            Whether it reads text and image as one sequence, and neither without the other.

    Example:
        >>> sizes = {"encoded_image": 32, "encoded_image_pooled": 32}
        >>> pooling = {"encoded_image": "pooled"}
        >>> info = BackboneInfo("vit", sizes, {"encoded_image": 13}, pooling, False, None, None)
        >>> info.output_names
        ('encoded_image',)
    """

    model_type: str
    hidden_sizes: Mapping[str, int]
    num_layers: Mapping[str, int]
    default_pooling: Mapping[str, str]
    causal: bool
    vocab_size: int | None
    embedding_size: int | None
    reads_together: bool = False

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs that have positions, the main one first: all but the pooled ones."""
        return tuple(name for name in self.hidden_sizes if not name.endswith(_POOLED))
