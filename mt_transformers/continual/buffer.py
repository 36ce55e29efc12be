"""A bounded number of rows of earlier experiences, to train on again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from ..errors import InputError, check_known
from .sampling import ClassBalanced, Reservoir, Sampling, check_whole_number

__all__ = ["Buffer", "Slot"]

_SAMPLINGS: Mapping[str, type[Sampling]] = {"reservoir": Reservoir, "class_balanced": ClassBalanced}


@dataclass(eq=False)
class Slot:
    """
    A row and what a strategy needs of it.

    Args:
        task (`str`): The task it is a row of.
        row (`dict[str, Any]`): The row as the dataset has it.
        group (`str`): What the buffer balances, such as the row's class.
        experience (`int`, *optional*, defaults to 0): Number of the experience it came in.
        prepared (`dict[str, Any]`, *optional*): The row as a collator takes it; not saved.
        logits (`dict[str, torch.Tensor]`, *optional*):
            For a head its logits when the row was put, of shape `(num_labels,)` or `(sequence_length, num_labels)`.
        features (`dict[str, torch.Tensor]`, *optional*): For a head the features before its classifier.
    """

    task: str
    row: dict[str, Any]
    group: str
    experience: int = 0
    prepared: dict[str, Any] = field(default_factory=dict)
    logits: dict[str, torch.Tensor] = field(default_factory=dict)
    features: dict[str, torch.Tensor] = field(default_factory=dict)


class Buffer:
    """
    Holds a sample of the rows that were trained on so far.

    What stays is decided by the rows' groups alone, so that only rows that stay are fetched: [`place`] says where the
    next rows go, [`put`] puts them there. Processes that place the same groups hold the same rows.

    Args:
        size (`int`): Rows it holds, at least 1.
        sampling (`str`, *optional*, defaults to `"reservoir"`):
            Which rows stay: `"reservoir"` keeps a uniform sample of all, see [`Reservoir`]; `"class_balanced"` as many
            of each group, see [`ClassBalanced`].
        seed (`int`, *optional*, defaults to 0):
            Seed of what stays and of what is drawn. Drawing does not change what stays.

    Raises:
        InputError: If an argument cannot be used.

    Example:
        >>> rows = [{"text": text} for text in ["good", "fine", "bad", "nice"]]
        >>> groups = ["positive", "positive", "negative", "positive"]
        >>> buffer = Buffer(size=2, sampling="class_balanced")
        >>> slots = buffer.place(groups)
        >>> for row, group, slot in zip(rows, groups, slots, strict=True):
        ...     if slot is not None:
        ...         buffer.put(slot, Slot(task="moods", row=row, group=group))
        >>> slots, buffer.groups()
        ([0, None, 1, None], {'positive': 1, 'negative': 1})
        >>> [buffer[slot].row["text"] for slot in buffer.draw(5)]
        ['good', 'bad']
    """

    def __init__(
        self, size: int, sampling: Literal["reservoir", "class_balanced"] = "reservoir", seed: int = 0
    ) -> None:
        check_known([sampling], _SAMPLINGS, "buffer", "sampling")
        self.sampling = sampling
        self._sampling = _SAMPLINGS[sampling](size, seed)
        self._random = np.random.default_rng([seed, 1])
        self._slots: list[Slot | None] = []
        # slots to which a row was placed that is not yet put, with its group
        self._awaited: dict[int, str] = {}

    @property
    def size(self) -> int:
        """Rows it can hold."""
        return self._sampling.size

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, number: int) -> Slot:
        slot = self._slots[number]
        if slot is None:
            raise InputError(f"buffer: slot {number} waits for the row that was placed there.")
        return slot

    @property
    def slots(self) -> list[Slot]:
        """All rows, in the order of their slots."""
        return [self[number] for number in range(len(self))]

    def place(self, groups: Sequence[str]) -> list[int | None]:
        """
        Decide which of the next rows stay; each is then to be [`put`].

        Args:
            groups (`Sequence[str]`): What each row belongs to, such as its class.

        Returns:
            `list[int | None]`: For each row, in their order, its slot; None for one that does not stay, be it because
            a later one of this call takes its slot. No slot comes twice.

        Raises:
            InputError: If a group is no text.
        """
        for row, group in enumerate(groups):
            if not isinstance(group, str):
                raise InputError(f"buffer: expected a group's name, found {group!r} for row {row}.")
        placed = self._sampling.place(groups)
        last = {slot: row for row, slot in enumerate(placed) if slot is not None}
        self._slots += [None] * (len(self._sampling) - len(self))
        for slot, row in last.items():
            self._slots[slot] = None
            self._awaited[slot] = groups[row]
        return [slot if slot is not None and last[slot] == row else None for row, slot in enumerate(placed)]

    def put(self, number: int, slot: Slot) -> None:
        """
        Put a row where it was placed.

        Args:
            number (`int`): What [`place`] gave for it.
            slot ([`Slot`]):
                The row. Of its logits and features copies are kept, detached and on the CPU; those of a batch are
                better brought there together, before.

        Raises:
            InputError: If no row of its group was placed there.
        """
        group = self._awaited.get(number)
        if group is None or group != slot.group:
            expected = "none" if group is None else f"one of group {group!r}"
            raise InputError(f"buffer: slot {number} waits for {expected}, found a row of group {slot.group!r}.")
        slot.logits = {head: _kept(value) for head, value in slot.logits.items()}
        slot.features = {head: _kept(value) for head, value in slot.features.items()}
        self._slots[number] = slot
        del self._awaited[number]

    def draw(self, count: int) -> list[int]:
        """
        Draw rows uniformly, without replacement.

        Args:
            count (`int`): How many, at least 1.

        Returns:
            `list[int]`: Their slots in random order; all of them, if there are no more than `count`.

        Raises:
            InputError: If `count` cannot be used, or a row that was placed is not yet put.
        """
        check_whole_number("rows to draw", count, least=1)
        self._check_put()
        drawn: list[int] = self._random.choice(len(self), min(count, len(self)), replace=False).tolist()
        return drawn

    def groups(self) -> dict[str, int]:
        """
        Count the rows of each group.

        Returns:
            `dict[str, int]`: In the order of their first slots.
        """
        return dict(Counter(slot.group for slot in self.slots))

    def rows_by_task(self) -> dict[str, tuple[list[int], list[dict[str, Any]]]]:
        """
        Collect the rows of each task, such as to prepare them anew after loading.

        Returns:
            `dict[str, tuple[list[int], list[dict[str, Any]]]]`: For each task the numbers of its slots, ascending,
            and their rows.
        """
        found: dict[str, tuple[list[int], list[dict[str, Any]]]] = {}
        for number, slot in enumerate(self.slots):
            numbers, rows = found.setdefault(slot.task, ([], []))
            numbers.append(number)
            rows.append(slot.row)
        return found

    def resize(self, size: int) -> None:
        """
        Change how many rows it holds.

        Of more rows than that those of the largest groups leave first, if the buffer is balanced, else any. Into a
        larger one the next rows all go until it is full, for those that were let go do not come back.

        Args:
            size (`int`): Rows it holds from now on, at least 1.

        Raises:
            InputError: If the size cannot be used, or a row that was placed is not yet put.
        """
        self._check_put()
        self._slots = [self._slots[number] for number in self._sampling.resize(size)]

    def clear(self) -> None:
        """Let all rows go; the next ones are placed as if they were the first."""
        self._sampling.clear()
        self._slots.clear()
        self._awaited.clear()

    def check_one_each(self, number_of_classes: int) -> None:
        """
        Refuse more classes than it can hold one row each of.

        Args:
            number_of_classes (`int`): The classes.

        Raises:
            InputError: If there are more than slots.
        """
        if number_of_classes > self.size:
            raise InputError(
                f"buffer: expected a size of at least {number_of_classes}, one row for each of {number_of_classes} "
                f"classes, found {self.size}."
            )

    def memory(self) -> dict[str, int]:
        """
        Add up what the rows take.

        Returns:
            `dict[str, int]`: Bytes of `rows`, `prepared`, `logits` and `features`: tensors, arrays and images as they
            are in memory, text as UTF-8, 8 for any other value, nothing for lists, dicts and their keys. Python's own
            objects take several times as much for text and numbers.
        """
        slots = self.slots
        return {
            "rows": sum(_size(slot.row) for slot in slots),
            "prepared": sum(_size(slot.prepared) for slot in slots),
            "logits": sum(_size(slot.logits) for slot in slots),
            "features": sum(_size(slot.features) for slot in slots),
        }

    def state_dict(self) -> dict[str, Any]:
        """
        Everything but the rows that further decisions and draws depend on.

        Returns:
            `dict[str, Any]`: JSON values.

        Raises:
            InputError: If a row that was placed is not yet put.
        """
        self._check_put()
        return {"sampling": self._sampling.state_dict(), "random": self._random.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any], slots: Sequence[Slot]) -> None:
        """
        Go on where another buffer with the same sampling was.

        Args:
            state (`Mapping[str, Any]`): Its [`state_dict`].
            slots (`Sequence[Slot]`): Its rows.

        Raises:
            InputError: If the rows are not those of the state.
        """
        self._sampling.load_state_dict(state["sampling"])
        self._random.bit_generator.state = state["random"]
        if len(self._sampling) != len(slots):
            raise InputError(f"buffer: expected {len(self._sampling)} rows, found {len(slots)}.")
        self._slots = list(slots)
        self._awaited.clear()

    def _check_put(self) -> None:
        if self._awaited:
            raise InputError(f"buffer: slot {next(iter(self._awaited))} waits for the row that was placed there.")


def _kept(value: torch.Tensor) -> torch.Tensor:
    """A copy: a row of a batch would keep the whole batch in memory."""
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _size(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, torch.Tensor | np.ndarray):
        return int(value.nbytes)
    if hasattr(value, "getbands"):
        # a picture of Pillow, which stores colours in 4 bytes
        return int(value.width * value.height * (1 if value.mode in ("1", "L", "P") else 4))
    return 8
