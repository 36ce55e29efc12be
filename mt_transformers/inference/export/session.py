"""ONNX Runtime, opened on a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError

__all__ = ["GraphSession"]

_DTYPES = {"tensor(int64)": torch.int64, "tensor(float)": torch.float32}


class GraphSession:
    """
    A graph that is ready to run on the CPU, with as many threads as torch has.

    Args:
        path (`Path`): The file.

    Raises:
        InputError: If ONNX Runtime is not installed, or the file is missing or none that it reads.
    """

    def __init__(self, path: Path) -> None:
        if find_spec("onnxruntime") is None:
            raise InputError(
                f'{path}: ONNX Runtime, which runs it, is not installed: pip install "mt_transformers[onnx]"'
            )
        if not path.is_file():
            raise InputError(f"{path}: no such file.")
        self._session = _open(path)
        self._inputs = {each.name: _DTYPES.get(each.type) for each in self._session.get_inputs()}
        self.output_names: tuple[str, ...] = tuple(each.name for each in self._session.get_outputs())

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of what the graph reads."""
        return tuple(self._inputs)

    def run(self, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str]) -> dict[str, torch.Tensor]:
        """
        Run the graph.

        Args:
            inputs (`Mapping[str, torch.Tensor]`): All that it reads; what it does not read is left out.
            outputs (`Sequence[str]`): Names of the outputs that are wanted.

        Returns:
            `dict[str, torch.Tensor]`: The outputs by name.

        Raises:
            InputError: If an input is missing.
        """
        missing = [name for name in self._inputs if name not in inputs]
        if missing:
            raise InputError(f"the exported model reads {', '.join(self._inputs)}, {missing[0]!r} is missing.")
        feed = {
            name: inputs[name].detach().to("cpu", dtype or inputs[name].dtype).contiguous().numpy()
            for name, dtype in self._inputs.items()
        }
        found = self._session.run(list(outputs), feed)
        return {name: torch.from_numpy(value) for name, value in zip(outputs, found, strict=True)}


def _open(path: Path) -> Any:
    from onnxruntime import InferenceSession, SessionOptions
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = SessionOptions()
    # by default it takes all cores of the machine, whatever the process was given
    options.intra_op_num_threads = torch.get_num_threads()
    # errors come back as exceptions, which say the same
    options.log_severity_level = 4
    unreadable = (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
    try:
        return InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except unreadable as error:
        raise InputError(f"{path}: ONNX Runtime cannot open it: {error}") from error
