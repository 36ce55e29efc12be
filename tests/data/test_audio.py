"""Recordings as they come: arrays and what `datasets` makes of files; what is refused, and how rows reach a batch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import Array2D, ClassLabel, Dataset, Features, LargeList, List, Value
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from mt_transformers import Task
from mt_transformers.data import DataCollatorForMultiTask, Processing, load_processing, load_splits, prepare_split
from mt_transformers.data.audio import read_samples
from mt_transformers.data.media_columns import check_media_feature
from mt_transformers.data.streaming import prepare_stream
from mt_transformers.errors import InputError
from mt_transformers.heads import get_head_config

RATE = 100
PITCH = {"head_type": "audio_classification", "id2label": ["low", "high"]}
FLOATS = List(Value("float32"))


def extractor(**options: Any) -> Wav2Vec2FeatureExtractor:
    return Wav2Vec2FeatureExtractor(**{"sampling_rate": RATE, "do_normalize": False, **options})


def refusal(clip: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_samples(clip, RATE)
    return str(caught.value)


class Decoder:
    """What `datasets` decodes a file to, with two channels."""

    def __init__(self, channels: list[list[float]]) -> None:
        self.channels = channels

    def get_all_samples(self) -> Any:
        return SimpleNamespace(data=torch.tensor(self.channels))


# one recording


@pytest.mark.parametrize(
    "clip",
    [
        [0.5, -0.25],
        (0.5, -0.25),
        np.array([0.5, -0.25]),
        np.array([0.5, -0.25], dtype=np.float16),
        torch.tensor([0.5, -0.25]),
        {"array": [0.5, -0.25], "sampling_rate": RATE},
        {"array": np.array([0.5, -0.25])},
        Decoder([[1.0, -0.5], [0.0, 0.0]]),
    ],
)
def test_kinds_of_recordings(clip: Any) -> None:
    samples = read_samples(clip, RATE)
    assert samples.dtype == np.float32
    assert samples.tolist() == [0.5, -0.25]


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ([1, 2], "one dimension of floats from -1 to 1, found list of int64 with 1 dimension(s)."),
        (np.array([1, 2], dtype=np.int16), "found ndarray of int16 with 1 dimension(s)."),
        ([[0.5], [0.5]], "found list of float64 with 2 dimension(s)."),
        ([[0.5], [0.5, 1.0]], "expected a recording, found list that is no array: "),
        ("a.wav", "found str of <U5 with 0 dimension(s)."),
        (None, "found NoneType of object with 0 dimension(s)."),
        ([], "expected a recording, found no samples."),
        ([0.5, float("nan")], "expected samples that are finite numbers, found NaN or infinity."),
        ({"array": [0.5], "sampling_rate": 50}, "expected 100 samples a second, found 50."),
    ],
)
def test_what_is_no_recording_is_refused(clip: Any, message: str) -> None:
    assert message in refusal(clip)


def test_files_are_decoded_at_the_rate_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def decode(self: datasets.Audio, value: dict[str, Any]) -> Decoder:
        seen.append((self.sampling_rate, value))
        return Decoder([[0.5]])

    monkeypatch.setattr(datasets.Audio, "decode_example", decode)
    assert read_samples({"bytes": b"RIFF", "path": None}, RATE).tolist() == [0.5]
    assert read_samples({"path": "a.wav"}, RATE).tolist() == [0.5]
    assert seen == [(RATE, {"bytes": b"RIFF", "path": None}), (RATE, {"bytes": None, "path": "a.wav"})]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("x"), "audio files are decoded by torchcodec, which is not installed: pip install torchcodec"),
        (RuntimeError("no stream"), "the recording a.wav cannot be read: no stream"),
        (FileNotFoundError("gone"), "the recording a.wav cannot be read: gone"),
    ],
)
def test_files_that_cannot_be_decoded(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(self: datasets.Audio, value: dict[str, Any]) -> Decoder:
        raise error

    monkeypatch.setattr(datasets.Audio, "decode_example", decode)
    assert refusal({"bytes": None, "path": "a.wav"}).startswith(message)


# batches of recordings


def test_samples_of_wav2vec2_are_padded_and_masked() -> None:
    found = Processing(feature_extractor=extractor()).samples(
        [[0.5, 1.0, 0.25], {"array": [1.0], "sampling_rate": RATE}]
    )
    assert found["input_values"].tolist() == [[0.5, 1.0, 0.25], [1.0, 0.0, 0.0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_normalization_leaves_out_padding() -> None:
    processing = Processing(feature_extractor=extractor(do_normalize=True))
    together = processing.samples([[0.5, 1.0, 0.25, 0.0], [1.0, -1.0]])["input_values"]
    assert together[1].tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0], abs=1e-6)


def test_samples_of_whisper_have_one_length() -> None:
    whisper = WhisperFeatureExtractor(feature_size=4, sampling_rate=16_000, hop_length=160, chunk_length=1)
    found = Processing(feature_extractor=whisper).samples([np.zeros(800), np.ones(1600) * 0.5])
    assert found["input_features"].shape == (2, 4, 100)
    assert found["attention_mask"].sum(dim=1).tolist() == [5, 10]


def test_a_feature_extractor_is_loaded(tmp_path: Path) -> None:
    extractor().save_pretrained(tmp_path)
    processing = Processing.of(load_processing(str(tmp_path), ["encoded_audio"]))
    assert processing.samples([[0.5]])["input_values"].tolist() == [[0.5]]


# rows of a task


def rows_of(clips: list[Any], feature: Any) -> Dataset:
    features = Features({"clip": feature, "label": ClassLabel(names=["low", "high"])})
    return Dataset.from_dict({"clip": clips, "label": [i % 2 for i in range(len(clips))]}, features=features)


def prepare(clips: list[Any], feature: Any) -> Dataset:
    """Rows with a column `clip` and labels, prepared as split `test` of task `t`."""
    rows = rows_of(clips, feature)
    task = Task(dataset={"test": rows}, inputs={"audio": "clip"}, labels={"pitch": "label"})
    load_splits("t", task)
    return prepare_split("t", task, "test", rows, {"pitch": get_head_config("pitch", PITCH)}, extractor())


def batch_of(prepared: Any) -> dict[str, Any]:
    return DataCollatorForMultiTask(extractor(), {"pitch": get_head_config("pitch", PITCH)})(list(prepared))


@pytest.mark.parametrize(
    ("feature", "clips"),
    [
        (FLOATS, [[0.5, 1.0, 0.25], [1.0]]),
        (LargeList(Value("float64")), [[0.5, 1.0, 0.25], [1.0]]),
        (
            {"array": FLOATS, "sampling_rate": Value("int64")},
            [{"array": [0.5, 1.0, 0.25], "sampling_rate": RATE}, {"array": [1.0], "sampling_rate": RATE}],
        ),
    ],
)
def test_columns_of_recordings(feature: Any, clips: list[Any]) -> None:
    prepared = prepare(clips, feature)
    assert sorted(prepared.column_names) == ["audio", "labels_pitch", "length"]
    # by which rows of an evaluation are sorted
    assert prepared["length"][:] == [3, 1]
    batch = batch_of(prepared)
    assert batch["input_values"].tolist() == [[0.5, 1.0, 0.25], [1.0, 0.0, 0.0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"]["pitch"].tolist() == [0, 1]


def test_streams_give_the_same_batches() -> None:
    clips = [[0.5, 1.0, 0.25], [1.0]]
    heads = {"pitch": get_head_config("pitch", PITCH)}
    rows = rows_of([*clips, [float("inf")]], FLOATS).to_iterable_dataset()
    task = Task(dataset={"train": rows}, inputs={"audio": "clip"}, labels={"pitch": "label"})
    expected = batch_of(prepare(clips, FLOATS))
    found = batch_of(prepare_stream("t", task, rows.take(2), heads, extractor()))
    assert torch.equal(found["input_values"], expected["input_values"])
    with pytest.raises(InputError, match="task 't', split 'train', column 'clip', row 2: expected samples that are"):
        list(prepare_stream("t", task, rows, heads, extractor()))


@pytest.mark.parametrize("streamed", [False, True])
def test_columns_of_files(streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []

    def decode(self: datasets.Audio, value: dict[str, Any], token_per_repo_id: Any = None) -> Decoder:
        rates.append(self.sampling_rate)
        return Decoder([[float(len(value["path"]))]])

    monkeypatch.setattr("mt_transformers.data.media_columns.find_spec", lambda name: name)
    monkeypatch.setattr(datasets.Audio, "decode_example", decode)
    # torchcodec is wanted for this, too, though nothing is encoded
    monkeypatch.setattr(datasets.Audio, "encode_example", lambda _, value: value)
    features = Features({"clip": datasets.Audio(), "label": Value("int64")})
    columns = {"clip": [{"bytes": None, "path": path} for path in ("a.wav", "ab.wav", None)], "label": [0, 1, 0]}
    table = Features({"clip": {"bytes": Value("binary"), "path": Value("string")}, "label": Value("int64")})
    rows = Dataset.from_dict(columns, features=table).cast(features)
    task = Task(dataset={"train": rows}, inputs={"audio": "clip"}, labels={"pitch": "label"})
    heads = {"pitch": get_head_config("pitch", PITCH)}
    if streamed:
        prepared = prepare_stream("t", task, rows.to_iterable_dataset().take(2), heads, extractor())
    else:
        prepared = prepare_split("t", task, "train", rows.select([0, 1]), heads, extractor())
    # nothing is decoded before a batch is put together
    assert rates == []
    assert batch_of(prepared)["input_values"].tolist() == [[5.0], [6.0]]
    assert rates == [RATE, RATE]


@pytest.mark.parametrize(
    ("feature", "clips", "message"),
    [
        (FLOATS, [[0.5], []], "expected a recording, found no samples."),
        (FLOATS, [[0.5], None], "expected audio, found None."),
        (FLOATS, [[0.5], [0.5, float("inf")]], "expected samples that are finite numbers, found NaN or infinity."),
        (
            {"array": FLOATS, "sampling_rate": Value("int64")},
            [{"array": [0.5], "sampling_rate": RATE}, {"array": [0.5], "sampling_rate": 8000}],
            "expected 100 samples a second, found 8000.",
        ),
    ],
)
def test_a_broken_recording_is_named_by_its_row(feature: Any, clips: list[Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        prepare([clips[0]] * 20 + [clips[1], clips[0]], feature)
    assert str(caught.value) == f"task 't', split 'test', column 'clip', row 20: {message}"


# what a task may be


@pytest.mark.parametrize(
    ("feature", "hint"),
    [
        (Value("string"), "; cast_column('...', Audio()) makes audio of file names"),
        (Value("float32"), ""),
        (List(Value("int16")), "; samples are floats from -1 to 1"),
        (List(List(Value("float32"))), ""),
        (Array2D((2, 100), "float32"), ""),
        ({"samples": FLOATS}, ""),
        (datasets.Image(), ""),
    ],
)
def test_other_features_are_refused(feature: Any, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        check_media_feature("column 'c'", "audio", feature)
    assert str(caught.value) == f"column 'c': expected audio, as Audio or as arrays, found {feature}{hint}."


@pytest.mark.parametrize("found", [None, "torchcodec"])
def test_files_need_torchcodec(found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mt_transformers.data.media_columns.find_spec", lambda _: found)
    rows = Dataset.from_dict({"clip": ["a.wav"], "label": [0]}).cast_column("clip", datasets.Audio(decode=False))
    rows = rows.cast_column("clip", datasets.Audio())
    task = Task(dataset={"test": rows}, inputs={"audio": "clip"}, labels={"pitch": "label"})
    if found:
        load_splits("t", task)
        return
    with pytest.raises(InputError) as caught:
        load_splits("t", task)
    assert str(caught.value) == (
        "task 't', split 'test', column 'clip': audio files are decoded by torchcodec, which is not installed: "
        "pip install torchcodec, or give arrays."
    )
