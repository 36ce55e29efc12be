"""The heads of a model by name, some of them or hundreds."""

from __future__ import annotations

from torch import nn

__all__ = ["HeadDict"]


class HeadDict(nn.ModuleDict):
    """
    A `nn.ModuleDict` that changes the mode only of heads that are not in it yet.

    The Trainer puts the model into training mode at every step; to walk through all parts of hundreds of heads, few
    of which have rows in the step, would take longer than to run those few.

    Example:
        >>> heads = HeadDict({"intent": nn.Dropout()})
        >>> heads.eval()["intent"].training, heads.train()["intent"].training
        (False, True)
    """

    def train(self, mode: bool = True) -> HeadDict:
        """Put all heads into training or evaluation mode."""
        self.training = mode
        for head in self.values():
            if head.training != mode:
                head.train(mode)
        return self
