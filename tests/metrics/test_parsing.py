"""Attachment scores: counts made by hand, subtypes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.errors import InputError
from mt_transformers.metrics import AttachmentScore

SCORES = ["las", "las_universal", "uas"]

words = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["nsubj", "nsubj:pass", "obj"])), max_size=5)


def tree(heads: list[int], relations: str) -> dict[str, Any]:
    return {"heads": heads, "deprels": relations.split()}


def scores(predictions: Any, references: Any) -> list[float]:
    """Las, universal las and uas."""
    results = [AttachmentScore(name).compute(predictions=predictions, references=references) for name in SCORES]
    assert [list(result) for result in results] == [[name] for name in SCORES]
    return [result[name] for name, result in zip(SCORES, results, strict=True)]


def test_shares_of_all_words_counted_by_hand() -> None:
    references = [
        tree([2, 0, 4, 2, 2], "nsubj:pass root det obj punct"),
        tree([0, 1, 1], "root advmod punct"),
    ]
    predictions = [
        # head right: all but the det; relation right too: root and punct, of the universal parts also nsubj
        tree([2, 0, 2, 2, 2], "nsubj root det obl punct"),
        # head right: all but the punct, whose relation is right
        tree([0, 1, 2], "root advmod punct"),
    ]
    assert scores(predictions, references) == [4 / 8, 5 / 8, 6 / 8]


def test_words_count_not_sentences() -> None:
    references = [tree([0], "root"), tree([0, 1, 1], "root obj obj")]
    predictions = [tree([1], "root"), tree([0, 1, 1], "root obj obj")]
    assert scores(predictions, references) == [0.75, 0.75, 0.75]


@pytest.mark.parametrize(
    ("predicted", "true", "right"),
    [
        ("obl", "obl", [1.0, 1.0]),
        ("obl:agent", "obl", [0.0, 1.0]),
        ("obl", "obl:agent", [0.0, 1.0]),
        ("obl:tmod", "obl:agent", [0.0, 1.0]),
        ("obl:a:b", "obl:a", [0.0, 1.0]),
        ("ob", "obl", [0.0, 0.0]),
        ("obl", "nmod", [0.0, 0.0]),
        ("nmod:agent", "obl:agent", [0.0, 0.0]),
        ("OBL", "obl", [0.0, 0.0]),
    ],
)
def test_subtypes_count_unless_universal(predicted: str, true: str, right: list[float]) -> None:
    assert scores([tree([0], predicted)], [tree([0], true)]) == [*right, 1.0]


@pytest.mark.parametrize("rows", [[], [tree([], "")]])
def test_no_words_give_zero(rows: list[dict[str, Any]]) -> None:
    assert scores(rows, rows) == [0.0, 0.0, 0.0]


def test_arrays_of_heads_equal_lists() -> None:
    references = [tree([2, 0], "det root")]
    predictions = [{"heads": np.array([1, 0], dtype=np.int32), "deprels": np.array(["det", "root"], dtype=object)}]
    assert scores(predictions, references) == [0.5, 0.5, 0.5]


def test_the_default_counts_whole_relations() -> None:
    row = [tree([0], "root")]
    assert AttachmentScore().compute(predictions=row, references=row) == {"las": 1.0}
    with pytest.raises(
        InputError, match="AttachmentScore: score: expected one of las, las_universal, uas, found 'clas'"
    ):
        AttachmentScore("clas")


ROW = tree([0], "root")


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([ROW], [ROW, ROW], "las: expected predictions for 2 rows, as many as references, found 1"),
        ([ROW, ROW], [ROW, tree([0, 1], "root obj")], "las: row 1: expected 2 predicted heads, .* found 1"),
        (ROW, [ROW], "las: predictions: expected a list with a dict for each sentence, found {'heads'"),
        ([ROW], "root", "las: references: expected a list with a dict for each sentence, found 'root'"),
        ([[[0], ["root"]]], [ROW], "las: predictions: row 0: expected a dict of heads and deprels, found"),
        ([{"heads": [0]}], [ROW], "las: predictions: row 0: expected a dict of heads and deprels, found"),
        ([ROW], [{**ROW, "forms": ["x"]}], "las: references: row 0: expected a dict of heads and deprels"),
        ([tree([0, 1], "root")], [ROW], "predictions: row 0: expected as many heads as deprels, found 2 and 1"),
        ([tree(["0"], "root")], [ROW], "predictions: row 0: expected whole numbers as heads, found '0'"),
        ([tree([0.0], "root")], [ROW], "predictions: row 0: expected whole numbers as heads, found 0.0"),
        ([ROW], [{"heads": [0], "deprels": [3]}], "references: row 0: expected names as deprels, found 3"),
    ],
)
def test_input_that_does_not_fit_is_refused(predictions: Any, references: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AttachmentScore().compute(predictions=predictions, references=references)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=4))
def test_a_stricter_score_is_not_higher(rows: list[tuple[list[Any], list[Any]]]) -> None:
    pairs = [list(zip(first, second, strict=False)) for first, second in rows]
    sides = [
        [{"heads": [pair[side][0] for pair in row], "deprels": [pair[side][1] for pair in row]} for row in pairs]
        for side in (0, 1)
    ]
    las, universal, uas = scores(*sides)
    assert 0.0 <= las <= universal <= uas <= 1.0
    assert scores(sides[1], sides[0]) == [las, universal, uas]
    total = sum(len(row) for row in pairs)
    assert scores(sides[0], sides[0]) == [float(total > 0)] * 3
    same = sum(first == second for row in pairs for first, second in row)
    assert las == (same / total if total else 0.0)
