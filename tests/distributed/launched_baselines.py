"""What a test starts on several processes, and calls on one to compare: baselines and affinities of a recipe."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from launching import leave, spare_imports
from mt_transformers.baselines import measure_affinity, run_baselines
from mt_transformers.training import LoadedRecipe, load_recipe, read_recipe


def loaded(recipe: str, folder: Path) -> LoadedRecipe:
    """A recipe with 4 rows a step on any number of processes."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    own = ["--training.output_dir", str(folder), "--training.per_device_train_batch_size", str(4 // processes)]
    return load_recipe(read_recipe(recipe, [*own, "--training.num_train_epochs", "2"]))


def compare(recipe: str, folder: Path) -> None:
    """
    Run baselines and affinities, and save what came out.

    Args:
        recipe (`str`): The recipe's file.
        folder (`Path`): Where to save it.
    """
    found = loaded(recipe, folder / "out")
    report, affinity = run_baselines(found, 1), measure_affinity(found, 4)
    if found.arguments.process_index == 0:
        report.save(folder / "report.json")
        affinity.save(folder / "affinity.json")


if __name__ == "__main__":
    spare_imports()
    compare(sys.argv[1], Path(sys.argv[2]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    leave()
