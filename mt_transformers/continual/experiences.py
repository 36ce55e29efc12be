"""The section `experiences` of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, check_known
from ..training import LoadedRecipe
from .class_scenarios import class_incremental, task_incremental
from .scenario import SCENARIOS, Scenario
from .strategies import STRATEGIES
from .task_scenarios import domain_incremental, new_heads

__all__ = ["ScenarioConfig", "build_scenario", "parse_experiences"]

_BUILDERS: dict[str, Callable[..., Scenario]] = {
    "class_incremental": class_incremental,
    "task_incremental": task_incremental,
    "domain_incremental": domain_incremental,
    "new_heads": new_heads,
}
_CLASS_KEYS = ("experiences", "classes", "order", "seed", "head")
_KEYS = {
    "class_incremental": _CLASS_KEYS,
    "task_incremental": _CLASS_KEYS,
    "domain_incremental": ("order", "domain"),
    "new_heads": ("order",),
}


@dataclass(frozen=True, kw_only=True)
class ScenarioConfig:
    """
    What a recipe says of its scenario.

    Args:
        scenario (`str`): One of `class_incremental`, `task_incremental`, `domain_incremental`, `new_heads`.
        experiences (`int`, *optional*): How many experiences the classes are divided among.
        classes (`list[list[str]]`, *optional*): The classes of each experience, in place of their number.
        order (`list`, *optional*): Order of the classes, of the tasks (or groups of tasks), or of the domains.
        seed (`int`, *optional*): Shuffles the classes.
        head (`str`, *optional*): The head whose classes are divided.
        domain (`str`, *optional*): The column that says of each row its domain.
        bounds (`list[str]`, *optional*): Names of strategies that the recipe's own is compared with.
    """

    scenario: str
    experiences: int | None = None
    classes: list[list[str]] | None = None
    order: list[Any] | None = None
    seed: int | None = None
    head: str | None = None
    domain: str | None = None
    bounds: list[str] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """What is given, as the function that makes the scenario takes it."""
        return {name: value for name in _KEYS[self.scenario] if (value := getattr(self, name)) is not None}


def parse_experiences(values: Mapping[str, Any]) -> ScenarioConfig:
    """
    Check the section `experiences` of a recipe.

    Args:
        values (`Mapping[str, Any]`): The section.

    Returns:
        [`ScenarioConfig`].

    Raises:
        InputError: If the scenario is missing or unknown, or a key is unknown, belongs to another scenario or has a
            value of the wrong form.

    Example:
        >>> parse_experiences({"scenario": "class_incremental", "classes": [[0, 1], [2]]}).options
        {'classes': [['0', '1'], ['2']]}
        >>> parse_experiences({"scenario": "new_heads", "seed": 1})
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: experiences (new_heads): unknown key 'seed'. Known: bounds, order, scenario.
    """
    if values.get("scenario") is None:
        raise InputError(f"experiences: 'scenario' is missing, one of {', '.join(SCENARIOS)}.")
    kind = values["scenario"]
    check_known([kind], SCENARIOS, "experiences", "scenario")
    check_known(values, ("scenario", "bounds", *_KEYS[kind]), f"experiences ({kind})")
    # a key with nothing behind it is None in YAML
    given = {key: value for key, value in values.items() if value is not None}
    readers: dict[str, Callable[[str, Any], Any]] = {
        "experiences": _number,
        "seed": _number,
        "classes": _names_in_lists,
        "order": _names,
        "head": _text,
        "domain": _text,
        "bounds": _strategies,
    }
    parsed = {key: readers[key](f"experiences, {key}", value) for key, value in given.items() if key != "scenario"}
    return ScenarioConfig(scenario=kind, **parsed)


def _number(where: str, value: Any) -> int:
    if type(value) is not int:
        raise InputError(f"{where}: expected a whole number, found {value!r}.")
    return value


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: expected a name, found {value!r}.")
    return value


def _name(where: str, value: Any) -> str:
    """A name; YAML reads 3 as a number and yes as true."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{where}: expected a name, found {value!r}. Words such as yes and no need quotes.")
    return str(value)


def _names(where: str, value: Any) -> list[Any]:
    """Names, or lists of names."""
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list of names, found {value!r}.")
    return [[_name(where, name) for name in each] if isinstance(each, list) else _name(where, each) for each in value]


def _strategies(where: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InputError(f"{where}: expected a list of names such as [naive, joint], found {value!r}.")
    check_known(value, STRATEGIES, where, "strategy")
    if len(set(value)) < len(value):
        raise InputError(f"{where}: expected each strategy once, found {', '.join(value)}.")
    return value


def _names_in_lists(where: str, value: Any) -> list[list[str]]:
    if not isinstance(value, list) or not all(isinstance(each, list) for each in value):
        raise InputError(f"{where}: expected a list with the classes of each experience, found {value!r}.")
    return _names(where, value)


def build_scenario(loaded: LoadedRecipe, config: ScenarioConfig) -> Scenario:
    """
    Make the scenario of a recipe.

    Args:
        loaded ([`LoadedRecipe`]): The recipe; it is left as it is.
        config ([`ScenarioConfig`]): What its section `experiences` says.

    Returns:
        [`Scenario`].

    Raises:
        InputError: If tasks and heads do not fit the scenario, see the function of its name.
    """
    try:
        return _BUILDERS[config.scenario](loaded.recipe.tasks, loaded.heads, **config.options)
    except InputError as error:
        raise InputError(f"experiences ({config.scenario}): {error}") from error
