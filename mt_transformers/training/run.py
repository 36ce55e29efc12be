"""From a recipe to a trained folder."""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import set_seed

from ..data import MixturePlan, load_processing
from ..errors import InputError
from ..modeling import MultiTaskModel
from .baseline_section import baseline_sections
from .checkpoints import last_checkpoint
from .model_card import MultiTaskModelCardCallback, may_write, write_model_card
from .model_card.metadata import name_on_hub
from .planning import plan_training
from .publishing import CARD_FILE
from .recipe import Recipe
from .recipe_loading import LoadedRecipe
from .trainer import MultiTaskTrainer

__all__ = ["build_model", "build_trainer", "plan_recipe", "run_recipe"]

RESULTS_FILE = "all_results.json"


def plan_recipe(loaded: LoadedRecipe) -> MixturePlan:
    """
    Count what the mixture of a recipe does.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.

    Returns:
        [`MixturePlan`].

    Raises:
        InputError: If no task has a train split, or the mixture does not fit the tasks.
    """
    recipe, args = loaded.recipe, loaded.arguments
    splits = {name: task.dataset["train"] for name, task in recipe.tasks.items() if "train" in task.dataset}
    streamed = [name for name, split in splits.items() if not hasattr(split, "__len__")]
    if streamed:
        raise InputError(f"task {streamed[0]!r} is streamed: without a number of rows there is no plan.")
    sizes = {name: len(split) for name, split in splits.items()}
    if not sizes:
        raise InputError("no task has a train split, so that there is nothing to train on.")
    return plan_training(sizes, recipe.tasks, recipe.mixture, args, recipe.loss_weights, recipe.loss_reduction)


def build_trainer(loaded: LoadedRecipe) -> MultiTaskTrainer:
    """
    Put new heads on the recipe's backbone and make the trainer.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.

    Returns:
        [`MultiTaskTrainer`]: Ready to train.

    Raises:
        InputError: If the backbone cannot be loaded, or a row cannot be used.
    """
    recipe = loaded.recipe
    # the heads' first weights belong to what the seed settles
    set_seed(loaded.arguments.seed)
    model = build_model(loaded)
    return MultiTaskTrainer(
        model,
        loaded.arguments,
        tasks=recipe.tasks,
        mixture=recipe.mixture,
        processing_class=load_recipe_processing(recipe, model),
        callbacks=[facts_for_card(loaded)],
    )


def build_model(loaded: LoadedRecipe) -> MultiTaskModel:
    """
    Put new heads on the recipe's backbone.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.

    Returns:
        [`MultiTaskModel`]: Its heads' weights are those that the random numbers of this moment give.

    Raises:
        InputError: If the backbone cannot be loaded.
    """
    recipe = loaded.recipe
    return MultiTaskModel.from_backbone(
        recipe.backbone,
        heads=loaded.heads,
        loss_weights=recipe.loss_weights,
        loss_reduction=recipe.loss_reduction,  # type: ignore[arg-type]
        tasks={name: list(task.labels) for name, task in recipe.tasks.items()},
        initializer=recipe.initializer,
    )


def load_recipe_processing(recipe: Recipe, model: MultiTaskModel) -> Any:
    """
    Load what reads the inputs of a recipe's tasks.

    Args:
        recipe ([`Recipe`]): The recipe.
        model ([`MultiTaskModel`]): A model over its backbone.

    Returns:
        `Any`: The backbone's tokenizer, or what else reads its inputs.

    Raises:
        InputError: If it cannot be loaded.
    """
    words = any("tokens" in task.inputs for task in recipe.tasks.values())
    return load_processing(recipe.backbone, model.backbone.output_names, words)


def facts_for_card(loaded: LoadedRecipe) -> MultiTaskModelCardCallback:
    """
    Tell the model card what only the recipe says.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.

    Returns:
        [`MultiTaskModelCardCallback`]: With the names that backbone and datasets have on the hub.
    """
    recipe = loaded.recipe
    local = str(recipe.backbone).endswith(recipe.base_model) and Path(recipe.backbone).exists()
    return MultiTaskModelCardCallback(
        base_model=None if local else name_on_hub(recipe.base_model),
        datasets=loaded.datasets,
        sections=baseline_sections(loaded),
    )


def run_recipe(loaded: LoadedRecipe) -> dict[str, float]:
    """
    Train a recipe, evaluate it on all splits there are, and save the folder.

    With `resume_from_checkpoint: true` among the training arguments, a run that was interrupted goes on from its last
    checkpoint.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.

    Returns:
        `dict[str, float]`: All results: of training, of the validation splits (`eval_`) and of the test splits
        (`test_`).
    """
    trainer = build_trainer(loaded)
    args = loaded.arguments
    resume: Any = args.resume_from_checkpoint
    if resume in (True, "true", "True"):
        resume = last_checkpoint(str(args.output_dir))
    results = dict(trainer.train(resume_from_checkpoint=resume).metrics)
    for split, prefix in (("validation", "eval"), ("test", "test")):
        if any(split in splits for splits in trainer.splits.values()):
            results |= trainer.evaluate(split=split, metric_key_prefix=prefix)
    save_folder(trainer, results)
    return results


def save_folder(trainer: MultiTaskTrainer, results: Mapping[str, float]) -> None:
    """
    Save model, tokenizer, model card and results; each file appears whole or not at all.

    Args:
        trainer ([`MultiTaskTrainer`]): Holds the trained model.
        results (`Mapping[str, float]`): What came out.
    """
    args = trainer.args
    folder = Path(str(args.output_dir))
    unfinished = folder / f".unfinished-{os.getpid()}"
    # what is pushed is the folder, once it is whole
    push, args.push_to_hub = args.push_to_hub, False
    try:
        trainer.save_model(str(unfinished))
    finally:
        args.push_to_hub = push
    if trainer.is_world_process_zero():
        text = json.dumps(_finite(results), indent=2, sort_keys=True, allow_nan=False) + "\n"
        (unfinished / RESULTS_FILE).write_text(text, encoding="utf-8")
        if may_write(folder / CARD_FILE):
            write_model_card(unfinished / CARD_FILE, trainer.card_contents(folder))
        else:
            warnings.warn(f"{folder / CARD_FILE} was written by hand and is left as it is.", stacklevel=3)
            (unfinished / CARD_FILE).unlink()
        for file in sorted(unfinished.iterdir()):
            os.replace(file, folder / file.name)
        shutil.rmtree(unfinished)
    trainer.accelerator.wait_for_everyone()
    if push:
        trainer.push_to_hub()


def _finite(results: Mapping[str, float]) -> dict[str, float | None]:
    """The results with None for NaN and infinities, for which JSON has no words."""
    return {name: value if math.isfinite(value) else None for name, value in results.items()}
