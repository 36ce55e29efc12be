"""Using what was trained."""

from __future__ import annotations

from .loading import load_model, load_trained_model
from .pipeline import MultiTaskPipeline
from .predictor import MultiTaskPredictor
from .rows import check_row

__all__ = ["MultiTaskPipeline", "MultiTaskPredictor", "check_row", "load_model", "load_trained_model"]
