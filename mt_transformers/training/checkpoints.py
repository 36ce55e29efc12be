"""Checkpoints that count only once they are whole."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_utils import sort_checkpoints

from ..errors import InputError

__all__ = ["begin_checkpoint", "check_whole", "finish_checkpoint", "is_whole", "last_checkpoint", "mixture_state"]

_MIXTURE_STATE_FILE = "mixture_state.json"


def finish_checkpoint(checkpoint: str | Path, state: Mapping[str, Any]) -> None:
    """
    Write the last file of a checkpoint, by which it is known to be whole; it appears all at once.

    Args:
        checkpoint (`str` or `Path`): The folder, with all that the Trainer's processes have to write in it.
        state (`Mapping[str, Any]`): State of the mixture, as JSON values.
    """
    unfinished = Path(checkpoint) / f".{_MIXTURE_STATE_FILE}"
    unfinished.write_text(json.dumps(state), encoding="utf-8")
    os.replace(unfinished, Path(checkpoint) / _MIXTURE_STATE_FILE)


def begin_checkpoint(checkpoint: str | Path) -> None:
    """
    Make a folder that is about to be written, and may be there from an earlier run, one that is not whole.

    Args:
        checkpoint (`str` or `Path`): The folder.
    """
    (Path(checkpoint) / _MIXTURE_STATE_FILE).unlink(missing_ok=True)


def is_whole(checkpoint: str | Path) -> bool:
    """
    Tell whether a checkpoint was written to its end.

    Args:
        checkpoint (`str` or `Path`): The folder.

    Returns:
        `bool`: False for one whose writing was interrupted, or that is not there.
    """
    return (Path(checkpoint) / _MIXTURE_STATE_FILE).is_file()


def check_whole(checkpoint: str | Path) -> None:
    """
    Refuse to go on from a checkpoint that was not written to its end.

    Args:
        checkpoint (`str` or `Path`): The folder.

    Raises:
        InputError: If it is not there or not whole.
    """
    if not Path(checkpoint).is_dir():
        raise InputError(f"resume_from_checkpoint: there is no folder {str(checkpoint)!r}.")
    if not is_whole(checkpoint):
        raise InputError(
            f"resume_from_checkpoint: {str(checkpoint)!r} lacks its last file, {_MIXTURE_STATE_FILE}: the run was "
            "interrupted while it wrote this checkpoint, or another trainer wrote it. Take an earlier one."
        )


def last_checkpoint(output_dir: str | Path) -> str | None:
    """
    Find the checkpoint that an interrupted run goes on from; half-written ones are passed over with a warning.

    Args:
        output_dir (`str` or `Path`): The run's folder.

    Returns:
        `str`: The last one that is whole; None if there is none.
    """
    found = sort_checkpoints(str(output_dir)) if Path(output_dir).is_dir() else []
    for checkpoint in reversed(found):
        if not checkpoint.rpartition("-")[2].isdecimal():
            continue
        if is_whole(checkpoint):
            return str(checkpoint)
        warnings.warn(f"{checkpoint} was not written to its end and is passed over.", stacklevel=2)
    return None


def mixture_state(checkpoint: str | Path) -> dict[str, Any]:
    """
    Read the state of the mixture that a checkpoint holds.

    Args:
        checkpoint (`str` or `Path`): A folder that is whole.

    Returns:
        `dict[str, Any]`: What [`finish_checkpoint`] was given.
    """
    state: dict[str, Any] = json.loads((Path(checkpoint) / _MIXTURE_STATE_FILE).read_text(encoding="utf-8"))
    return state
