"""Rows checked, run, and answered head by head where one of them fails."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fixtures import sub_word_tokenizer, tiny_model
from mt_transformers.errors import InputError
from mt_transformers.inference import MultiTaskPredictor
from mt_transformers.inference.page import PredictionService


def same(one: Any, other: Any) -> bool:
    """Equal but for the last digits of scores."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == (pytest.approx(other, abs=1e-4) if isinstance(one, float) else other)


def test_answers_are_those_of_the_predictor(service: PredictionService, predictor: MultiTaskPredictor) -> None:
    row = {"text": "the film is great", "text_pair": "is the book dull"}
    found = service(row)
    assert same(found.answers, predictor([row])[0])
    assert found.tokens == [["[CLS]", *row["text"].split(), "[SEP]", *row["text_pair"].split(), "[SEP]"]]


def test_many_threads_with_unlike_rows(service: PredictionService, predictor: MultiTaskPredictor) -> None:
    """Also rows of unlike kinds and lengths, with unlike heads: each gets what it would get alone."""
    rows: list[Any] = [
        "play music",
        "weather in new rome " * 8,
        {"tokens": ["the", "film"]},
        {"question": "is the film new", "context": "the old film is dull . the new film is great ."},
        {"text": "a", "text_pair": "b"},
        "",
    ]
    heads = [None, ["intent"], ["slots", "parse"]]
    asked = [(row, heads[number % 3] if isinstance(row, str) else None) for number, row in enumerate(rows * 12)]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda pair: service(*pair), asked))
    for (row, names), prediction in zip(asked, found, strict=True):
        assert prediction.errors == {}
        assert same(prediction.answers, predictor([row], names)[0]), (row, names)


def test_tokens_are_the_pieces_that_the_backbone_reads() -> None:
    heads = {
        "mood": {"head_type": "sequence_classification", "num_labels": 2},
        "best": {"head_type": "multiple_choice"},
    }
    service = PredictionService(MultiTaskPredictor(tiny_model(heads), sub_word_tokenizer()))
    assert service("cher in newyork").tokens == [["[CLS]", "cher", "in", "new", "##york", "[SEP]"]]
    assert service({"choices": ["unhappy", "new"]}).tokens == [
        ["[CLS]", "un", "##happy", "[SEP]"],
        ["[CLS]", "new", "[SEP]"],
    ]
    # what is cut off is not shown
    assert len(service("the film " * 100).tokens[0]) == 64


def test_windows_of_a_context_are_its_sequences(service: PredictionService) -> None:
    tokens = service({"question": "is the film new", "context": "the film is new . " * 30}).tokens
    assert len(tokens) > 1
    assert all(len(window) <= 64 and window[1:5] == ["is", "the", "film", "new"] for window in tokens)


class BrokenHead(RuntimeError):
    """What a head of one's own raises."""


@pytest.fixture
def broken(service: PredictionService, monkeypatch: pytest.MonkeyPatch) -> PredictionService:
    """A service one head of which cannot decode any row with `dull`."""
    head = service.predictor.model.named_heads["slots"]
    decode = head.decode

    def failing(outputs: Any, rows: Any) -> Any:
        if any("dull" in row.text for row in rows):
            raise BrokenHead("<b>no</b> tags")
        return decode(outputs, rows)

    monkeypatch.setattr(head, "decode", failing)
    return service


def test_a_head_that_fails_does_not_hide_the_others(
    broken: PredictionService, predictor: MultiTaskPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = broken("the film is dull")
    assert found.errors == {"slots": "BrokenHead: <b>no</b> tags"}
    others = [name for name in broken.heads if name not in ("slots", "answer")]
    assert same(found.answers, predictor(["the film is dull"], others)[0])
    assert "head slots failed" in caplog.text


def test_a_head_that_fails_for_a_row_answers_the_others_of_its_pass(broken: PredictionService) -> None:
    texts = ["the film is dull" if number % 3 == 0 else "the film is new" for number in range(30)]
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(broken, texts))
    assert ["slots" in each.errors for each in found] == ["dull" in text for text in texts]
    assert ["slots" in each.answers for each in found] == ["dull" not in text for text in texts]
    assert all("intent" in each.answers for each in found)


def test_only_the_services_heads_answer(predictor: MultiTaskPredictor) -> None:
    service = PredictionService(predictor, ["banking", "intent"])
    assert list(service("play").answers) == ["intent", "banking"]
    with pytest.raises(InputError, match="unknown head 'slots'"):
        service("play", ["slots"])


def test_what_no_service_can_be_made_of(predictor: MultiTaskPredictor) -> None:
    with pytest.raises(InputError, match="unknown head 'slot', did you mean 'slots'"):
        PredictionService(predictor, ["slot"])
    with pytest.raises(InputError, match="1 character or more at most, found 0"):
        PredictionService(predictor, max_characters=0)


@pytest.mark.parametrize(
    ("row", "number"),
    [
        ("a" * 1001, 1001),
        ({"text": "a" * 600, "text_pair": "b" * 600}, 1200),
        ({"tokens": ["ab"] * 501}, 1002),
        ({"tokens": [""] * 1001}, 1001),
    ],
)
def test_long_rows_are_refused_before_they_are_tokenized(
    service: PredictionService, row: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MultiTaskPredictor, "check", None)
    with pytest.raises(InputError, match=f"at most 1000 characters, found {number}"):
        service(row)


def test_a_row_of_the_longest_length_is_answered(service: PredictionService) -> None:
    assert service("a" * 1000).answers
