"""What a saved config says of a head's input: which outputs of the backbone it reads, and which layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ..errors import InputError
from .backbone_info import BackboneInfo

__all__ = ["SCALAR_MIX", "Fusion", "ReadingConfig", "feature_size", "outputs_read"]

Fusion = Literal["concat", "sum", "mul"]

SCALAR_MIX = "scalar_mix"


@dataclass(kw_only=True)
class ReadingConfig:
    """
    Which features a head reads.

    Args:
        input (`str` or `list[str]`, *optional*, defaults to `"auto"`):
            Name of the backbone's output that the head reads, `encoded_text`, `encoded_image`, ...; `auto` is the
            first one that suits the head. Several names are for heads that pool: their pooled features are fused.
        fusion (`str`, *optional*, defaults to `"concat"`): How several inputs are fused: `concat`, `sum` or `mul`.
        layer (`int` or `str`, *optional*, defaults to -1):
            Which of the backbone's layers is read: -1 is the last, 0 the embeddings' output; `scalar_mix` is a learned
            weighted sum of all, see [`ScalarMix`].
        num_layers (`int`, *optional*): Layers that a scalar mix has weights for; filled from the backbone.
    """

    head_type: ClassVar[str] = ""
    reads: ClassVar[tuple[str, ...]] = ()
    """Backbone outputs that the head can read; empty for any."""
    pools: ClassVar[bool] = False
    """Whether the head makes one vector of a row, so that it can read pooled features and fuse several inputs."""

    input: str | list[str] = "auto"
    fusion: Fusion = "concat"
    layer: int | str = -1
    num_layers: int | None = None

    def __post_init__(self) -> None:
        for name in self.inputs:
            known = isinstance(name, str) and (name.startswith("encoded_") or self.input == "auto")
            if not known:
                raise InputError(f"input: expected the name of a backbone output, 'encoded_...', found {name!r}.")
        if isinstance(self.input, list) and (len(self.input) < 2 or len(set(self.input)) < len(self.input)):
            raise InputError(f"input: expected one name or a list of several different ones, found {self.input!r}.")
        if self.fusion not in get_args(Fusion):
            raise InputError(f"fusion: expected one of {', '.join(get_args(Fusion))}, found {self.fusion!r}.")
        if self.layer != SCALAR_MIX and type(self.layer) is not int:
            raise InputError(f"layer: expected a number or {SCALAR_MIX!r}, found {self.layer!r}.")

    @property
    def inputs(self) -> list[str]:
        """Names of the backbone's outputs that the head reads."""
        return list(self.input) if isinstance(self.input, list) else [self.input]

    @property
    def reads_pooled(self) -> bool:
        """Whether the head gets one pooled vector a row from the backbone, in place of a vector a position."""
        return isinstance(self.input, list)

    def resolve(self, backbone: BackboneInfo) -> None:
        """
        Replace `"auto"` by what it stands for on the backbone at hand, so that a saved config says it.

        Args:
            backbone ([`BackboneInfo`]): What is known of the backbone.

        Raises:
            InputError: If the head makes no sense on that backbone, or cannot read what it is to read, naming both.
        """
        where = f"a {backbone.model_type!r} backbone gives {', '.join(backbone.output_names)}"
        if self.input == "auto":
            usable = [name for name in backbone.output_names if not self.reads or name in self.reads]
            if not usable:
                raise InputError(f"{self.head_type} reads {' or '.join(self.reads)}, but {where}.")
            self.input = usable[0]
        for name in self.inputs:
            if name not in backbone.output_names:
                raise InputError(f"input: {where}, found {name!r}.")
            if self.reads and name not in self.reads:
                raise InputError(f"{self.head_type} reads {' or '.join(self.reads)}, found the input {name!r}.")
        if isinstance(self.input, list) and not self.pools:
            raise InputError(f"input: {self.head_type} reads one output of the backbone, found {self.input}.")
        sizes = _sizes(self, backbone)
        if self.fusion != "concat" and len(set(sizes)) > 1:
            raise InputError(f"fusion: {self.fusion!r} needs features of one size, found {sizes}; 'concat' does not.")
        self._resolve_layer(backbone)

    def _resolve_layer(self, backbone: BackboneInfo) -> None:
        if self.layer == -1:
            return
        if self.reads_pooled:
            raise InputError(f"layer: pooled features come from the last layer, found layer {self.layer!r}.")
        number = backbone.num_layers.get(self.inputs[0])
        if number is None:
            raise InputError(f"layer: only -1, the last, can be read of a {backbone.model_type!r} backbone.")
        if self.layer == SCALAR_MIX:
            self.num_layers = number
        elif not -number <= int(self.layer) < number:
            raise InputError(
                f"layer: expected {-number} to {number - 1} (0 is the embeddings' output) or {SCALAR_MIX!r}, "
                f"found {self.layer}."
            )


def _sizes(config: ReadingConfig, backbone: BackboneInfo) -> Sequence[int]:
    sizes = backbone.hidden_sizes
    pooled = "_pooled" if config.reads_pooled else ""
    return [sizes.get(name + pooled, sizes[name]) for name in config.inputs]


def feature_size(config: ReadingConfig, backbone: BackboneInfo) -> int:
    """
    Size of the features that a head gets: the `hidden_size` it is built with.

    Args:
        config ([`HeadConfig`]): The head's config, resolved.
        backbone ([`BackboneInfo`]): The backbone.

    Returns:
        `int`: The size; for several inputs under `concat` the sum of theirs.
    """
    sizes = _sizes(config, backbone)
    return sum(sizes) if config.fusion == "concat" else sizes[0]


def outputs_read(config: ReadingConfig) -> tuple[str, ...]:
    """
    Names of the backbone's outputs that a head reads, pooled ones as such.

    Args:
        config ([`HeadConfig`]): The head's config, resolved.

    Returns:
        `tuple[str, ...]`: The names; where pooled features are read both that of the output and that of its pooled
        form, since not every backbone pools.
    """
    return (*config.inputs, *(f"{name}_pooled" for name in config.inputs if config.reads_pooled))
