"""Which outputs and which layer a head reads, as its config says it: what is refused, and what `auto` becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from mt_transformers.errors import InputError
from mt_transformers.heads import BackboneInfo, RegressionHeadConfig, feature_size, outputs_read
from mt_transformers.heads.reading_config import ReadingConfig


@dataclass(kw_only=True)
class TextConfig(ReadingConfig):
    """A head that labels positions of text."""

    head_type = "text_for_test"
    reads: ClassVar[tuple[str, ...]] = ("encoded_text", "encoded_text_decoder")


@dataclass(kw_only=True)
class AudioConfig(ReadingConfig):
    head_type = "audio_for_test"
    reads: ClassVar[tuple[str, ...]] = ("encoded_audio",)


def backbone(model_type: str, sizes: dict[str, int], num_layers: dict[str, int]) -> BackboneInfo:
    pooling = {name: "mean" for name in sizes if not name.endswith("_pooled")}
    return BackboneInfo(model_type, sizes, num_layers, pooling, False, 9, 8)


BERT = backbone("bert", {"encoded_text": 8}, {"encoded_text": 3})
T5 = backbone("t5", {"encoded_text": 8, "encoded_text_decoder": 8}, {"encoded_text": 3, "encoded_text_decoder": 4})
CLIP = backbone(
    "clip",
    {"encoded_text": 8, "encoded_text_pooled": 4, "encoded_image": 6, "encoded_image_pooled": 4},
    {"encoded_text": 3, "encoded_image": 3},
)
VILT = backbone(
    "vilt", {"encoded_text": 8, "encoded_image": 8, "encoded_image_pooled": 5}, {"encoded_text": 3, "encoded_image": 3}
)
SWIN = backbone("swin", {"encoded_image": 8, "encoded_image_pooled": 8}, {})
BOTH = ["encoded_text", "encoded_image"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": "text"}, "input: expected the name of a backbone output, 'encoded_...', found 'text'."),
        ({"input": ["encoded_text", "image"]}, "input: expected the name of a backbone output, .*, found 'image'."),
        ({"input": ["encoded_text", "auto"]}, "input: expected the name of a backbone output, .*, found 'auto'."),
        ({"input": ["encoded_text", 3]}, "input: expected the name of a backbone output, .*, found 3."),
        ({"input": 3}, "input: expected the name of a backbone output, .*, found 3."),
        ({"input": None}, "input: expected the name of a backbone output, .*, found None."),
        ({"input": []}, r"input: expected one name or a list of several different ones, found \[\]."),
        ({"input": ["encoded_text"]}, r"input: expected one name or a list of .*, found \['encoded_text'\]."),
        ({"input": ["encoded_text"] * 2}, "input: expected one name or a list of several different ones, found "),
        ({"fusion": "mean"}, "fusion: expected one of concat, sum, mul, found 'mean'."),
        ({"layer": "first"}, "layer: expected a number or 'scalar_mix', found 'first'."),
        ({"layer": 1.0}, "layer: expected a number or 'scalar_mix', found 1.0."),
        ({"layer": True}, "layer: expected a number or 'scalar_mix', found True."),
        ({"layer": None}, "layer: expected a number or 'scalar_mix', found None."),
    ],
)
def test_what_no_backbone_could_give_is_refused_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        ReadingConfig(**fields)


@pytest.mark.parametrize(
    ("config", "info", "found"),
    [
        (ReadingConfig(), BERT, "encoded_text"),
        (ReadingConfig(), SWIN, "encoded_image"),
        # the main output
        (ReadingConfig(), CLIP, "encoded_text"),
        (TextConfig(), T5, "encoded_text"),
        (ReadingConfig(input="encoded_text_decoder"), T5, "encoded_text_decoder"),
        (ReadingConfig(input="encoded_image"), CLIP, "encoded_image"),
        (RegressionHeadConfig(input=BOTH), CLIP, BOTH),
    ],
)
def test_auto_is_the_first_output_that_suits(config: ReadingConfig, info: BackboneInfo, found: Any) -> None:
    config.resolve(info)
    assert config.input == found
    assert config.inputs == (found if isinstance(found, list) else [found])
    # saved as it is, it is the same once it is loaded
    again = type(config)(**{name: getattr(config, name) for name in ("input", "fusion", "layer", "num_layers")})
    again.resolve(info)
    assert again.input == found


@pytest.mark.parametrize(
    ("config", "info", "message"),
    [
        (AudioConfig(), BERT, "audio_for_test reads encoded_audio, but a 'bert' backbone gives encoded_text."),
        (
            TextConfig(),
            SWIN,
            "text_for_test reads encoded_text or encoded_text_decoder, but a 'swin' backbone gives encoded_image.",
        ),
        (
            ReadingConfig(input="encoded_audio"),
            CLIP,
            "input: a 'clip' backbone gives encoded_text, encoded_image, found 'encoded_audio'.",
        ),
        # pooled features are read by the name of the output that they belong to
        (
            RegressionHeadConfig(input="encoded_image_pooled"),
            CLIP,
            "input: a 'clip' backbone gives encoded_text, encoded_image, found 'encoded_image_pooled'.",
        ),
        (
            RegressionHeadConfig(input=["encoded_text", "encoded_audio"]),
            CLIP,
            "input: a 'clip' backbone gives encoded_text, encoded_image, found 'encoded_audio'.",
        ),
        (
            TextConfig(input="encoded_image"),
            CLIP,
            "text_for_test reads encoded_text or encoded_text_decoder, found the input 'encoded_image'.",
        ),
        (
            ReadingConfig(input=BOTH),
            CLIP,
            "input:  reads one output of the backbone, found ['encoded_text', 'encoded_image'].",
        ),
        (
            RegressionHeadConfig(input=BOTH, fusion="sum"),
            VILT,
            "fusion: 'sum' needs features of one size, found [8, 5]; 'concat' does not.",
        ),
        (
            RegressionHeadConfig(input=BOTH, fusion="mul"),
            VILT,
            "fusion: 'mul' needs features of one size, found [8, 5]; 'concat' does not.",
        ),
        (
            RegressionHeadConfig(input=BOTH, layer=1),
            CLIP,
            "layer: pooled features come from the last layer, found layer 1.",
        ),
        (
            RegressionHeadConfig(input="encoded_image", pooling="pooled", layer="scalar_mix"),
            CLIP,
            "layer: pooled features come from the last layer, found layer 'scalar_mix'.",
        ),
        (ReadingConfig(layer=1), SWIN, "layer: only -1, the last, can be read of a 'swin' backbone."),
        (ReadingConfig(layer="scalar_mix"), SWIN, "layer: only -1, the last, can be read of a 'swin' backbone."),
        (
            ReadingConfig(layer=3),
            BERT,
            "layer: expected -3 to 2 (0 is the embeddings' output) or 'scalar_mix', found 3.",
        ),
        (
            ReadingConfig(layer=-4),
            BERT,
            "layer: expected -3 to 2 (0 is the embeddings' output) or 'scalar_mix', found -4.",
        ),
    ],
)
def test_what_this_backbone_cannot_give_is_refused(config: ReadingConfig, info: BackboneInfo, message: str) -> None:
    with pytest.raises(InputError) as caught:
        config.resolve(info)
    assert str(caught.value) == message


@pytest.mark.parametrize("layer", [-3, -2, -1, 0, 1, 2])
def test_layers_that_there_are(layer: int) -> None:
    config = ReadingConfig(layer=layer)
    config.resolve(BERT)
    assert (config.layer, config.num_layers) == (layer, None)


def test_a_mix_has_as_many_weights_as_the_output_that_it_reads_has_layers() -> None:
    for name, number in (("encoded_text", 3), ("encoded_text_decoder", 4)):
        config = ReadingConfig(input=name, layer="scalar_mix")
        config.resolve(T5)
        assert config.num_layers == number


@pytest.mark.parametrize(
    ("fields", "info", "size", "names"),
    [
        ({}, BERT, 8, ["encoded_text"]),
        ({"input": "encoded_image", "pooling": "mean"}, CLIP, 6, ["encoded_image"]),
        ({"input": "encoded_image", "pooling": "pooled"}, CLIP, 4, ["encoded_image", "encoded_image_pooled"]),
        # without pooled features of its own the output is averaged
        ({"input": "encoded_text", "pooling": "pooled"}, VILT, 8, ["encoded_text", "encoded_text_pooled"]),
        ({"input": BOTH}, CLIP, 8, [*BOTH, "encoded_text_pooled", "encoded_image_pooled"]),
        ({"input": BOTH, "fusion": "sum"}, CLIP, 4, [*BOTH, "encoded_text_pooled", "encoded_image_pooled"]),
        ({"input": BOTH, "fusion": "mul"}, CLIP, 4, [*BOTH, "encoded_text_pooled", "encoded_image_pooled"]),
        ({"input": BOTH}, VILT, 13, [*BOTH, "encoded_text_pooled", "encoded_image_pooled"]),
    ],
)
def test_sizes_and_names_of_what_is_read(
    fields: dict[str, Any], info: BackboneInfo, size: int, names: list[str]
) -> None:
    config = RegressionHeadConfig(**fields)
    config.resolve(info)
    assert feature_size(config, info) == size
    assert list(outputs_read(config)) == names
