"""The one place that knows `AutoModel`: which inputs it takes, what its outputs are called, how large they are."""

from __future__ import annotations

from .flat_features import num_flat_features
from .flat_parameters import FlatParametersMixin
from .info import describe_backbone, find_hidden_size
from .model import Backbone
from .returnt import Returnt, check_returnt
from .xavier import xavier

__all__ = [
    "Backbone",
    "FlatParametersMixin",
    "Returnt",
    "check_returnt",
    "describe_backbone",
    "find_hidden_size",
    "num_flat_features",
    "xavier",
]
