"""How far a run over several experiences has come, on disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from ..errors import InputError
from .results import ContinualResults
from .scenario import difference
from .strategies import Combination

__all__ = ["Progress", "experience_folder"]

_FILE = "continual.json"
_WEIGHTS = "model.safetensors"


def experience_folder(output_dir: Path, number: int) -> Path:
    """
    Where the checkpoints of an experience's training are.

    Args:
        output_dir (`Path`): The run's folder.
        number (`int`): The experience.

    Returns:
        `Path`.

    Example:
        >>> experience_folder(Path("out"), 3).name
        'experience-003'
    """
    return output_dir / f"experience-{number:03d}"


@dataclass
class Progress:
    """
    The state of a run between two experiences: weights, what the strategy remembers, results.

    It appears as a whole: the file that names the folder with the weights is replaced once that is there.

    Args:
        folder (`Path`): The run's folder.
        setting (`Mapping[str, Any]`): The scenario's state and the strategy's options, as JSON values.
    """

    folder: Path
    setting: Mapping[str, Any]

    def save(self, results: ContinualResults, finished: int, model: torch.nn.Module, strategy: Combination) -> None:
        """
        Write the state after an experience; the checkpoints of its training go.

        Args:
            results ([`ContinualResults`]): What was measured so far.
            finished (`int`): Number of experiences that were learnt.
            model (`nn.Module`): The model.
            strategy ([`Combination`]): The strategy.
        """
        learnt = self._learnt(finished)
        unfinished = learnt.with_name(f".{learnt.name}-{os.getpid()}")
        unfinished.mkdir(parents=True)
        save_model(model, str(unfinished / _WEIGHTS))
        strategy.save(unfinished)
        shutil.rmtree(learnt, ignore_errors=True)
        os.replace(unfinished, learnt)
        text = json.dumps({**self.setting, "finished": finished, "results": results.to_dict()}, indent=2)
        part = self.folder / f".{_FILE}-{os.getpid()}"
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, self.folder / _FILE)
        shutil.rmtree(self._learnt(finished - 1), ignore_errors=True)
        shutil.rmtree(experience_folder(self.folder, finished - 1), ignore_errors=True)

    def read(self) -> tuple[int, ContinualResults] | None:
        """
        Find how far an interrupted run has come.

        Returns:
            `tuple[int, ContinualResults] | None`: Experiences that were learnt, and what was measured; None if there
            is no run in the folder that has learnt one.

        Raises:
            InputError: If the run was one of another scenario or strategy, saying the difference.
        """
        file = self.folder / _FILE
        if not file.is_file():
            return None
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
            found = int(state["finished"]), ContinualResults.from_dict(state["results"])
            scenario, strategy = state["scenario"], state["strategy"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: expected the state of an interrupted run, found {error!r}.") from error
        changed = difference(scenario, self.setting["scenario"])
        if changed is not None:
            raise InputError(
                f"resume_from_checkpoint: the run in {str(self.folder)!r} has another scenario: {changed}"
            )
        if strategy != self.setting["strategy"]:
            raise InputError(
                f"resume_from_checkpoint: the run in {str(self.folder)!r} has the strategy {strategy}, "
                f"found {self.setting['strategy']}."
            )
        return found

    def load_weights(self, finished: int, model: torch.nn.Module) -> Path:
        """
        Load the weights that a model had after an experience.

        Args:
            finished (`int`): Number of experiences that were learnt.
            model (`nn.Module`): The model, with the heads that it had then.

        Returns:
            `Path`: Where the strategy has written what it remembers.

        Raises:
            InputError: If they cannot be read.
        """
        learnt = self._learnt(finished)
        try:
            load_model(model, str(learnt / _WEIGHTS))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise InputError(f"{learnt / _WEIGHTS}: cannot be read: {error}") from error
        return learnt

    def _learnt(self, finished: int) -> Path:
        return self.folder / f"learnt-{finished:03d}"
