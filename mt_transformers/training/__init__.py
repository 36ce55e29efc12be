"""Training over several tasks: arguments, trainer, recipe."""

from __future__ import annotations

from .arguments import MultiTaskTrainingArguments
from .model_card import MultiTaskModelCardCallback
from .recipe import Recipe, apply_overrides, load_yaml, parse_recipe, read_recipe
from .recipe_loading import LoadedRecipe, load_recipe
from .run import build_trainer, plan_recipe, run_recipe
from .trainer import MultiTaskTrainer

__all__ = [
    "LoadedRecipe",
    "MultiTaskModelCardCallback",
    "MultiTaskTrainer",
    "MultiTaskTrainingArguments",
    "Recipe",
    "apply_overrides",
    "build_trainer",
    "load_recipe",
    "load_yaml",
    "parse_recipe",
    "plan_recipe",
    "read_recipe",
    "run_recipe",
]
