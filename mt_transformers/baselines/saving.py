"""The files of a report."""

from __future__ import annotations

from pathlib import Path

from transformers.utils import is_matplotlib_available

from ..training.baseline_section import BASELINES_FILE, BASELINES_TABLES
from ..whole_files import whole_file
from .plot import draw_report
from .report import BaselineReport
from .tables import markdown_report

__all__ = ["save_report"]


def save_report(report: BaselineReport, folder: Path) -> None:
    """
    Write a report as JSON, as tables and, where matplotlib is installed, as a picture; each file appears whole or not
    at all. The model card of a run of the same recipe in the same folder then has the tables.

    Args:
        report ([`BaselineReport`]): The report.
        folder (`Path`): The recipe's `output_dir`.
    """
    report.save(folder / BASELINES_FILE)
    with whole_file(folder / BASELINES_TABLES) as unfinished:
        unfinished.write_text(markdown_report(report) + "\n", encoding="utf-8")
    if is_matplotlib_available():
        draw_report(report, (folder / BASELINES_FILE).with_suffix(".png"))
