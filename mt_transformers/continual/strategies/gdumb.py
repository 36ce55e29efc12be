"""GDumb: nothing is learnt from the stream; what a balanced buffer holds of it is learnt from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import datasets
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ...data import LABEL_PREFIX
from ..learner import Learner
from .base import Aspect
from .kept_rows import KeptRows
from .option_checks import check_seed
from .rehearsal import group_of

__all__ = ["GDumb", "choose_greedily"]

_FIRST = "first_weights.safetensors"


@dataclass(kw_only=True)
class GDumb(KeptRows):
    """
    Greedy Sampler and Dumb Learner (GDumb): keep a balanced sample of the rows, and train a model on that sample alone
    after each experience, from its first weights. A strategy that learns from the stream should do better.

    The first weights are those that the backbone, and each head and class, had when it came. Rows come in an order
    that the seed settles. Those without a class of their own count as one group a task.

    Source: Prabhu, Torr and Dokania (2020), "GDumb: A Simple Approach that Questions Our Progress in Continual
    Learning", https://doi.org/10.1007/978-3-030-58536-5_31, section 3, algorithm 1; without its cutmix and schedule.

    Args:
        buffer_size (`int`, *optional*, defaults to 200): Rows that are kept. The paper has 300 to 20000 of them.
        seed (`int`, *optional*, defaults to 0): Seed of the rows' order, and of which give way.

    Raises:
        InputError: If the size is no whole number above 0, or the seed none from 0 up.

    Example:
        >>> GDumb(buffer_size=500).options()
        {'name': 'gdumb', 'buffer_size': 500, 'seed': 0}
    """

    name: ClassVar[str] = "gdumb"
    decides: ClassVar[frozenset[Aspect]] = frozenset({"rows", "training"})

    seed: int = 0
    _first: dict[str, torch.Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seed(self.seed)

    def start(self, learner: Learner) -> None:
        super().start(learner)
        self._first = {}

    def training_rows(self, learner: Learner) -> Mapping[str, datasets.Dataset] | None:
        stream = list(_stream(learner))
        random = np.random.default_rng([self.seed, learner.number])
        stream = [stream[place] for place in random.permutation(len(stream)).tolist()]
        held, groups = [slot.group for slot in self.kept], [group for _, _, group in stream]
        chosen = choose_greedily(held, groups, self.buffer_size, random)
        self.kept = [
            self.kept[place] if place < len(held) else self.take(learner, *stream[place - len(held)])
            for place in chosen
        ]
        return self.kept_rows(learner)

    def begin(self, learner: Learner) -> None:
        now = learner.model.state_dict()
        for name, value in now.items():
            first = self._first.get(name)
            if first is None:
                self._first[name] = _copy(value)
            elif first.shape != value.shape:
                # a head has grown: its further classes still have their first weights
                self._first[name] = torch.cat([first, _copy(value[len(first) :])])
        learner.model.load_state_dict(self._first)

    def save(self, folder: Path) -> None:
        super().save(folder)
        # tied weights come several times, and safetensors takes no tensor twice
        save_file({name: value.contiguous() for name, value in self._first.items()}, folder / _FIRST)

    def load(self, folder: Path, learner: Learner) -> None:
        super().load(folder, learner)
        self._first = load_file(folder / _FIRST)


def choose_greedily(held: Sequence[str], stream: Sequence[str], size: int, random: np.random.Generator) -> list[int]:
    """
    Choose rows of a stream so that as many of each group are held, as far as the stream has them.

    A row is taken while its group has less than its share of the places, be they in use or not. Where all are in use
    any row of the largest group gives way; of several such groups any.

    Source: Prabhu et al. (2020), algorithm 1.

    Args:
        held (`Sequence[str]`): The group of each row that is held.
        stream (`Sequence[str]`): The group of each further row, in their order.
        size (`int`): Places for rows.
        random (`np.random.Generator`): Decides which rows give way.

    Returns:
        `list[int]`: Places of the rows that are held then, ascending; those of the stream are counted from
        `len(held)` on.

    Example:
        >>> choose_greedily(["a", "a", "a", "a"], ["b", "b", "b"], size=4, random=np.random.default_rng(0))
        [0, 2, 4, 5]
    """
    places: dict[str, list[int]] = {}
    for place, group in enumerate(held):
        places.setdefault(group, []).append(place)
    used = len(held)
    for place, group in enumerate(stream, start=used):
        own = places.setdefault(group, [])
        if own and len(own) * len(places) >= size:
            continue
        if used == size:
            most = max(map(len, places.values()))
            largest = [each for each in places.values() if len(each) == most]
            giving = largest[int(random.integers(len(largest)))]
            giving.pop(int(random.integers(most)))
            used -= 1
        own.append(place)
        used += 1
    return sorted(place for each in places.values() for place in each)


def _stream(learner: Learner) -> list[tuple[str, int, str]]:
    """Task, number and group of each of an experience's rows."""
    found: list[tuple[str, int, str]] = []
    for task, rows in learner.rows_of(learner.number).items():
        numbers = learner.experience.rows[task]["train"].tolist()
        labels = rows.select_columns([name for name in rows.column_names if name.startswith(LABEL_PREFIX)])
        found += [(task, number, group_of(learner, task, row)) for number, row in zip(numbers, labels, strict=True)]
    return found


def _copy(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to("cpu", copy=True)
