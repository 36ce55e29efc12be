"""A recipe with its datasets and complete heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args, get_type_hints

from ..balancing import make_balancing
from ..configuration import check_name
from ..data import complete_heads, label_sources, load_splits
from ..errors import InputError, check_known
from ..heads import HeadConfig, get_head_config
from .arguments import MultiTaskTrainingArguments
from .components import check_settings
from .model_card.metadata import hub_dataset
from .recipe import Recipe

__all__ = ["LoadedRecipe", "load_recipe", "read_arguments", "with_training"]


@dataclass(kw_only=True)
class LoadedRecipe:
    """
    A recipe whose datasets are loaded and whose heads are complete.

    Args:
        recipe ([`Recipe`]): The recipe, its tasks holding their splits.
        heads (`dict[str, HeadConfig]`): The heads' configs.
        arguments ([`MultiTaskTrainingArguments`]): The training arguments.
        datasets (`dict[str, str]`, *optional*): For each task whose dataset is on the hub its name there.
    """

    recipe: Recipe
    heads: dict[str, HeadConfig]
    arguments: MultiTaskTrainingArguments
    datasets: dict[str, str] = field(default_factory=dict)


def load_recipe(recipe: Recipe, heads: Mapping[str, HeadConfig] | None = None) -> LoadedRecipe:
    """
    Load the datasets of a recipe and complete its heads from them.

    Args:
        recipe ([`Recipe`]): The recipe.
        heads (`Mapping[str, HeadConfig]`, *optional*):
            Heads of a trained model, to be used in place of the recipe's.

    Returns:
        [`LoadedRecipe`].

    Raises:
        InputError: If a dataset, a column, a label or an argument cannot be used, naming it.
    """
    arguments = read_arguments(recipe.training)
    for name in recipe.heads:
        check_name(name, "head")
    if heads is None:
        check_settings(arguments, recipe.heads)
    configs = dict(heads or {name: get_head_config(name, values) for name, values in recipe.heads.items()})
    splits = {name: load_splits(name, task) for name, task in recipe.tasks.items()}
    complete_heads(configs, label_sources(recipe.tasks, splits), all_fed=heads is None)
    tasks = {name: replace(task, dataset=splits[name]) for name, task in recipe.tasks.items()}
    origins = {name: hub_dataset(task.dataset) for name, task in recipe.tasks.items()}
    on_hub = {name: origin for name, origin in origins.items() if origin is not None}
    return LoadedRecipe(recipe=replace(recipe, tasks=tasks), heads=configs, arguments=arguments, datasets=on_hub)


def with_training(loaded: LoadedRecipe, values: Mapping[str, Any]) -> LoadedRecipe:
    """
    Give a recipe other training arguments.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.
        values (`Mapping[str, Any]`): Its section `training`.

    Returns:
        [`LoadedRecipe`]: The same rows and heads under them.

    Raises:
        InputError: If an argument cannot be used, or the method of balancing does not fit heads and tasks.
    """
    arguments = read_arguments(values)
    check_settings(arguments, loaded.heads)
    make_balancing(arguments.balancing, list(loaded.heads), list(loaded.recipe.tasks))
    return replace(loaded, recipe=replace(loaded.recipe, training=dict(values)), arguments=arguments)


def read_arguments(values: Mapping[str, Any]) -> MultiTaskTrainingArguments:
    """
    Make the training arguments of a recipe.

    Args:
        values (`Mapping[str, Any]`): The section `training`.

    Returns:
        [`MultiTaskTrainingArguments`].

    Raises:
        InputError: If a field is unknown or has a value that cannot be, or `output_dir` is missing.
    """
    known = [each.name for each in fields(MultiTaskTrainingArguments) if each.init]
    check_known(values, known, "training")
    if not values.get("output_dir"):
        raise InputError("training: 'output_dir' is missing, the folder that the trained model goes to.")
    for name, expected in get_type_hints(MultiTaskTrainingArguments).items():
        if name in values:
            _check_type(name, values[name], expected)
    try:
        return MultiTaskTrainingArguments(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"training: {error}") from error


def _check_type(name: str, value: Any, expected: Any) -> None:
    """Refuse a value where a number or a switch is expected; transformers would stumble over it later."""
    kinds = set(get_args(expected) or [expected])
    if float in kinds:
        kinds.add(int)
    if kinds <= {bool, int, float, type(None)} and type(value) not in kinds:
        names = ", ".join(sorted(kind.__name__ for kind in kinds - {type(None)}))
        raise InputError(f"training: expected {names} for {name!r}, found {value!r}.")
