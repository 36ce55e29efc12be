"""
Train a recipe on one process or many.

    accelerate launch scripts/run_multitask.py RECIPE [--training.seed 1 ...]
"""

from __future__ import annotations

import sys

from mt_transformers.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
