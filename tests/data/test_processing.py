"""What prepares a model's inputs: its parts, what is missing for an input, and loading it from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import pre_tokenizers
from transformers import (
    BertModel,
    ByT5Tokenizer,
    CLIPImageProcessor,
    CLIPProcessor,
    GPT2Tokenizer,
    ViltImageProcessor,
    ViTImageProcessor,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    WhisperFeatureExtractor,
)

from fixtures import tiny_bert_config, tiny_tokenizer
from mt_transformers.data import Processing, load_processing
from mt_transformers.errors import InputError


def vit(**options: Any) -> ViTImageProcessor:
    """Makes 2 by 2 pixels, with a mean of 0.5 and a standard deviation of 0.5."""
    return ViTImageProcessor(size={"height": 2, "width": 2}, **options)


def without_padding() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    return tokenizer


# parts


def test_a_part_alone() -> None:
    for given, name in (
        (tiny_tokenizer(), "tokenizer"),
        (vit(), "image_processor"),
        (Wav2Vec2FeatureExtractor(), "feature_extractor"),
        (WhisperFeatureExtractor(), "feature_extractor"),
    ):
        found = Processing.of(given)
        parts = (found.tokenizer, found.image_processor, found.feature_extractor)
        assert getattr(found, name) is given
        assert sum(part is not None for part in parts) == 1
        assert Processing.of(found) is found


def test_parts_of_a_processor() -> None:
    tokenizer, images, audio = tiny_tokenizer(), CLIPImageProcessor(), Wav2Vec2FeatureExtractor()
    assert Processing.of(CLIPProcessor(images, tokenizer)) == Processing(tokenizer, images, None)
    assert Processing.of(Wav2Vec2Processor(audio, tokenizer)) == Processing(tokenizer, None, audio)


@pytest.mark.parametrize("given", [None, 5, "bert-base-uncased", SimpleNamespace(is_fast=True)])
def test_what_prepares_nothing_is_refused(given: Any) -> None:
    with pytest.raises(InputError) as caught:
        Processing.of(given)
    assert str(caught.value) == (
        "processing_class: expected the backbone's tokenizer, image processor, feature extractor or processor, "
        f"found {type(given).__name__}."
    )


@pytest.mark.parametrize(
    ("processing", "names", "message"),
    [
        (Processing(tiny_tokenizer()), ["images"], "the row reads images, but the processing class has no image_pro"),
        (Processing(tiny_tokenizer()), ["text", "images"], "the row reads images, but"),
        (Processing(tiny_tokenizer()), ["audio"], "the row reads audio, but the processing class has no feature_ext"),
        (Processing(None, vit()), ["images", "text"], "the row reads text, but the processing class has no tokenizer"),
        (Processing(None, vit()), ["audio"], "the row reads audio, but"),
        (Processing(ByT5Tokenizer()), ["text"], "expected a fast tokenizer, found ByT5Tokenizer."),
        (Processing(without_padding()), ["question", "context"], "the tokenizer has no padding token: set tokenizer"),
    ],
)
def test_a_part_that_is_missing(processing: Processing, names: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        processing.check("the row", names)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("processing", "names"),
    [
        (Processing(tiny_tokenizer()), ["text", "text_pair"]),
        (Processing(tiny_tokenizer(), vit()), ["text", "images"]),
        # a tokenizer that is not used may be any
        (Processing(ByT5Tokenizer(), vit()), ["images"]),
        (Processing(without_padding(), None, Wav2Vec2FeatureExtractor()), ["audio"]),
        (Processing(), []),
    ],
)
def test_parts_that_suffice(processing: Processing, names: list[str]) -> None:
    processing.check("the row", names)


# images and audio


def test_pixels() -> None:
    grey, dark = Image.new("L", (5, 3), 255), np.zeros((4, 2, 3), dtype=np.uint8)
    prepared = Processing.of(vit()).pixels([grey, dark])
    assert set(prepared) == {"pixel_values"}
    assert prepared["pixel_values"].dtype == torch.float32
    # 0 to 255 becomes -1 to 1
    expected = torch.stack([torch.ones(3, 2, 2), -torch.ones(3, 2, 2)])
    torch.testing.assert_close(prepared["pixel_values"], expected)


def test_pixels_keep_colours_and_places() -> None:
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[0, 1] = (255, 0, 0)
    image[1, 0] = (0, 0, 255)
    (pixels,) = Processing.of(vit(image_mean=[0.0] * 3, image_std=[1.0] * 3)).pixels([image])["pixel_values"]
    torch.testing.assert_close(
        pixels, torch.tensor([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]])
    )


def test_images_of_several_sizes_have_a_mask_where_the_processor_gives_one() -> None:
    processor = ViltImageProcessor(size={"shortest_edge": 8}, size_divisor=4)
    prepared = Processing.of(processor).pixels([Image.new("RGB", (16, 16)), Image.new("RGB", (16, 8))])
    assert prepared["pixel_values"].shape == (2, 3, 8, 12)
    # the first is made 8 by 8, the second 4 high and 12 wide
    assert prepared["pixel_mask"].any(dim=1).sum(dim=1).tolist() == [8, 12]
    assert prepared["pixel_mask"].any(dim=2).sum(dim=1).tolist() == [8, 4]


def test_samples() -> None:
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    clips = [np.array([0.5, -0.5, 0.25]), [0.125], {"array": [1.0, -1.0], "sampling_rate": 16000}]
    prepared = Processing.of(extractor).samples(clips)
    assert prepared["input_values"].tolist() == [[0.5, -0.5, 0.25], [0.125, 0.0, 0.0], [1.0, -1.0, 0.0]]
    assert prepared["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert prepared["input_values"].dtype == torch.float32


def test_samples_of_whisper_have_one_length() -> None:
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    prepared = Processing.of(extractor).samples([np.zeros(320), np.zeros(8000)])
    # 10 ms a frame
    assert prepared["input_features"].shape == (2, 8, 100)
    assert prepared["attention_mask"].sum(dim=1).tolist() == [2, 50]


@pytest.mark.parametrize(
    "clip",
    [{"array": [0.5, 0.5], "sampling_rate": 8000}, np.zeros((2, 5)), [], None, "clip.wav"],
    ids=["rate", "channels", "empty", "none", "name"],
)
def test_clips_that_would_be_misread_are_refused(clip: Any) -> None:
    with pytest.raises(InputError, match="expected"):
        Processing.of(Wav2Vec2FeatureExtractor()).samples([[0.5], clip])


# loading


TEXT, IMAGE, AUDIO = "encoded_text", "encoded_image", "encoded_audio"


def test_what_is_loaded_follows_from_what_the_backbone_reads(tmp_path: Path) -> None:
    for name, part in (("text", tiny_tokenizer()), ("image", vit()), ("audio", Wav2Vec2FeatureExtractor())):
        part.save_pretrained(tmp_path / name)
    CLIPProcessor(CLIPImageProcessor(), tiny_tokenizer()).save_pretrained(tmp_path / "both")
    assert load_processing(str(tmp_path / "text"), [TEXT])("play dido").input_ids == [2, 24, 8, 3]
    # a decoder's output is text, too
    assert load_processing(str(tmp_path / "text"), [TEXT, "encoded_text_decoder"])("play").input_ids == [2, 24, 3]
    assert load_processing(str(tmp_path / "image"), [IMAGE]).size["height"] == 2
    assert load_processing(str(tmp_path / "audio"), [AUDIO]).sampling_rate == 16000
    both = Processing.of(load_processing(str(tmp_path / "both"), [TEXT, IMAGE]))
    both.check("the row", ["text", "images"])
    # of several parts only that which is read
    assert Processing.of(load_processing(str(tmp_path / "both"), [IMAGE])).tokenizer is None


@pytest.mark.parametrize("outputs", [[TEXT], [IMAGE], [AUDIO], [TEXT, IMAGE]])
def test_a_folder_without_it_is_refused(tmp_path: Path, outputs: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_processing(str(tmp_path), outputs)
    assert str(caught.value).startswith(f"the tokenizer or processor of {str(tmp_path)!r} cannot be loaded: ")


@pytest.mark.parametrize("words", [False, True])
def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path, words: bool) -> None:
    # transformers would make a tokenizer that knows no word
    BertModel(tiny_bert_config()).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"^the tokenizer of '.*' cannot be loaded: no vocabulary is there"):
        load_processing(str(tmp_path), [TEXT], words)


def byte_level(folder: Path) -> str:
    """A tokenizer of GPT-2's kind, a token a byte, in a folder; it has no padding token."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    (folder / "vocab.json").write_text(json.dumps({symbol: index for index, symbol in enumerate(symbols)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = GPT2Tokenizer.from_pretrained(folder, unk_token="!", bos_token="!", eos_token="!")
    assert tokenizer.pad_token is None
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_byte_level_tokenizers_put_a_space_before_words(tmp_path: Path) -> None:
    folder = byte_level(tmp_path)
    words = load_processing(folder, [TEXT], words=True)
    assert words(["a", "b"], is_split_into_words=True).tokens() == ["Ġ", "a", "Ġ", "b"]
    assert load_processing(folder, [TEXT])("a b").tokens() == ["a", "Ġ", "b"]


def test_the_end_of_a_text_stands_for_padding_that_a_tokenizer_lacks(tmp_path: Path) -> None:
    found = load_processing(byte_level(tmp_path), [TEXT])
    assert found.pad_token == found.eos_token == "!"
    Processing.of(found).check("the row", ["text"])


def test_a_padding_token_is_kept(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "[SEP]"
    tokenizer.save_pretrained(tmp_path)
    assert load_processing(str(tmp_path), [TEXT]).pad_token == "[PAD]"
