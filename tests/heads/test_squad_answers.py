"""SQuAD's answers: columns that hold them, values that cannot be used, places in windows, characters."""

from __future__ import annotations

from typing import Any

import pytest
from datasets import Features, LargeList, List, Sequence, Value

from mt_transformers.errors import InputError
from mt_transformers.heads import LabelSource
from mt_transformers.heads.squad_answers import (
    answer_characters,
    answer_tokens,
    check_answer_feature,
    context_range,
    read_answers,
)

TEXT, START = Value("string"), Value("int32")


def source(feature: Any) -> LabelSource:
    return LabelSource("qa", "answers", feature, list)


@pytest.mark.parametrize(
    "feature",
    [
        {"text": List(TEXT), "answer_start": List(START)},
        {"text": List(Value("large_string")), "answer_start": List(Value("int64")), "id": TEXT},
        {"text": LargeList(TEXT), "answer_start": LargeList(Value("uint32"))},
        Features({"answers": Sequence({"text": TEXT, "answer_start": START})})["answers"],
    ],
)
def test_columns_that_can_be_answers(feature: Any) -> None:
    check_answer_feature(source(feature))


@pytest.mark.parametrize(
    "feature",
    [
        TEXT,
        List(TEXT),
        List({"text": TEXT, "answer_start": START}),
        {"text": List(TEXT)},
        {"text": TEXT, "answer_start": START},
        {"text": List(START), "answer_start": List(START)},
        {"text": List(TEXT), "answer_start": List(Value("float32"))},
        {"text": List(List(TEXT)), "answer_start": List(START)},
    ],
)
def test_columns_that_cannot_be_answers(feature: Any) -> None:
    with pytest.raises(InputError, match=r"^task 'qa', column 'answers': expected SQuAD's answers, .*, found "):
        check_answer_feature(source(feature))


def test_answers_are_read_with_their_offsets() -> None:
    value = {"text": ["Bob", "Bob met"], "answer_start": [0, 0]}
    assert read_answers(value, "Bob met Ada.", "row 0") == [("Bob", 0), ("Bob met", 0)]
    assert read_answers({"text": [], "answer_start": []}, "Bob met Ada.", "row 0") == []


@pytest.mark.parametrize("value", [None, {"text": None, "answer_start": []}, {"text": [], "answer_start": None}])
def test_answers_that_are_not_known(value: Any) -> None:
    assert read_answers(value, "Bob met Ada.", "row 0") is None


@pytest.mark.parametrize(
    ("texts", "starts", "message"),
    [
        (["Ada", "Bob"], [8], "row 3: expected an 'answer_start' for each of 2 answers, found 1."),
        ([""], [0], "row 3: expected a text and its offset, found '' at 0. A question without an answer has empty"),
        ([None], [0], "row 3: expected a text and its offset, found None at 0."),
        (["Ada"], [None], "row 3: expected a text and its offset, found 'Ada' at None."),
        (["Bob", "Ada"], [0, 7], "row 3: expected the answer 'Ada' at character 7 of the context, found ' Ad'"),
    ],
)
def test_answers_that_cannot_be_used(texts: list[Any], starts: list[Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_answers({"text": texts, "answer_start": starts}, "Bob met Ada.", "row 3")
    assert str(caught.value).startswith(message)


WINDOWS = [[None, (0, 3), (4, 7), None], [None, (4, 7), (8, 11), None]]
"""Tokens of "Bob met Ada" in two windows that share one token."""


@pytest.mark.parametrize(
    ("answers", "places"),
    [
        ([("Bob", 0)], [(1, 1), (-100, -100)]),
        ([("met", 4)], [(2, 2), (1, 1)]),
        ([("met Ada", 4), ("Bob", 0)], [(-100, -100), (1, 2)]),
        # the first one that a window holds whole: neither the first of all nor the first of each window
        ([("Bob met Ada", 0), ("met", 4), ("Bob met", 0)], [(2, 2), (1, 1)]),
        ([("Bob met Ada", 0)], [(-100, -100), (-100, -100)]),
    ],
)
def test_places_of_answers(answers: list[tuple[str, int]], places: list[tuple[int, int]]) -> None:
    assert answer_tokens(answers, WINDOWS) == places


def test_a_first_token_can_be_an_answer() -> None:
    assert answer_tokens([("Bob", 0)], [[(0, 3), (4, 7)]]) == [(0, 0)]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (WINDOWS[0], (1, 3)),
        ([(0, 3)], (0, 1)),
        ([None, (0, 3), (3, 3), (3, 4)], (1, 4)),
        ([None], (0, 0)),
        ([], (0, 0)),
    ],
)
def test_range_of_the_context(window: Any, expected: tuple[int, int]) -> None:
    assert context_range(window) == expected


@pytest.mark.parametrize(
    ("place", "windows", "text"),
    [
        ([0, 1, 1], WINDOWS, "Bob"),
        ([1, 1, 2], WINDOWS, "met Ada"),
        # tokens that bring their space, and one that is nothing else
        ([0, 0, 1], [[(3, 7), (7, 11)]], "met Ada"),
        ([0, 0, 0], [[(3, 4), (4, 7)]], ""),
        ([0, 0, 1], [[[3, 8], [8, 8]]], "met"),
    ],
)
def test_characters_of_a_place(place: list[int], windows: Any, text: str) -> None:
    characters = answer_characters(place, "Bob met Ada", windows)
    assert characters is not None
    assert "Bob met Ada"[slice(*characters)] == text


@pytest.mark.parametrize("windows", [[], WINDOWS])
def test_no_answer_has_no_characters(windows: Any) -> None:
    assert answer_characters([-1, -1, -1], "Bob met Ada", windows) is None


@pytest.mark.parametrize("place", [[0, 0, 1], [0, 1, 3]])
def test_a_place_that_is_not_of_the_context_has_no_characters(place: list[int]) -> None:
    assert answer_characters(place, "Bob met Ada", WINDOWS) is None
