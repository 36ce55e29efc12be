"""Attachment scores of dependency trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import datasets

from ..errors import InputError
from .base import InMemoryMetric
from .conllu import universal_relation

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["AttachmentScore"]

_SCORES = ("las", "las_universal", "uas")


class AttachmentScore(InMemoryMetric):
    """
    Share of the words that hang on the right head, and for the labelled scores by the right relation.

    All words of all sentences count alike, punctuation too. An input without words gives 0.0. Predictions and
    references are one dict a sentence: `heads`, the number of each word's head in any one numbering, and `deprels`,
    the names of the relations.

    - `"las"`: head and relation are right, subtypes such as that of `nsubj:pass` included.
    - `"las_universal"`: head and universal part of the relation, what stands before the colon, are right. It is what
      the CoNLL shared task of 2018 calls LAS.
    - `"uas"`: the head is right.

    Source: Buchholz and Marsi (2006), https://aclanthology.org/W06-2920, for the labelled and the unlabelled score;
    Zeman et al. (2018), https://aclanthology.org/K18-2001, for the universal part and for punctuation.

    Args:
        score (`str`, *optional*, defaults to `"las"`): `"las"`, `"las_universal"` or `"uas"`.

    Raises:
        InputError: If the score is not known.

    Example:
        >>> predictions = [{"heads": [2, 0, 2, 3], "deprels": ["nsubj", "root", "obj", "punct"]}]
        >>> references = [{"heads": [2, 0, 2, 2], "deprels": ["nsubj:pass", "root", "obl", "punct"]}]
        >>> AttachmentScore("uas").compute(predictions=predictions, references=references)
        {'uas': 0.75}
        >>> AttachmentScore("las_universal").compute(predictions=predictions, references=references)
        {'las_universal': 0.5}
        >>> AttachmentScore().compute(predictions=predictions, references=references)
        {'las': 0.25}
    """

    def __init__(self, score: str = "las") -> None:
        if score not in _SCORES:
            raise InputError(f"AttachmentScore: score: expected one of {', '.join(_SCORES)}, found {score!r}.")
        heads, deprels = (datasets.Sequence(datasets.Value(kind)) for kind in ("int64", "string"))
        tree = {"heads": heads, "deprels": deprels}
        super().__init__(score, datasets.Features({"predictions": tree, "references": tree}))

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        predicted = _trees(f"{self.name}: predictions", predictions)
        true = _trees(f"{self.name}: references", references)
        if len(predicted) != len(true):
            raise InputError(
                f"{self.name}: expected predictions for {len(true)} rows, as many as references, "
                f"found {len(predicted)}."
            )
        right = total = 0
        for row, (predicted_tree, true_tree) in enumerate(zip(predicted, true, strict=True)):
            if len(predicted_tree.heads) != len(true_tree.heads):
                raise InputError(
                    f"{self.name}: row {row}: expected {len(true_tree.heads)} predicted heads, as many as "
                    f"references, found {len(predicted_tree.heads)}."
                )
            right += sum(map(self._is_right, *predicted_tree, *true_tree))
            total += len(true_tree.heads)
        return {self.name: right / total if total else 0.0}

    def _is_right(self, head: int, deprel: str, true_head: int, true_deprel: str) -> bool:
        if self.name == "las":
            return head == true_head and deprel == true_deprel
        if self.name == "las_universal":
            return head == true_head and universal_relation(deprel) == universal_relation(true_deprel)
        return head == true_head


class _Tree(NamedTuple):
    """The heads and the relations of a sentence's words."""

    heads: list[int]
    deprels: list[str]


def _trees(where: str, rows: Any) -> list[_Tree]:
    """Take the trees out of their dicts and refuse what is none."""
    if isinstance(rows, (str, Mapping)) or not isinstance(rows, Sequence):
        raise InputError(f"{where}: expected a list with a dict for each sentence, found {rows!r:.80}.")
    return [_tree(f"{where}: row {row}", value) for row, value in enumerate(rows)]


def _tree(where: str, value: Any) -> _Tree:
    if not isinstance(value, Mapping) or set(value) != set(_Tree._fields):
        raise InputError(f"{where}: expected a dict of heads and deprels, found {value!r:.80}.")
    heads, deprels = list(value["heads"]), list(value["deprels"])
    if len(heads) != len(deprels):
        raise InputError(f"{where}: expected as many heads as deprels, found {len(heads)} and {len(deprels)}.")
    for head, deprel in zip(heads, deprels, strict=True):
        if not isinstance(head, Integral):
            raise InputError(f"{where}: expected whole numbers as heads, found {head!r}.")
        if not isinstance(deprel, str):
            raise InputError(f"{where}: expected names as deprels, found {deprel!r}.")
    return _Tree(heads, deprels)
