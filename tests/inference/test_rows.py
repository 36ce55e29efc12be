"""Rows to predict: what is taken as it is, and what is refused before any work, saying why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mt_transformers.errors import InputError
from mt_transformers.inference import check_row

TASKS = {"moods": ["mood"], "requests": ["intent", "slots"]}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file with an image."""
    Image.new("RGB", (2, 2)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def refusal(row: Any) -> str:
    with pytest.raises(InputError) as caught:
        check_row(row, TASKS)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "play dido", "\U0001f600", "x" * 10_000])
def test_a_text_is_a_row(text: str) -> None:
    assert check_row(text, TASKS) == {"text": text}


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a"},
        {"text": "a", "task": "moods"},
        {"text": "a", "text_pair": ""},
        {"tokens": ["a", "b"]},
        # a row without words is one, too
        {"tokens": [], "task": "requests"},
        {"question": "a", "context": "b"},
        {"choices": ["a", "b"]},
        {"text": "a", "choices": ["b"]},
        {"sentences": ["a", ""]},
        {"chosen": "a", "rejected": "b"},
        {"text": "a", "chosen": "b", "rejected": "c"},
        {"images": [[0, 255], [255, 0]]},
        {"images": [[0, 255], [255, 0]], "text": "a"},
        {"audio": [0.5, -0.5]},
        {"audio": {"array": [0.5], "sampling_rate": 16000}},
    ],
)
def test_a_row_is_given_back_and_left_alone(row: dict[str, Any]) -> None:
    kept = {name: list(value) if isinstance(value, list) else value for name, value in row.items()}
    assert check_row(row, TASKS) == kept
    assert row == kept


def test_images_and_audio_in_every_form(picture: Path) -> None:
    for image in (picture, str(picture), Image.new("L", (3, 2)), np.zeros((2, 3), dtype=np.uint8)):
        assert check_row({"images": image}, TASKS)["images"] is image
    clip = np.zeros(5)
    assert check_row({"audio": clip}, TASKS)["audio"] is clip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (None, "expected a text, a pair of texts, a list of words or an object, found NoneType."),
        (("a", "b", "c"), "expected a text, a pair of texts, a list of words or an object, found 3 texts in a tuple."),
        (b"play", "expected a text, a pair of texts, a list of words or an object, found bytes."),
        ({"txt": "a"}, "row: unknown key 'txt', did you mean 'text'?"),
        ({"text": "a", "label": 1}, "row: unknown key 'label'"),
        ({"question": "a"}, "inputs: expected one of ["),
        ({"context": "a", "text": "b"}, "inputs: expected one of ["),
        ({"text": "a", "audio": [0.5]}, "inputs: expected one of ["),
        ({"images": [[0]], "audio": [0.5]}, "inputs: expected one of ["),
        ({"question": "a", "context": None}, "context: expected a text, found NoneType."),
        ({"question": ["a"], "context": "b"}, "question: expected a text, found list."),
        ({"chosen": "a", "rejected": 3}, "rejected: expected a text, found int."),
        ({"choices": "a"}, "choices: expected a list of texts, found 'a'."),
        ({"choices": ["a", None]}, "choices: expected a list of texts, found ['a', None]."),
        ({"choices": {"a": "b"}}, "choices: expected a list of texts, found {'a': 'b'}."),
        ({"choices": []}, "choices: expected at least one text, found none."),
        ({"sentences": [["a"]]}, "sentences: expected a list of texts, found [['a']]."),
        ({"sentences": []}, "sentences: expected at least one text, found none."),
        ({"tokens": "a b"}, "tokens: expected a list of words, found 'a b'."),
        ({"tokens": [1, 2]}, "tokens: expected a list of words, found [1, 2]."),
        ({"images": None}, "images: expected the name of a file, an image or an array, found None."),
        ({"images": 3}, "images: expected the name of a file, an image or an array, found 3."),
        ({"images": "no.png"}, "images: there is no file 'no.png'."),
        ({"audio": 3}, "audio: expected an array of samples, found 3."),
        ({"audio": "clip.wav"}, "audio: expected an array of samples, found 'clip.wav'."),
        ({"choices": ["a", "\ud800"]}, "a surrogate without its pair at character 0."),
        ({"question": "ab\udc00", "context": "a"}, "a surrogate without its pair at character 2."),
        ({"text": "a", "task": "mods"}, "row: unknown task 'mods', did you mean 'moods'? Known: moods, requests."),
        ({"text": "a", "task": None}, "unknown task None, expected one of moods, requests."),
    ],
)
def test_rows_that_cannot_be_used(row: Any, message: str) -> None:
    assert refusal(row).startswith(message)


def test_long_values_are_cut_short_in_messages() -> None:
    assert len(refusal({"tokens": list(range(10_000))})) < 200


def test_halves_of_a_surrogate_pair_in_two_words_are_refused() -> None:
    """Joined they would look like a whole one, and the tokenizer takes each word by itself."""
    for name in ("tokens", "choices", "sentences"):
        assert refusal({name: ["\ud83d", "\ude00"]}).startswith("a surrogate without its pair")
