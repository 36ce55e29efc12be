"""
Train a recipe with experiences on one process or many.

    accelerate launch scripts/run_continual.py RECIPE [--strategy derpp ...]
"""

from __future__ import annotations

import sys

from mt_transformers.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
