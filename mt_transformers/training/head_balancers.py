"""Gradient aggregation between heads, which may share rows: a backward pass for each, or at the features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..balancing import ConflictReport, GramianAggregation
from ..modeling import MultiTaskModel
from .balancer import Balancer, weighted_losses
from .gradient_balancer import GradientBalancer

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["FeatureBalancer", "HeadBalancer"]


class HeadBalancer(GradientBalancer):
    """
    A [`GradientBalancer`] between heads instead of tasks: each part of a batch has one forward pass, and a backward
    pass for each of its heads.
    """

    _last: int = 0

    def _row_of(self, task: int) -> int:
        return self._last

    def revise(self, loss: torch.Tensor, outputs: Mapping[str, Any]) -> torch.Tensor:
        parts = weighted_losses(outputs, self.loss_weights)
        if not parts:
            return loss
        *others, last = parts
        # the gradients of the processes are averaged
        scale = self._accelerator.num_processes
        for name in others:
            self._accelerator.backward(parts[name] * scale, retain_graph=True)
            self.rows.take(self._places[name])
        # the trainer's own backward pass is that of the last head
        self._last = self._places[last]
        rest: torch.Tensor = parts[last] * scale
        return rest + (loss - rest).detach()


class FeatureBalancer(Balancer):
    """
    Weighs heads by their gradients in the encoded features, and goes back through the backbone once.

    An approximation: the inner products are those of the features, of which heads that share no row have none in
    common. It costs no more than the plain step.

    Source: Sener and Koltun (2018), section 3.3 (MGDA-UB), https://arxiv.org/abs/1810.04650, for any weights.

    Args:
        method ([`GramianAggregation`]): The method, between heads.
        model ([`MultiTaskModel`]): The model.
        accelerator (`Accelerator`): Knows the processes.
    """

    report: ConflictReport

    def __init__(self, method: GramianAggregation, model: MultiTaskModel, accelerator: Accelerator) -> None:
        self.method, self._model, self._accelerator = method, model, accelerator
        self._places = {name: place for place, name in enumerate(method.tasks)}
        self.report = ConflictReport(method.tasks)

    def revise(self, loss: torch.Tensor, outputs: Mapping[str, Any]) -> torch.Tensor:
        encoded = [outputs[name] for name in self._model.backbone.output_names if name in outputs]
        parts = weighted_losses(outputs, self._model.config.loss_weights)
        # for each head its gradient in all features: (size,)
        rows = {self._places[name]: self._take(name, part, encoded) for name, part in parts.items()}
        weights = self._weigh(rows, encoded[0].device)
        surrogate = loss * 0
        if rows:
            flat = torch.stack([weights[place] * row for place, row in rows.items()]).sum(0)
            pieces = flat.split([each.numel() for each in encoded])
            products = [(each * piece.view_as(each)).sum() for each, piece in zip(encoded, pieces, strict=True)]
            surrogate = torch.stack(products).sum() * self._accelerator.num_processes
        # the gradient is the surrogate's, what is logged is the loss
        return surrogate + (loss - surrogate).detach()

    def _take(self, name: str, part: torch.Tensor, encoded: list[torch.Tensor]) -> torch.Tensor:
        """The gradient of a head's loss in the features; its own parameters get theirs."""
        own = [each for each in self._model.named_heads[name].parameters() if each.requires_grad]
        grads = torch.autograd.grad(part, [*encoded, *own], retain_graph=True, allow_unused=True)
        for parameter, grad in zip(own, grads[len(encoded) :], strict=True):
            if grad is not None:
                scaled = grad * self._accelerator.num_processes
                parameter.grad = scaled if parameter.grad is None else parameter.grad + scaled
        found = [torch.zeros_like(e) if g is None else g for e, g in zip(encoded, grads, strict=False)]
        return torch.cat([each.reshape(-1) for each in found])

    def _weigh(self, rows: Mapping[int, torch.Tensor], device: torch.device) -> dict[int, float]:
        """The weights of all heads that have a gradient on any process."""
        gramian = torch.zeros(len(self._places), len(self._places), dtype=torch.float64, device=device)
        if rows:
            places = torch.tensor(list(rows), device=device)
            matrix = torch.stack(list(rows.values()))
            matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
            gramian[places[:, None], places] = (matrix @ matrix.T).double()
        if self._accelerator.num_processes > 1:
            # rows are of one process: their gradients have nothing in common with those of others
            gramian = self._accelerator.reduce(gramian, reduction="sum")
        gramian = gramian.cpu()
        present = (gramian.diagonal() != 0).nonzero().flatten()
        weights = dict.fromkeys(self._places.values(), 0.0)
        if len(present) > 0:
            chosen = gramian[present[:, None], present]
            self.report.add(chosen, present.tolist())
            found = self.method.weigh(chosen, present.tolist())
            weights |= dict(zip(present.tolist(), found.tolist(), strict=True))
        return weights

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.method.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.method.load_state_dict(state)
