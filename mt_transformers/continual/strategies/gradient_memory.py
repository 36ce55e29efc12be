"""What strategies have in common that hold the gradient of each step against those of rows of earlier experiences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..learner import Batch, Learner
from .gradients import flatten_gradients, loss_gradients, loss_scale, trained_parameters
from .rehearsal import Rehearsal

__all__ = ["GradientMemory", "Reference"]


@dataclass
class Reference:
    """
    The gradient of rows out of the buffer.

    Args:
        flat (`torch.Tensor` of shape `(elements,)`):
            Of the parameters that are trained, one after the other, under fp16 scaled as the step's gradients are.
        reached (`list[bool]`): For each parameter whether the rows' loss depends on it, on any process.
    """

    flat: torch.Tensor
    reached: list[bool]


@dataclass(kw_only=True)
class GradientMemory(Rehearsal):
    """
    A strategy whose buffer holds rows of earlier experiences only: those of an experience are offered when it ends.

    Their loss is that of training: a head's mean over its items in all of the rows, times the head's weight.
    """

    def observe(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> None:
        """Nothing: rows come into the buffer at the end."""

    def end_step(self, learner: Learner) -> None:
        """Nothing: rows come into the buffer at the end."""

    def end(self, learner: Learner) -> None:
        for task, splits in learner.experience.rows.items():
            if "train" in splits:
                self._place(learner, task, splits["train"].tolist())

    def reference(self, learner: Learner, slots: Sequence[int]) -> Reference:
        """
        Compute the gradient of rows, as if one process had all of them in one batch.

        Args:
            learner ([`Learner`]): Of the experience.
            slots (`Sequence[int]`): Their slots, the same on all processes; they are dealt out.

        Returns:
            [`Reference`]: The same on all processes.
        """
        own, size = slots[learner.process_index :: learner.num_processes], learner.batch_size
        batches = [self.collate(learner, own[start : start + size]) for start in range(0, len(own), size)]
        divisors, scale = learner.divisors(batches), loss_scale(learner)
        parameters = list(trained_parameters(learner.model).values())
        sums: list[torch.Tensor | None] = [None] * len(parameters)
        for batch in batches:
            loss = learner.forward(batch, num_items_in_batch=divisors)["loss"]
            sums = [_add(*pair) for pair in zip(sums, loss_gradients(loss * scale, parameters), strict=True)]
        flat, reached = flatten_gradients(sums, parameters), [each is not None for each in sums]
        if learner.num_processes > 1:
            marks = torch.tensor(reached, dtype=flat.dtype, device=flat.device)
            flat, marks = learner.over_processes(torch.cat([flat, marks])).split([len(flat), len(reached)])
            reached = (marks > 0).tolist()
        return Reference(flat, reached)

    @staticmethod
    def missing(learner: Learner) -> list[bool]:
        """For each parameter that is trained whether it has no gradient in the step, so that nothing moves it."""
        return [each.grad is None for each in trained_parameters(learner.model).values()]

    @staticmethod
    def replace_gradients(learner: Learner, flat: torch.Tensor, reached: Sequence[bool]) -> None:
        """
        Put another gradient in the place of the step's.

        A parameter that neither the step nor a row of the buffer reaches goes on without one: with zeros weight decay
        and momentum would move it.

        Args:
            learner ([`Learner`]): Of the experience.
            flat (`torch.Tensor` of shape `(elements,)`): The gradient.
            reached (`Sequence[bool]`): For each parameter whether a row of the buffer reaches it.
        """
        missing = GradientMemory.missing(learner)
        learner.model.set_grads(flat, trainable_only=True)
        parameters = trained_parameters(learner.model).values()
        for parameter, is_missing, is_reached in zip(parameters, missing, reached, strict=True):
            if is_missing and not is_reached:
                parameter.grad = None


def _add(first: torch.Tensor | None, second: torch.Tensor | None) -> torch.Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
