"""Exact match and F1 of answers: scores computed by hand, and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.errors import InputError
from mt_transformers.metrics import AnswerF1, ExactMatch

words = st.lists(st.sampled_from(["the", "a", "Rome", "rome,", "Oslo", "...", "é", "É"]), max_size=4)
texts = words.map(" ".join)
questions = st.lists(st.tuples(texts, st.lists(texts, max_size=3)), min_size=1, max_size=6)


def scores(predictions: list[str], references: list[list[str]]) -> tuple[float, float]:
    """Exact match and F1."""
    exact = ExactMatch().compute(predictions=predictions, references=references)
    f1 = AnswerF1().compute(predictions=predictions, references=references)
    assert (list(exact), list(f1)) == (["exact_match"], ["answer_f1"])
    return exact["exact_match"], f1["answer_f1"]


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "f1"),
    [
        # normalisation
        ("The Eiffel  Tower!", ["eiffel\ttower"], 1, 1),
        ("a well-known (man)", ["The wellknown man"], 1, 1),
        ("theatre an answer", ["atre answer"], 0, 2 / 4),
        ("10 a.m.", ["10 am"], 1, 1),
        ("10 m", ["10 a.m."], 0, 2 / 4),
        # cat sat on mat, cat on mat
        ("the cat sat on the mat", ["a cat on mat"], 0, 2 * 3 / 7),
        # a word counts as often as both have it
        ("no no no", ["no no"], 0, 2 * 2 / 5),
        ("no yes", ["no no no"], 0, 2 * 1 / 5),
        ("Oslo", ["Rome"], 0, 0),
        ("", ["Rome"], 0, 0),
        ("the", ["Rome"], 0, 0),
        # the best of several gold answers
        ("in Rome", ["Oslo", "rome", "in old Rome", "Italy"], 0, 2 * 2 / 5),
        ("in Rome", ["Oslo", "In Rome"], 1, 1),
        # beyond ASCII: letters have cases, other punctuation and other ways to write a letter count
        ("BEYONCÉ", ["beyoncé"], 1, 1),
        ("Beyonce", ["Beyoncé"], 0, 0),
        ("Beyonce\u0301 sang", ["Beyonc\u00e9 sang"], 0, 2 / 4),
        ("\u201cRome\u201d", ["Rome"], 0, 0),
        ("1999\u20132000", ["1999-2000"], 0, 0),
        ("the\u201cRome", ["\u201crome"], 1, 1),
        ("new\u00a0york", ["New York"], 1, 1),
        ("東京 都", ["東京都"], 0, 0),
        # no answer
        ("", [], 1, 1),
        ("The.", [], 1, 1),
        ("Rome", [], 0, 0),
        # gold answers of which nothing is left
        ("", ["..."], 1, 1),
        ("!", ["...", "a"], 1, 1),
        ("Rome", ["..."], 0, 0),
        ("", ["...", "Rome"], 0, 0),
        ("rome", ["...", "Rome"], 1, 1),
    ],
)
def test_one_question(prediction: str, golds: list[str], exact: float, f1: float) -> None:
    assert scores([prediction], [golds]) == (exact, pytest.approx(f1))


def test_every_question_counts_the_same() -> None:
    predictions = ["Rome", "in old Oslo", "", "Lima"]
    references = [["rome", "Roma"], ["Oslo"], ["Cairo"], []]
    assert scores(predictions, references) == (1 / 4, pytest.approx((1 + 2 / 4) / 4))


def test_no_question() -> None:
    assert scores([], []) == (0.0, 0.0)


@pytest.mark.parametrize("metric", [ExactMatch, AnswerF1])
@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a"], [["a"], ["b"]], "expected predictions for 2 questions, as many as references, found 1"),
        ("Rome", [["Rome"]], "predictions: expected a list of texts, found 'Rome'"),
        ([3], [["Rome"]], "predictions: row 0: expected a text, found 3"),
        ([["Rome"]], [["Rome"]], r"predictions: row 0: expected a text, found \['Rome'\]"),
        (["Rome", None], [["Rome"], []], "predictions: row 1: expected a text, found None"),
        (["Rome"], "Rome", "references: expected a list of lists of texts, found 'Rome'"),
        (["Rome"], ["Rome"], "references: row 0: expected a list of texts, found 'Rome'"),
        (["Rome", "Oslo"], [["Rome"], None], "references: row 1: expected a list of texts, found None"),
        (["Rome", "Oslo"], [["Rome"], ["Oslo", 3]], "references: row 1: row 1: expected a text, found 3"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    metric: type[ExactMatch | AnswerF1], predictions: list[object], references: list[object], message: str
) -> None:
    with pytest.raises(InputError, match=f"{metric().name}: {message}"):
        metric().compute(predictions=predictions, references=references)


@given(questions)
def test_an_exact_match_has_the_whole_f1(rows: list[tuple[str, list[str]]]) -> None:
    for prediction, golds in rows:
        exact, f1 = scores([prediction], [golds])
        assert exact in (0.0, 1.0)
        assert exact <= f1 <= 1.0


@given(questions)
def test_a_gold_answer_is_right_unless_nothing_is_left_of_it(rows: list[tuple[str, list[str]]]) -> None:
    golds = [golds for _, golds in rows if golds and not set(golds[0].split()) <= {"the", "a", "..."}]
    if golds:
        assert scores([texts[0] for texts in golds], golds) == (1.0, 1.0)


@given(rows=questions, data=st.data())
def test_neither_the_order_of_questions_nor_that_of_gold_answers_matters(
    rows: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    shuffled = [(text, data.draw(st.permutations(golds))) for text, golds in data.draw(st.permutations(rows))]
    before, after = (scores([text for text, _ in part], [golds for _, golds in part]) for part in (rows, shuffled))
    assert before == after


@given(first=texts, second=texts)
def test_swapping_the_sides_changes_nothing(first: str, second: str) -> None:
    assert scores([first], [[second]]) == scores([second], [[first]])
