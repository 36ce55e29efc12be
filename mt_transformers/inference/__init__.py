"""Using what was trained."""

from __future__ import annotations

from .predictor import MultiTaskPredictor, load_model
from .rows import check_row

__all__ = ["MultiTaskPredictor", "check_row", "load_model"]
