"""The recipe that a search ends with: as it was, with the best values put in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..training.dotted_keys import set_value
from ..training.recipe import parse_recipe
from ..whole_files import whole_file

__all__ = ["put_in", "write_best"]


def put_in(values: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """
    Put values into a recipe.

    Args:
        values (`Mapping[str, Any]`): What the recipe says.
        chosen (`Mapping[str, Any]`): For dotted keys their values.

    Returns:
        `dict[str, Any]`: A copy without the section `search`.

    Raises:
        InputError: If a key leads through something that is no mapping.

    Example:
        >>> put_in({"training": {"seed": 1}, "search": {}}, {"loss_weights.slots": 2.0})
        {'training': {'seed': 1}, 'loss_weights': {'slots': 2.0}}
    """
    recipe = {name: copy.deepcopy(value) for name, value in values.items() if name != "search"}
    for key, value in chosen.items():
        set_value(recipe, key, copy.deepcopy(value), f"search, {key!r}")
    return recipe


def write_best(file: Path, values: Mapping[str, Any], folder: Path, chosen: Mapping[str, Any]) -> None:
    """
    Write the recipe with the best values; files that it names relative to itself become absolute.

    Args:
        file (`Path`): The file to write; it appears whole or not at all.
        values (`Mapping[str, Any]`): What the recipe says.
        folder (`Path`): The folder that the recipe is in.
        chosen (`Mapping[str, Any]`): The best values, by dotted key.
    """
    recipe = put_in(values, chosen)
    parsed = parse_recipe(recipe, folder)
    recipe["backbone"] = parsed.backbone
    for name, task in parsed.tasks.items():
        dataset = recipe["tasks"][name]["dataset"]
        for key in {"data_files", "data_dir"} & dataset.keys():
            dataset[key] = task.dataset[key]
    with whole_file(file) as unfinished:
        unfinished.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), encoding="utf-8")
