"""Export to ONNX, in float32 or with int8 weights."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...errors import InputError
from ...modeling import MultiTaskModel
from .folder import check_target, write_export
from .graph import choose_heads, exported_config
from .tracing import ONNX_PACKAGES, check_packages, quietly, trace

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["MODEL_FILE", "OnnxExport", "export_onnx", "trace_onnx"]

MODEL_FILE = "model.onnx"
"""The graph; its weights are beside it."""

_QUANTIZED_OPERATIONS = ["MatMul"]


@dataclass(frozen=True)
class OnnxExport:
    """
    A traced model in memory.

    Args:
        model ([`MultiTaskModel`]): What was traced.
        processing_class (`Any`): Its tokenizer or image processor.
        heads (`list[str]`): The heads that the graph has.
        graph (`onnx_ir.Model`): The graph.
        quantized (`bool`, *optional*, defaults to `False`): Whether its weights are int8.
    """

    model: MultiTaskModel
    processing_class: Any
    heads: list[str]
    graph: onnx_ir.Model
    quantized: bool = False

    def quantize(self) -> OnnxExport:
        """
        Make weights of matrix products int8, one scale a column; activations become int8 as the graph runs.

        Embeddings, layer normalization and softmax stay in float32. What this costs in accuracy depends on the heads
        and on the data: it has to be measured, which `mt-transformers export --recipe` does.

        Source: dynamic quantization as in ONNX Runtime,
        https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html.

        Returns:
            [`OnnxExport`]: Another export; this one is not changed.
        """
        from transformers.exporters import ExportFormat, OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer

        config = OnnxRuntimeDynamicConfig(op_types_to_quantize=_QUANTIZED_OPERATIONS, per_channel=True)
        with quietly():
            graph = OnnxRuntimeQuantizer(config).quantize(self.graph, {}, ExportFormat.ONNX)
        return replace(self, graph=graph, quantized=True)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """
        Write the folder that [`load_model`] and `mt-transformers predict` take.

        It holds `model.onnx` with its weights in `model.onnx.data`, the config and the tokenizer, the heads' weights
        for decoding, and `multi_task_export.json`, which says what it is.

        Args:
            folder (`str`): The folder; an earlier export there is replaced.

        Raises:
            InputError: If it holds anything else, or cannot be written.
        """
        from transformers.exporters import OnnxExporter

        config = exported_config(self.model.config, self.heads)
        manifest = {"export_format": "onnx", "quantized": self.quantized}
        with write_export(folder, self.model, self.processing_class, config, **manifest) as unfinished, quietly():
            OnnxExporter.save_program(self.graph, Path(unfinished) / MODEL_FILE)


def trace_onnx(model: MultiTaskModel, processing_class: Any, heads: Collection[str] | None = None) -> OnnxExport:
    """
    Trace a model as an ONNX graph.

    The graph has an output for each thing that a head puts out, such as `intent_logits`, and takes batches of any size
    and texts of any length, on whichever side their padding is. Where a head reads several sequences a row, it has the
    input `sequences` of shape `(rows, sequences)`, with two columns at least, see [`MultiTaskModel.forward`].

    Args:
        model ([`MultiTaskModel`]): The model.
        processing_class (`Any`): Its tokenizer or image processor.
        heads (`Collection[str]`, *optional*): The heads that the graph has. Defaults to all.

    Returns:
        [`OnnxExport`].

    Raises:
        InputError: If a package is missing or too old, a head is unknown or cannot be exported, or the model reads
            neither text nor images.
    """
    check_packages(*ONNX_PACKAGES)
    chosen = choose_heads(model, heads)

    def run(graph: Any, inputs: dict[str, torch.Tensor], dynamic: dict[str, dict[int, Any]]) -> Any:
        from transformers.exporters import OnnxConfig, OnnxExporter

        program, _ = OnnxExporter().export_program(graph, inputs, OnnxConfig(dynamic_shapes=dynamic))
        return program

    return OnnxExport(model, processing_class, chosen, trace(model, processing_class, chosen, run))


def export_onnx(
    model: MultiTaskModel,
    processing_class: Any,
    folder: str | os.PathLike[str],
    *,
    heads: Collection[str] | None = None,
    quantize: bool = False,
) -> None:
    """
    Write a model as an ONNX graph that runs without torch's and transformers' code for it.

    Args:
        model ([`MultiTaskModel`]): The model.
        processing_class (`Any`): Its tokenizer or image processor.
        folder (`str`): The folder, see [`OnnxExport.save`].
        heads (`Collection[str]`, *optional*): The heads that the graph has. Defaults to all.
        quantize (`bool`, *optional*, defaults to `False`): Whether weights become int8, see [`OnnxExport.quantize`].

    Raises:
        InputError: As [`trace_onnx`] and [`OnnxExport.save`].

    Example:
        A trained folder, and predictions of what was exported from it::

            export_onnx(*load_model("out"), "out_onnx")
            MultiTaskPredictor(*load_model("out_onnx"))(["play some jazz"])
    """
    check_target(folder)
    if type(quantize) is not bool:
        raise InputError(f"quantize: expected True or False, found {quantize!r}.")
    export = trace_onnx(model, processing_class, heads)
    (export.quantize() if quantize else export).save(folder)
