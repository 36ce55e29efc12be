"""Exact match and F1 of answers as text, as SQuAD defines them."""

from __future__ import annotations

import math
import re
import string
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import datasets

from ..errors import InputError
from .base import InMemoryMetric

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["AnswerF1", "ExactMatch"]

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


class _AnswerMetric(InMemoryMetric):
    """The mean over the questions of how well an answer agrees with the gold answer that it agrees with best."""

    def __init__(self, own_name: str) -> None:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": datasets.Sequence(text)})
        super().__init__(own_name, features)

    @abstractmethod
    def _agreement(self, predicted: str, gold: str) -> float:
        """Compare two normalised answers, from 0 (nothing in common) to 1."""

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        answers = _texts(f"{self.name}: predictions", predictions)
        golds = _gold_answers(f"{self.name}: references", references)
        if len(answers) != len(golds):
            raise InputError(
                f"{self.name}: expected predictions for {len(golds)} questions, as many as references, "
                f"found {len(answers)}."
            )
        scores = [self._score(answer, texts) for answer, texts in zip(answers, golds, strict=True)]
        return {self.name: math.fsum(scores) / len(scores) if scores else 0.0}

    def _score(self, answer: str, golds: list[str]) -> float:
        """Score one question; without a gold answer the right prediction is that there is none."""
        predicted = _normalise(answer)
        normalised = [gold for gold in map(_normalise, golds) if gold] or [""]
        return max(self._agreement(predicted, gold) for gold in normalised)


class ExactMatch(_AnswerMetric):
    """
    Share of the questions whose predicted answer equals a gold answer, from 0 to 1.

    Both are normalised first: lower case, without the ASCII punctuation marks, without the articles a, an and the, and
    with single spaces. A question without a gold answer has none, and the prediction `""` is right. A gold answer of
    which the normalisation leaves nothing is left out. An empty input gives 0.0.

    `predictions` is a list of one text a question, `references` a list of one list of gold answers a question.

    Source: Rajpurkar et al. (2016), https://aclanthology.org/D16-1264, section 6.1; questions without an answer as in
    Rajpurkar et al. (2018), https://aclanthology.org/P18-2124, whose script leaves out such gold answers, too. Their
    figures are percentages: 100 times as large.

    Example:
        >>> references = [["Eiffel Tower", "tower"], ["Rome"], []]
        >>> ExactMatch().compute(predictions=["The Eiffel tower.", "in Rome", ""], references=references)
        {'exact_match': 0.6666666666666666}
    """

    def __init__(self) -> None:
        super().__init__("exact_match")

    def _agreement(self, predicted: str, gold: str) -> float:
        return float(predicted == gold)


class AnswerF1(_AnswerMetric):
    """
    Mean over the questions of the F1 of predicted answer and gold answer as bags of words, from 0 to 1.

    `2 common / (predicted + gold)`, where `common` counts a word as often as both have it; of several gold answers the
    one with the highest F1. The words are what is left between spaces after the normalisation of `ExactMatch`, and
    `predictions`, `references` and questions without a gold answer are as there: for those any word is worth 0.

    Source: Rajpurkar et al. (2016), https://aclanthology.org/D16-1264, section 6.1; questions without an answer as in
    Rajpurkar et al. (2018), https://aclanthology.org/P18-2124. Their figures are percentages: 100 times as large.

    Example:
        >>> AnswerF1().compute(predictions=["in Rome", ""], references=[["Rome", "Roma"], []])
        {'answer_f1': 0.8333333333333333}
    """

    def __init__(self) -> None:
        super().__init__("answer_f1")

    def _agreement(self, predicted: str, gold: str) -> float:
        if not (predicted and gold):
            return float(predicted == gold)
        predicted_words, gold_words = predicted.split(), gold.split()
        common = (Counter(predicted_words) & Counter(gold_words)).total()
        return 2 * common / (len(predicted_words) + len(gold_words))


def _normalise(text: str) -> str:
    """Reduce an answer to what counts of it."""
    # punctuation before articles, as in SQuAD's script: "a.m." begins with no article
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def _texts(where: str, values: object) -> list[str]:
    """Turn a sequence of texts into a list, and refuse anything else."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"{where}: expected a list of texts, found {values!r:.80}.")
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(f"{where}: row {number}: expected a text, found {value!r:.80}.")
    return list(values)


def _gold_answers(where: str, rows: object) -> list[list[str]]:
    """Turn the gold answers of each question into a list, and refuse anything else."""
    if isinstance(rows, str) or not isinstance(rows, Sequence):
        raise InputError(f"{where}: expected a list of lists of texts, found {rows!r:.80}.")
    return [_texts(f"{where}: row {number}", row) for number, row in enumerate(rows)]
