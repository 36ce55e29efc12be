"""A tiny recipe with experiences, on disk. Tests write `from continual.recipes import ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.recipes import write_recipe

from continual_streams import kinds_of_words
from mt_transformers.training import LoadedRecipe, load_recipe, read_recipe


def continual_values(backbone: str, folder: Path) -> dict[str, Any]:
    """What a recipe over three experiences of two classes each says; its rows are written into the folder."""
    files = {}
    for split, rows, seed in (("train", 48, 0), ("validation", 12, 2), ("test", 24, 1)):
        files[split] = f"words_{split}.parquet"
        kinds_of_words(rows, seed).to_parquet(folder / files[split])
    return {
        "backbone": backbone,
        "heads": {"kind": {"head_type": "sequence_classification"}},
        "tasks": {
            "words": {
                "dataset": {"path": "parquet", "data_files": files},
                "inputs": {"text": "text"},
                "labels": {"kind": "kind"},
            }
        },
        "experiences": {"scenario": "class_incremental", "experiences": 3},
        "strategy": {"name": "replay", "buffer_size": 12},
        "training": {
            "output_dir": str(folder / "out"),
            "num_train_epochs": 1,
            "per_device_train_batch_size": 8,
            "learning_rate": 1.0e-3,
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
        },
    }


def loaded_recipe(folder: Path, values: dict[str, Any], *overrides: str) -> LoadedRecipe:
    """The recipe, written, read and loaded."""
    return load_recipe(read_recipe(write_recipe(folder, values), overrides))
