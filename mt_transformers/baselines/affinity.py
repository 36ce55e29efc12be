"""Which tasks agree: a joint run that is looked at, and what a step for one task does to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..balancing import GradientRows
from ..balancing.affinity import AffinityMeter, AffinityReport
from ..errors import InputError
from ..training import LoadedRecipe, build_trainer
from ..training.conflict_probe import ConflictProbe
from ..training.random_numbers import drawing_from, random_state
from ..training.recipe_loading import with_training
from .budget import measure_budget

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["AFFINITY_FOLDER", "LookAhead", "measure_affinity"]

AFFINITY_FOLDER = "affinity"
"""Where in a recipe's folder its affinities are."""

_LOOKS = 50
"""Optimizer steps of a run that are looked at, about."""

Parts = Sequence[Mapping[int, Mapping[str, Any]]]


def measure_affinity(loaded: LoadedRecipe, num_steps: int | None = None) -> AffinityReport:
    """
    Train a recipe jointly, in float32 and with the plain sum of losses, and measure how its tasks agree; the model is
    not kept.

    About 50 optimizer steps are looked at, or all of fewer. The folder `affinity` in the recipe's `output_dir` then
    has the course of the cosines, too, as `conflicts.json`.

    Source: the affinity Z of Fifty et al. (2021), "Efficiently Identifying Task Groupings for Multi-Task Learning",
    section 3, equation 1, https://huggingface.co/papers/2109.04617, with the learning rate of the step.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.
        num_steps (`int`, *optional*): Optimizer steps of the run. Defaults to those of the recipe.

    Returns:
        [`AffinityReport`].

    Raises:
        InputError: If there are fewer than two tasks, nothing that they share, or something else of the recipe cannot
            be used; before any training.
    """
    if loaded.recipe.experiences is not None:
        raise InputError("experiences: tasks that are learnt one after another are in no step together.")
    if num_steps is not None and (type(num_steps) is not int or num_steps < 1):
        raise InputError(f"steps: expected a number of optimizer steps from 1 up, found {num_steps!r}.")
    every = max(1, round((num_steps or measure_budget(loaded).num_steps) / _LOOKS))
    values = {
        **loaded.recipe.training,
        "output_dir": str(Path(loaded.recipe.training["output_dir"]) / AFFINITY_FOLDER),
        "balancing": None,
        "conflict_steps": every,
        "logging_steps": every,
        "save_strategy": "no",
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "push_to_hub": False,
        "resume_from_checkpoint": None,
        "report_to": "none",
        # what a step changes would drown in what bfloat16 rounds away
        "bf16": False,
    }
    trainer = build_trainer(with_training(loaded, values | ({} if num_steps is None else {"max_steps": num_steps})))
    probe = trainer.conflict_probe
    meter = AffinityMeter(probe.report.names)
    probe.on_look = LookAhead(probe, meter, trainer._get_learning_rate, trainer.accelerator)
    trainer.train()
    return meter.report()


class LookAhead:
    """
    Measures in a step that is looked at what a step of gradient descent for one task does to the losses of all.

    Args:
        probe ([`ConflictProbe`]): Looks at the step.
        meter ([`AffinityMeter`]): Adds up what is seen.
        learning_rate (`Callable`): Tells that of the step.
        accelerator (`Accelerator`): Knows the processes.
    """

    def __init__(
        self,
        probe: ConflictProbe,
        meter: AffinityMeter,
        learning_rate: Callable[[], float],
        accelerator: Accelerator,
    ) -> None:
        self._probe, self._meter, self._learning_rate, self._accelerator = probe, meter, learning_rate, accelerator

    @torch.no_grad()
    def __call__(self, batches: Parts, rows: GradientRows) -> None:
        """
        Take steps and take them back.

        Args:
            batches (`Sequence[Mapping[int, Mapping[str, Any]]]`): The micro-batches, each in parts by task.
            rows ([`GradientRows`]): The gradients of the tasks.
        """
        gramian, present = rows.compare()
        if not bool(gramian.isfinite().all()):
            return
        self._meter.add(gramian, present)
        rate = self._learning_rate()
        if rate == 0:
            # a warm-up begins with a step that leads nowhere
            return
        before = self._losses(batches)
        kept = [parameter.detach().clone() for parameter in self._probe.parameters]
        affinities = []
        for task in present:
            with self._stepped(rows.gradients(task), rate, kept):
                affinities.append(1 - self._losses(batches) / before)
        self._meter.add_lookahead(torch.stack(affinities)[:, present].cpu(), present)

    def _losses(self, batches: Parts) -> torch.Tensor:
        """The loss of each task in the step, with the random numbers that training has; of shape `(tasks,)`."""
        device = self._accelerator.device
        losses = torch.zeros(len(self._probe.report.names), dtype=torch.float64, device=device)
        with drawing_from(random_state(device), device):
            for batch in batches:
                for task, part in batch.items():
                    losses[task] += self._probe.loss(part)
        if self._accelerator.num_processes > 1:
            losses = self._accelerator.reduce(losses, reduction="sum")
        return losses

    @contextmanager
    def _stepped(
        self, gradients: Sequence[torch.Tensor | None], rate: float, kept: Sequence[torch.Tensor]
    ) -> Iterator[None]:
        """A step of gradient descent from what was kept, for as long as the context lasts."""
        parameters = self._probe.parameters
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.sub_(gradient, alpha=rate)
        try:
            yield
        finally:
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
