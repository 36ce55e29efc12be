"""Heads: one a file, found by name through an open registry."""

from __future__ import annotations

from .base import IGNORED, Head, HeadConfig, LabelSource, Word, item_mask
from .labels import ClassHeadConfig
from .pooling import Pooling, masked_mean
from .registry import get_head_class, get_head_config, head_types, register_head
from .regression import RegressionHead, RegressionHeadConfig
from .sequence_classification import SequenceClassificationHead, SequenceClassificationHeadConfig
from .token_classification import TokenClassificationHead, TokenClassificationHeadConfig
from .words import find_words, split_words, words_of_ids

__all__ = [
    "IGNORED",
    "ClassHeadConfig",
    "Head",
    "HeadConfig",
    "LabelSource",
    "Pooling",
    "RegressionHead",
    "RegressionHeadConfig",
    "SequenceClassificationHead",
    "SequenceClassificationHeadConfig",
    "TokenClassificationHead",
    "TokenClassificationHeadConfig",
    "Word",
    "find_words",
    "get_head_class",
    "get_head_config",
    "head_types",
    "item_mask",
    "masked_mean",
    "register_head",
    "split_words",
    "words_of_ids",
]
