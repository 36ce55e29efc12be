"""What the page and its API tell of one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Prediction"]


@dataclass(frozen=True)
class Prediction:
    """
    Every head's answer for a row.

    Args:
        answers (`Mapping[str, Any]`): For each head that answered what it decoded.
        errors (`Mapping[str, str]`, *optional*): For each head that failed its message.
        tokens (`Sequence[Sequence[str]]`, *optional*):
            The tokens that the backbone read, sequence by sequence: a row is several if it is choices, sentences or
            windows of a context.
        milliseconds (`float`, *optional*, defaults to 0.0): How long the pass took that the row was in.

    Example:
        >>> Prediction({"intent": {"label": "PlayMusic", "score": 0.9}}).to_dict()
        {'answers': {'intent': {'label': 'PlayMusic', 'score': 0.9}}, 'errors': {}, 'tokens': [], 'milliseconds': 0.0}
    """

    answers: Mapping[str, Any]
    errors: Mapping[str, str] = field(default_factory=dict)
    tokens: Sequence[Sequence[str]] = ()
    milliseconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {**asdict(self), "tokens": [list(tokens) for tokens in self.tokens]}
