"""Using what was trained."""

from __future__ import annotations

from .predictor import MultiTaskPredictor, check_row, load_model
from .words import find_words, split_words

__all__ = ["MultiTaskPredictor", "check_row", "find_words", "load_model", "split_words"]
