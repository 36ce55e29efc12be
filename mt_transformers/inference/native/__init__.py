"""Heads as plain models of transformers, and the other way round."""

from __future__ import annotations

from .exporting import to_native
from .importing import from_native

__all__ = ["from_native", "to_native"]
