"""What classifiers in closed form have in common: sums over frozen features, one pass over each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, cast

import datasets
import torch
from safetensors.torch import load_file, save_file

from ...errors import InputError
from ...heads import SequenceClassificationHead, SequenceClassificationHeadConfig
from ...modeling import MultiTaskModel
from ..learner import Learner
from ..scenario import Scenario
from .base import Aspect, Strategy

__all__ = ["ClosedForm", "Sums", "add_sums", "write_classifier"]

Sums = dict[str, torch.Tensor]
"""What is summed over the rows of a head: name -> float64 tensor. All but `gram` have a row for each class."""

_FILE = "sums.safetensors"
_NEVER = 100.0
"""How far below a class that has rows one without any stays (difference of logits)."""
_ROWS_AT_ONCE = 1024


@dataclass(kw_only=True)
class ClosedForm(Strategy):
    """
    A strategy that computes the classifiers of heads from sums over the features that they read.

    Nothing is trained: the backbone, and what of a head comes before its classifier, stay as they are, so that the
    sums over all experiences are those over all rows at once, in whatever order. They are float64, each process sums
    over its part of the rows, and what comes out are weights of an ordinary head.
    """

    decides: ClassVar[frozenset[Aspect]] = frozenset({"training"})

    _sums: dict[str, Sums] = field(default_factory=dict, init=False, repr=False, compare=False)

    def check(self, scenario: Scenario) -> None:
        for name, config in scenario.heads.items():
            where = f"strategy {self.name!r}: head {name!r} of type {config.head_type}"
            if not isinstance(config, SequenceClassificationHeadConfig) or config.multi_label:
                raise InputError(f"{where}: expected a sequence_classification head with one label a row.")
            if not config.classifier_bias:
                raise InputError(f"{where}: expected classifier_bias to be true.")
            if config.pooling == "attention":
                raise InputError(
                    f"{where}: expected a pooling without weights, for nothing is trained, found 'attention'."
                )
            self.check_head(where, config)

    def check_head(self, where: str, config: SequenceClassificationHeadConfig) -> None:
        """
        Refuse a head whose features the strategy cannot use.

        Args:
            where (`str`): What an error begins with.
            config ([`SequenceClassificationHeadConfig`]): The head's config, of one label a row.

        Raises:
            InputError: If it does not fit.
        """

    def set_up(self, name: str, head: SequenceClassificationHead, learner: Learner) -> None:
        """
        Change a head before its first features are computed.

        Args:
            name (`str`): The head's name.
            head ([`SequenceClassificationHead`]): The head.
            learner ([`Learner`]): Of the first experience that feeds it.
        """

    def sum_up(self, features: torch.Tensor, classes: torch.Tensor) -> Sums:
        """
        Sum over rows.

        Args:
            features (`torch.Tensor` of shape `(rows, size)`): What the classifier reads of each row, float64.
            classes (`torch.Tensor` of shape `(rows, num_labels)`):
                1 for the class of the row and 0 for any other, float64; 0 throughout where a row has no label.

        Returns:
            `dict[str, torch.Tensor]`: The sums; 0 for no rows.
        """
        return {"features": classes.T @ features, "rows": classes.sum(dim=0)}

    def learn_head(self, name: str, head: SequenceClassificationHead, learner: Learner) -> None:
        """
        Take over the rows of an experience into `sums_of(name)`, and write the classifier.

        Args:
            name (`str`): The head's name.
            head ([`SequenceClassificationHead`]): The head.
            learner ([`Learner`]): Of the experience.
        """
        raise NotImplementedError

    def learn(self, learner: Learner) -> bool:
        with _answering(learner.model):
            for name in learner.experience.heads:
                head = cast(SequenceClassificationHead, learner.model.named_heads[name])
                if name not in self._sums:
                    self.set_up(name, head, learner)
                self.learn_head(name, head, learner)
        return True

    def sums_of(self, name: str) -> Sums:
        """The sums of a head over all rows so far; empty before its first experience."""
        return self._sums.setdefault(name, {})

    def sum_rows(self, name: str, learner: Learner, rows: Mapping[str, datasets.Dataset]) -> Sums:
        """
        Sum over rows of all processes, which have to call it with the same ones.

        Args:
            name (`str`): The head whose features and labels count.
            learner ([`Learner`]): Of the experience.
            rows (`Mapping[str, datasets.Dataset]`): For each task prepared rows.

        Returns:
            `dict[str, torch.Tensor]`: The sums, the same on all processes.
        """
        classifier = cast(SequenceClassificationHead, learner.model.named_heads[name]).classifier
        nothing = _precise(classifier.weight.detach()[:0])
        # what every process has, be it without a row
        found = self.sum_up(nothing, nothing.new_zeros(0, classifier.out_features))
        for features, classes in _joined(_read(name, learner, rows)):
            add_sums(found, self.sum_up(features, classes))
        return {key: learner.over_processes(value) for key, value in found.items()}

    def memory(self) -> int:
        return sum(value.nbytes for sums in self._sums.values() for value in sums.values())

    def save(self, folder: Path) -> None:
        named = {f"{head}.{key}": value for head, sums in self._sums.items() for key, value in sums.items()}
        save_file({name: value.contiguous() for name, value in named.items()}, folder / _FILE)

    def load(self, folder: Path, learner: Learner) -> None:
        self._sums = {}
        for name, value in load_file(folder / _FILE, device=str(learner.args.device)).items():
            head, _, key = name.rpartition(".")
            self.sums_of(head)[key] = value


def add_sums(total: Sums, added: Sums) -> None:
    """
    Add sums over further rows, perhaps with further classes behind those that there were.

    Args:
        total (`dict[str, torch.Tensor]`): The sums so far, changed in place; empty at first.
        added (`dict[str, torch.Tensor]`): The sums over the further rows, which become those of an empty `total`.

    Example:
        >>> total = {"rows": torch.tensor([1.0])}
        >>> add_sums(total, {"rows": torch.tensor([2.0, 3.0])})
        >>> total
        {'rows': tensor([3., 3.])}
    """
    for key, value in added.items():
        if key not in total:
            total[key] = value
            continue
        new = value[len(total[key]) :]
        if len(new) > 0:
            total[key] = torch.cat([total[key], torch.zeros_like(new)])
        total[key] += value


@torch.no_grad()
def write_classifier(
    classifier: torch.nn.Linear, weight: torch.Tensor, bias: torch.Tensor, rows: torch.Tensor
) -> None:
    """
    Write the weights of a head's last layer. A class without any row so far is never the answer.

    Args:
        classifier (`nn.Linear`): The layer.
        weight (`torch.Tensor` of shape `(num_labels, size)`): Its weight.
        bias (`torch.Tensor` of shape `(num_labels,)`): Its bias.
        rows (`torch.Tensor` of shape `(num_labels,)`): Rows of each class.

    Example:
        >>> layer = torch.nn.Linear(1, 2)
        >>> write_classifier(layer, torch.tensor([[2.0], [0.0]]), torch.tensor([1.0, 0.0]), torch.tensor([3, 0]))
        >>> layer.weight.tolist(), layer.bias.tolist()
        ([[2.0], [2.0]], [1.0, -99.0])
    """
    is_missing, first = rows == 0, rows.argmax()
    weight = torch.where(is_missing.unsqueeze(1), weight[first], weight)
    bias = torch.where(is_missing, bias[first] - _NEVER, bias)
    classifier.weight.copy_(weight)
    classifier.bias.copy_(bias)


def _read(
    name: str, learner: Learner, rows: Mapping[str, datasets.Dataset]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The features and classes of this process's part of the rows, batch by batch."""
    num_labels = cast(SequenceClassificationHead, learner.model.named_heads[name]).classifier.out_features
    for each in rows.values():
        own = each.select(range(learner.process_index, len(each), learner.num_processes))
        for batch in learner.batches(own):
            labels = batch.pop("labels").get(name)
            if labels is None:
                continue
            del batch["rows"]
            features = learner.forward(batch, heads=[name], returnt="features")
            classes = labels.unsqueeze(1) == torch.arange(num_labels, device=labels.device)
            yield _precise(features), _precise(classes)


def _joined(
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches put together: a Gram matrix may be far larger than the rows of one."""
    waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
    for batch in batches:
        waiting.append(batch)
        if sum(len(classes) for _, classes in waiting) >= _ROWS_AT_ONCE:
            yield _cat(waiting)
            waiting.clear()
    if waiting:
        yield _cat(waiting)


def _cat(batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    features, classes = zip(*batches, strict=True)
    return torch.cat(features), torch.cat(classes)


def _precise(values: torch.Tensor) -> torch.Tensor:
    """In float64, which Apple's devices do not have."""
    return (values.cpu() if values.device.type == "mps" else values).double()


@contextmanager
def _answering(model: MultiTaskModel) -> Iterator[None]:
    """While it lasts the model has no dropout, and nothing gets a gradient."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
