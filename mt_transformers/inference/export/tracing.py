"""Tracing with transformers' exporters: what they need, and what they must not see."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from packaging.version import Version

from ...errors import InputError
from ...modeling import MultiTaskModel
from .graph import HeadsGraph, check_traceable, sample_inputs

__all__ = ["ONNX_PACKAGES", "check_packages", "quietly", "trace"]

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What makes an ONNX graph, quantizes it and runs it."""

_EXTRA = 'pip install "mt_transformers[onnx]"'
# the first transformers whose exports run and are quantized, and the first torch that its exporters take
_FLOORS = {"transformers": "5.23", "torch": "2.11"}


def check_packages(*packages: str) -> None:
    """
    Make sure that what an export needs is installed.

    Args:
        packages (`str`): Packages that must be there, beside transformers and torch in versions that can export.

    Raises:
        InputError: If one is missing or too old.
    """
    for package in (*_FLOORS, *packages):
        try:
            found = version(package)
        except PackageNotFoundError as error:
            raise InputError(f"an export needs the package {package!r}, which is not installed: {_EXTRA}") from error
        floor = _FLOORS.get(package, "0")
        if Version(found) < Version(floor):
            raise InputError(f"an export needs {package} {floor} or newer, found {found}: {_EXTRA}")


@contextmanager
def quietly() -> Iterator[None]:
    """
    Leave out what tracing and quantizing print: progress on standard output, warnings that only concern those who
    work on them, and that these are experimental.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def trace(
    model: MultiTaskModel,
    processing_class: Any,
    heads: Sequence[str],
    run: Callable[[HeadsGraph, dict[str, torch.Tensor], dict[str, dict[int, Any]]], Any],
) -> Any:
    """
    Trace a model with fixed heads.

    Args:
        model ([`MultiTaskModel`]): The model; its mode is what it was afterwards.
        processing_class (`Any`): Its tokenizer or image processor.
        heads (`Sequence[str]`): The heads.
        run (`Callable`): What traces, given the graph, its sample inputs and their dynamic dimensions.

    Returns:
        `Any`: What `run` gave.

    Raises:
        InputError: If the model cannot be traced.
    """
    check_traceable(model)
    inputs, dynamic = sample_inputs(model, processing_class, heads)
    graph = HeadsGraph(model, heads)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            # heads make constants on their first call, which must not happen in a trace
            graph(**{name: value.to(model.device) for name, value in inputs.items()})
        with quietly():
            return run(graph, inputs, dynamic)
    # what tracing raises are classes of many modules of torch, all below this one
    except RuntimeError as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"the model with the heads {', '.join(heads)} cannot be traced: {reason}") from error
    finally:
        model.train(training)
