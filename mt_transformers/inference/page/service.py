"""Rows from outside, checked, run together and answered head by head where one of them fails."""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable, Mapping, Sequence
from time import perf_counter
from typing import Any, cast

from ...data import MEDIA
from ...errors import InputError, check_known
from ..predictor import MultiTaskPredictor
from .prediction import Prediction
from .shared_passes import SharedPasses

__all__ = ["PredictionService"]

Row = Mapping[str, Any]

_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a head may raise, a head of one's own too, without keeping the others from answering."""


class PredictionService:
    """
    Answers rows from several threads.

    Args:
        predictor ([`MultiTaskPredictor`]): What answers.
        heads (`Collection[str]`, *optional*): The heads that answer. Defaults to all.
        max_characters (`int`, *optional*, defaults to 20000): The longest row (characters of all its texts together).

    Raises:
        InputError: If a head is unknown, or no row could be short enough.

    Example:
        A page's function::

            service = PredictionService(MultiTaskPredictor(*load_model("out")))
            service("play some jazz").answers["intent"]
    """

    def __init__(
        self, predictor: MultiTaskPredictor, heads: Collection[str] | None = None, max_characters: int = 20_000
    ) -> None:
        known = predictor.model.named_heads
        check_known(heads or [], known, "heads", "head")
        if max_characters < 1:
            raise InputError(f"expected a row to have 1 character or more at most, found {max_characters}.")
        self.predictor = predictor
        self.heads = tuple(name for name in known if heads is None or name in heads)
        self.max_characters = max_characters
        self._passes: SharedPasses[Row, Prediction] = SharedPasses(self._run, predictor.batch_size)

    def __call__(self, row: Any, heads: Collection[str] | None = None, top_k: int | None = None) -> Prediction:
        """
        Answer one row; those of other threads that wait at the same time share its pass.

        Args:
            row (`Any`): See [`check_row`].
            heads (`Collection[str]`, *optional*): Those of the service's heads that answer. Defaults to all of them.
            top_k (`int`, *optional*):
                Answers of heads that choose one of several: a list of the best `top_k` instead of the best alone.

        Returns:
            [`Prediction`].

        Raises:
            InputError: If the row or `top_k` cannot be used, or a head is unknown.
        """
        chosen = self.heads if heads is None else self._chosen(heads)
        if top_k is not None and (type(top_k) is not int or top_k < 1):
            raise InputError(f"top_k: expected a whole number from 1 up, found {top_k!r:.80}.")
        self._check_length(row)
        checked = self.predictor.check(row)
        found = self._passes(checked, (chosen, top_k))
        if not found.answers and not found.errors:
            names = ", ".join(sorted(checked))
            raise InputError(f"none of the heads {', '.join(chosen)} answers a row that has {names}.")
        return found

    def _chosen(self, heads: Any) -> tuple[str, ...]:
        """The heads that were asked for, in the model's order."""
        if isinstance(heads, str) or not isinstance(heads, Collection):
            raise InputError(f"heads: expected a list of names, found {heads!r:.80}.")
        check_known(heads, self.heads, "heads", "head")
        chosen = tuple(name for name in self.heads if name in heads)
        if not chosen:
            raise InputError("heads: expected at least one name, found none.")
        return chosen

    def _check_length(self, row: Any) -> None:
        """Refuse long rows before any of them is tokenized."""
        found = _length(row)
        if found > self.max_characters:
            raise InputError(f"expected at most {self.max_characters} characters, found {found}.")

    def _run(self, rows: Sequence[Row], options: Hashable) -> list[Prediction]:
        heads, top_k = cast("tuple[tuple[str, ...], int | None]", options)
        started = perf_counter()
        try:
            answers = [Prediction(each) for each in self._predict(rows, heads, top_k)]
        except _FAILURES as error:
            _report("a pass of %d row(s) failed: each head answers each row by itself", len(rows), error=error)
            answers = [self._each_head(row, heads, top_k) for row in rows]
        milliseconds = 1000 * (perf_counter() - started)
        return [
            Prediction(answer.answers, answer.errors, self.predictor.tokens(row), milliseconds)
            for row, answer in zip(rows, answers, strict=True)
        ]

    def _predict(self, rows: Sequence[Row], heads: Sequence[str], top_k: int | None) -> list[dict[str, Any]]:
        """What the predictor says; it refuses `top_k` where none of the heads ranks anything."""
        configs = [self.predictor.model.named_heads[name].config for name in heads]
        ranks = any("top_k" in config.answer_options for config in configs)
        return self.predictor(rows, heads, top_k=top_k if ranks else None)

    def _each_head(self, row: Row, heads: Sequence[str], top_k: int | None) -> Prediction:
        found = [self._one_head(row, name, top_k) for name in heads]
        return Prediction(
            {name: answer for each in found for name, answer in each.answers.items()},
            {name: message for each in found for name, message in each.errors.items()},
        )

    def _one_head(self, row: Row, name: str, top_k: int | None) -> Prediction:
        try:
            return Prediction(self._predict([row], [name], top_k)[0])
        except _FAILURES as error:
            _report("head %s failed", name, error=error)
            return Prediction({}, {name: f"{type(error).__name__}: {error}"})


def _length(row: Any) -> int:
    """Characters of a row's texts; each word or text of a list counts, an empty one too."""
    values = row.items() if isinstance(row, Mapping) else [("text", row)]
    texts = [value for name, value in values if name not in MEDIA]
    flat = [each for value in texts for each in (value if isinstance(value, list) else [value])]
    return sum(max(len(each), 1) for each in flat if isinstance(each, str))


def _report(message: str, *values: Any, error: BaseException) -> None:
    """Tell whoever runs the page, with the traceback, which is nothing for those who look at it."""
    logging.getLogger(__name__).warning(message, *values, exc_info=error)
