"""Using what was trained."""

from __future__ import annotations

from .loading import load_model, load_trained_model
from .predictor import MultiTaskPredictor
from .rows import check_row

__all__ = ["MultiTaskPredictor", "check_row", "load_model", "load_trained_model"]
