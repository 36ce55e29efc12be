"""Heads whose loss is NaN or infinite: the run stops and names them, or goes on without them for a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ..errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ..modeling import MultiTaskModel

__all__ = ["NonFiniteLosses"]


class _Rows:
    """Which rows of a head have a finite loss, known only after the head has run."""

    finite: torch.Tensor | None = None


class _Gate(torch.autograd.Function):
    """Passes features on to a head, and back the head's gradient, with zeros for rows whose loss is not finite."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, rows: _Rows, by_row: bool) -> torch.Tensor:
        ctx.rows, ctx.by_row = rows, by_row
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        grad, finite = grads[0], ctx.rows.finite
        if finite is not None:
            bad = (~finite).view(-1, *[1] * (grad.dim() - 1)) if ctx.by_row else ~finite.all()
            grad = grad.masked_fill(bad, 0)
        return grad, None, None


@dataclass
class _Losses:
    """What is kept of a micro-batch to tell, if need be, whose loss is at fault."""

    total: torch.Tensor
    row_losses: dict[str, torch.Tensor]
    rows: dict[str, torch.Tensor]
    tasks: torch.Tensor


@dataclass
class NonFiniteLosses:
    """
    Watches the losses of all heads in the micro-batches of an optimizer step, on the device, and looks at them once,
    before the step is made.

    With `skip` rows whose loss is NaN or infinite for a head give the backbone no gradient from it, and the head is
    not updated in the step, on any process; all other heads train as ever. Where the fault lies in the backbone
    itself, whose gradient then is not finite either, nothing is updated in the step. Otherwise the run stops before
    the step is made, so that no weight and no checkpoint is harmed.

    Args:
        model ([`MultiTaskModel`]): The model.
        task_names (`Sequence[str]`): The tasks that are trained on, in the order of their index.
        accelerator (`Accelerator`): Knows the processes.
        skip (`bool`): Whether to go on.
    """

    model: MultiTaskModel
    task_names: Sequence[str]
    accelerator: Accelerator
    skip: bool
    _step: list[_Losses] = field(default_factory=list, init=False)
    _rows: dict[str, list[_Rows]] = field(default_factory=dict, init=False)
    _skipped: dict[str, int] = field(default_factory=dict, init=False)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Stand between backbone and heads while a run lasts, where heads are to be skipped."""
        # what a run that was broken off within a step has left
        self._step.clear()
        self._rows.clear()
        handles = []
        for name, head in self.model.named_heads.items() if self.skip else ():
            handles.append(head.register_forward_pre_hook(partial(self._before, name), with_kwargs=True))
            handles.append(head.register_forward_hook(partial(self._after, name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Run a pass that is no part of an optimizer step: rows whose loss is not finite do not count in it."""
        kept, self._rows = self._rows, {}
        try:
            yield
        finally:
            self._rows = kept

    def _before(self, name: str, head: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        if not (head.training and torch.is_grad_enabled()):
            return None
        rows = _Rows()
        self._rows.setdefault(name, []).append(rows)
        given = {key: value for key, value in kwargs.items() if torch.is_tensor(value) and value.requires_grad}
        # all features have an entry for each row; the vocabulary has not
        gated = {key: _Gate.apply(value, rows, key != "token_embeddings") for key, value in given.items()}
        return args, {**kwargs, **gated}

    def _after(self, name: str, head: nn.Module, args: Any, outputs: dict[str, torch.Tensor]) -> Any:
        if not (head.training and torch.is_grad_enabled() and "row_losses" in outputs):
            return None
        finite = outputs["row_losses"].detach().isfinite()
        self._rows[name][-1].finite = finite
        # the log, and the sum of the heads' losses, go on without them
        return {**outputs, "row_losses": outputs["row_losses"].masked_fill(~finite, 0)}

    def add(self, outputs: Mapping[str, torch.Tensor], tasks: torch.Tensor) -> None:
        """
        Keep the losses of a micro-batch until the step is looked at.

        Args:
            outputs (`Mapping[str, torch.Tensor]`): What the model answered.
            tasks (`torch.Tensor` of shape `(batch_size,)`): Index of each row's task.
        """
        if self.skip:
            return
        found = [key.removesuffix("_row_losses") for key in outputs if key.endswith("_row_losses")]
        row_losses = {name: outputs[f"{name}_row_losses"].detach() for name in found}
        rows = {name: outputs[f"{name}_rows"] for name in found if f"{name}_rows" in outputs}
        self._step.append(_Losses(outputs["loss"].detach(), row_losses, rows, tasks))

    def check(self, step: int) -> set[str]:
        """
        Look at the losses of an optimizer step.

        Args:
            step (`int`): Its number, from 1.

        Returns:
            `set[str]`: Heads that are skipped in it; their gradients are gone.

        Raises:
            InputError: If a loss is not finite and heads are not to be skipped, naming head, tasks and step.
        """
        if self.skip:
            return self._drop_gradients()
        losses, self._step = self._step, []
        if losses and not torch.stack([each.total for each in losses]).isfinite().all():
            faults = "; ".join(self._faults(losses)) or "the sum of all losses is not finite"
            raise InputError(
                f"step {step}: {faults}. No weight was changed. Look at these rows, lower the learning rate, or go on "
                "without the head in such steps (nonfinite_loss: skip)."
            )
        return set()

    def _faults(self, losses: Sequence[_Losses]) -> Iterator[str]:
        """Whose losses are not finite, and where their rows are from."""
        for micro_batch in losses:
            for name, values in micro_batch.row_losses.items():
                bad = (~values.isfinite()).nonzero().squeeze(1)
                if len(bad) == 0:
                    continue
                rows = micro_batch.rows[name].to(bad.device)[bad] if name in micro_batch.rows else bad
                tasks = micro_batch.tasks.to(bad.device)[rows].unique().tolist()
                names = ", ".join(self.task_names[task] for task in tasks)
                yield f"the loss of head {name!r} is {values[bad[0]].item()} for {len(bad)} row(s) of task(s) {names}"

    def _drop_gradients(self) -> set[str]:
        heads = self.model.named_heads
        places = {name: place for place, name in enumerate(heads)}
        bad = torch.zeros(len(places), dtype=torch.long, device=self.accelerator.device)
        for name, micro_batches in self._rows.items():
            for rows in micro_batches:
                bad[places[name]] += 0 if rows.finite is None else (~rows.finite).sum()
        self._rows.clear()
        found = {name for name, count in zip(places, self._over_processes(bad).tolist(), strict=True) if count > 0}
        for name in found:
            heads[name].zero_grad()
        harmed = bool(found) and self._backbone_is_harmed()
        if harmed:
            self.model.zero_grad()
        for name in [*found, "backbone"] if harmed else found:
            self._skipped[name] = self._skipped.get(name, 0) + 1
        return set(heads) if harmed else found

    def _backbone_is_harmed(self) -> bool:
        """Whether a gradient of the backbone is not finite: features that were not are beyond what a gate can mend."""
        grads = [each.grad for each in self.model.backbone.parameters() if each.grad is not None]
        harmed = torch.zeros((), dtype=torch.long, device=self.accelerator.device)
        for grad in grads:
            # of a sharded backbone each process looks at its own part
            harmed += (~(grad.to_local() if isinstance(grad, DTensor) else grad).isfinite()).any()
        return bool(self._over_processes(harmed) > 0)

    def _over_processes(self, counts: torch.Tensor) -> torch.Tensor:
        if self.accelerator.num_processes > 1:
            counts = self.accelerator.reduce(counts, reduction="sum")
        return counts

    def read(self) -> dict[str, float]:
        """
        Count the steps since the last call in which heads were skipped.

        Returns:
            `dict[str, float]`: `skipped_<head>` (optimizer steps) for each head that was, and `skipped_backbone` for
            steps in which nothing was updated.
        """
        counts, self._skipped = self._skipped, {}
        return {f"skipped_{name}": float(count) for name, count in counts.items()}
