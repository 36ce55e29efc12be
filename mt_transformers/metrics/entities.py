"""F1, precision and recall over entities, over seqeval."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import datasets
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as lenient_scores
from seqeval.metrics.v1 import precision_recall_fscore_support as strict_scores
from seqeval.scheme import IOB2, IOBES

from .base import InMemoryMetric

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["EntityF1"]


class _Scheme(NamedTuple):
    """A tagging scheme: the prefixes it knows, seqeval's class for it, and how it is read unless told otherwise."""

    prefixes: str
    token: type
    strict: bool


_SCHEMES = {"bio": _Scheme("BI", IOB2, strict=False), "bioes": _Scheme("BIES", IOBES, strict=True)}


class EntityF1(InMemoryMetric):
    """
    Micro-averaged F1, precision and recall over entities: one counts if its type and both of its ends are right.

    The two ways of reading tags differ where the tags break the scheme, as a model's often do:

    - Lenient, the default for `"bio"`: what conlleval does, and with it the figures published for BIO data. An entity
      also begins at an `I-` tag after `O` or after another type, so `O I-PER` holds a PER entity.
    - Strict, the default for `"bioes"`: an entity must be whole in the scheme. `O I-PER` holds none, and neither does
      `B-PER I-PER` without its `E-PER`; whoever spends a tag on the end wants the end to be right.

    0.0 where a value is not defined, without a warning: there are no entities, or no rows.

    Source: Tjong Kim Sang and Buchholz (2000), https://aclanthology.org/W00-0726, section 3, whose conlleval script
    seqeval follows in its default mode; seqeval's strict mode with IOB2 or IOBES.

    Args:
        scheme (`str`, *optional*, defaults to `"bio"`):
            `"bio"` (tags `B-<type>`, `I-<type>`, `O`) or `"bioes"` (also `E-<type>` and `S-<type>`).
        strict (`bool`, *optional*):
            Read the tags strictly. By default False for `"bio"` and True for `"bioes"`.

    Raises:
        ValueError: If the scheme is not known.

    Example:
        >>> predictions = [["O", "I-PER", "O"], ["B-LOC", "O", "B-ORG"]]
        >>> references = [["O", "B-PER", "O"], ["B-LOC", "I-LOC", "B-ORG"]]
        >>> EntityF1().compute(predictions=predictions, references=references)["entity_recall"]
        0.6666666666666666
        >>> EntityF1(strict=True).compute(predictions=predictions, references=references)["entity_recall"]
        0.3333333333333333
    """

    def __init__(self, scheme: str = "bio", strict: bool | None = None) -> None:
        if scheme not in _SCHEMES:
            raise ValueError(f"EntityF1: scheme: expected one of {', '.join(_SCHEMES)}, found {scheme!r}.")
        self._scheme = _SCHEMES[scheme]
        self._strict = self._scheme.strict if strict is None else strict
        tags = datasets.Sequence(datasets.Value("string"))
        super().__init__("entity_f1", datasets.Features({"predictions": tags, "references": tags}), scheme)

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        predicted = _tag_rows(f"{self.name}: predictions", predictions, self._scheme.prefixes)
        true = _tag_rows(f"{self.name}: references", references, self._scheme.prefixes)
        _check_lengths(self.name, predicted, true)
        # seqeval refuses an input without rows.
        if not true:
            return {"entity_f1": 0.0, "entity_precision": 0.0, "entity_recall": 0.0}
        scores = (
            strict_scores(true, predicted, average="micro", zero_division=0, scheme=self._scheme.token)
            if self._strict
            else lenient_scores(true, predicted, average="micro", zero_division=0)
        )
        precision, recall, f1 = (float(score) for score in scores[:3])
        return {"entity_f1": f1, "entity_precision": precision, "entity_recall": recall}


def _tag_rows(where: str, rows: object, prefixes: str) -> list[list[str]]:
    """Turn rows of tags into lists, as seqeval wants them, and refuse a tag outside the scheme."""
    if isinstance(rows, str) or not isinstance(rows, Sequence) or any(isinstance(row, str) for row in rows):
        raise ValueError(f"{where}: expected a list of lists of tags, found {rows!r:.80}.")
    lists = [list(row) for row in rows]
    # A bare prefix is the tag of a type without a name.
    known_tag = re.compile(rf"O|[{prefixes}](-.*)?")
    for tag in sorted(set(chain.from_iterable(lists)), key=str):
        if not isinstance(tag, str) or known_tag.fullmatch(tag) is None:
            known = ", ".join(f"{prefix}-<type>" for prefix in prefixes)
            raise ValueError(f"{where}: expected tags {known} and O, found {tag!r}.")
    return lists


def _check_lengths(name: str, predicted: list[list[str]], true: list[list[str]]) -> None:
    """Refuse predictions and references that differ in the number of rows or of tags in a row."""
    if len(predicted) != len(true):
        raise ValueError(
            f"{name}: expected predictions for {len(true)} rows, as many as references, found {len(predicted)}."
        )
    for row, (predicted_tags, true_tags) in enumerate(zip(predicted, true, strict=True)):
        if len(predicted_tags) != len(true_tags):
            raise ValueError(
                f"{name}: row {row}: expected {len(true_tags)} predicted tags, as many as references, "
                f"found {len(predicted_tags)}."
            )
