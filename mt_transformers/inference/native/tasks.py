"""Which tasks of transformers have which heads of this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_MULTIPLE_CHOICE_MAPPING,
    MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    PreTrainedConfig,
)

from ...errors import InputError
from ...heads import HeadConfig

__all__ = ["TASKS", "NativeTask", "find_task"]


@dataclass(frozen=True, kw_only=True)
class NativeTask:
    """
    A task that transformers has models for.

    Args:
        name (`str`): Its name, which is that of the head type that a native model of it becomes.
        auto_class (`str`): Name of the auto class.
        models (`Any`): The mapping from config classes to model classes.
        heads (`Mapping[str, Mapping[str, str]]`):
            For each head type that can do the task the parts of its heads that play the roles of a layout.
        reads (`str`): What the outputs that such a head reads begin with.
    """

    name: str
    auto_class: str
    models: Any
    heads: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reads: str = "encoded_text"

    def model_class(self, config: PreTrainedConfig) -> Any:
        """The native class for a config, None if there is none."""
        return self.models.get(type(config), None)


_CLASSIFIER = {"dense": "feed_forward.0", "output": "classifier"}
_REGRESSOR = {"dense": "feed_forward.0", "output": "regressor"}

TASKS = (
    NativeTask(
        name="sequence_classification",
        auto_class="AutoModelForSequenceClassification",
        models=MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        heads={
            "sequence_classification": _CLASSIFIER,
            "regression": _REGRESSOR,
            "preference": _CLASSIFIER,
        },
    ),
    NativeTask(
        name="image_classification",
        auto_class="AutoModelForImageClassification",
        models=MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
        heads={
            "image_classification": _CLASSIFIER,
            "sequence_classification": _CLASSIFIER,
            "regression": _REGRESSOR,
        },
        reads="encoded_image",
    ),
    NativeTask(
        name="audio_classification",
        auto_class="AutoModelForAudioClassification",
        models=MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
        heads={
            "audio_classification": _CLASSIFIER,
            "sequence_classification": _CLASSIFIER,
            "regression": _REGRESSOR,
        },
        reads="encoded_audio",
    ),
    NativeTask(
        name="token_classification",
        auto_class="AutoModelForTokenClassification",
        models=MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
        heads={"token_classification": {"output": "classifier"}},
    ),
    NativeTask(
        name="question_answering",
        auto_class="AutoModelForQuestionAnswering",
        models=MODEL_FOR_QUESTION_ANSWERING_MAPPING,
        heads={"question_answering": {"output": "qa_outputs"}},
    ),
    NativeTask(
        name="multiple_choice",
        auto_class="AutoModelForMultipleChoice",
        models=MODEL_FOR_MULTIPLE_CHOICE_MAPPING,
        heads={"multiple_choice": _CLASSIFIER},
    ),
    NativeTask(
        name="masked_language_modeling",
        auto_class="AutoModelForMaskedLM",
        models=MODEL_FOR_MASKED_LM_MAPPING,
        heads={"masked_language_modeling": {"dense": "dense", "norm": "layer_norm", "bias": "bias"}},
    ),
    NativeTask(
        name="causal_language_modeling",
        auto_class="AutoModelForCausalLM",
        models=MODEL_FOR_CAUSAL_LM_MAPPING,
        heads={"causal_language_modeling": {"dense": "dense"}},
    ),
)


def find_task(config: HeadConfig) -> NativeTask:
    """
    Find the task of a head.

    Args:
        config ([`HeadConfig`]): The head's config, resolved.

    Returns:
        [`NativeTask`].

    Raises:
        InputError: If transformers has no models that do what the head does, or do it as the head does.

    Example:
        >>> from mt_transformers.heads import get_head_config
        >>> find_task(get_head_config("ner", {"head_type": "token_classification", "num_labels": 3})).auto_class
        'AutoModelForTokenClassification'
    """
    if isinstance(config.input, list):
        raise InputError(f"it fuses {' and '.join(config.input)}, a native model reads one output of its backbone.")
    if config.layer != -1:
        raise InputError(f"it reads layer {config.layer!r}, a native model the last.")
    if getattr(config, "crf", False):
        raise InputError("its conditional random field has no place in a native model.")
    reads = "encoded_text" if config.input == "auto" else config.input
    for task in TASKS:
        if config.head_type in task.heads and reads.startswith(task.reads):
            return task
    raise InputError(f"transformers has no model that does what a {config.head_type!r} head on {reads} does.")
