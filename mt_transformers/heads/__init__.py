"""Heads: one a file, found by name through an open registry."""

from __future__ import annotations

from .audio_classification import AudioClassificationHead, AudioClassificationHeadConfig
from .backbone_info import BackboneInfo
from .base import IGNORED, EncodedRows, Head, HeadConfig, LabelSource, SourceRow, Word, item_mask
from .causal_language_modeling import CausalLanguageModelingHead, CausalLanguageModelingHeadConfig
from .dependency_parsing import DependencyParsingHead, DependencyParsingHeadConfig, tree_to_conllu
from .growing import GrowingHead
from .image_classification import ImageClassificationHead, ImageClassificationHeadConfig
from .labels import ClassHeadConfig
from .lemmatization import LemmatizationHead, LemmatizationHeadConfig
from .linear_chain import LinearChainCrf
from .masked_language_modeling import MaskedLanguageModelingHead, MaskedLanguageModelingHeadConfig
from .masked_mean import masked_mean
from .multiple_choice import MultipleChoiceHead, MultipleChoiceHeadConfig
from .pooling import PooledHeadConfig, Pooling
from .preference import PreferenceHead, PreferenceHeadConfig
from .question_answering import QuestionAnsweringHead, QuestionAnsweringHeadConfig
from .reading import FeatureReader, ScalarMix
from .reading_config import feature_size, outputs_read
from .registry import get_head_class, get_head_config, head_types, register_head
from .regression import RegressionHead, RegressionHeadConfig
from .rows import Span
from .sentence_similarity import SentenceSimilarityHead, SentenceSimilarityHeadConfig
from .sequence_classification import SequenceClassificationHead, SequenceClassificationHeadConfig
from .sequence_pooling import pool_sequences
from .token_classification import TokenClassificationHead, TokenClassificationHeadConfig
from .words import find_words, first_sub_tokens, split_words, words_of_ids

__all__ = [
    "IGNORED",
    "AudioClassificationHead",
    "AudioClassificationHeadConfig",
    "BackboneInfo",
    "CausalLanguageModelingHead",
    "CausalLanguageModelingHeadConfig",
    "ClassHeadConfig",
    "DependencyParsingHead",
    "DependencyParsingHeadConfig",
    "EncodedRows",
    "FeatureReader",
    "GrowingHead",
    "Head",
    "HeadConfig",
    "ImageClassificationHead",
    "ImageClassificationHeadConfig",
    "LabelSource",
    "LemmatizationHead",
    "LemmatizationHeadConfig",
    "LinearChainCrf",
    "MaskedLanguageModelingHead",
    "MaskedLanguageModelingHeadConfig",
    "MultipleChoiceHead",
    "MultipleChoiceHeadConfig",
    "PooledHeadConfig",
    "Pooling",
    "PreferenceHead",
    "PreferenceHeadConfig",
    "QuestionAnsweringHead",
    "QuestionAnsweringHeadConfig",
    "RegressionHead",
    "RegressionHeadConfig",
    "ScalarMix",
    "SentenceSimilarityHead",
    "SentenceSimilarityHeadConfig",
    "SequenceClassificationHead",
    "SequenceClassificationHeadConfig",
    "SourceRow",
    "Span",
    "TokenClassificationHead",
    "TokenClassificationHeadConfig",
    "Word",
    "feature_size",
    "find_words",
    "first_sub_tokens",
    "get_head_class",
    "get_head_config",
    "head_types",
    "item_mask",
    "masked_mean",
    "outputs_read",
    "pool_sequences",
    "register_head",
    "split_words",
    "tree_to_conllu",
    "words_of_ids",
]
