"""How a model is run, and which way it looks, told from class and config."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BertConfig,
    BertGenerationConfig,
    CLIPTextConfig,
    FunnelConfig,
    Gemma3TextConfig,
    LlamaConfig,
    LlavaConfig,
    PreTrainedConfig,
    XLNetConfig,
)

from backbones import ENCODER_DECODERS, FAMILIES, IMAGES, TEXT, TEXT_DECODERS, TEXTS, tiny_backbone
from mt_transformers.backbone import describe_backbone
from mt_transformers.backbone.kind import Arguments, Kind, find_kind, find_model_class, only_looks_back

KINDS: dict[str, Kind] = {
    **dict.fromkeys(TEXTS, "text"),
    **dict.fromkeys(ENCODER_DECODERS, "encoder_decoder"),
    **dict.fromkeys(IMAGES, "image"),
    **dict.fromkeys(["wav2vec2", "hubert", "whisper"], "audio"),
    "clip": "two_tower",
    "siglip": "two_tower",
    "vilt": "single_stream",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_kind(family: str) -> None:
    config = FAMILIES[family]()
    assert find_kind(config, find_model_class(config)) == KINDS[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_who_only_looks_back(family: str) -> None:
    assert describe_backbone(FAMILIES[family]()).causal == (family in {*TEXT_DECODERS, "clip"})


@pytest.mark.parametrize("family", [*TEXT_DECODERS, *[name for name in TEXTS if KINDS[name] == "text"], "clip"])
def test_causal_is_what_the_model_does(family: str) -> None:
    """The last token is changed: only where the model looks both ways does the first token's output change."""
    backbone = tiny_backbone(family)
    ids = torch.tensor([[2, 7, 8, 9, 10]])
    changed = torch.tensor([[2, 7, 8, 9, 11]])
    same = torch.equal(
        backbone(input_ids=ids)["encoded_text"][:, 0], backbone(input_ids=changed)["encoded_text"][:, 0]
    )
    assert same == backbone.info.causal


@pytest.mark.parametrize(
    ("config", "causal"),
    [
        (BertConfig(**TEXT, is_decoder=True), True),
        (BertGenerationConfig(), False),
        (BertGenerationConfig(is_decoder=True), True),
        (CLIPTextConfig(), True),
        (XLNetConfig(), False),
        (XLNetConfig(attn_type="uni"), True),
        (Gemma3TextConfig(), True),
        (Gemma3TextConfig(use_bidirectional_attention=True), False),
        (LlamaConfig(is_causal=False), False),
    ],
    ids=[
        "BERT as decoder",
        "BertGeneration",
        "BertGeneration as decoder",
        "CLIP's text tower",
        "XLNet",
        "XLNet uni",
        "Gemma 3",
        "EmbeddingGemma",
        "Llama both ways",
    ],
)
def test_configs_that_say_which_way_the_model_looks(config: PreTrainedConfig, causal: bool) -> None:
    assert only_looks_back(config) is causal


def test_a_model_that_puts_images_in_the_place_of_tokens_is_one_of_text() -> None:
    config = LlavaConfig()
    assert find_kind(config, find_model_class(config)) == "text"


def test_the_architecture_chooses_where_a_config_has_several_classes() -> None:
    names = [
        getattr(find_model_class(FunnelConfig(architectures=each)), "__name__", None)
        for each in (None, ["FunnelBaseModel"], ["FunnelForMaskedLM"])
    ]
    assert names == ["FunnelModel", "FunnelBaseModel", "FunnelModel"]


def test_code_that_lies_on_the_hub_counts_as_text() -> None:
    class Remote(PreTrainedConfig):
        model_type = "test_kind_remote"

    assert find_model_class(Remote()) is None
    assert find_kind(Remote(), None) == "text"


def test_arguments() -> None:
    class Model:
        def forward(self, first: int, *more: int, second: int = 0, **rest: int) -> None: ...

        def narrow(self, first: int) -> None: ...

    assert Arguments.of(Model.forward) == Arguments(frozenset({"self", "first", "second"}), open_ended=True)
    narrow = Arguments.of(Model.narrow)
    assert [narrow.take("first"), narrow.take("second"), Arguments.of(Model.forward).take("third")] == [
        True,
        False,
        True,
    ]
