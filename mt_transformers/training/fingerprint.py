"""What tells whether a run that is found in a folder is the one that is asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from .recipe_loading import LoadedRecipe

__all__ = ["fingerprint"]

_NOT_LEARNT = ("output_dir", "resume_from_checkpoint")
"""Training arguments that say nothing of what a run reaches."""


def fingerprint(loaded: LoadedRecipe, **more: Any) -> str:
    """
    Hash all that the results of a recipe depend on, as far as the recipe says it.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.
        more (`Any`): What they depend on beside it, as JSON values.

    Returns:
        `str`: A hash, which names no folder of this machine to others; what the rows say is not part of it, only
        their number and their columns.
    """
    recipe = loaded.recipe
    setting = {
        "heads": {name: config.to_dict() for name, config in loaded.heads.items()},
        "tasks": {
            name: [task.inputs, task.labels, {split: _describe(rows) for split, rows in task.dataset.items()}]
            for name, task in recipe.tasks.items()
        },
        "training": {name: value for name, value in recipe.training.items() if name not in _NOT_LEARNT},
        "mixture": asdict(recipe.mixture),
        "model": [recipe.backbone, recipe.loss_weights, recipe.loss_reduction, recipe.initializer],
        **more,
    }
    return hashlib.sha256(json.dumps(setting, sort_keys=True, default=str).encode()).hexdigest()


def _describe(rows: Any) -> list[Any]:
    return [len(rows) if hasattr(rows, "__len__") else None, str(rows.features)]
