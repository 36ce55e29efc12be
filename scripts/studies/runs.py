"""Runs of a study: each is kept when it ends, so that a study that was interrupted goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

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
        strategy (`Mapping[str, Any]`): Its name and options.
        seed (`int`): Seed of weights, rows and buffer.
        kind (`str`, *optional*): The scenario, where a study has several.
    """

    label: str
    strategy: Mapping[str, Any]
    seed: int
    kind: str = ""

    @property
    def folder_name(self) -> str:
        """Name of the folder that the run is kept in."""
        plain = "".join(sign if sign.isalnum() else "-" for sign in f"{self.kind} {self.label}".strip())
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


def finished(study: Study, output: Path) -> dict[str, list[ContinualResults]]:
    """
    The results of all runs of a study that were done.

    Args:
        study ([`Study`]): The study.
        output (`Path`): Where results are kept.

    Returns:
        `dict[str, list[ContinualResults]]`: For each kind of scenario the results, in the order of the runs.
    """
    found: dict[str, list[ContinualResults]] = {}
    for run in study.runs:
        folder = output / run.folder_name
        if (folder / "continual_results.json").exists():
            found.setdefault(run.kind, []).append(ContinualResults.load(folder))
    return found


def write_report(study: Study, output: Path, command: str) -> None:
    """
    Write the tables and the pictures of what was done so far.

    Args:
        study ([`Study`]): The study.
        output (`Path`): Where results are kept; `report.md` goes there, and for each kind of scenario the curves of
            all runs and the matrices of the first and of the best one.
        command (`str`): The command that makes them.
    """
    parts = [f"# {study.title}", study.setting, f"```bash\n{command}\n```"]
    for kind, results in finished(study, output).items():
        parts += [f"## {results[0].scenario}", markdown_comparison(results)]
        if len(results[0].heads) > 1:
            parts.append(_heads_table(results))
        ending = f"_{kind}.png" if kind else ".png"
        draw_curves(results, output / f"average_accuracy{ending}")
        learnt = [each for each in results if each.strategy != "joint"]
        best = max(learnt, key=lambda each: each.measures()["average_accuracy"])
        draw_matrix(best, output / f"best_matrix{ending}")
        draw_matrix(results[0], output / f"first_matrix{ending}")
    (output / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _heads_table(results: Sequence[ContinualResults]) -> str:
    """For each head its score when it was learnt, and in the end (percent)."""
    heads = list(results[0].heads)
    lines = ["| strategy | " + " | ".join(heads) + " |", "|---" + "|--:" * len(heads) + "|"]
    for each in results:
        cells = []
        for head in heads:
            matrix = 100 * each.heads[head]
            # the experience that has the head
            column = int((~np.isnan(matrix[-1])).argmax())
            first, last = matrix[column, column], matrix[-1, column]
            cells.append(f"{last:.1f}" if np.isnan(first) else f"{first:.1f} → {last:.1f}")
        lines.append(f"| {each.strategy} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
