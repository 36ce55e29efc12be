"""Several strategies at once, where that makes sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import nn

from ...errors import InputError
from ..learner import Batch, Learner
from ..scenario import Scenario
from .base import Aspect, Strategy

__all__ = ["Combination"]


class Combination:
    """
    Strategies side by side, with the hooks of a [`Strategy`]: what they add is added up, in their order.

    Args:
        strategies (`Sequence[Strategy]`): The strategies.

    Raises:
        InputError: If two of them are of one kind, or would decide the same, naming both.
    """

    def __init__(self, strategies: Sequence[Strategy]) -> None:
        owners: dict[Aspect | str, Strategy] = {}
        for strategy in strategies:
            for aspect in (strategy.name, *sorted(strategy.decides)):
                if aspect in owners:
                    what = "are of one kind" if aspect == strategy.name else f"both decide about {aspect}"
                    raise InputError(
                        f"strategy: {owners[aspect].name!r} and {strategy.name!r} cannot be combined, they {what}."
                    )
                owners[aspect] = strategy
        self.strategies = tuple(strategies)

    @property
    def name(self) -> str:
        """The names, joined."""
        return "+".join(each.name for each in self.strategies)

    @property
    def at_once(self) -> bool:
        """See [`Strategy.at_once`]."""
        return any(each.at_once for each in self.strategies)

    @property
    def adds_losses(self) -> bool:
        """Whether some strategy adds to the loss, with which it may reach heads that have no row in the step."""
        return any(type(each).added_loss is not Strategy.added_loss for each in self.strategies)

    @property
    def beside_model(self) -> bool:
        """See [`Strategy.beside_model`]."""
        return any(each.beside_model for each in self.strategies)

    def options(self) -> list[dict[str, Any]]:
        """Names and options, as JSON values."""
        return [each.options() for each in self.strategies]

    def check(self, scenario: Scenario) -> None:
        """See [`Strategy.check`]."""
        for each in self.strategies:
            each.check(scenario)

    def start(self, learner: Learner) -> None:
        """See [`Strategy.start`]."""
        for each in self.strategies:
            each.start(learner)

    def training_rows(self, learner: Learner) -> Mapping[str, datasets.Dataset]:
        """See [`Strategy.training_rows`]; the rows of the experience where no strategy has others."""
        found = (each.training_rows(learner) for each in self.strategies)
        rows = next((rows for rows in found if rows is not None), None)
        return learner.rows_of(learner.number) if rows is None else rows

    def begin(self, learner: Learner) -> None:
        """See [`Strategy.begin`]."""
        for each in self.strategies:
            each.begin(learner)

    def modules(self) -> list[nn.Module]:
        """See [`Strategy.modules`]."""
        return [module for each in self.strategies for module in each.modules()]

    def learn(self, learner: Learner) -> bool:
        """See [`Strategy.learn`]."""
        # all of them are asked, not only the first that does
        learnt = [each.learn(learner) for each in self.strategies]
        return any(learnt)

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        """See [`Strategy.rehearse`]."""
        return [batch for each in self.strategies for batch in each.rehearse(learner, batches)]

    def observe(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> None:
        """See [`Strategy.observe`]."""
        for each in self.strategies:
            each.observe(learner, inputs, outputs)

    def row_losses(
        self, learner: Learner, head: str, inputs: Batch, outputs: Mapping[str, torch.Tensor], *, rehearsed: bool
    ) -> torch.Tensor | None:
        """See [`Strategy.row_losses`]."""
        found = (each.row_losses(learner, head, inputs, outputs, rehearsed=rehearsed) for each in self.strategies)
        return next((losses for losses in found if losses is not None), None)

    def added_loss(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """See [`Strategy.added_loss`]."""
        losses = [each.added_loss(learner, inputs, outputs) for each in self.strategies]
        found = [loss for loss in losses if loss is not None]
        return torch.stack(found).sum() if found else None

    def end_backward(self, learner: Learner) -> None:
        """See [`Strategy.end_backward`]."""
        for each in self.strategies:
            each.end_backward(learner)

    def end_step(self, learner: Learner) -> None:
        """See [`Strategy.end_step`]."""
        for each in self.strategies:
            each.end_step(learner)

    def end(self, learner: Learner) -> None:
        """See [`Strategy.end`]."""
        for each in self.strategies:
            each.end(learner)

    @contextmanager
    def answering(self, learner: Learner) -> Iterator[None]:
        """See [`Strategy.answering`]."""
        with ExitStack() as stack:
            for each in self.strategies:
                stack.enter_context(each.answering(learner))
            yield

    def memory(self) -> int:
        """See [`Strategy.memory`]."""
        return sum(each.memory() for each in self.strategies)

    def save(self, folder: Path) -> None:
        """See [`Strategy.save`]; each strategy has a folder of its own, by its place."""
        for number, each in enumerate(self.strategies):
            own = folder / str(number)
            own.mkdir(parents=True, exist_ok=True)
            each.save(own)

    def load(self, folder: Path, learner: Learner) -> None:
        """See [`Strategy.load`]."""
        for number, each in enumerate(self.strategies):
            each.load(folder / str(number), learner)
