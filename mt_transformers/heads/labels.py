"""Labels by name: which classes a head has, and how the values of a dataset's column become their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from ..errors import InputError
from .config import IGNORED, HeadConfig
from .rows import LabelSource

__all__ = ["ClassHeadConfig", "balanced_weights", "collate_positions", "element_feature", "label_ids"]

_NO_LABEL = (-1, IGNORED)
_UNKNOWN = -2

ClassConfig = TypeVar("ClassConfig", bound="ClassHeadConfig")


def element_feature(feature: Any) -> Any | None:
    """The feature of a list's elements, or None if the feature is no list."""
    import datasets

    if isinstance(feature, datasets.List | datasets.LargeList):
        return feature.feature
    return feature[0] if isinstance(feature, list) else None


def balanced_weights(counts: np.ndarray) -> list[float]:
    """
    Weights that give every class the same total weight: rows / (classes x rows of the class).

    Source: King and Zeng (2001), as scikit-learn's `compute_class_weight("balanced")` has it; a class without a row,
    where the formula is not defined, gets 0.

    Args:
        counts (`np.ndarray` of shape `(num_labels,)`): Training rows of each class.

    Returns:
        `list[float]`: A weight for each class.

    Example:
        >>> balanced_weights(np.array([1, 3]))
        [2.0, 0.6666666666666666]
    """
    safe = np.maximum(counts, 1)
    weights = np.where(counts > 0, counts.sum() / (len(counts) * safe), 0.0)
    return [float(weight) for weight in weights]


def collate_positions(labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
    """
    Put labels with an id for each position into one tensor.

    Args:
        labels (`Sequence[Any]`): For each row its ids, or None where the row has no label.
        sequence_length (`int`): Length to which the rows are padded (tokens).

    Returns:
        `torch.Tensor` of shape `(batch_size, sequence_length)`: -100 where there is no label.

    Example:
        >>> collate_positions([[5, 6], None], sequence_length=3)
        tensor([[   5,    6, -100],
                [-100, -100, -100]])
    """
    collated = np.full((len(labels), sequence_length), IGNORED, dtype=np.int64)
    for row, label in enumerate(labels):
        if label is not None:
            collated[row, : len(label)] = label
    return torch.from_numpy(collated)


@dataclass(kw_only=True)
class ClassHeadConfig(HeadConfig):
    """
    Config of a head that chooses among named classes.

    Args:
        num_labels (`int`, *optional*): Number of classes. Follows from `id2label`.
        id2label (`dict[int, str]`, *optional*):
            Names of the classes, also as a list. If left out, they are read from the training data.
        label2id (`dict[str, int]`, *optional*): The reverse. Follows from `id2label`.
    """

    num_labels: int | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None

    def __post_init__(self) -> None:
        if self.num_labels is not None and (type(self.num_labels) is not int or self.num_labels < 1):
            raise InputError(f"num_labels: expected at least 1, found {self.num_labels!r}.")
        if self.id2label is None and self.label2id is not None:
            self.id2label = {index: name for name, index in self.label2id.items()}
        if self.id2label is not None:
            self._set_names(self.id2label)
        super().__post_init__()

    def _set_names(self, names: dict[int, str] | Sequence[str]) -> None:
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        id2label = {int(index): str(name) for index, name in sorted(pairs, key=lambda pair: int(pair[0]))}
        if sorted(id2label) != list(range(len(id2label))) or not id2label:
            raise InputError(f"id2label: expected the ids 0 to n - 1, found {sorted(id2label)}.")
        label2id = {name: index for index, name in id2label.items()}
        if len(label2id) != len(id2label):
            raise InputError(f"id2label: each name may occur once, found {list(id2label.values())}.")
        if self.label2id is not None and self.label2id != label2id:
            wrong = next(
                name for name in {**self.label2id, **label2id} if self.label2id.get(name) != label2id.get(name)
            )
            raise InputError(
                f"label2id is not the reverse of id2label: {wrong!r} is {self.label2id.get(wrong)} in label2id "
                f"and {label2id.get(wrong)} in id2label."
            )
        if self.num_labels not in (None, len(id2label)):
            raise InputError(f"num_labels is {self.num_labels}, but id2label has {len(id2label)} names.")
        self.id2label, self.label2id, self.num_labels = id2label, label2id, len(id2label)

    @property
    def names(self) -> list[str]:
        """Names of the classes in the order of their ids."""
        return list((self.id2label or {}).values())

    def grown(self: ClassConfig, labels: Sequence[str]) -> ClassConfig:
        """
        Add classes behind those that there are.

        Args:
            labels (`Sequence[str]`): Their names, in the order of the ids that they get.

        Returns:
            [`ClassHeadConfig`]: A config of this class with all of them; this one stays as it is.

        Raises:
            InputError: If there is no label, one is no string, is there already or comes twice; or the classes that
                there are cannot do without an answer that the new ones lack, such as a weight for each.
        """
        if isinstance(labels, str) or not isinstance(labels, Sequence) or len(labels) == 0:
            raise InputError(f"labels: expected a list with the names of the new classes, found {labels!r}.")
        names = self.names
        for label in labels:
            if not isinstance(label, str):
                raise InputError(f"labels: expected names, found {label!r}.")
            if label in names:
                raise InputError(f"labels: each name may occur once, and {label!r} is the class {names.index(label)}.")
            names.append(label)
        return type(self)(**{**asdict(self), "id2label": dict(enumerate(names)), "label2id": None, "num_labels": None})

    def check_complete(self) -> None:
        if self.id2label is None and self.num_labels is None:
            raise InputError("neither id2label nor num_labels is given, and no training data was read to find them.")
        if self.id2label is None:
            self._set_names([f"LABEL_{index}" for index in range(self.num_labels or 0)])

    def class_feature(self, source: LabelSource) -> Any:
        """The feature of a single label in a column that trains this head; its type is checked by [`label_ids`]."""
        return source.feature

    def complete(self, sources: Sequence[LabelSource]) -> None:
        if self.id2label is None:
            names: dict[str, None] = {}
            for source in sources:
                names.update(dict.fromkeys(_names_in(self.class_feature(source), source)))
            if names:
                self._set_names(list(names))
        if self.id2label is None and self.num_labels is None:
            raise InputError(
                f"{sources[0].where} has no label names (its type is {sources[0].feature}): give the head "
                "id2label or num_labels, or cast the column to ClassLabel."
            )
        self.check_complete()
        for source in sources:
            check_label_feature(self.class_feature(source), source)


def _names_in(feature: Any, source: LabelSource) -> list[str]:
    """Label names that a column declares (ClassLabel) or, for text, contains in its training split, sorted."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names)
    if isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string"):
        found: set[str] = set()
        for value in source.read():
            found.update(value if isinstance(value, list) else [value])
        return sorted(name for name in found if name is not None)
    return []


def check_label_feature(feature: Any, source: LabelSource) -> None:
    """Refuse a column whose values cannot be class labels, saying its type."""
    import datasets

    allowed = ("string", "large_string", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")
    if isinstance(feature, datasets.ClassLabel) or (isinstance(feature, datasets.Value) and feature.dtype in allowed):
        return
    raise InputError(f"{source.where}: expected class labels (ClassLabel, text or integers), found {source.feature}.")


def label_ids(
    values: Sequence[Any], feature: Any, source: LabelSource, rows: Sequence[int], config: ClassHeadConfig
) -> np.ndarray:
    """
    Translate values of a label column into the head's ids, by name wherever the column has names.

    Args:
        values (`Sequence[Any]`): Single labels: ids of a ClassLabel, names, or plain integers; None and -1 for none.
        feature (`Any`): The `datasets` feature of a single label.
        source (`LabelSource`): The column.
        rows (`Sequence[int]`): The row of each value.
        config ([`ClassHeadConfig`]): The head.

    Returns:
        `np.ndarray` of shape `(len(values),)`: Ids, -100 where there is no label.

    Raises:
        InputError: If a value is out of range or a name is not the head's, naming task, column, row and value.
    """
    import datasets

    known = config.label2id or {}
    if isinstance(feature, datasets.ClassLabel):
        # one entry more, so that -1 reads the last one
        table = np.array([known.get(name, _UNKNOWN) for name in feature.names] + [IGNORED])
    else:
        table = np.array([*range(config.num_labels or 0), IGNORED])
    if isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string"):
        ids = np.array([IGNORED if value is None else known.get(value, _UNKNOWN) for value in values], dtype=np.int64)
    else:
        raw = np.array([-1 if value is None or value in _NO_LABEL else int(value) for value in values], dtype=np.int64)
        outside = (raw < -1) | (raw >= len(table) - 1)
        if outside.any():
            at = int(outside.argmax())
            raise InputError(
                f"{source.where}, row {rows[at]}: label {values[at]!r} is out of range, "
                f"expected 0 to {len(table) - 2} (or -1 for no label)."
            )
        ids = table[raw]
    if (ids == _UNKNOWN).any():
        at = int((ids == _UNKNOWN).argmax())
        name = feature.names[values[at]] if isinstance(feature, datasets.ClassLabel) else values[at]
        raise InputError(
            f"{source.where}, row {rows[at]}: label {name!r} is not among the head's {len(known)} labels "
            f"({', '.join(list(known)[:10])}{', ...' if len(known) > 10 else ''})."
        )
    return ids
