"""The heads of a model by name, some of them or hundreds."""

from __future__ import annotations

from collections.abc import ItemsView, ValuesView
from typing import cast

from torch import nn

__all__ = ["HeadDict"]


_COPIES = "modules_to_save"
"""Where peft's wrapper has the copies of a module."""


class HeadDict(nn.ModuleDict):
    """
    A `nn.ModuleDict` that changes the mode only of heads that are not in it yet.

    The Trainer puts the model into training mode at every step; to walk through all parts of hundreds of heads, few
    of which have rows in the step, would take longer than to run those few.

    Where peft keeps a copy of a head for each adapter, the head is the copy that belongs to the active adapter.

    Example:
        >>> heads = HeadDict({"intent": nn.Dropout()})
        >>> heads.eval()["intent"].training, heads.train()["intent"].training
        (False, True)
    """

    def __getitem__(self, name: str) -> nn.Module:
        return _look_through(super().__getitem__(name))

    # of a Mapping they would take their values from `__getitem__`, of nn.ModuleDict they do not
    def items(self) -> ItemsView[str, nn.Module]:
        """The heads with their names."""
        return ItemsView(self)

    def values(self) -> ValuesView[nn.Module]:
        """The heads."""
        return ValuesView(self)

    def held(self, name: str) -> nn.Module:
        """
        What stands in a head's place.

        Args:
            name (`str`): The head's name.

        Returns:
            `nn.Module`: The head, or peft's wrapper around its copies.
        """
        return super().__getitem__(name)

    def train(self, mode: bool = True) -> HeadDict:
        """Put all heads into training or evaluation mode."""
        self.training = mode
        for name in self:
            held = self.held(name)
            # the mode of peft's wrapper says nothing of the copies in it
            if held.training != mode or (_COPIES in held._modules and self[name].training != mode):
                held.train(mode)
        return self


def _look_through(module: nn.Module) -> nn.Module:
    """The head itself, where the module is peft's wrapper around copies of it."""
    # not getattr, which looks for long where nothing is, at each step for hundreds of heads
    copies = cast("nn.ModuleDict | None", module._modules.get(_COPIES))
    if copies is None:
        return module
    if not module.disable_adapters:
        active = [name for name in cast("list[str]", module.active_adapters) if name in copies]
        # adapters of tasks share their heads, whichever of them is active
        chosen = copies[active[0]] if active else _only(copies)
        if chosen is not None:
            return chosen
    return cast(nn.Module, module.original_module)


def _only(copies: nn.ModuleDict) -> nn.Module | None:
    found = {id(each): each for each in copies.values()}
    return next(iter(found.values())) if len(found) == 1 else None
