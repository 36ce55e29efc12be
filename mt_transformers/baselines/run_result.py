"""One run: trained, evaluated and kept, so that it is not repeated."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from accelerate import PartialState

from ..errors import InputError
from ..training import LoadedRecipe, MultiTaskTrainer, build_trainer
from ..training.checkpoints import last_checkpoint
from ..training.fingerprint import fingerprint
from ..whole_files import whole_file

__all__ = ["RunResult", "find_result", "train_run"]

_RESULT = "run.json"
_SETTING = "setting.sha256"
_SPLITS = (("validation", "eval"), ("test", "test"))


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """
    What came out of a run.

    Args:
        metrics (`dict[str, float]`): Metrics of the validation splits (`eval_`) and of the test splits (`test_`).
        seconds (`float`, *optional*): How long it trained; None where it was interrupted in between (seconds).
        num_parameters (`int`): Parameters of the model.
    """

    metrics: dict[str, float]
    seconds: float | None
    num_parameters: int


def find_result(loaded: LoadedRecipe) -> RunResult | None:
    """
    Look for the result of a run in its folder.

    Args:
        loaded ([`LoadedRecipe`]): The recipe of the run.

    Returns:
        [`RunResult`]: None if the run has not come to its end.

    Raises:
        InputError: If the folder holds a run of another recipe or something else, or its file cannot be read.
    """
    folder = Path(str(loaded.arguments.output_dir))
    setting, file = folder / _SETTING, folder / _RESULT
    if not setting.is_file() and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: something else is there: remove it, or give another training.output_dir.")
    if setting.is_file() and setting.read_text(encoding="utf-8") != _setting_of(loaded):
        raise InputError(
            f"{folder}: a run of another recipe is there: remove it, or give another training.output_dir."
        )
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        metrics = {name: math.nan if value is None else float(value) for name, value in values["metrics"].items()}
        return RunResult(**{**{each.name: values[each.name] for each in fields(RunResult)}, "metrics": metrics})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: expected the result of a run, found {error!r}.") from error


def train_run(loaded: LoadedRecipe) -> RunResult:
    """
    Train a recipe and evaluate it, unless that was done before; one that was interrupted goes on.

    Of the run its result stays, and no weights.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.

    Returns:
        [`RunResult`].

    Raises:
        InputError: If something of the recipe cannot be used, or its folder holds a run of another one.
    """
    found = find_result(loaded)
    # nobody writes before all have read
    PartialState().wait_for_everyone()
    if found is not None:
        return found
    folder = Path(str(loaded.arguments.output_dir))
    trainer = build_trainer(loaded)
    if trainer.is_world_process_zero():
        with whole_file(folder / _SETTING) as unfinished:
            unfinished.write_text(_setting_of(loaded), encoding="utf-8")
    checkpoint = last_checkpoint(str(folder))
    trained: Mapping[str, Any] = trainer.train(resume_from_checkpoint=checkpoint).metrics
    result = RunResult(
        metrics=_evaluate(trainer),
        seconds=trained["train_runtime"] if checkpoint is None else None,
        num_parameters=trainer.model.num_parameters(),
    )
    if trainer.is_world_process_zero():
        _keep(result, folder)
    trainer.accelerator.wait_for_everyone()
    return result


def _setting_of(loaded: LoadedRecipe) -> str:
    """A hash of the recipe, and of what decides how large a batch of all processes is."""
    return fingerprint(loaded, world_size=loaded.arguments.world_size)


def _evaluate(trainer: MultiTaskTrainer) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for split, prefix in _SPLITS:
        if any(split in splits for splits in trainer.splits.values()):
            metrics |= trainer.evaluate(split=split, metric_key_prefix=prefix)
    return metrics


def _keep(result: RunResult, folder: Path) -> None:
    """Write the result, then remove all else but the setting."""
    finite = {name: value if math.isfinite(value) else None for name, value in result.metrics.items()}
    text = json.dumps({**asdict(result), "metrics": finite}, indent=2, allow_nan=False) + "\n"
    with whole_file(folder / _RESULT) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)
