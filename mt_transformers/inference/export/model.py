"""An exported model in the place of a [`MultiTaskModel`]: the graph runs, the heads only decode."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...backbone.info import describe_backbone
from ...configuration import MultiTaskConfig
from ...data import load_processing
from ...errors import InputError, check_known
from ...heads import BackboneInfo, Head
from ...modeling import MultiTaskModelOutput
from ...modeling.head_building import build_head
from .folder import HEADS_FILE, read_manifest
from .onnx import MODEL_FILE
from .session import GraphSession

__all__ = ["ExportedBackbone", "ExportedMultiTaskModel", "load_exported"]

_SMALLEST_TABLE = 2
"""Sequences a row that the graph takes at least: tracing took their number for neither 0 nor 1."""


@dataclass(frozen=True)
class ExportedBackbone:
    """
    What remains of a backbone that has become part of a graph.

    Args:
        info ([`BackboneInfo`]): Its outputs.
        max_positions (`int`, *optional*): Length of the longest text that it reads (tokens).
    """

    info: BackboneInfo
    max_positions: int | None

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs that have positions, the main one first."""
        return self.info.output_names


class ExportedMultiTaskModel:
    """
    An exported model, which [`MultiTaskPredictor`] takes like a [`MultiTaskModel`].

    ONNX Runtime computes what the heads put out; the heads themselves, on the CPU, turn that into answers. There is no
    backbone, and nothing that could be trained.

    Args:
        config ([`MultiTaskConfig`]): Config of the exported heads.
        backbone ([`ExportedBackbone`]): What the backbone was.
        heads (`Mapping[str, Head]`): The heads, with their weights.
        session ([`GraphSession`]): The graph.

    Raises:
        InputError: If the graph lacks the outputs of a head.
    """

    def __init__(
        self, config: MultiTaskConfig, backbone: ExportedBackbone, heads: Mapping[str, Head], session: GraphSession
    ) -> None:
        self.config = config
        self.backbone = backbone
        self.heads = dict(heads)
        self._session = session
        for name in self.heads:
            if f"{name}_logits" not in session.output_names:
                raise InputError(f"head {name!r}: the graph has no output {name}_logits.")

    @property
    def task_adapters(self) -> Mapping[str, str]:
        """No task has an adapter of its own."""
        return {}

    @property
    def named_heads(self) -> Mapping[str, Head]:
        """The heads by name."""
        return self.heads

    @property
    def device(self) -> torch.device:
        """Where inputs are read and outputs are given: the CPU."""
        return torch.device("cpu")

    def eval(self) -> ExportedMultiTaskModel:
        """The model itself, which is always in evaluation mode."""
        return self

    def __call__(
        self,
        heads: Collection[str] | None = None,
        sequences: Mapping[str, torch.Tensor] | None = None,
        **inputs: Any,
    ) -> MultiTaskModelOutput:
        """
        Run the graph.

        Args:
            heads (`Collection[str]`, *optional*): The heads whose outputs are wanted. Defaults to all.
            sequences (`Mapping[str, torch.Tensor]`, *optional*): As [`MultiTaskModel.forward`] takes them.
            inputs (`Any`): What the backbone reads, of any number of rows and any length. What it does not read is
                left out.

        Returns:
            [`MultiTaskModelOutput`]: For each head what it puts out, such as `<head>_logits`.

        Raises:
            InputError: If a head is unknown or an input is missing.
        """
        check_known(heads or (), self.heads, "heads", "head")
        chosen = [name for name in self.heads if heads is None or name in heads]
        given = {name: value for name, value in inputs.items() if torch.is_tensor(value)}
        if "sequences" in self._session.input_names:
            given["sequences"] = _table(sequences, given)
        wanted = [
            f"{name}_{key}"
            for name in chosen
            for key in self.heads[name].config.output_names
            if f"{name}_{key}" in self._session.output_names
        ]
        return MultiTaskModelOutput(**self._session.run(given, wanted))


def _table(sequences: Mapping[str, torch.Tensor] | None, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The sequences of each row, which all heads that read several have in common; else one a row."""
    if sequences:
        table = next(iter(sequences.values()))
    else:
        rows = next(len(value) for value in inputs.values())
        table = torch.arange(rows).unsqueeze(1)
    missing = max(0, _SMALLEST_TABLE - table.shape[1])
    return torch.nn.functional.pad(table, (0, missing), value=-1)


def load_exported(folder: str | os.PathLike[str]) -> tuple[ExportedMultiTaskModel, Any]:
    """
    Load what [`export_onnx`] has written. Only ONNX Runtime is needed for that, not what the export needed.

    Args:
        folder (`str`): The folder.

    Returns:
        `tuple[ExportedMultiTaskModel, Any]`: Model, and the tokenizer or image processor that prepares its inputs.

    Raises:
        InputError: If a file is missing or broken, a newer version wrote it, ONNX Runtime is not installed, or it was
            not exported to ONNX.
    """
    path = Path(folder)
    manifest = read_manifest(path)
    if manifest.export_format != "onnx":
        raise InputError(
            f"{path}: exported as {manifest.export_format!r}, which is loaded with torch.export.load: only exports as "
            "'onnx' can be run here."
        )
    try:
        config = MultiTaskConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: its config cannot be read: {error}") from error
    backbone = ExportedBackbone(describe_backbone(config.backbone_config), manifest.max_positions)
    processing_class = load_processing(str(path), backbone.output_names)
    heads = _load_heads(path, config, backbone.info)
    return ExportedMultiTaskModel(config, backbone, heads, GraphSession(path / MODEL_FILE)), processing_class


def _load_heads(folder: Path, config: MultiTaskConfig, info: BackboneInfo) -> dict[str, Head]:
    try:
        state = load_file(folder / HEADS_FILE)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / HEADS_FILE}: cannot be read: {error}") from error
    heads = {}
    for name in config.heads:
        head = build_head(config, name, info)
        own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        try:
            head.load_state_dict(own)
        except RuntimeError as error:
            raise InputError(f"{folder / HEADS_FILE}: no weights for head {name!r}: {error}") from error
        heads[name] = head.eval().requires_grad_(False)
    return heads
