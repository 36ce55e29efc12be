"""`mt-transformers evaluate FOLDER`: metrics of a trained folder on a split."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("evaluate", help="evaluate a trained folder on a split of a recipe's tasks")
    parser.add_argument("folder", metavar="FOLDER", help="folder of a trained model")
    parser.add_argument("--recipe", required=True, help="YAML file that says where the tasks' data is")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="default: test")
    parser.add_argument("--output", help="file for the results as JSON")
    parser.set_defaults(run=_run, takes_overrides=True)


def _run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from dataclasses import replace

    from ..errors import InputError
    from ..inference import load_trained_model
    from ..training import MultiTaskTrainer, load_recipe, read_recipe
    from .files import write_json
    from .table import format_results

    recipe = read_recipe(arguments.recipe, overrides)
    recipe.training = {**recipe.training, "output_dir": arguments.folder}
    model, tokenizer = load_trained_model(arguments.folder)
    heads = {name: head.config for name, head in model.named_heads.items()}
    split = arguments.split
    if recipe.experiences is None:
        loaded = load_recipe(recipe, heads)
        found = loaded.recipe.tasks
    else:
        from ..continual.run import recipe_scenario

        # tasks and labels may have other names in the scenario
        loaded = load_recipe(recipe)
        found = dict(recipe_scenario(loaded).tasks)
    tasks = {
        name: replace(task, dataset={split: task.dataset[split]})
        for name, task in found.items()
        if split in task.dataset
    }
    if not tasks:
        raise InputError(f"{arguments.recipe}: no task has a split {split!r}.")
    trainer = MultiTaskTrainer(model, loaded.arguments, tasks=tasks, processing_class=tokenizer)
    results = trainer.evaluate(split=split, metric_key_prefix=split)
    print(format_results(results, {name: list(task.labels) for name, task in tasks.items()}, heads, split))
    if arguments.output:
        write_json(arguments.output, results)
