"""Search for the values of a recipe that train best."""

from __future__ import annotations

from .records import SearchRecord, TrialRecord
from .run import search_recipe

__all__ = ["SearchRecord", "TrialRecord", "search_recipe"]
