"""
Compare methods of balancing on a recipe with a plain sum and with a model for each task, in tables and pictures.

    python scripts/study_balancing.py --output FOLDER [--methods uw,pcgrad] [--seeds 3] [--method-seeds 1]
    python scripts/study_balancing.py --output FOLDER --methods per_row --mixture.sampling proportional

All runs see the same rows of each task in as many steps. A run that is done is kept, and a study that was interrupted
goes on where it was; any value of the recipe can be set. MT_TRANSFORMERS_DATA is the folder of the full datasets.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from mt_transformers.cli.exit_status import exit_status

RECIPE = Path(__file__).parent / "studies" / "tweeteval.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the study.

    Args:
        argv (`Sequence[str]`, *optional*): The arguments. Defaults to those of the process.

    Returns:
        `int`: Exit status: 0, or 2 for input that cannot be used, which one message on standard error explains.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="where results are kept")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="default: six tasks of TweetEval")
    parser.add_argument("--methods", default="uw,famo,pcgrad,upgrad,mgda", help="names, separated by commas")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the plain sum and of each task alone")
    parser.add_argument("--method-seeds", type=int, default=1, help="seeds of each method")
    parser.add_argument("--split", default="test", choices=("validation", "test"))
    given, overrides = parser.parse_known_args(argv)
    command = f"python scripts/study_balancing.py {shlex.join(argv or sys.argv[1:])}"

    def study() -> None:
        # not before --help is answered
        print(import_module("studies.balancing").run_study(given, overrides, command))

    return exit_status("study_balancing", study)


if __name__ == "__main__":
    sys.exit(main())
