"""What a search refuses before its first trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..balancing import make_balancing
from ..errors import InputError
from ..heads import get_head_config
from ..training.components import check_settings
from ..training.recipe import parse_recipe
from ..training.recipe_loading import read_arguments
from ..training.search_space import SearchSpace
from .best_recipe import put_in

__all__ = ["check_values"]


def check_values(values: Mapping[str, Any], folder: Path, space: SearchSpace) -> None:
    """
    Refuse a search of which a value cannot be, as far as that shows without data.

    Each end of an interval and each choice is put into the recipe, the other keys at their first value.

    Args:
        values (`Mapping[str, Any]`): What the recipe says.
        folder (`Path`): The folder that it is in.
        space (`dict[str, Choices | Interval]`): What is tried for each key.

    Raises:
        InputError: If a value cannot be, naming key and value.
    """
    for key, chosen in _corners(space):
        _check_recipe(put_in(values, chosen), folder, f"search, {key!r}: {chosen[key]!r} cannot be tried")


def _corners(space: SearchSpace) -> Iterator[tuple[str, dict[str, Any]]]:
    first = {key: each.extremes[0] for key, each in space.items()}
    for key, each in space.items():
        for value in each.extremes:
            yield key, {**first, key: value}


def _check_recipe(values: Mapping[str, Any], folder: Path, where: str) -> None:
    try:
        recipe = parse_recipe(values, folder)
        arguments = read_arguments(recipe.training)
        check_settings(arguments, recipe.heads)
        for name, each in recipe.heads.items():
            get_head_config(name, each)
        make_balancing(arguments.balancing, list(recipe.heads), list(recipe.tasks))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
