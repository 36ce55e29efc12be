"""Heads that native models can stand for, by family. Tests write `from inference.native.families import ...`."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from backbones import IDS, TEXTS, tiny_backbone_config, tiny_backbone_inputs
from mt_transformers import MultiTaskModel
from mt_transformers.configuration import MultiTaskConfig

LABELS = ["anger", "joy", "fear"]
HIDDEN = {"hidden_sizes": [32], "hidden_act": "tanh"}
DECODER = {"input": "encoded_text_decoder"}


def sequence(**fields: Any) -> dict[str, Any]:
    """Fields of a classifier of whole rows."""
    return {"head_type": "sequence_classification", "id2label": LABELS, **fields}


SEQUENCE: dict[str, dict[str, Any]] = {
    **{
        family: sequence(pooling="cls", **HIDDEN)
        for family in ("bert", "albert", "roberta", "xlm-roberta", "mpnet", "deberta-v2")
    },
    "electra": sequence(pooling="cls", hidden_sizes=[32], hidden_act="gelu"),
    "distilbert": sequence(pooling="cls", hidden_sizes=[32], hidden_act="relu"),
    **{family: sequence(pooling="last", classifier_bias=False) for family in ("gpt2", "llama", "qwen2", "gemma")},
    **{family: sequence(pooling="last", **HIDDEN, **DECODER) for family in ("t5", "mt5", "bart", "mbart")},
}
TOKENS = ("bert", "albert", "roberta", "xlm-roberta", "mpnet", "deberta-v2", "electra", "distilbert")
DECODERS = ("gpt2", "llama", "qwen2", "gemma")

CHOOSING = ("pooling", "hidden_sizes", "hidden_act")

HEADS: dict[str, dict[str, dict[str, Any]]] = {
    "AutoModelForSequenceClassification": SEQUENCE,
    "AutoModelForTokenClassification": {
        family: {"head_type": "token_classification", "id2label": ["O", "B-PER", "I-PER"]}
        for family in (*TOKENS, *DECODERS, "t5", "mt5")
    },
    "AutoModelForQuestionAnswering": {
        **{family: {"head_type": "question_answering"} for family in (*TOKENS, "gpt2", "llama", "qwen2")},
        **{family: {"head_type": "question_answering", **DECODER} for family in ("t5", "mt5", "bart", "mbart")},
    },
    "AutoModelForMultipleChoice": {
        family: {"head_type": "multiple_choice", **{key: SEQUENCE[family][key] for key in CHOOSING}}
        for family in TOKENS
    },
    "AutoModelForMaskedLM": {
        **{family: {"head_type": "masked_language_modeling"} for family in TOKENS},
        "albert": {"head_type": "masked_language_modeling", "hidden_act": "gelu_new"},
        "deberta-v2": {"head_type": "masked_language_modeling", "layer_norm_eps": 1e-7},
    },
    "AutoModelForCausalLM": {family: {"head_type": "causal_language_modeling"} for family in DECODERS},
    "AutoModelForImageClassification": {
        **{
            family: {"head_type": "image_classification", "id2label": LABELS}
            for family in ("vit", "swin", "convnext", "resnet", "dinov2")
        },
        "siglip": {"head_type": "image_classification", "id2label": LABELS, "pooling": "mean"},
    },
    "AutoModelForAudioClassification": {
        family: {"head_type": "audio_classification", "id2label": LABELS}
        for family in ("wav2vec2", "hubert", "whisper")
    },
}
"""Auto class -> family -> fields of a head that it can stand for."""

PAIRS = [(auto_class, family) for auto_class, families in HEADS.items() for family in families]


def head_model(family: str, seed: int = 0, **heads: dict[str, Any]) -> MultiTaskModel:
    """A model of a family whose heads have large random weights; a decoder's classifier has no bias, or one of 0."""
    torch.manual_seed(seed)
    model = MultiTaskModel(MultiTaskConfig(backbone_config=tiny_backbone_config(family), heads=heads)).eval()
    for head in model.named_heads.values():
        randomize(head)
        if family in DECODERS and head.config.head_type == "sequence_classification" and head.config.classifier_bias:
            nn.init.zeros_(head.classifier.bias)
    return model


def native_model(auto_class: str, family: str, **changes: Any) -> PreTrainedModel:
    """A native model of a family, the parts above its backbone with large random weights."""
    torch.manual_seed(1)
    config = tiny_backbone_config(family, **changes)
    if "Classification" in auto_class:
        config.id2label = dict(enumerate(LABELS))
        config.label2id = {name: index for index, name in enumerate(LABELS)}
    model: PreTrainedModel = getattr(transformers, auto_class).from_config(config).eval()
    for name, module in model.named_modules():
        if not name.startswith(model.base_model_prefix) and isinstance(module, nn.Linear | nn.LayerNorm):
            randomize(module)
    model.tie_weights()
    return model


@torch.no_grad()
def randomize(module: nn.Module) -> None:
    """Large random weights, so that no part of a head goes unnoticed."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)


def rows(family: str) -> dict[str, torch.Tensor]:
    """Other rows than those that are made up for the comparison; padding stands on the right."""
    inputs = tiny_backbone_inputs(family, seed=3)
    if family == "siglip":
        return {"pixel_values": inputs["pixel_values"]}
    if family == "whisper":
        return {"input_features": inputs["input_features"]}
    if family in TEXTS:
        # the rows end with the token that IDS calls the end's, and have it nowhere else
        assert (inputs["input_ids"] == IDS["eos_token_id"]).sum(dim=1).tolist() == [1, 1, 1]
    return inputs


@torch.no_grad()
def both_logits(native: Any, model: MultiTaskModel, name: str, family: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of both for the same rows, of tokens only."""
    inputs = rows(family)
    head_type = model.named_heads[name].config.head_type
    if head_type == "multiple_choice":
        # one row with three choices
        choices = {key: value.unsqueeze(0) for key, value in inputs.items()}
        outputs = model(**inputs, sequences={name: torch.tensor([[0, 1, 2]])})
        scores = native(**choices).logits, outputs[f"{name}_logits"]
        return scores[0].log_softmax(dim=1), scores[1].log_softmax(dim=1)
    outputs = native(**inputs)
    mask = inputs["attention_mask"].bool() if "attention_mask" in inputs else None
    if head_type == "question_answering":
        answers = torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)
        return answers[mask], model(**inputs)[f"{name}_logits"][:, 0][mask]
    if head_type == "causal_language_modeling":
        ends = mask.sum(dim=1) - 1
        return outputs.logits[torch.arange(len(ends)), ends], model(**inputs)[f"{name}_logits"]
    if head_type == "masked_language_modeling":
        labels = torch.tensor([[[1, 9], [3, 9]]]).expand(len(mask), 2, 2)
        return outputs.logits[:, [1, 3]], model(**inputs, labels={name: labels})[f"{name}_logits"]
    logits = model(**inputs)[f"{name}_logits"]
    tokens = head_type == "token_classification"
    return (outputs.logits[mask], logits[mask]) if tokens else (outputs.logits, logits)
