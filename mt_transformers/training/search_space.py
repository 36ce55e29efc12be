"""The section `search` of a recipe: which of its values are searched for, and what is tried for each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..data import Mixture
from ..errors import InputError, check_known
from .arguments import MultiTaskTrainingArguments
from .components import check_components

if TYPE_CHECKING:
    import optuna

__all__ = ["Choices", "Interval", "SearchSpace", "parse_search", "suggest_values"]

_SECTIONS = ("loss_weights", "mixture", "training", "heads")

_FIXED = ("data_seed", "output_dir", "push_to_hub", "resume_from_checkpoint", "seed")
"""Training arguments that say where a run goes and which one it is, and not how good it gets."""

_BY_TASK = ("weights", "targets", "batch_sizes")
_BY_COMPONENT = ("learning_rates", "weight_decays", "freeze_until")

_TOLERANCE = 1e-9
"""Part of a step by which an interval may miss a whole number of steps, for numbers such as 0.1."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """
    Some values, one of which is taken.

    Args:
        values (`tuple`): The values, of any kind that a recipe has.

    Example:
        >>> Choices(values=(None, "uncertainty")).extremes
        (None, 'uncertainty')
    """

    values: tuple[Any, ...]

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values whose being possible makes all of them so."""
        return self.values

    @property
    def distribution(self) -> Any:
        """What optuna draws from: the number of the value, since a value may be a mapping."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(range(len(self.values)))

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """Take the value that a trial has for a key."""
        return self.values[trial.suggest_categorical(key, range(len(self.values)))]

    def drawn_for(self, value: Any) -> Any:
        """What optuna has drawn where this is the value."""
        # a mapping that was kept as JSON has texts as keys
        plain = [json.dumps(each, sort_keys=True, default=str) for each in self.values]
        return plain.index(json.dumps(value, sort_keys=True, default=str))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """
    The numbers between two, both among them.

    Args:
        low (`float`): The least one.
        high (`float`): The largest one.
        log (`bool`, *optional*, defaults to `False`): Whether their logarithm is drawn evenly.
        step (`float`, *optional*): The distance of those that are taken; whole numbers with `low` and `high` give
            whole numbers.

    Example:
        >>> Interval(low=1, high=7, step=2).is_whole, Interval(low=1, high=8).is_whole
        (True, False)
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the numbers are whole."""
        return all(isinstance(each, int) for each in (self.low, self.high, self.step))

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values whose being possible makes all of them so."""
        return (self.low, self.high) if self.is_whole else (float(self.low), float(self.high))

    @property
    def distribution(self) -> Any:
        """What optuna draws from."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.is_whole:
            return IntDistribution(int(self.low), int(self.high), step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """Take the value that a trial has for a key."""
        if self.is_whole:
            return trial.suggest_int(key, int(self.low), int(self.high), step=int(self.step or 1))
        return trial.suggest_float(key, self.low, self.high, log=self.log, step=self.step)

    def drawn_for(self, value: Any) -> Any:
        """What optuna has drawn where this is the value."""
        return value


SearchSpace = dict[str, Choices | Interval]
"""For each dotted key of a recipe what is tried there."""


def suggest_values(space: SearchSpace, trial: optuna.Trial) -> dict[str, Any]:
    """
    Draw the values of a trial.

    Args:
        space (`dict[str, Choices | Interval]`): What is tried for each key.
        trial (`optuna.Trial`): The trial.

    Returns:
        `dict[str, Any]`: For each key its value.
    """
    return {key: each.suggest(trial, key) for key, each in space.items()}


def parse_search(values: Mapping[str, Any]) -> SearchSpace | None:
    """
    Check the section `search` of a recipe.

    Args:
        values (`Mapping[str, Any]`): The recipe; its other sections are checked already.

    Returns:
        `dict[str, Choices | Interval]`: For each dotted key what is tried; None without the section.

    Raises:
        InputError: If a key leads to nothing that can be searched for, or what is tried has the wrong form.

    Example:
        >>> recipe = {"heads": {"slots": {}}, "tasks": {"snips": {}}}
        >>> parse_search(recipe | {"search": {"loss_weights.slots": {"low": 0.25, "high": 4.0, "log": True}}})
        {'loss_weights.slots': Interval(low=0.25, high=4.0, log=True, step=None)}
        >>> parse_search(recipe | {"search": {"loss_weights.slot": [1, 2]}})
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: search, 'loss_weights.slot': unknown head 'slot', did you mean 'slots'? \
Known: slots.
    """
    section = values.get("search")
    if section is None:
        return None
    if not isinstance(section, dict) or not section:
        raise InputError(f"search: expected a mapping of keys to what is tried, found {section!r}.")
    if values.get("experiences") is not None:
        raise InputError("search: expected no section 'experiences' beside it: a search is over tasks learnt at once.")
    for key in section:
        _check_key(key, values)
        for other in section:
            if str(other).startswith(f"{key}."):
                raise InputError(f"search: {other!r} is a part of {key!r}: search for one of them.")
    return {key: _parse_tried(f"search, {key!r}", each) for key, each in section.items()}


def _check_key(key: Any, values: Mapping[str, Any]) -> None:
    where = f"search, {key!r}"
    section, *rest = str(key).split(".")
    check_known([section], _SECTIONS, where, "section")
    if not rest or not all(rest):
        raise InputError(f"{where}: expected the key of a value, such as loss_weights.HEAD or training.learning_rate.")
    if section == "loss_weights":
        check_known(rest[:1], values["heads"], where, "head")
        _check_length(where, rest, 1)
    elif section == "heads":
        check_known(rest[:1], values["heads"], where, "head")
        if len(rest) < 2:
            raise InputError(f"{where}: expected a field of the head behind it.")
    elif section == "mixture":
        _check_mixture_key(where, rest, values["tasks"])
    else:
        _check_training_key(where, rest, values["heads"])


def _check_length(where: str, rest: Sequence[str], most: int) -> None:
    if len(rest) > most:
        raise InputError(f"{where}: expected nothing behind {rest[most - 1]!r}, found {'.'.join(rest[most:])!r}.")


def _check_mixture_key(where: str, rest: Sequence[str], tasks: Mapping[str, Any]) -> None:
    check_known(rest[:1], [each.name for each in fields(Mixture)], where, "field of the mixture")
    by_task = rest[0] in _BY_TASK
    if by_task:
        check_known(rest[1:2], tasks, where, "task")
    _check_length(where, rest, 1 + by_task)


def _check_training_key(where: str, rest: Sequence[str], heads: Mapping[str, Any]) -> None:
    known = [each.name for each in fields(MultiTaskTrainingArguments) if each.init]
    check_known(rest[:1], known, where, "training argument")
    if rest[0] in _FIXED:
        raise InputError(f"{where}: expected a value that training gets better or worse with, unlike {rest[0]}.")
    if rest[0] in _BY_COMPONENT:
        check_components(dict.fromkeys(rest[1:2]), list(heads), where)
        _check_length(where, rest, 2)


def _parse_tried(where: str, tried: Any) -> Choices | Interval:
    if isinstance(tried, list):
        if len(tried) < 2:
            raise InputError(f"{where}: expected at least two values, found {tried!r}.")
        for place, value in enumerate(tried):
            if value in tried[:place]:
                raise InputError(f"{where}: the value {value!r} stands twice.")
        return Choices(values=tuple(tried))
    if not isinstance(tried, dict):
        raise InputError(f"{where}: expected a list of values, or a mapping with low and high, found {tried!r}.")
    check_known(tried, [each.name for each in fields(Interval)], where)
    for name in ("low", "high"):
        if name not in tried:
            raise InputError(f"{where}: {name!r} is missing.")
    return _check_interval(where, Interval(**tried))


def _check_interval(where: str, interval: Interval) -> Interval:
    low, high, step = interval.low, interval.high, interval.step
    for name, value in (("low", low), ("high", high), *([] if step is None else [("step", step)])):
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise InputError(f"{where}: expected a finite number as {name}, found {value!r}.")
    if not isinstance(interval.log, bool):
        raise InputError(f"{where}: expected true or false as log, found {interval.log!r}.")
    if low >= high:
        raise InputError(f"{where}: expected a low below high, found {low!r} and {high!r}.")
    if interval.log and low <= 0:
        raise InputError(f"{where}: expected a low above 0 with log, found {low!r}.")
    if step is None:
        return interval
    if interval.log:
        raise InputError(f"{where}: expected either log or a step, found both.")
    steps = (high - low) / step if step > 0 else 0.0
    if step <= 0 or abs(steps - round(steps)) > _TOLERANCE:
        raise InputError(f"{where}: expected a step that leads from {low!r} to {high!r}, found {step!r}.")
    return interval
