"""What a config alone says of a backbone, against the backbone itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    ClapConfig,
    CvtConfig,
    MobileViTConfig,
    MusicgenConfig,
    PreTrainedConfig,
    T5EncoderModel,
    TimeSeriesTransformerConfig,
)

from backbones import ENCODER_DECODERS, FAMILIES, IMAGES, TEXT_DECODERS, TEXTS, TWO_INPUTS, tiny_backbone
from mt_transformers.backbone import describe_backbone, find_hidden_size
from mt_transformers.backbone.kind import find_kind, find_model_class
from mt_transformers.errors import InputError

KINDS = {family: find_kind(make(), find_model_class(make())) for family, make in FAMILIES.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_built_backbone_says_the_same(family: str) -> None:
    info = describe_backbone(FAMILIES[family]())
    backbone = tiny_backbone(family)
    assert backbone.info == info
    assert info.model_type == backbone.model.config.model_type
    assert backbone.output_names == info.output_names == tuple(info.default_pooling)
    assert (
        backbone.hidden_size == find_hidden_size(FAMILIES[family]()) == info.hidden_sizes[info.output_names[0]] == 32
    )


@pytest.mark.parametrize("family", [*TEXTS, *TWO_INPUTS])
def test_embeddings(family: str) -> None:
    info = describe_backbone(FAMILIES[family]())
    model = tiny_backbone(family).model
    # CLIP as a whole does not say which embeddings are its own
    embeddings = (model.text_model if family == "clip" else model).get_input_embeddings()
    assert embeddings.weight.shape == (info.vocab_size, info.embedding_size)


@pytest.mark.parametrize("family", ["vit", "wav2vec2", "whisper"])
def test_what_reads_no_text_has_no_vocabulary(family: str) -> None:
    info = describe_backbone(FAMILIES[family]())
    assert (info.vocab_size, info.embedding_size, info.causal) == (None, None, False)


@pytest.mark.parametrize("family", FAMILIES)
def test_default_pooling(family: str) -> None:
    expected = {
        "text": {"encoded_text": "last" if family in TEXT_DECODERS else "mean"},
        "encoder_decoder": {"encoded_text": "mean", "encoded_text_decoder": "last"},
        "image": {"encoded_image": "pooled"},
        "audio": {"encoded_audio": "mean"},
        "two_tower": {"encoded_text": "pooled", "encoded_image": "pooled"},
        "single_stream": {"encoded_text": "mean", "encoded_image": "pooled"},
    }
    assert describe_backbone(FAMILIES[family]()).default_pooling == expected[KINDS[family]]


@pytest.mark.parametrize(("family", "pooling"), [("bert", "mean"), ("gpt2", "last"), ("t5", "mean")])
def test_default_pooling_of_text(family: str, pooling: str) -> None:
    assert describe_backbone(FAMILIES[family]()).default_pooling["encoded_text"] == pooling


def test_staged_images_have_no_layers() -> None:
    layers = {family: describe_backbone(make()).num_layers for family, make in IMAGES.items()}
    assert layers == {
        "vit": {"encoded_image": 3},
        "dinov2": {"encoded_image": 3},
        "swin": {},
        "convnext": {},
        "resnet": {},
    }


def test_sizes_of_the_parts_of_two_towers() -> None:
    config = TWO_INPUTS["clip"]()
    config.vision_config.hidden_size = 24
    assert describe_backbone(config).hidden_sizes == {
        "encoded_text": 32,
        "encoded_text_pooled": 20,
        "encoded_image": 24,
        "encoded_image_pooled": 20,
    }


@pytest.mark.parametrize(("config", "size"), [(MobileViTConfig(), 640), (CvtConfig(), 384)], ids=["MobileViT", "CvT"])
def test_sizes_of_staged_images(config: PreTrainedConfig, size: int) -> None:
    assert find_hidden_size(config) == size


def test_the_class_of_the_model_counts_not_only_its_config() -> None:
    config = ENCODER_DECODERS["t5"]()
    assert describe_backbone(config, T5EncoderModel).output_names == ("encoded_text",)


def test_an_adapter_of_audio_changes_size_and_hides_the_layers() -> None:
    config = FAMILIES["wav2vec2"]()
    config.add_adapter, config.output_hidden_size = True, 16
    info = describe_backbone(config)
    assert (info.hidden_sizes, info.num_layers) == ({"encoded_audio": 16}, {})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PreTrainedConfig(), r"^backbone '.*': its config has no hidden_size"),
        (
            TimeSeriesTransformerConfig(),
            r"^backbone 'time_series_transformer': expected a model of text.*, found one of 'past_values'",
        ),
        (
            MusicgenConfig(text_encoder={"model_type": "t5"}, audio_encoder={"model_type": "encodec"}, decoder={}),
            r"^backbone 'musicgen': Multiple valid text configs",
        ),
        (ClapConfig(), r"^backbone 'clap': expected the second tower to read images"),
    ],
    ids=["no size", "time series", "several texts", "text and audio towers"],
)
def test_what_cannot_be_supported_is_refused_by_name(config: PreTrainedConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        describe_backbone(config)


def test_no_model_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **kwargs: Any) -> None:
        raise AssertionError("a module was built")

    configs = [make() for make in FAMILIES.values()]
    monkeypatch.setattr(torch.nn.Module, "__init__", fail)
    monkeypatch.setattr(AutoModel, "from_config", fail)
    assert [describe_backbone(config).model_type for config in configs] == [config.model_type for config in configs]
