"""Compiling the backbone, once, whichever heads a batch has rows for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accelerate.utils import DynamoBackend

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ..backbone import Backbone

__all__ = ["compile_backbone"]


def compile_backbone(backbone: Backbone, accelerator: Accelerator) -> None:
    """
    Compile the backbone alone, as `torch_compile` and its like or `accelerate launch --dynamo_backend` ask for.

    The Trainer would compile the whole model, whose path depends on the heads that a batch has rows for: a new graph
    for each set of them, until the limit of recompilations. Lengths are dynamic from the start unless accelerate was
    told otherwise.

    Args:
        backbone ([`Backbone`]): The backbone; its model is compiled in place.
        accelerator (`Accelerator`): Knows how to compile, and is told that nothing is left to compile.
    """
    plugin = accelerator.state.dynamo_plugin
    if plugin.backend == DynamoBackend.NO:
        return
    options = plugin.to_kwargs()
    options.setdefault("dynamic", True)
    backbone.model.compile(**options)
    plugin.backend = DynamoBackend.NO
