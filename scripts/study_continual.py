"""
Compare strategies of continual learning on a stream, and write the table and the pictures.

    python scripts/study_continual.py clinc150 --output FOLDER [--strategies replay,derpp] [--buffers 200,1000]
    python scripts/study_continual.py five_tasks --output FOLDER
    python scripts/study_continual.py digits --output FOLDER --backbone vit

A run that is done is kept, and a study that was interrupted goes on where it was. MT_TRANSFORMERS_DATA is the folder
of the full datasets.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from mt_transformers.cli.exit_status import exit_status

STREAMS = {
    "clinc150": "sentence-transformers/all-MiniLM-L6-v2",
    "five_tasks": "sentence-transformers/all-MiniLM-L6-v2",
    "digits": "resnet",
}
"""Name of a study -> its backbone."""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a study.

    Args:
        argv (`Sequence[str]`, *optional*): The arguments. Defaults to those of the process.

    Returns:
        `int`: Exit status: 0, or 2 for input that cannot be used, which one message on standard error explains.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", choices=STREAMS)
    parser.add_argument("--output", type=Path, required=True, help="where results are kept")
    parser.add_argument("--backbone", help="name or folder; resnet or vit for digits")
    parser.add_argument("--strategies", help="names, separated by commas; all by default")
    parser.add_argument("--buffers", help="sizes of the buffer (rows), separated by commas")
    parser.add_argument("--seeds", default="0", help="separated by commas")
    parser.add_argument("--train-rows", type=int, help="training rows of a class, or of a task")
    parser.add_argument("--test-rows", type=int, help="test rows of a class, or of a task")
    parser.add_argument("--epochs", type=float, help="epochs of each experience")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float, help="of the backbone")
    parser.add_argument("--head-learning-rate", type=float, help="of the heads")
    given = parser.parse_args(argv)
    given.backbone = given.backbone or STREAMS[given.stream]
    command = f"python scripts/study_continual.py {' '.join(argv or sys.argv[1:])}"
    return exit_status("study_continual", lambda: _compare(given, command))


def _compare(given: argparse.Namespace, command: str) -> None:
    # not before --help is answered
    study = import_module(f"studies.{given.stream}").make_study(given)
    runs = import_module("studies.runs")
    given.output.mkdir(parents=True, exist_ok=True)
    runs.run_study(study, given.output)
    runs.write_report(study, given.output, command)
    print((given.output / "report.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
