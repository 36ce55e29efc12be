"""The one place that knows `AutoModel`: which inputs it takes, what its outputs are called, how large they are."""

from __future__ import annotations

from .info import describe_backbone, find_hidden_size
from .model import Backbone

__all__ = ["Backbone", "describe_backbone", "find_hidden_size"]
