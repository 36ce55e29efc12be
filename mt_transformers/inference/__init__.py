"""Using what was trained."""

from __future__ import annotations

from .predictor import MultiTaskPredictor, check_row, load_model

__all__ = ["MultiTaskPredictor", "check_row", "load_model"]
