"""Export with `torch.export`."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from ...modeling import MultiTaskModel
from .folder import check_target, write_export
from .graph import choose_heads, exported_config
from .tracing import check_packages, quietly, trace

__all__ = ["export_dynamo"]


def export_dynamo(
    model: MultiTaskModel,
    processing_class: Any,
    folder: str | os.PathLike[str],
    *,
    heads: Collection[str] | None = None,
) -> None:
    """
    Write a model as a program of `torch.export`, `model.pt2`, beside what [`OnnxExport.save`] writes.

    It takes batches of any size and texts of any length, and gives a dict with what the heads put out. To load it is
    left to those who want to: `torch.export.load("model.pt2").module()` unpickles a part of the file, so that it must
    only be called on files whose origin is trusted, and [`load_model`] does not.

    Args:
        model ([`MultiTaskModel`]): The model.
        processing_class (`Any`): Its tokenizer or image processor.
        folder (`str`): The folder; an earlier export there is replaced.
        heads (`Collection[str]`, *optional*): The heads that the program has. Defaults to all.

    Raises:
        InputError: As [`trace_onnx`] and [`OnnxExport.save`].
    """
    check_target(folder)
    check_packages()
    chosen = choose_heads(model, heads)

    def run(graph: Any, inputs: dict[str, torch.Tensor], dynamic: dict[str, dict[int, Any]]) -> Any:
        from transformers.exporters import DynamoConfig, DynamoExporter

        program, _ = DynamoExporter().export_program(graph, inputs, DynamoConfig(dynamic_shapes=dynamic))
        return program

    program = trace(model, processing_class, chosen, run)
    config = exported_config(model.config, chosen)
    manifest = {"export_format": "dynamo", "quantized": False}
    with write_export(folder, model, processing_class, config, **manifest) as unfinished, quietly():
        torch.export.save(program, Path(unfinished) / "model.pt2")
