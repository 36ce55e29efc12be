"""iCaRL: exemplars of each class, chosen by herding, to train on and to answer by their means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import datasets
import torch
from torch import nn
from torch.nn import functional

from ...data import LABEL_PREFIX
from ...errors import InputError
from ...heads import IGNORED, SequenceClassificationHeadConfig
from ...heads.base import full_precision
from ...modeling import MultiTaskModel
from ...routing import take_rows
from ..buffer import Buffer, Slot
from ..learner import Batch, Learner
from ..scenario import Scenario
from .base import Aspect
from .kept_rows import KeptRows, join_rows
from .teacher import ask, frozen_copy, has_one_class_a_row

__all__ = ["ICarl", "binary_losses", "choose_by_herding"]


@dataclass(kw_only=True)
class ICarl(KeptRows):
    """
    Incremental Classifier and Representation Learning (iCaRL), for a head that grows: of each class exemplars are
    kept whose mean is near to that of all its rows; an experience is trained on its rows and on them, each class as a
    choice of its own, with the answers of the model as it was before for the classes that there were; and a row is of
    the class whose exemplars' mean is nearest to its features.

    Features, and the means of exemplars, are of length 1, so that the nearest mean is the best class of a linear layer
    with the means as its weights: these are what the head's last layer has where it is evaluated, and in the model
    that is saved in the end. A row's loss is the sum over the classes, as the paper writes it; the authors' code has
    the mean.

    Source: Rebuffi et al. (2017), "iCaRL: Incremental Classifier and Representation Learning",
    https://arxiv.org/abs/1611.07725, algorithms 1 to 5.

    Args:
        buffer_size (`int`, *optional*, defaults to 2000): Exemplars that are kept, as many of each class; paper's K.

    Raises:
        InputError: If it is no whole number above 0.

    Example:
        >>> ICarl(buffer_size=500).options()
        {'name': 'icarl', 'buffer_size': 500}
    """

    name: ClassVar[str] = "icarl"
    decides: ClassVar[frozenset[Aspect]] = frozenset({"rows", "row_losses", "answers"})

    buffer_size: int = 2000
    _teacher: MultiTaskModel | None = field(default=None, init=False, repr=False, compare=False)

    def check(self, scenario: Scenario) -> None:
        growing = {head for experience in scenario.experiences for head in experience.labels}
        number = 0
        for name, config in scenario.heads.items():
            where = f"strategy {self.name!r}: head {name!r} of type {config.head_type}"
            if name not in growing or not has_one_class_a_row(config):
                raise InputError(f"{where}: expected a head with one label a row to which experiences bring classes.")
            config = cast(SequenceClassificationHeadConfig, config)
            if config.label_smoothing > 0:
                raise InputError(
                    f"{where}: expected no label_smoothing, which the strategy's own loss does not have, found "
                    f"{config.label_smoothing}."
                )
            number += len(config.names)
        try:
            Buffer(self.buffer_size).check_one_each(number)
        except InputError as error:
            raise InputError(f"strategy {self.name!r}: {error}") from error

    def start(self, learner: Learner) -> None:
        super().start(learner)
        for number, experience in enumerate(learner.scenario.experiences):
            for head in experience.labels:
                self._check_rows(learner, head, number)

    def _check_rows(self, learner: Learner, head: str, number: int) -> None:
        """Refuse classes without a row that could stand for them."""
        rows, experience = _rows_by_class(learner, head, number), learner.scenario.experiences[number]
        for label, name in zip(_new_classes(learner, head, number), experience.labels[head], strict=True):
            if label not in rows:
                raise InputError(
                    f"strategy {self.name!r}: experience {experience.name!r}, head {head!r}: expected a training row "
                    f"of class {name!r}, found none."
                )

    def training_rows(self, learner: Learner) -> Mapping[str, datasets.Dataset] | None:
        return join_rows(learner.rows_of(learner.number), self.kept_rows(learner))

    def begin(self, learner: Learner) -> None:
        self._teacher = None if learner.number == 0 else frozen_copy(learner.model)

    def row_losses(
        self, learner: Learner, head: str, inputs: Batch, outputs: Mapping[str, torch.Tensor], *, rehearsed: bool
    ) -> torch.Tensor | None:
        labels, rows = inputs["labels"][head], outputs.get(f"{head}_rows")
        number, before = len(labels), None
        if self._teacher is not None:
            known = learner.scenario.classes_after(head, learner.number - 1)
            answers = ask(learner, self._teacher, inputs, [head])[f"{head}_logits"]
            before = take_rows(full_precision(answers)[:, :known], rows, number)
        return binary_losses(full_precision(outputs[f"{head}_logits"]), take_rows(labels, rows, number), before)

    def end(self, learner: Learner) -> None:
        self._teacher = None
        heads = learner.scenario.heads_after(learner.number)
        each = self.buffer_size // sum(learner.scenario.classes_after(head, learner.number) for head in heads)
        by_class: dict[str, list[Slot]] = {}
        for slot in self.kept:
            by_class.setdefault(slot.group, []).append(slot)
        self.kept = [slot for slots in by_class.values() for slot in slots[:each]]
        for head in learner.experience.heads:
            self.kept += self._choose(learner, head, each)

    def _choose(self, learner: Learner, head: str, number: int) -> list[Slot]:
        """Exemplars of the classes that an experience has brought to a head."""
        rows, found = _rows_by_class(learner, head, learner.number), list[Slot]()
        for label in _new_classes(learner, head, learner.number):
            prepared = [learner.prepared_row(task, row) for task, row in rows[label]]
            chosen = choose_by_herding(_features(learner, head, prepared), number)
            found += [self.take(learner, *rows[label][place], f"{head}:{label}") for place in chosen]
        return found

    @contextmanager
    def answering(self, learner: Learner) -> Iterator[None]:
        """Put the means of the exemplars in the place of the weights of heads' last layers."""
        by_class: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
        for slot in self.kept:
            head, _, label = slot.group.rpartition(":")
            by_class.setdefault((head, int(label)), []).append(slot.prepared)
        means: dict[str, list[torch.Tensor]] = {}
        for (head, _), prepared in sorted(by_class.items()):
            mean = _features(learner, head, prepared).mean(dim=0)
            means.setdefault(head, []).append(functional.normalize(mean, dim=0))
        layers = {head: cast(nn.Linear, learner.model.named_heads[head].last_layer) for head in means}
        trained = [[each.detach().clone() for each in layer.parameters()] for layer in layers.values()]
        with torch.no_grad():
            for head, layer in layers.items():
                layer.weight.copy_(torch.stack(means[head]))
                if layer.bias is not None:
                    layer.bias.zero_()
        try:
            yield
        finally:
            with torch.no_grad():
                for layer, values in zip(layers.values(), trained, strict=True):
                    for parameter, value in zip(layer.parameters(), values, strict=True):
                        parameter.copy_(value)


def binary_losses(logits: torch.Tensor, labels: torch.Tensor, before: torch.Tensor | None = None) -> torch.Tensor:
    """
    Binary cross-entropy of each class, summed over the classes of a row.

    Source: Rebuffi et al. (2017), algorithm 3.

    Args:
        logits (`torch.Tensor` of shape `(rows, num_labels)`): The logits.
        labels (`torch.Tensor` of shape `(rows,)`): Classes, -100 where there is none.
        before (`torch.Tensor` of shape `(rows, known)`, *optional*):
            Logits of the first classes as they were before, whose sigmoids are what is aimed at there.

    Returns:
        `torch.Tensor` of shape `(rows,)`: 0 for rows without a label.

    Example:
        >>> binary_losses(torch.zeros(2, 2), torch.tensor([1, -100]))
        tensor([1.3863, 0.0000])
    """
    targets = functional.one_hot(labels.clamp(min=0), logits.shape[-1]).to(logits)
    if before is not None:
        targets = torch.cat([before.sigmoid(), targets[:, before.shape[-1] :]], dim=-1)
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=-1)
    return torch.where(labels == IGNORED, 0.0, losses)


def choose_by_herding(features: torch.Tensor, number: int) -> list[int]:
    """
    Choose rows one after another, each such that the mean of those that were chosen comes nearest to the mean of all.

    Source: Rebuffi et al. (2017), algorithm 4. For features of length 1 the distance is least where a row's product
    with k times the mean of all, less the sum of those chosen before, is largest, which the authors' code looks for.

    Args:
        features (`torch.Tensor` of shape `(rows, size)`): Features of length 1.
        number (`int`): Rows to choose.

    Returns:
        `list[int]`: The rows, no one twice, in the order in which they were chosen; all, if there are no more.

    Example:
        >>> choose_by_herding(torch.tensor([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]]), number=2)
        [1, 2]
    """
    mean = features.mean(dim=0)
    wanted, is_left = mean.clone(), torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen = []
    for _ in range(min(number, len(features))):
        place = (features @ wanted).masked_fill(~is_left, -torch.inf).argmax()
        is_left[place] = False
        wanted = wanted + mean - features[place]
        chosen.append(place)
    return torch.stack(chosen).tolist() if chosen else []


def _new_classes(learner: Learner, head: str, number: int) -> range:
    """The classes that an experience brings to a head."""
    first = 0 if number == 0 else learner.scenario.classes_after(head, number - 1)
    return range(first, learner.scenario.classes_after(head, number))


def _rows_by_class(learner: Learner, head: str, number: int) -> dict[int, list[tuple[str, int]]]:
    """Task and number of an experience's rows of each class."""
    found: dict[int, list[tuple[str, int]]] = {}
    for task, rows in learner.rows_of(number).items():
        numbers = learner.scenario.experiences[number].rows[task]["train"].tolist()
        for row, label in zip(numbers, rows[f"{LABEL_PREFIX}{head}"][:], strict=True):
            found.setdefault(label, []).append((task, row))
    return found


@torch.no_grad()
def _features(learner: Learner, head: str, rows: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """What a head's last layer reads of rows, with length 1, float64, of shape `(rows, size)`."""
    was_training = learner.model.training
    learner.model.eval()
    found = []
    for batch in learner.batches(rows):
        inputs = {name: value for name, value in batch.items() if name not in ("labels", "rows")}
        found.append(learner.forward(inputs, heads=[head], returnt="features").cpu().double())
    learner.model.train(was_training)
    return functional.normalize(torch.cat(found), dim=-1)
