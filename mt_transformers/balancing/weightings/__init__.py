"""Methods of loss weighting, one a file."""

from __future__ import annotations

from .base import LossWeighting
from .registry import WEIGHTINGS, make_weighting

__all__ = ["WEIGHTINGS", "LossWeighting", "make_weighting"]
