"""Which rows of a stream stay in a buffer that is smaller than the stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError

__all__ = ["ClassBalanced", "Reservoir", "Sampling", "check_whole_number"]


def check_whole_number(name: str, value: Any, least: int) -> None:
    """Refuse what is no `int` of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name}: expected a whole number of at least {least}, found {value!r}.")


class Sampling(ABC):
    """
    Decides for each item of a stream which slot it goes to, if any. Knows the items by their group alone.

    A stream that is given in several calls is decided as in one.

    Args:
        size (`int`): Slots, at least 1.
        seed (`int`, *optional*, defaults to 0): Seed of the decisions.

    Raises:
        InputError: If a number cannot be used.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        check_whole_number("size", size, least=1)
        check_whole_number("seed", seed, least=0)
        self.size = size
        self._random = np.random.default_rng(seed)

    @abstractmethod
    def __len__(self) -> int:
        """Slots in use."""

    @abstractmethod
    def place(self, groups: Sequence[str | int]) -> list[int | None]:
        """
        Decide where the next items of the stream go.

        Args:
            groups (`Sequence[str | int]`): What each belongs to, such as its class.

        Returns:
            `list[int | None]`: For each item, in their order, the slot: a new one, which is the number of those in
            use, or one whose item, which may be an earlier one of this call, gives way. None for one that is let go.
        """

    @abstractmethod
    def resize(self, size: int) -> list[int]:
        """
        Change the number of slots.

        With more slots the next items all stay until the slots are in use: of earlier ones there are no more.

        Args:
            size (`int`): The new number, at least 1.

        Returns:
            `list[int]`: Slots whose items stay, ascending; they become 0, 1, 2 and so on.

        Raises:
            InputError: If the size cannot be used.
        """

    @abstractmethod
    def clear(self) -> None:
        """Forget the stream. The random numbers go on."""

    def state_dict(self) -> dict[str, Any]:
        """
        Everything that further decisions depend on.

        Returns:
            `dict[str, Any]`: JSON values.
        """
        return {"size": self.size, "random": self._random.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on where another one was.

        Args:
            state (`Mapping[str, Any]`): Its [`state_dict`].
        """
        self.size = state["size"]
        self._random.bit_generator.state = state["random"]


class Reservoir(Sampling):
    """
    Keeps a uniform sample: each item of the stream so far is in it with the probability `size / items`, whatever its
    group.

    Source: Vitter (1985), "Random Sampling with a Reservoir", ACM Transactions on Mathematical Software 11(1),
    section 2, algorithm R.

    Args:
        size (`int`): Slots, at least 1.
        seed (`int`, *optional*, defaults to 0): Seed of the decisions.

    Raises:
        InputError: If a number cannot be used.

    Example:
        >>> Reservoir(size=3).place(["a", "a", "b", "a", "b", "a"])
        [0, 1, 2, None, None, None]
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        super().__init__(size, seed)
        self._seen = 0
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def place(self, groups: Sequence[str | int]) -> list[int | None]:
        new = range(self._used, min(self.size, self._used + len(groups)))
        first = self._seen + len(new)
        self._used += len(new)
        self._seen += len(groups)
        # item t, counted from 1, takes one of t places, of which `size` are slots
        drawn = self._random.integers(np.arange(first + 1, self._seen + 1)).tolist()
        return [*new, *(slot if slot < self.size else None for slot in drawn)]

    def resize(self, size: int) -> list[int]:
        check_whole_number("size", size, least=1)
        kept = np.arange(self._used)
        if size < self._used:
            kept = np.sort(self._random.choice(self._used, size, replace=False))
        self.size, self._used = size, len(kept)
        return [int(slot) for slot in kept]

    def clear(self) -> None:
        self._seen = self._used = 0

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"seen": self._seen, "used": self._used}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._seen, self._used = state["seen"], state["used"]


class ClassBalanced(Sampling):
    """
    Keeps as many items of each class (group) as of any other, as far as the stream has them.

    A class is full once it was the largest while all slots were in use. An item of a class that is not full takes the
    slot of any item of the largest class; of several that are equally large, of any item of theirs. An item of a full
    class takes the slot of one of its own class, or none, as in a [`Reservoir`] of that class. So all items of a class
    have slots, or as many as of the largest class, or one less; and of each class a uniform sample is kept.

    Source: Chrysakis and Moens (2020), "Online Continual Learning from Imbalanced Data",
    https://proceedings.mlr.press/v119/chrysakis20a.html, algorithm 1.

    Args:
        size (`int`): Slots, at least 1.
        seed (`int`, *optional*, defaults to 0): Seed of the decisions.

    Raises:
        InputError: If a number cannot be used.

    Example:
        >>> ClassBalanced(size=4).place(["a", "a", "a", "a", "b", "b", "b"])
        [0, 1, 2, 3, 3, 1, 1]
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        super().__init__(size, seed)
        self.clear()

    def __len__(self) -> int:
        return self._used

    def clear(self) -> None:
        self._used = 0
        self._seen: dict[str | int, int] = {}
        # slots of each class that has any
        self._slots: dict[str | int, list[int]] = {}
        self._full: set[str | int] = set()

    def place(self, groups: Sequence[str | int]) -> list[int | None]:
        return [self._place(group) for group in groups]

    def _place(self, group: str | int) -> int | None:
        self._seen[group] = self._seen.get(group, 0) + 1
        if self._used < self.size:
            slot = self._used
            self._used += 1
            self._slots.setdefault(group, []).append(slot)
            self._mark_full()
            return slot
        if group in self._full:
            own = self._slots.get(group, [])
            place = int(self._random.integers(self._seen[group]))
            return own[place] if place < len(own) else None
        slot = self._take_from_largest()
        self._slots.setdefault(group, []).append(slot)
        self._mark_full()
        return slot

    def _largest(self) -> list[str | int]:
        """The classes with the most slots, in the order in which they came to have any."""
        most = max(len(slots) for slots in self._slots.values())
        return [group for group, slots in self._slots.items() if len(slots) == most]

    def _mark_full(self) -> None:
        if self._used == self.size:
            self._full.update(self._largest())

    def _take_from_largest(self) -> int:
        """Free any slot of the largest classes."""
        largest = self._largest()
        most = len(self._slots[largest[0]])
        which, place = divmod(int(self._random.integers(len(largest) * most)), most)
        slot = self._slots[largest[which]].pop(place)
        if most == 1:
            del self._slots[largest[which]]
        return slot

    def resize(self, size: int) -> list[int]:
        check_whole_number("size", size, least=1)
        if size > self.size:
            # those that gave way while there was less room may grow again
            self._full.clear()
        self.size = size
        while self._used > size:
            self._full.update(self._largest())
            self._take_from_largest()
            self._used -= 1
        kept = sorted(slot for slots in self._slots.values() for slot in slots)
        number = {slot: new for new, slot in enumerate(kept)}
        self._slots = {group: [number[slot] for slot in slots] for group, slots in self._slots.items()}
        self._mark_full()
        return kept

    def state_dict(self) -> dict[str, Any]:
        full = [group for group in self._seen if group in self._full]
        classes = {"seen": list(map(list, self._seen.items())), "slots": list(map(list, self._slots.items()))}
        return super().state_dict() | classes | {"full": full}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._seen = dict(state["seen"])
        self._slots = {group: list(slots) for group, slots in state["slots"]}
        self._full = set(state["full"])
        used = sorted(slot for slots in self._slots.values() for slot in slots)
        if used != list(range(len(used))):
            raise InputError("slots of classes: expected each slot once.")
        self._used = len(used)
