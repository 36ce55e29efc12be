"""Tiny recipes on disk, over `two_tasks` and a tiny backbone. Tests write `from training.recipes import ...`."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from fixtures import TASK_HEADS, two_tasks


def recipe_values(backbone: str, folder: Path) -> dict[str, Any]:
    """What a recipe over `two_tasks` says; its parquet files are written to `data` in the folder."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    tasks: dict[str, Any] = {}
    for name, task in two_tasks().items():
        files = {}
        for split, rows in task.dataset.items():
            files[split] = f"data/{name}_{split}.parquet"
            rows.to_parquet(folder / files[split])
        tasks[name] = {
            "dataset": {"path": "parquet", "data_files": files},
            "inputs": dict(task.inputs),
            "labels": dict(task.labels),
        }
    return {
        "backbone": backbone,
        "heads": deepcopy(TASK_HEADS),
        "tasks": tasks,
        "mixture": {"batches": "mixed"},
        "training": {
            "output_dir": str(folder / "out"),
            "num_train_epochs": 1,
            "per_device_train_batch_size": 4,
            "learning_rate": 1.0e-3,
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
        },
    }


def write_recipe(folder: Path, values: Any) -> Path:
    """Write a recipe file into a folder."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path
