"""Gradient episodic memory: no step may raise the loss of rows of any earlier experience."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from ...errors import InputError
from ...heads.base import full_precision
from ..learner import Batch, Learner
from ..scenario import Scenario
from .gradient_memory import GradientMemory
from .option_checks import check_weight

__all__ = ["Gem", "dual_weights"]


@dataclass(kw_only=True)
class Gem(GradientMemory):
    """
    Gradient episodic memory (GEM): where the gradient of a step would raise the loss of the rows of an earlier
    experience in the buffer, it is replaced by the nearest one that raises none of them.

    The buffer has as many rows of each experience. Each step computes a gradient for every earlier experience, as many
    copies of the trained parameters as there are, and waits for the device. A head without a row in the step is moved
    only where the gradient is replaced and rows of an experience that it is replaced for have labels for it.

    Source: Lopez-Paz and Ranzato (2017), "Gradient Episodic Memory for Continual Learning",
    https://arxiv.org/abs/1706.08840, eq. 8 to 11, algorithm 1. Of an experience the paper keeps the last rows, here it
    is a uniform sample.

    Args:
        margin (`float`, *optional*, defaults to 0.5):
            Least weight of each earlier experience's gradient in one that is replaced, which favours what was learnt
            earlier; 0 for the nearest one. The default is that of the authors' code.
        buffer_size, ratio, seed: See [`Rehearsal`].
        replay_batch_size (`int`, *optional*):
            Rows of each earlier experience that are drawn for each micro-batch, on each process. Defaults to all.

    Raises:
        InputError: If the margin is below 0, or the buffer has no room for a row of each experience.

    Example:
        >>> Gem(margin=0.0).options()["margin"]
        0.0
    """

    name: ClassVar[str] = "gem"

    margin: float = 0.5
    # of groups, which are experiences here
    sampling: Literal["reservoir", "class_balanced"] = field(default="class_balanced", init=False)
    # earlier experience -> the slots of its rows in the step
    _drawn: dict[int, list[int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight("margin", self.margin)

    def check(self, scenario: Scenario) -> None:
        super().check(scenario)
        earlier = len(scenario.experiences) - 1
        if self.buffer.size < earlier:
            raise InputError(
                f"strategy {self.name!r}: expected a buffer of at least {earlier} rows, one of each earlier "
                f"experience, found {self.buffer.size}."
            )

    def _group(self, learner: Learner, task: str, prepared: Mapping[str, Any]) -> str:
        return learner.experience.name

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        slots, number = list(range(len(self.buffer))), None
        if self.replay_batch_size is not None and slots and batches:
            slots = self.buffer.draw(len(slots))
            number = self.replay_batch_size * len(batches) * learner.num_processes
        drawn: dict[int, list[int]] = {}
        for slot in slots:
            drawn.setdefault(self.buffer[slot].experience, []).append(slot)
        self._drawn = {experience: drawn[experience][:number] for experience in sorted(drawn)}
        return []

    def end_backward(self, learner: Learner) -> None:
        if not self._drawn:
            return
        references = [self.reference(learner, slots) for slots in self._drawn.values()]
        gradient = full_precision(learner.model.get_grads(trainable_only=True))
        # (experiences, elements)
        memories = torch.stack([each.flat for each in references])
        products = torch.cat([memories @ memories.T, (memories @ gradient)[:, None]], dim=1).double().cpu().numpy()
        weights = dual_weights(products[:, :-1], products[:, -1], self.margin)
        if weights is None:
            return
        used = [each.reached for each, weight in zip(references, weights, strict=True) if weight != 0]
        flat = gradient + torch.from_numpy(weights).to(gradient) @ memories
        self.replace_gradients(learner, flat, [any(each) for each in zip(*used, strict=True)])


def dual_weights(gram: np.ndarray, products: np.ndarray, margin: float) -> np.ndarray | None:
    """
    Find how much of each reference gradient is to be added to a gradient: the solution of the dual problem.

    Its size is the number of references, which are brought to one length, so that small gradients count as well.

    Source: Lopez-Paz and Ranzato (2017), eq. 11, with `v >= margin` as in the authors' code.

    Args:
        gram (`np.ndarray` of shape `(references, references)`): The references' products with one another.
        products (`np.ndarray` of shape `(references,)`): Their products with the gradient.
        margin (`float`): Least weight of each.

    Returns:
        `np.ndarray` of shape `(references,)`: The weights; NaN if a product is not finite, as under fp16 where it
        makes the scaler pass over the step. None if no product is below 0, so that nothing is to be done.

    Example:
        >>> dual_weights(np.array([[4.0]]), np.array([-6.0]), margin=0.0)
        array([1.5])
        >>> dual_weights(np.array([[4.0]]), np.array([6.0]), margin=0.0)
    """
    # imported only where the problem is solved: scipy.optimize takes its time
    from scipy.optimize import nnls

    if not (np.isfinite(gram).all() and np.isfinite(products).all()):
        return np.full(len(products), np.nan)
    if (products >= 0).all():
        return None
    lengths = np.sqrt(np.diag(gram))
    # a gradient of zeros forbids nothing
    own = np.flatnonzero(lengths > 0)
    lengths = lengths[own]
    unit = gram[np.ix_(own, own)] / np.outer(lengths, lengths)
    # v = margin + u, u >= 0: 1/2 u'Pu + c'u is 1/2 |Au - b|^2 with A'A = P and A'b = -c
    linear = products[own] / lengths + unit @ (margin * lengths)
    values, vectors = np.linalg.eigh(unit)
    # what is left of references that are multiples of others is rounding, of products in float32
    real = values > len(own) * np.finfo(np.float32).eps * values[-1]
    root, vectors = np.sqrt(values[real])[:, None], vectors[:, real].T
    solution, _ = nnls(root * vectors, -(vectors @ linear) / root[:, 0])
    weights = np.zeros(len(products))
    weights[own] = solution / lengths + margin
    return weights
