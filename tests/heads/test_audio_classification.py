"""Labels of recordings, on every kind of backbone that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from backbones import AUDIO, MEL_BINS, tiny_backbone_config, tiny_backbone_inputs
from mt_transformers import (
    MultiTaskConfig,
    MultiTaskModel,
    MultiTaskTrainer,
    MultiTaskTrainingArguments,
    Task,
    get_head_config,
)
from mt_transformers.errors import InputError
from mt_transformers.heads import AudioClassificationHead, SequenceClassificationHead
from mt_transformers.inference import MultiTaskPredictor, load_model

PITCHES = ["low", "high"]
MARKS = ["square", "noisy"]
RATE = 1600


def head(**fields: Any) -> dict[str, Any]:
    return {"head_type": "audio_classification", "id2label": PITCHES, **fields}


def model_of(family: str, heads: dict[str, Any], **changes: Any) -> MultiTaskModel:
    config = MultiTaskConfig(backbone_config=tiny_backbone_config(family, **changes), heads=heads)
    return MultiTaskModel(config).eval()


def tone(pitch: int, square: bool, noisy: bool, samples: int, rate: int) -> np.ndarray:
    """A low or a high tone, perhaps a square wave, perhaps in noise."""
    wave = np.sin((0.05, 0.5)[pitch] * np.arange(samples) * RATE / rate)
    noise = np.random.default_rng(samples).normal(size=samples) if noisy else 0.0
    return (((np.sign(wave) if square else wave) + noise) * 0.2).astype(np.float32)


KINDS = [(pitch, square, noisy) for pitch in (0, 1) for square in (False, True) for noisy in (False, True)]


def clips(rate: int) -> list[np.ndarray]:
    """One tone of each kind, of different lengths."""
    return [tone(*kind, rate // 10 + 7 * number, rate) for number, kind in enumerate(KINDS)]


def tone_rows(rate: int) -> Dataset:
    """All kinds of tones, with pitch and marks; the last row has neither."""
    features = Features(
        {
            "clip": List(Value("float32")),
            "pitch": ClassLabel(names=PITCHES),
            "marks": List(ClassLabel(names=MARKS)),
        }
    )
    marks = [[mark for mark, there in enumerate(kind[1:]) if there] for kind in KINDS]
    columns = {
        "clip": [*clips(rate), clips(rate)[0]],
        "pitch": [*(kind[0] for kind in KINDS), None],
        "marks": [*marks, None],
    }
    return Dataset.from_dict(columns, features=features)


# what it reads


@pytest.mark.parametrize("family", AUDIO)
def test_auto_is_the_audio(family: str) -> None:
    model = model_of(family, {"pitch": head()})
    config = model.named_heads["pitch"].config
    assert (config.input, config.pooling) == ("encoded_audio", "mean")
    assert config.task_inputs == config.answer_inputs == ("audio",)
    inputs = tiny_backbone_inputs(family)
    encoded = model.backbone(**inputs)
    mask = encoded["encoded_audio_mask"].unsqueeze(-1)
    features = (encoded["encoded_audio"] * mask).sum(dim=1) / mask.sum(dim=1)
    torch.testing.assert_close(model(**inputs)["pitch_logits"], model.named_heads["pitch"].classifier(features))


@pytest.mark.parametrize("family", ["bert", "vit", "clip", "bart"])
def test_backbones_that_read_no_audio_are_refused(family: str) -> None:
    with pytest.raises(InputError, match=f"audio_classification reads encoded_audio, but a '{family}' backbone gives"):
        model_of(family, {"pitch": head()})


def test_frames_of_padding_are_left_out() -> None:
    poolings = {name: head(pooling=name) for name in ("mean", "max", "attention", "last", "cls")}
    model = model_of("wav2vec2", {**poolings, "mix": head(layer="scalar_mix")})
    inputs = tiny_backbone_inputs("wav2vec2")
    together = model(**inputs)
    samples = int(inputs["attention_mask"][1].sum())
    alone = model(**{name: value[1:2, :samples] for name, value in inputs.items()})
    for name in model.heads:
        torch.testing.assert_close(together[f"{name}_logits"][1:2], alone[f"{name}_logits"], rtol=1e-4, atol=1e-5)


def test_it_is_the_head_of_texts_for_audio() -> None:
    options = {"class_weights": [1.0, 2.0], "label_smoothing": 0.1, "hidden_sizes": [5], "pooling": "max"}
    config = get_head_config("pitch", head(**options))
    text = get_head_config("pitch", {**head(**options), "head_type": "sequence_classification"})
    assert config.to_dict() == {**text.to_dict(), "head_type": "audio_classification"}
    own = AudioClassificationHead(config, 4)  # type: ignore[arg-type]
    other = SequenceClassificationHead(config, 4)  # type: ignore[arg-type]
    other.load_state_dict(own.state_dict())
    features, mask, labels = torch.randn(3, 6, 4), torch.ones(3, 6, dtype=torch.bool), torch.tensor([0, 1, -100])
    for each in (own, other):
        each.eval()
    for key, value in own(features, mask, labels).items():
        assert torch.equal(value, other(features, mask, labels)[key])


# from rows to answers


def extractor_of(family: str) -> Any:
    if family == "whisper":
        # 100 frames
        return WhisperFeatureExtractor(feature_size=MEL_BINS, sampling_rate=16_000, hop_length=160, chunk_length=1)
    return Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=False)


@pytest.mark.parametrize("family", AUDIO)
def test_two_heads_learn_from_one_recording(family: str, tmp_path: Path) -> None:
    extractor = extractor_of(family)
    rate = extractor.sampling_rate
    marks = head(id2label=MARKS, problem_type="multi_label_classification", hidden_sizes=[16])
    changes = (
        {"max_source_positions": 50, "init_std": 0.2}
        if family == "whisper"
        else {"mask_time_prob": 0.0, "initializer_range": 0.2}
    )
    config = tiny_backbone_config(family, **changes)
    heads = {"pitch": head(), "marks": marks}
    model = MultiTaskModel(MultiTaskConfig(backbone_config=config, heads=heads, tasks={"tones": ["pitch", "marks"]}))
    splits = dict.fromkeys(("train", "validation"), tone_rows(rate))
    task = Task(dataset=splits, inputs={"audio": "clip"}, labels={"pitch": "pitch", "marks": "marks"})
    args = MultiTaskTrainingArguments(
        output_dir=str(tmp_path / "run"),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        learning_rate=5e-3,
        num_train_epochs=300 if family == "whisper" else 120,
        per_device_train_batch_size=9,
    )
    trainer = MultiTaskTrainer(model, args, tasks={"tones": task}, processing_class=extractor)
    trainer.train()
    results = trainer.evaluate()
    assert results["eval_tones_pitch_accuracy"] == 1
    assert results["eval_tones_marks_f1_macro"] == 1
    trainer.save_model(str(tmp_path / "saved"))
    predictor = MultiTaskPredictor(*load_model(tmp_path / "saved"), batch_size=3)
    answers = predictor([{"audio": clip} for clip in clips(rate)])
    assert [answer["pitch"]["label"] for answer in answers] == [PITCHES[kind[0]] for kind in KINDS]
    found = [{each["label"] for each in answer["marks"]} for answer in answers]
    assert found == [{mark for mark, there in zip(MARKS, kind[1:], strict=True) if there} for kind in KINDS]
    assert predictor([{"audio": clips(rate)[0].tolist(), "task": "tones"}])[0]["pitch"]["label"] == "low"


def test_recordings_that_cannot_be_used_are_named() -> None:
    predictor = MultiTaskPredictor(model_of("wav2vec2", {"pitch": head()}), extractor_of("wav2vec2"))
    good = {"audio": [0.5] * 80}
    refused: list[tuple[Any, str]] = [
        ([1] * 80, "expected a recording, one dimension of floats from -1 to 1, found list of int64"),
        ("a wav", "audio: expected an array of samples, found 'a wav'"),
        ({"array": [0.5] * 80, "sampling_rate": 16_000}, "expected 1600 samples a second, found 16000"),
    ]
    for audio, message in refused:
        with pytest.raises(InputError, match=f"row 1: {message}"):
            predictor([good, {"audio": audio}])
    with pytest.raises(InputError, match="expected samples that are finite numbers"):
        predictor.check({"audio": [float("nan")]})
    assert predictor.check(good) == good
