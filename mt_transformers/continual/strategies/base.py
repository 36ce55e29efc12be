"""What every strategy is: hooks around the training of each experience."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import datasets
import torch
from torch import nn

from ..learner import Batch, Learner
from ..scenario import Scenario

__all__ = ["Aspect", "Strategy"]

Aspect = Literal["rows", "training", "row_losses", "answers"]
"""What only one of several strategies may decide: the rows, how they are learnt, each row's loss, how questions are
answered."""


@dataclass(kw_only=True)
class Strategy:
    """
    One way of learning an experience without forgetting earlier ones: hooks around the training of each experience.

    A strategy of one's own is a dataclass that overrides some of the hooks; its fields are its options, and what it
    remembers from experience to experience is written by [`save`]. The hooks come in this order: [`check`] and
    [`start`] once; for each experience [`training_rows`], [`begin`], [`learn`] or, step by step, [`rehearse`], for
    each micro-batch [`observe`], [`row_losses`] and [`added_loss`], then [`end_backward`] and [`end_step`]; [`end`];
    and [`answering`] around each evaluation. All processes call the same hooks and have to come to the same decisions.
    """

    name: ClassVar[str]
    """What the strategy is called in recipes and tables."""
    decides: ClassVar[frozenset[Aspect]] = frozenset()
    """What no other strategy may decide beside this one."""
    at_once: ClassVar[bool] = False
    """Whether all is learnt when the last experience has come, and nothing before."""
    beside_model: ClassVar[bool] = False
    """Whether answers need more than the model, so that one that is saved gives others."""

    def options(self) -> dict[str, Any]:
        """The strategy's name and its options, as JSON values."""
        return {"name": self.name, **{each.name: getattr(self, each.name) for each in fields(self) if each.init}}

    def check(self, scenario: Scenario) -> None:
        """
        Refuse what the strategy cannot serve, before any work.

        Args:
            scenario ([`Scenario`]): The experiences, and the heads as they are in the end.

        Raises:
            InputError: If a head or the scenario does not fit, naming it.
        """

    def start(self, learner: Learner) -> None:
        """
        Look at the model before it learns anything; also where a run is resumed, whose weights are loaded after it.

        Args:
            learner ([`Learner`]): Of the first experience; it has no accelerator yet.
        """

    def training_rows(self, learner: Learner) -> Mapping[str, datasets.Dataset] | None:
        """
        Choose what an experience is trained on. Aspect `rows`.

        Args:
            learner ([`Learner`]): Of the experience; it has no accelerator yet.

        Returns:
            `Mapping[str, datasets.Dataset]`: For each task prepared rows; None for those of the experience.
        """
        return None

    def begin(self, learner: Learner) -> None:
        """
        Get ready for an experience; the model has its heads, and the trainer is made.

        Args:
            learner ([`Learner`]): Of the experience.
        """

    def modules(self) -> Sequence[nn.Module]:
        """Modules of the strategy's own that are trained together with the model, once [`begin`] was called."""
        return ()

    def learn(self, learner: Learner) -> bool:
        """
        Learn an experience in a way of its own. Aspect `training`.

        Args:
            learner ([`Learner`]): Of the experience.

        Returns:
            `bool`: Whether it did, so that the trainer does not train.
        """
        return False

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        """
        Begin an optimizer step.

        Args:
            learner ([`Learner`]): Of the experience.
            batches (`Sequence[dict[str, Any]]`): Its micro-batches on this process.

        Returns:
            `list[dict[str, Any]]`: Further micro-batches that are trained on like those; their items count in the
            step, so that a head's loss is the mean over all of its items.
        """
        return []

    def observe(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> None:
        """
        Look at a micro-batch of the experience's own rows, and at what the model answers before it learns from them.

        Args:
            learner ([`Learner`]): Of the experience.
            inputs (`dict[str, Any]`): The micro-batch.
            outputs (`Mapping[str, torch.Tensor]`): What the model answered.
        """

    def row_losses(
        self, learner: Learner, head: str, inputs: Batch, outputs: Mapping[str, torch.Tensor], *, rehearsed: bool
    ) -> torch.Tensor | None:
        """
        Compute another loss of a head's rows in a micro-batch. Aspect `row_losses`.

        Args:
            learner ([`Learner`]): Of the experience.
            head (`str`): The head.
            inputs (`dict[str, Any]`): The micro-batch.
            outputs (`Mapping[str, torch.Tensor]`): The model's [`MultiTaskModelOutput`].
            rehearsed (`bool`): Whether the micro-batch came from [`rehearse`].

        Returns:
            `torch.Tensor` of shape `(rows,)`: In the place of `<head>_row_losses`; None to leave that as it is.
        """
        return None

    def added_loss(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """
        Compute what is added to the loss of a micro-batch of the experience's own rows.

        Args:
            learner ([`Learner`]): Of the experience.
            inputs (`dict[str, Any]`): The micro-batch.
            outputs (`Mapping[str, torch.Tensor]`): What the model answered.

        Returns:
            `torch.Tensor` of shape `()`: Such that the sum over all micro-batches and processes of the step is what is
            wanted; None for nothing.
        """
        return None

    def end_backward(self, learner: Learner) -> None:
        """
        Look at, or change, the gradients of an optimizer step: those of all micro-batches and processes.

        Args:
            learner ([`Learner`]): Of the experience.
        """

    def end_step(self, learner: Learner) -> None:
        """
        End an optimizer step; the weights have changed.

        Args:
            learner ([`Learner`]): Of the experience.
        """

    def end(self, learner: Learner) -> None:
        """
        End an experience, before anything is evaluated.

        Args:
            learner ([`Learner`]): Of the experience.
        """

    def answering(self, learner: Learner) -> AbstractContextManager[None]:
        """
        Make the model answer in the strategy's way, within the context. Aspect `answers`.

        What is saved in the end is saved within it.

        Args:
            learner ([`Learner`]): Of the experience that was learnt last.

        Returns:
            `ContextManager`: Afterwards the model is as it was before.
        """
        return nullcontext()

    def memory(self) -> int:
        """What is kept of earlier experiences beside the model (bytes)."""
        return 0

    def save(self, folder: Path) -> None:
        """
        Write what the strategy remembers, within an experience or after it.

        Args:
            folder (`Path`): A folder of its own, which is there. Only the first process writes.
        """

    def load(self, folder: Path, learner: Learner) -> None:
        """
        Go on from what [`save`] wrote.

        Args:
            folder (`Path`): The folder.
            learner ([`Learner`]): Of the experience that was learnt last, or, after [`begin`], of the one that was
                being learnt.
        """
