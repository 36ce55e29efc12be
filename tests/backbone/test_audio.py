"""
Models of audio: masks at the rate of frames, and padding that changes nothing.

Only models that normalise each frame (`feat_extract_norm="layer"`) can be invariant. Under `"group"` the first
convolution's features are normalised over all of a row's time, padding included: mean and variance change with the
amount of padding. Whisper attends to every frame of its window of a fixed length and takes padding for silence.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers import ASTConfig

from backbones import LAYERS, MEL_BINS, MEL_FRAMES, SAMPLES, tiny_backbone, tiny_backbone_inputs
from mt_transformers import Backbone
from mt_transformers.errors import InputError

OVER_SAMPLES = ["wav2vec2", "hubert"]


@pytest.mark.parametrize("family", OVER_SAMPLES)
def test_the_mask_counts_the_frames_that_each_row_has_alone(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = tiny_backbone_inputs(family)
    outputs = backbone(**inputs)
    frames = []
    for samples, mask in zip(inputs["input_values"], inputs["attention_mask"], strict=True):
        frames.append(backbone(input_values=samples[mask.bool()].unsqueeze(0))["encoded_audio"].shape[1])
    assert outputs["encoded_audio_mask"].sum(dim=1).tolist() == frames == [9, 7, 5]
    # right padding
    assert outputs["encoded_audio_mask"].int().diff(dim=1).max() <= 0


@pytest.mark.parametrize("family", OVER_SAMPLES)
def test_padding_does_not_change_the_encoded_frames(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = {name: value.double() for name, value in tiny_backbone_inputs(family).items()}
    expected = backbone(layers=True, **inputs)
    ways = {
        "more": {name: functional.pad(value, (0, 32)) for name, value in inputs.items()},
        # no whole number of frames
        "left": {name: functional.pad(value.flip(1), (13, 0)).flip(1).roll(13, 1) for name, value in inputs.items()},
    }
    for way, changed in ways.items():
        outputs = backbone(layers=True, **changed)
        found, mask = outputs["encoded_audio"][outputs["encoded_audio_mask"]], expected["encoded_audio_mask"]
        torch.testing.assert_close(found, expected["encoded_audio"][mask], rtol=1e-9, atol=1e-9, msg=way)
        for layer, other in zip(outputs["audio_layers"], expected["audio_layers"], strict=True):
            torch.testing.assert_close(layer[outputs["encoded_audio_mask"]], other[mask], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", OVER_SAMPLES)
def test_group_norm_sees_the_padding(family: str) -> None:
    """If this fails, upstream has learned to leave padding out, and the docstring above is wrong."""
    backbone = tiny_backbone(family, feat_extract_norm="group")
    inputs = tiny_backbone_inputs(family)
    expected = backbone(**inputs)
    outputs = backbone(**{name: functional.pad(value, (0, 32)) for name, value in inputs.items()})
    found = outputs["encoded_audio"][outputs["encoded_audio_mask"]]
    assert not torch.allclose(found, expected["encoded_audio"][expected["encoded_audio_mask"]], rtol=1e-5)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "whisper"])
def test_without_a_mask_all_frames_count(family: str) -> None:
    inputs = tiny_backbone_inputs(family)
    del inputs["attention_mask"]
    outputs = tiny_backbone(family)(**inputs)
    assert outputs["encoded_audio_mask"].shape == outputs["encoded_audio"].shape[:2]
    assert outputs["encoded_audio_mask"].all()


def test_an_adapter_shortens_the_mask_too() -> None:
    backbone = tiny_backbone("wav2vec2", add_adapter=True, output_hidden_size=16, num_adapter_layers=1)
    outputs = backbone(layers=True, **tiny_backbone_inputs("wav2vec2"))
    assert outputs["encoded_audio"].shape == (3, 5, 16)
    # 9, 7 and 5 frames before
    assert outputs["encoded_audio_mask"].sum(dim=1).tolist() == [5, 4, 3]
    assert "audio_layers" not in outputs


def test_whisper_masks_half_the_frames_of_the_spectrogram() -> None:
    inputs = tiny_backbone_inputs("whisper")
    outputs = tiny_backbone("whisper")(**inputs)
    assert inputs["attention_mask"].sum(dim=1).tolist() == [24, 17, 10]
    # two convolutions of width 3, padded by 1, the second with stride 2
    assert outputs["encoded_audio_mask"].sum(dim=1).tolist() == [12, 9, 5]


def test_whispers_encoder_alone_is_run() -> None:
    backbone = tiny_backbone("whisper")
    calls: list[int] = []
    backbone.model.decoder.register_forward_hook(lambda *_: calls.append(1))
    features = tiny_backbone_inputs("whisper")["input_features"].double()
    expected = backbone.model.encoder(features).last_hidden_state
    assert torch.equal(backbone(input_features=features)["encoded_audio"], expected)
    assert calls == []


def test_whisper_masks_features_in_training_as_its_config_says() -> None:
    changes = {"apply_spec_augment": True, "mask_time_prob": 0.0, "mask_feature_prob": 0.9, "mask_feature_length": 2}
    backbone = tiny_backbone("whisper", **changes, dropout=0.0)
    features = torch.ones(2, MEL_BINS, MEL_FRAMES).double()
    still = backbone(input_features=features)["encoded_audio"]
    masked = backbone.train()(input_features=features)["encoded_audio"]
    assert not torch.equal(masked, still)
    # the caller's features are left as they were
    assert features.min() == 1


def test_a_mask_that_cannot_be_brought_to_the_rate_of_frames_is_refused() -> None:
    config = ASTConfig(**LAYERS, max_length=24, num_mel_bins=16, patch_size=8, frequency_stride=8, time_stride=8)
    backbone = Backbone.from_config(config).eval()
    spectrogram = torch.randn(2, 24, 16)
    assert backbone(input_values=spectrogram)["encoded_audio_mask"].all()
    with pytest.raises(InputError, match=r"^backbone 'audio-spectrogram-transformer': it does not say which of its"):
        backbone(input_values=spectrogram, attention_mask=torch.ones(2, 24))


def test_samples_are_needed() -> None:
    with pytest.raises(InputError, match=r"^backbone 'hubert': expected input_values, found attention_mask"):
        tiny_backbone("hubert")(attention_mask=torch.ones(1, SAMPLES))
