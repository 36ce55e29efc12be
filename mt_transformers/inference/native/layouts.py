"""How the classification models of transformers are built on top of their backbones, family by family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import PreTrainedConfig

__all__ = ["LAYOUTS", "NativeLayout", "OfConfig", "find_layouts"]


@dataclass(frozen=True)
class OfConfig:
    """
    A field of a head that the native model reads from its config.

    Args:
        name (`str`): Name of the field of the native model's config.
        own (`bool`, *optional*, defaults to `False`):
            Whether nothing but the native head reads it, so that it may be set to what the head says. Otherwise the
            backbone reads it, too, and the head has to agree.
    """

    name: str
    own: bool = False


@dataclass(frozen=True, kw_only=True)
class NativeLayout:
    """
    Which parts of a native model stand for which parts of a head.

    Args:
        modules (`Mapping[str, str]`):
            For each role (`output`, `dense`, `norm`, `bias`) the module, or the parameter, of the native model that
            plays it; `{base}` stands for the model's `base_model_prefix`.
        fields (`Mapping[str, tuple | OfConfig]`, *optional*):
            For fields of the head's config the values that the native model stands for, the canonical one first, or
            where its config says them.
        input (`str`, *optional*): The backbone's output that is read; by default its main one.
        dense_size (`str`, *optional*): The config's field that says the size of `dense`, if nothing else reads it.
        settings (`Mapping[str, Any]`, *optional*): What the native model's config has to say for this layout.
        needs (`str`, *optional*): The config's field without which the native model cannot find a row's last token.
        vectors (`int`, *optional*, defaults to 1):
            Vectors of the hidden size that `output` reads side by side; the head's is the first.
    """

    modules: Mapping[str, str]
    fields: Mapping[str, Any] = field(default_factory=dict)
    input: str | None = None
    dense_size: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: str | None = None
    vectors: int = 1

    def values(self, name: str, config: PreTrainedConfig) -> tuple[Any, ...]:
        """
        Values of a head's field that the native model stands for.

        Args:
            name (`str`): Name of the field.
            config (`PreTrainedConfig`): Config of the native model.

        Returns:
            `tuple`: The values, the canonical one first.
        """
        expected = self.fields[name]
        return (getattr(config, expected.name, None),) if isinstance(expected, OfConfig) else tuple(expected)


_TANH_POOLER = NativeLayout(
    modules={"dense": "{base}.pooler.dense", "output": "classifier"},
    fields={"pooling": ("cls",), "hidden_act": ("tanh",)},
)
_TWO_LAYERS = NativeLayout(
    modules={"dense": "classifier.dense", "output": "classifier.out_proj"},
    fields={"pooling": ("cls",), "hidden_act": ("tanh",)},
)
_LAST_TOKEN = NativeLayout(modules={"output": "score"}, fields={"pooling": ("last",)}, needs="pad_token_id")
_LAST_OF_DECODER = NativeLayout(
    modules={"dense": "classification_head.dense", "output": "classification_head.out_proj"},
    fields={"pooling": ("last",), "hidden_act": ("tanh",)},
    input="encoded_text_decoder",
    needs="eos_token_id",
)
_POOLED_TEXTS = {
    "bert": _TANH_POOLER,
    "albert": replace(_TANH_POOLER, modules={"dense": "{base}.pooler", "output": "classifier"}),
    "roberta": _TWO_LAYERS,
    "xlm-roberta": _TWO_LAYERS,
    "mpnet": _TWO_LAYERS,
    "electra": replace(_TWO_LAYERS, fields={"pooling": ("cls",), "hidden_act": ("gelu",)}),
    "big_bird": replace(_TWO_LAYERS, fields={"pooling": ("cls",), "hidden_act": OfConfig("hidden_act")}),
    "distilbert": NativeLayout(
        modules={"dense": "pre_classifier", "output": "classifier"},
        fields={"pooling": ("cls",), "hidden_act": ("relu",)},
    ),
    "deberta-v2": NativeLayout(
        modules={"dense": "pooler.dense", "output": "classifier"},
        fields={"pooling": ("cls",), "hidden_act": OfConfig("pooler_hidden_act", own=True)},
    ),
    "modernbert": NativeLayout(
        modules={"output": "classifier"}, fields={"pooling": OfConfig("classifier_pooling", own=True)}
    ),
    "gpt2": _LAST_TOKEN,
    "t5": _LAST_OF_DECODER,
    "bart": _LAST_OF_DECODER,
}

_CLASS_TOKEN = NativeLayout(modules={"output": "classifier"}, fields={"pooling": ("pooled", "cls")})
_POOLED_IMAGES = {
    "vit": _CLASS_TOKEN,
    "swin": replace(_CLASS_TOKEN, fields={"pooling": ("pooled", "mean")}),
    "convnext": replace(_CLASS_TOKEN, fields={"pooling": ("pooled",)}),
    "resnet": NativeLayout(modules={"output": "classifier.1"}, fields={"pooling": ("pooled", "mean")}),
    "dinov2": replace(_CLASS_TOKEN, vectors=2),
    "siglip": NativeLayout(modules={"output": "classifier"}, fields={"pooling": ("mean",)}, input="encoded_image"),
}

# the mean of what a linear layer makes of the frames is what it makes of their mean
_PROJECTED_MEAN = NativeLayout(
    modules={"dense": "projector", "output": "classifier"},
    fields={"pooling": ("mean",), "hidden_act": ("linear",)},
    dense_size="classifier_proj_size",
    settings={"use_weighted_layer_sum": False},
)

_CLASSIFIER = NativeLayout(modules={"output": "classifier"})
_SCORE = NativeLayout(modules={"output": "score"})
_QA_OUTPUTS = NativeLayout(modules={"output": "qa_outputs"})
_QA_OF_DECODER = replace(_QA_OUTPUTS, input="encoded_text_decoder")

_CHOICES = {
    "bert": _TANH_POOLER,
    "roberta": _TANH_POOLER,
    "xlm-roberta": _TANH_POOLER,
    "mpnet": _TANH_POOLER,
    "albert": _POOLED_TEXTS["albert"],
    "distilbert": _POOLED_TEXTS["distilbert"],
    "deberta-v2": _POOLED_TEXTS["deberta-v2"],
    "electra": NativeLayout(
        modules={"dense": "sequence_summary.summary", "output": "classifier"},
        fields={"pooling": ("cls",), "hidden_act": ("gelu",)},
        settings={"summary_type": "first", "summary_use_proj": True, "summary_activation": "gelu"},
    ),
}

_EPS = OfConfig("layer_norm_eps")
_BERT_MLM = NativeLayout(
    modules={
        "dense": "cls.predictions.transform.dense",
        "norm": "cls.predictions.transform.LayerNorm",
        "bias": "cls.predictions.bias",
    },
    fields={"hidden_act": OfConfig("hidden_act"), "layer_norm_eps": _EPS},
)
_LM_HEAD = NativeLayout(
    modules={"dense": "lm_head.dense", "norm": "lm_head.layer_norm", "bias": "lm_head.bias"},
    fields={"hidden_act": ("gelu",), "layer_norm_eps": _EPS},
)
_MASKED = {
    "bert": _BERT_MLM,
    "deberta-v2": _BERT_MLM,
    "roberta": _LM_HEAD,
    "xlm-roberta": _LM_HEAD,
    "mpnet": _LM_HEAD,
    "electra": replace(
        _LM_HEAD,
        modules={
            "dense": "generator_predictions.dense",
            "norm": "generator_predictions.LayerNorm",
            "bias": "generator_lm_head.bias",
        },
    ),
    "albert": replace(
        _BERT_MLM,
        modules={"dense": "predictions.dense", "norm": "predictions.LayerNorm", "bias": "predictions.bias"},
    ),
    "distilbert": NativeLayout(
        modules={"dense": "vocab_transform", "norm": "vocab_layer_norm", "bias": "vocab_projector.bias"},
        fields={"hidden_act": OfConfig("activation"), "layer_norm_eps": (1e-12,)},
    ),
    "modernbert": NativeLayout(
        modules={"dense": "head.dense", "norm": "head.norm", "bias": "decoder.bias"},
        fields={"hidden_act": OfConfig("classifier_activation", own=True), "layer_norm_eps": OfConfig("norm_eps")},
    ),
}

LAYOUTS: dict[str, dict[str, NativeLayout]] = {
    "sequence_classification": _POOLED_TEXTS,
    "image_classification": _POOLED_IMAGES,
    "audio_classification": {"wav2vec2": _PROJECTED_MEAN},
    "token_classification": {"bert": _CLASSIFIER, "llama": _SCORE},
    "question_answering": {"bert": _QA_OUTPUTS, "modernbert": _CLASSIFIER, "bart": _QA_OF_DECODER},
    "multiple_choice": _CHOICES,
    "masked_language_modeling": _MASKED,
    "causal_language_modeling": {"gpt2": NativeLayout(modules={})},
}
"""
For each task of transformers the layouts of its families, by model type. A family that is not named has the layout of
one that is, or none at all: which it is, a comparison of logits decides.
"""


def find_layouts(task: str, config: PreTrainedConfig) -> list[NativeLayout]:
    """
    Find the layouts that a family may have.

    Args:
        task (`str`): A task of `LAYOUTS`.
        config (`PreTrainedConfig`): Config of a model of the family.

    Returns:
        `list[NativeLayout]`: The family's own, or all different ones of the task where it has no entry.

    Example:
        >>> from transformers import RobertaConfig
        >>> [layout.modules["output"] for layout in find_layouts("token_classification", RobertaConfig())]
        ['classifier', 'score']
    """
    families = LAYOUTS[task]
    if config.model_type in families:
        return [families[config.model_type]]
    found: list[NativeLayout] = []
    for layout in families.values():
        of_config = [each.name for each in layout.fields.values() if isinstance(each, OfConfig)]
        if layout not in found and all(hasattr(config, name) for name in (*layout.settings, *of_config)):
            found.append(layout)
    return found
