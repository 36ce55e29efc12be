"""A scenario: the experiences that a model learns one after another."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..configuration import check_name
from ..data import Task
from ..errors import InputError, check_known
from ..heads import ClassHeadConfig, HeadConfig, get_head_config
from .class_order import choose_classes, single_label_config

__all__ = ["SCENARIOS", "Experience", "Scenario", "difference"]

SCENARIOS = ("class_incremental", "task_incremental", "domain_incremental", "new_heads")
"""What a scenario may be."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Experience:
    """
    What is learnt at one time: some rows of some tasks.

    Args:
        name (`str`): An identifier, which no other experience of the scenario has.
        rows (`Mapping[str, Mapping[str, np.ndarray]]`):
            Task -> split -> numbers of its rows in that split of the task, ascending, int64; tasks and splits
            without a row are left out.
        heads (`tuple[str, ...]`): The heads that it trains.
        labels (`Mapping[str, tuple[str, ...]]`):
            For each head that grows the names of the classes that this experience brings, in the order of their ids;
            empty where no head grows.
    """

    name: str
    rows: Mapping[str, Mapping[str, np.ndarray]]
    heads: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenario:
    """
    Experiences in their order, and the tasks and heads that they are made of.

    Source: van de Ven, Tuytelaars and Tolias (2022), Three types of incremental learning, table 1, for the first three
    kinds.

    Args:
        kind (`str`): One of `class_incremental`, `task_incremental`, `domain_incremental`, `new_heads`.
        tasks (`Mapping[str, Task]`): The tasks, holding their splits.
        heads (`Mapping[str, HeadConfig]`): The heads, complete, as they are after the last experience.
        experiences (`tuple[Experience, ...]`): At least two.

    Raises:
        InputError: If there are fewer than two experiences, two of one name, one without training rows or heads, one
            with unknown ones, or if the classes of a growing head are not those that the experiences bring.

    Example:
        >>> from datasets import ClassLabel, Dataset, Features, Value
        >>> from mt_transformers.continual.class_scenarios import class_incremental
        >>> from mt_transformers.heads import SequenceClassificationHeadConfig
        >>> features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
        >>> rows = Dataset.from_dict({"text": ["sure", "never", "of course"], "label": [1, 0, 1]}, features=features)
        >>> tasks = {"answers": Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"answer": "label"})}
        >>> heads = {"answer": SequenceClassificationHeadConfig()}
        >>> scenario = class_incremental(tasks, heads, classes=[["yes"], ["no"]])
        >>> scenario.experiences[0].rows, scenario.experiences[0].labels
        ({'answers': {'train': array([0, 2])}}, {'answer': ('yes',)})
        >>> [scenario.heads_after(experience)["answer"].id2label for experience in range(2)]
        [{0: 'yes'}, {0: 'yes', 1: 'no'}]
    """

    kind: str
    tasks: Mapping[str, Task]
    heads: Mapping[str, HeadConfig]
    experiences: tuple[Experience, ...]

    def __post_init__(self) -> None:
        check_known([self.kind], SCENARIOS, "scenario", "kind")
        if len(self.experiences) < 2:
            raise InputError(f"{self.kind}: expected at least two experiences, found {len(self.experiences)}.")
        names = [experience.name for experience in self.experiences]
        for name, experience in zip(names, self.experiences, strict=True):
            check_name(name, "experience")
            if names.count(name) > 1:
                raise InputError(
                    f"experience {name!r}: expected a name of its own, found it {names.count(name)} times."
                )
            self._check_experience(experience)
        for head in {head: None for experience in self.experiences for head in experience.labels}:
            self._check_growing(head)

    def _check_experience(self, experience: Experience) -> None:
        where = f"experience {experience.name!r}"
        check_known(experience.heads, self.heads, where, "head")
        check_known(experience.labels, experience.heads, f"{where}, labels", "head")
        check_known(experience.rows, self.tasks, where, "task")
        for name, splits in experience.rows.items():
            sizes = {split: len(rows) for split, rows in self.tasks[name].dataset.items()}
            check_known(splits, sizes, f"{where}, task {name!r}", "split")
            for split, rows in splits.items():
                if not _ascending(rows, sizes[split]):
                    raise InputError(
                        f"{where}, task {name!r}, split {split!r}: expected numbers of its {sizes[split]} rows, "
                        f"ascending, int64, at least one, found {rows!r}."
                    )
        if not experience.heads:
            raise InputError(f"{where}: expected at least one head, found none.")
        if not any("train" in splits for splits in experience.rows.values()):
            raise InputError(f"{where}: expected at least one training row, found none.")

    def _check_growing(self, head: str) -> None:
        config = single_label_config(head, self.heads[head])
        brought = self._labels_until(head, len(self.experiences) - 1)
        if config.names != brought:
            raise InputError(
                f"head {head!r}: expected the classes that the experiences bring, {brought}, found {config.names}."
            )

    def _labels_until(self, head: str, experience: int) -> list[str]:
        """Classes that a growing head has after an experience; none if it does not grow."""
        return [label for each in self.experiences[: experience + 1] for label in each.labels.get(head, ())]

    def _check_number(self, experience: int, first: int = 0) -> None:
        if not first <= experience < len(self.experiences):
            raise InputError(
                f"{self.kind}: expected an experience from {first} to {len(self.experiences) - 1}, found {experience}."
            )

    def heads_after(self, experience: int) -> dict[str, HeadConfig]:
        """
        Tell which heads there are after an experience.

        Args:
            experience (`int`): Number of the experience, from 0.

        Returns:
            `dict[str, HeadConfig]`: Copies of their configs, in the order in which the heads come, a growing head
            with the classes so far. Neither a head nor a class changes its place later.

        Raises:
            InputError: If there is no such experience.
        """
        self._check_number(experience)
        return {head: self._config_after(head, experience) for head in self._heads_until(experience)}

    def _heads_until(self, experience: int) -> dict[str, None]:
        """Names of the heads that there are after an experience, in the order in which they come."""
        return {head: None for each in self.experiences[: experience + 1] for head in each.heads}

    def _config_after(self, head: str, experience: int) -> HeadConfig:
        labels = self._labels_until(head, experience)
        config = self.heads[head]
        return choose_classes(single_label_config(head, config), labels) if labels else get_head_config(head, config)

    def classes_after(self, head: str, experience: int) -> int:
        """
        Count the classes of a head.

        Args:
            head (`str`): The head.
            experience (`int`): Number of the experience, from 0.

        Returns:
            `int`: Its classes after the experience; 0 if it is not there yet or does not choose among classes.

        Raises:
            InputError: If there is no such head or experience.
        """
        check_known([head], self.heads, self.kind, "head")
        self._check_number(experience)
        config = self.heads[head]
        if head not in self._heads_until(experience) or not isinstance(config, ClassHeadConfig):
            return 0
        return len(self._labels_until(head, experience) or config.names)

    def can_answer(self, after: int, experience: int) -> bool:
        """
        Tell whether a model can be evaluated on an experience: the entry (after, experience) of the matrix of scores.

        Args:
            after (`int`): Number of the experience that was learnt last, from 0; -1 before the first one, when there
                are the heads of experience 0, untrained.
            experience (`int`): Number of the experience to evaluate, from 0.

        Returns:
            `bool`: Whether all its heads exist then and, where a head grows, the classes that it brings.

        Raises:
            InputError: If there is no such experience.
        """
        self._check_number(after, first=-1)
        self._check_number(experience)
        asked, latest = self.experiences[experience], max(after, 0)
        return set(asked.heads) <= set(self._heads_until(latest)) and (not asked.labels or experience <= latest)

    def state(self) -> dict[str, Any]:
        """
        Describe the scenario, so that a run that goes on can tell whether it is the same one.

        Returns:
            `dict[str, Any]`: JSON values: the kind, the classes of each head, and for each experience its name, its
            heads, and the number and a hash of its row numbers. Scenarios of equal state divide rows and classes
            alike; what the rows say is not compared.
        """
        return {
            "kind": self.kind,
            "classes": {
                head: config.names for head, config in self.heads.items() if isinstance(config, ClassHeadConfig)
            },
            "experiences": [_experience_state(experience) for experience in self.experiences],
        }


def _ascending(rows: np.ndarray, size: int) -> bool:
    """Whether these are numbers of some of so many rows, each once."""
    return (
        rows.ndim == 1
        and rows.dtype == np.int64
        and 0 < len(rows) <= size
        and bool(rows[0] >= 0 and rows[-1] < size and (np.diff(rows) > 0).all())
    )


def _experience_state(experience: Experience) -> dict[str, Any]:
    return {
        "name": experience.name,
        "heads": list(experience.heads),
        "labels": {head: list(names) for head, names in experience.labels.items()},
        "rows": {
            task: {split: {"count": len(rows), "hash": _hash(rows)} for split, rows in splits.items()}
            for task, splits in experience.rows.items()
        },
    }


def _hash(rows: np.ndarray) -> str:
    # the same on machines of either byte order
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16]


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """
    Say where two scenarios differ.

    Args:
        before (`Mapping[str, Any]`): What [`Scenario.state`] gave, as it comes back from JSON.
        now (`Mapping[str, Any]`): What it gives now.

    Returns:
        `str` or `None`: A sentence that names the first difference, None if there is none.

    Example:
        >>> difference({"kind": "new_heads", "experiences": [{"name": "a"}]}, {"kind": "new_heads", "experiences": []})
        'The scenario is another one: experiences, length was 1, is 0.'
    """
    found = _first_difference(dict(before), dict(now), [])
    return None if found is None else f"The scenario is another one: {found}."


def _first_difference(before: Any, now: Any, place: list[str]) -> str | None:
    """Where two JSON values differ first, and how."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(key, before.get(key), now.get(key)) for key in {**before, **now}]
    elif isinstance(before, list) and isinstance(now, list):
        pairs = [(f"{number}", *pair) for number, pair in enumerate(zip(before, now, strict=False))]
        pairs.append(("length", len(before), len(now)))
    else:
        return None if before == now else f"{', '.join(place)} was {_shown(before)}, is {_shown(now)}"
    found = (_first_difference(old, new, [*place, str(key)]) for key, old, new in pairs)
    return next((each for each in found if each is not None), None)


def _shown(value: Any) -> str:
    """A JSON value, as the message says it."""
    return "missing" if value is None else textwrap.shorten(repr(value), 60, placeholder=" ...")
