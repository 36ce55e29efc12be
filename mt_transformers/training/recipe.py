"""The recipe: one YAML file with backbone, heads, tasks, mixture and training arguments."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ..configuration import check_loss_settings
from ..data import Mixture, Task
from ..errors import InputError, check_known
from .dotted_keys import set_value
from .search_space import SearchSpace, parse_search

__all__ = ["Recipe", "apply_overrides", "load_yaml", "parse_recipe", "read_recipe", "read_values"]


@dataclass(kw_only=True)
class Recipe:
    """
    What a recipe says, checked as far as possible without data.

    Args:
        backbone (`str`): Name on the hub, or a folder.
        heads (`dict[str, dict]`): For each head its fields; label names may be left to the data.
        tasks (`dict[str, Task]`): The tasks.
        mixture ([`Mixture`]): How their rows are interleaved.
        training (`dict[str, Any]`): Fields of [`MultiTaskTrainingArguments`].
        loss_weights (`dict[str, float]`): Weight of each head's loss, 1 where none is given.
        loss_reduction (`str`): `per_head` or `per_row`.
        initializer (`list`): Initial values of the heads' parameters, see [`initialize`].
        base_model (`str`): The backbone as the recipe names it, wherever it is then loaded from; for the model card.
        experiences (`dict`, *optional*): How the tasks are learnt one after another, unchecked.
        strategy (`Any`, *optional*): What is done against forgetting then, unchecked.
        search (`dict[str, Choices | Interval]`, *optional*):
            What a search tries for which values; training, which takes the values as they stand, leaves it alone.
    """

    backbone: str
    heads: dict[str, dict[str, Any]]
    tasks: dict[str, Task]
    mixture: Mixture
    training: dict[str, Any]
    loss_weights: dict[str, float]
    loss_reduction: str
    initializer: list[Any]
    base_model: str
    experiences: dict[str, Any] | None = None
    strategy: Any = None
    search: SearchSpace | None = None


class _Loader(yaml.SafeLoader):
    """
    YAML as people write it: `5e-5` is a number, which it is not in YAML 1.1 without a dot, and a key that stands twice
    is an error, which PyYAML passes over.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_yaml(text: str) -> Any:
    """
    Read YAML.

    Args:
        text (`str`): The text.

    Returns:
        `Any`: What it says.

    Example:
        >>> load_yaml("learning_rate: 5e-5")
        {'learning_rate': 5e-05}
    """
    return yaml.load(text, Loader=_Loader)


def read_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """
    Read a recipe file.

    Relative `data_files` (and a backbone that is a folder) are looked for beside the recipe; `$NAME` in them is
    replaced by the environment variable.

    Args:
        path (`str`): The file.
        overrides (`Sequence[str]`, *optional*): Pairs such as `--training.seed`, `1`.

    Returns:
        [`Recipe`].

    Raises:
        InputError: If the file does not exist, is no mapping, or says something that cannot be, naming the place.
    """
    values = read_values(path, overrides)
    try:
        return parse_recipe(values, Path(path).resolve().parent)
    except InputError as error:
        raise InputError(f"recipe {path}: {error}") from error


def read_values(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """
    Read what a recipe file says, unchecked.

    Args:
        path (`str`): The file.
        overrides (`Sequence[str]`, *optional*): Pairs such as `--training.seed`, `1`.

    Returns:
        `dict[str, Any]`: The values by section, for [`parse_recipe`].

    Raises:
        InputError: If the file does not exist or is no mapping, or an override leads nowhere.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"recipe {path}: no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path}: cannot be read: {error}") from error
    values = _parse_yaml(text, f"recipe {path}")
    if not isinstance(values, dict):
        raise InputError(f"recipe {path}: expected a mapping, found {type(values).__name__}.")
    apply_overrides(values, overrides)
    return values


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return load_yaml(text)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise InputError(f"{where}: no valid YAML: {error}") from error


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """
    Set values of a recipe from the command line.

    Args:
        values (`dict[str, Any]`): The recipe, which is changed.
        overrides (`Sequence[str]`): Pairs such as `--training.seed`, `1`, also as `--training.seed=1`.

    Raises:
        InputError: If a value is missing, or a key leads through something that is no mapping.

    Example:
        >>> recipe = {"training": {"seed": 0}}
        >>> apply_overrides(recipe, ["--training.seed", "1", "--mixture.order=random"])
        >>> recipe
        {'training': {'seed': 1}, 'mixture': {'order': 'random'}}
    """
    left = [part for each in overrides for part in (each.split("=", 1) if each.startswith("--") else [each])]
    while left:
        name = left.pop(0)
        if not name.startswith("--") or not left:
            raise InputError(f"expected --key value, found {name!r}.")
        set_value(values, name[2:], _parse_yaml(left.pop(0), name), name)


def parse_recipe(values: Mapping[str, Any], folder: Path) -> Recipe:
    """
    Check the values of a recipe.

    Args:
        values (`Mapping[str, Any]`): The recipe.
        folder (`Path`): Folder against which relative files are resolved.

    Returns:
        [`Recipe`].

    Raises:
        InputError: If a key is unknown or missing, or a value has the wrong form.
    """
    known = [each.name for each in fields(Recipe) if each.name != "base_model"]
    check_known(values, known, "top level")
    for name in ("backbone", "heads", "tasks", "training"):
        if name not in values:
            raise InputError(f"{name!r} is missing.")
    if not isinstance(values["backbone"], str):
        raise InputError(f"backbone: expected a name or a folder, found {values['backbone']!r}.")
    for name in ("heads", "tasks"):
        if not values[name]:
            raise InputError(f"{name}: expected at least one.")
    for name in ("heads", "tasks", "training"):
        _check_mapping(values[name], name)
    for name in ("mixture", "loss_weights"):
        _check_mapping({} if values.get(name) is None else values[name], name)
    check_loss_settings(
        values.get("loss_weights") or {}, values.get("loss_reduction", "per_head"), list(values["heads"])
    )
    for part in ("heads", "tasks"):
        for name, each in values[part].items():
            _check_mapping(each, f"{part}.{name}")
    return Recipe(
        backbone=_beside(values["backbone"], folder, only_existing=True),
        heads={name: dict(each) for name, each in values["heads"].items()},
        tasks={name: _parse_task(name, each, folder) for name, each in values["tasks"].items()},
        mixture=_parse_mixture(values.get("mixture") or {}),
        training=dict(values["training"]),
        loss_weights=dict(values.get("loss_weights") or {}),
        loss_reduction=values.get("loss_reduction", "per_head"),
        initializer=_parse_initializer(values.get("initializer") or []),
        base_model=values["backbone"],
        experiences=_parse_experiences(values),
        strategy=values.get("strategy"),
        search=parse_search(values),
    )


def _check_mapping(value: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{name}: expected a mapping, found {value!r}.")


def _parse_initializer(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise InputError(f"initializer: expected a list of pairs, found {values!r}.")
    return values


def _parse_experiences(values: Mapping[str, Any]) -> dict[str, Any] | None:
    experiences = values.get("experiences")
    if experiences is not None:
        _check_mapping(experiences, "experiences")
        return dict(experiences)
    if values.get("strategy") is not None:
        raise InputError("strategy: expected the section 'experiences' beside it, found none.")
    return None


def _parse_mixture(values: dict[str, Any]) -> Mixture:
    check_known(values, [each.name for each in fields(Mixture)], "mixture")
    for name in ("weights", "targets", "batch_sizes"):
        if values.get(name) is not None:
            _check_mapping(values[name], f"mixture.{name}")
    return Mixture(**values)


def _parse_task(name: str, values: dict[str, Any], folder: Path) -> Task:
    check_known(values, [each.name for each in fields(Task)], f"task {name!r}")
    for key in ("dataset", "inputs", "labels"):
        if key not in values:
            raise InputError(f"task {name!r}: {key!r} is missing.")
        _check_mapping(values[key], f"task {name!r}, {key}")
    dataset = dict(values["dataset"])
    if "path" not in dataset:
        raise InputError(f"task {name!r}: its dataset needs a 'path', as datasets.load_dataset takes it.")
    if dataset.get("data_dir") is not None:
        dataset["data_dir"] = _beside(dataset["data_dir"], folder, only_existing=True)
    files = dataset.get("data_files")
    if isinstance(files, dict):
        dataset["data_files"] = {split: _resolve_files(each, folder) for split, each in files.items()}
    elif files is not None:
        dataset["data_files"] = _resolve_files(files, folder)
    try:
        return Task(dataset=dataset, inputs=dict(values["inputs"]), labels=dict(values["labels"]))
    except InputError as error:
        raise InputError(f"task {name!r}: {error}") from error


def _resolve_files(files: Any, folder: Path) -> Any:
    return [_beside(each, folder) for each in files] if isinstance(files, list) else _beside(files, folder)


def _beside(name: Any, folder: Path, only_existing: bool = False) -> str:
    """A path relative to the recipe's folder made absolute; anything else as it is."""
    expanded = os.path.expandvars(str(name))
    resolved = folder / expanded
    if "://" in expanded or (only_existing and not resolved.exists()):
        return expanded
    return str(resolved)
