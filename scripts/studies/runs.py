"""Runs of a study: each is kept when it ends, so that a study that was interrupted goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mt_transformers.continual.plots import draw_curves, draw_matrix
from mt_transformers.continual.results import ContinualResults
from mt_transformers.continual.tables import markdown_comparison
from mt_transformers.continual.trainer import ContinualTrainer

__all__ = ["Run", "Study", "finished", "run_study", "write_report"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """
    One strategy on a stream.

    Args:
        label (`str`): What it is called in tables, such as `derpp, 200 rows`.
        strategy (`Any`): As [`ContinualTrainer`] takes it.
        seed (`int`): Seed of weights, rows and buffer.
    """

    label: str
    strategy: Any
    seed: int

    @property
    def folder_name(self) -> str:
        """Name of the folder that the run is kept in."""
        plain = "".join(sign if sign.isalnum() else "-" for sign in self.label)
        return f"{plain}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """
    A stream and what is run on it.

    Args:
        title (`str`): What stands above the table.
        setting (`str`): What was trained on what, in a sentence.
        runs (`Sequence[Run]`): The runs.
        build (`Callable[[Run, Path], ContinualTrainer]`): Makes the trainer of a run, for a folder.
    """

    title: str
    setting: str
    runs: Sequence[Run]
    build: Callable[[Run, Path], ContinualTrainer]


def run_study(study: Study, output: Path) -> None:
    """
    Do all runs of a study that were not done yet.

    Args:
        study ([`Study`]): The study.
        output (`Path`): Where results are kept, a folder a run.
    """
    for number, run in enumerate(study.runs):
        folder = output / run.folder_name
        if (folder / "continual_results.json").exists():
            continue
        print(f"run {number + 1} of {len(study.runs)}: {run.label}, seed {run.seed}", flush=True)
        working = folder / "run"
        results = study.build(run, working).train(resume_from_checkpoint=True)
        replace(results, strategy=run.label).save(folder)
        # the weights of hundreds of runs are of no use
        shutil.rmtree(working, ignore_errors=True)
        measures = {name: round(100 * value, 1) for name, value in results.measures().items()}
        print(f"  {measures}, {sum(results.seconds):.0f} s", flush=True)


def finished(study: Study, output: Path) -> list[ContinualResults]:
    """
    The results of all runs of a study that were done.

    Args:
        study ([`Study`]): The study.
        output (`Path`): Where results are kept.

    Returns:
        `list[ContinualResults]`: In the order of the runs.
    """
    folders = [output / run.folder_name for run in study.runs]
    return [ContinualResults.load(each) for each in folders if (each / "continual_results.json").exists()]


def write_report(study: Study, output: Path, command: str) -> None:
    """
    Write the table and the pictures of what was done so far.

    Args:
        study ([`Study`]): The study.
        output (`Path`): Where results are kept; `report.md`, `average_accuracy.png` and the matrix of the first and of
            the best run go there.
        command (`str`): The command that makes them.
    """
    results = finished(study, output)
    lines = [
        f"# {study.title}",
        "",
        study.setting,
        "",
        "```bash",
        command,
        "```",
        "",
        markdown_comparison(results),
        "",
    ]
    (output / "report.md").write_text("\n".join(lines), encoding="utf-8")
    draw_curves(results, output / "average_accuracy.png")
    best = max(
        (each for each in results if each.strategy != "joint"), key=lambda each: each.measures()["average_accuracy"]
    )
    draw_matrix(best, output / "best_matrix.png")
    draw_matrix(results[0], output / "first_matrix.png")
