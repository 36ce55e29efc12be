"""Entity F1: counts made by hand, the two ways of reading tags, and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.metrics import EntityF1

NOTHING = {"entity_f1": 0.0, "entity_precision": 0.0, "entity_recall": 0.0}
BIO_TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]

sentences = st.lists(
    st.lists(st.tuples(st.sampled_from(BIO_TAGS), st.sampled_from(BIO_TAGS)), max_size=8), min_size=1, max_size=6
)


def scores(correct: int, predicted: int, true: int) -> dict[str, float]:
    """Write out the three values for these numbers of entities."""
    return {
        "entity_f1": pytest.approx(2 * correct / (predicted + true)),
        "entity_precision": pytest.approx(correct / predicted),
        "entity_recall": pytest.approx(correct / true),
    }


def test_type_and_both_ends_must_be_right() -> None:
    references = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "I-LOC", "O"], ["O", "B-PER"]]
    predictions = [["B-PER", "I-PER", "O", "B-PER"], ["B-LOC", "O", "O"], ["B-LOC", "B-PER"]]
    # Right: the first PER and the last PER. Wrong: a type, an end, an entity too many.
    result = EntityF1().compute(predictions=predictions, references=references)
    assert result == scores(correct=2, predicted=5, true=4)
    assert [type(value) for value in result.values()] == [float, float, float]


def test_the_average_is_over_entities_not_types() -> None:
    references = [["B-PER"], ["B-PER"], ["B-PER"], ["B-LOC"]]
    predictions = [["B-PER"], ["B-PER"], ["B-PER"], ["O"]]
    result = EntityF1().compute(predictions=predictions, references=references)
    assert result == scores(correct=3, predicted=3, true=4)


@pytest.mark.parametrize(
    ("tags", "lenient", "strict"),
    [
        # (tags predicted, entities conlleval reads in them, entities of strict IOB2); the reference is LOC, PER PER.
        (["B-LOC", "B-PER", "I-PER"], (2, 2), (2, 2)),
        (["I-LOC", "B-PER", "I-PER"], (2, 2), (1, 1)),
        (["B-LOC", "I-PER", "I-PER"], (2, 2), (1, 1)),
        (["B-LOC", "B-PER", "I-LOC"], (1, 3), (1, 2)),
        (["B-LOC", "I-LOC", "I-PER"], (0, 2), (0, 1)),
    ],
)
def test_bio_is_read_as_conlleval_does_unless_strict(
    tags: list[str], lenient: tuple[int, int], strict: tuple[int, int]
) -> None:
    references = [["B-LOC", "B-PER", "I-PER"]]
    assert EntityF1().compute(predictions=[tags], references=references) == scores(*lenient, 2)
    assert EntityF1(strict=True).compute(predictions=[tags], references=references) == scores(*strict, 2)


def test_bioes_is_strict_unless_lenient() -> None:
    references = [["B-PER", "I-PER", "E-PER", "S-LOC"], ["B-LOC", "E-LOC", "O", "O"]]
    # The first entity has no end.
    predictions = [["B-PER", "I-PER", "I-PER", "S-LOC"], ["B-LOC", "E-LOC", "O", "O"]]
    result = EntityF1("bioes").compute(predictions=predictions, references=references)
    assert result == scores(correct=2, predicted=2, true=3)
    lenient = EntityF1("bioes", strict=False).compute(predictions=predictions, references=references)
    assert lenient == scores(correct=3, predicted=3, true=3)


def test_an_entity_does_not_cross_rows() -> None:
    result = EntityF1().compute(predictions=[["B-PER"], ["I-PER"]], references=[["B-PER"], ["B-PER"]])
    assert result == scores(correct=2, predicted=2, true=2)


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
@pytest.mark.parametrize(
    ("predictions", "references"),
    [([["O"]], [["O"]]), ([["B-X"]], [["O"]]), ([["O"]], [["B-X"]]), ([[]], [[]]), ([], [])],
)
def test_not_defined_is_zero(scheme: str, predictions: list[list[str]], references: list[list[str]]) -> None:
    assert EntityF1(scheme).compute(predictions=predictions, references=references) == NOTHING


def test_tags_with_a_bare_prefix_or_a_dash_in_the_type() -> None:
    tags = [["B", "I", "O", "B-my-type", "I-my-type"]]
    assert EntityF1().compute(predictions=tags, references=tags) == scores(correct=2, predicted=2, true=2)
    assert EntityF1(strict=True).compute(predictions=tags, references=tags) == scores(correct=2, predicted=2, true=2)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([["O"]], [["O"], ["O"]], "entity_f1: expected predictions for 2 rows, as many as references, found 1"),
        ([["O"], ["O"]], [["O"], ["O", "O"]], "entity_f1: row 1: expected 2 predicted tags, .* found 1"),
        (["O"], ["O"], "entity_f1: predictions: expected a list of lists of tags, found"),
        ([["O"]], "O", "entity_f1: references: expected a list of lists of tags, found 'O'"),
        ([["E-X"]], [["O"]], "entity_f1: predictions: expected tags B-<type>, I-<type> and O, found 'E-X'"),
        ([["O"]], [["PER"]], "entity_f1: references: expected tags B-<type>, I-<type> and O, found 'PER'"),
        ([["O"]], [[""]], "entity_f1: references: expected tags .* found ''"),
        ([[3]], [["O"]], "entity_f1: predictions: expected tags .* found 3"),
    ],
)
def test_input_that_does_not_fit_is_refused(predictions: list[object], references: list[object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EntityF1().compute(predictions=predictions, references=references)


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="EntityF1: scheme: expected one of bio, bioes, found 'iob1'"):
        EntityF1("iob1")


@given(rows=sentences, strict=st.booleans())
def test_identical_tags_are_perfect(rows: list[list[tuple[str, str]]], strict: bool) -> None:
    tags = [[tag for tag, _ in row] for row in rows]
    # I- tags alone hold no entity when read strictly.
    found = any(tag.startswith("B-" if strict else ("B-", "I-")) for row in tags for tag in row)
    result = EntityF1(strict=strict).compute(predictions=tags, references=tags)
    assert set(result.values()) == {1.0 if found else 0.0}


@given(rows=sentences, strict=st.booleans(), data=st.data())
def test_row_order_does_not_matter(rows: list[list[tuple[str, str]]], strict: bool, data: st.DataObject) -> None:
    results = [
        EntityF1(strict=strict).compute(
            predictions=[[p for p, _ in row] for row in order], references=[[r for _, r in row] for row in order]
        )
        for order in (rows, data.draw(st.permutations(rows)))
    ]
    assert results[0] == pytest.approx(results[1])


@given(rows=sentences)
def test_swapping_the_sides_swaps_precision_and_recall(rows: list[list[tuple[str, str]]]) -> None:
    first, second = [[p for p, _ in row] for row in rows], [[r for _, r in row] for row in rows]
    one = EntityF1().compute(predictions=first, references=second)
    other = EntityF1().compute(predictions=second, references=first)
    assert (one["entity_precision"], one["entity_recall"]) == (other["entity_recall"], other["entity_precision"])
    assert one["entity_f1"] == pytest.approx(other["entity_f1"])
