"""The files that a run leaves: all numbers as JSON, a table in Markdown, the step time over heads as a picture."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from mt_transformers import __version__
from mt_transformers.pictures import picture
from mt_transformers.whole_files import whole_file

from .measure import Measure

__all__ = ["NO_MATPLOTLIB", "machine", "to_markdown", "versions", "write_report"]

_PACKAGES = ("torch", "transformers", "datasets", "accelerate", "tokenizers", "numpy")
NO_MATPLOTLIB = "heads.png is drawn with matplotlib, which is not installed: pip install 'mt_transformers[benchmark]'."
_STEP_TIME = re.compile(r"(\d+) heads")


def versions() -> dict[str, str]:
    """Versions of what was measured."""
    own = {"python": platform.python_version(), "mt_transformers": __version__}
    return own | {name: version(name) for name in _PACKAGES}


def machine(device: str) -> dict[str, Any]:
    """What the run had to work with."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def to_markdown(report: Mapping[str, Any]) -> str:
    """
    The report as a table, one row a measure.

    Args:
        report (`Mapping[str, Any]`): What [`write_report`] writes.

    Returns:
        `str`: Markdown.
    """
    of, on = report["versions"], report["machine"]
    lines = [
        "# Benchmark",
        "",
        f"{on['device']}, {on['processor']}, {on['cores']} cores, {on['threads']} threads; "
        + ", ".join(f"{name} {number}" for name, number in of.items())
        + ".",
        "",
        "Median over the repeats, lowest and highest in brackets.",
        "",
        "| section | measure | value | unit | target |",
        "|---|---|--:|---|---|",
    ]
    for each in report["measures"]:
        value = f"{each['median']:.4g}"
        if len(each["values"]) > 1:
            value += f" ({each['min']:.4g} to {each['max']:.4g})"
        lines.append(f"| {each['section']} | {each['name']} | {value} | {each['unit']} | {_target(each)} |")
    lines += ["", *(f"Not run: {name}, {reason}." for name, reason in report["skipped"].items())]
    return "\n".join(lines).rstrip() + "\n"


def _target(measure: Mapping[str, Any]) -> str:
    bounds = [
        f"{sign} {measure[key]}" for key, sign in (("at_most", "≤"), ("at_least", "≥")) if measure[key] is not None
    ]
    return f"{' and '.join(bounds)}: {'reached' if measure['reached'] else 'missed'}" if bounds else ""


def write_report(
    folder: Path, arguments: Mapping[str, Any], device: str, measures: Sequence[Measure], skipped: Mapping[str, str]
) -> dict[str, Any]:
    """
    Write `benchmark.json`, `benchmark.md` and, where the section `heads` ran and matplotlib is installed, `heads.png`.

    Each file is written under a temporary name and then renamed.

    Args:
        folder (`Path`): Where; made if need be.
        arguments (`Mapping[str, Any]`): What the run was told.
        device (`str`): `cpu` or `cuda`.
        measures (`Sequence[Measure]`): What was measured.
        skipped (`Mapping[str, str]`): For each section that did not run the reason.

    Returns:
        `dict[str, Any]`: What stands in `benchmark.json`.
    """
    report = {
        "versions": versions(),
        "machine": machine(device),
        "arguments": dict(arguments),
        "measures": [each.to_dict() for each in measures],
        "skipped": dict(skipped),
    }
    with whole_file(folder / "benchmark.json") as file:
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    with whole_file(folder / "benchmark.md") as file:
        file.write_text(to_markdown(report), encoding="utf-8")
    points = {
        int(found[1]): each
        for each in measures
        if each.section == "heads" and (found := _STEP_TIME.fullmatch(each.name)) is not None
    }
    if points and find_spec("matplotlib") is None:
        print(NO_MATPLOTLIB, file=sys.stderr)
    elif points:
        _draw(points, folder / "heads.png")
    return report


def _draw(points: Mapping[int, Measure], file: Path) -> None:
    """Step time over the number of heads: the median as a line, lowest to highest as a band."""
    counts = sorted(points)
    with picture(file, (6, 4), "benchmark") as figure:
        axes = figure.subplots()
        axes.fill_between(counts, *zip(*(points[count].spread for count in counts), strict=True), alpha=0.3)
        axes.plot(counts, [points[count].median for count in counts], marker="o")
        axes.set(
            xscale="log", xticks=counts, xticklabels=counts, xlabel="heads of the model, two of them in each batch"
        )
        axes.minorticks_off()
        axes.set_ylabel("milliseconds a step")
        axes.set_ylim(bottom=0)
