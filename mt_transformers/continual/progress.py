"""How far a run over several experiences has come, on disk."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from ..errors import InputError
from ..whole_files import whole_file
from .results import ContinualResults
from .scenario import Scenario, difference
from .strategies import Combination

__all__ = ["Progress", "experience_folder"]

_FILE = "continual.json"
_WEIGHTS = "model.safetensors"
_OWN_FOLDER = re.compile(r"\.?learnt-\d{3,}|experience-\d{3,}")


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

    @classmethod
    def of(cls, folder: Path, scenario: Scenario, strategy: Combination) -> Progress:
        """
        The state of a run over a scenario.

        Args:
            folder (`Path`): The run's folder.
            scenario ([`Scenario`]): The scenario.
            strategy ([`Combination`]): The strategy.

        Returns:
            [`Progress`].
        """
        setting = {"scenario": scenario.state(), "strategy": strategy.options()}
        # as it comes back from the file, where a tuple is a list
        return cls(folder, json.loads(json.dumps(setting)))

    def begin(self, results: ContinualResults) -> None:
        """
        Write the state of a run that has learnt nothing; what an earlier run has left in its folder goes.

        Args:
            results ([`ContinualResults`]): Without a score.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _FILE).unlink(missing_ok=True)
        for folder in self.folder.iterdir():
            if _OWN_FOLDER.fullmatch(folder.name):
                shutil.rmtree(folder)
        self._write(results, 0)

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
        unfinished = learnt.with_name(f".{learnt.name}")
        # from a run that was killed here
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        save_model(model, str(unfinished / _WEIGHTS))
        strategy.save(unfinished)
        shutil.rmtree(learnt, ignore_errors=True)
        os.replace(unfinished, learnt)
        self._write(results, finished)
        shutil.rmtree(self._learnt(finished - 1), ignore_errors=True)
        shutil.rmtree(experience_folder(self.folder, finished - 1), ignore_errors=True)

    def close(self, finished: int) -> None:
        """
        Remove weights and what the strategy remembers, rows of training data among it, once a run is over.

        Args:
            finished (`int`): Number of experiences that were learnt: all.
        """
        shutil.rmtree(self._learnt(finished), ignore_errors=True)

    def is_closed(self, finished: int) -> bool:
        """
        Tell whether [`close`] was called.

        Args:
            finished (`int`): Number of experiences that were learnt.

        Returns:
            `bool`.
        """
        return not self._learnt(finished).exists()

    def _write(self, results: ContinualResults, finished: int) -> None:
        text = json.dumps({**self.setting, "finished": finished, "results": results.to_dict()}, indent=2)
        with whole_file(self.folder / _FILE) as part:
            part.write_text(text + "\n", encoding="utf-8")

    def read(self) -> tuple[int, ContinualResults] | None:
        """
        Find how far an interrupted run has come.

        Returns:
            `tuple[int, ContinualResults] | None`: Number of experiences that were learnt, perhaps 0, and what was
            measured; None if there is no run in the folder.

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
