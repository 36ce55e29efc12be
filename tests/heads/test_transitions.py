"""Tag sequences: which are valid, and that the best valid one is found."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.errors import InputError
from mt_transformers.heads.transitions import (
    allowed_transitions,
    best_valid_sequence,
    check_scheme,
    entity_spans,
    find_scheme,
)

BIO = ("O", "B-x", "I-x", "B-y", "I-y")
BIOES = ("O", "B-x", "I-x", "E-x", "S-x", "E-y")


def is_valid(tags: list[str], scheme: str) -> bool:
    """Whether a tag sequence is valid, written from the definition: entities tile it."""
    open_type = None
    for tag in tags:
        prefix, kind = (tag, None) if tag == "O" else (tag[0], tag[2:])
        if prefix in ("I", "E") and kind != open_type:
            return False
        if scheme == "bioes" and prefix in ("O", "B", "S") and open_type is not None:
            return False
        open_type = kind if prefix in ("B", "I") else None
    return scheme == "bio" or open_type is None


@pytest.mark.parametrize(("names", "scheme"), [(BIO, "bio"), (BIOES, "bioes")])
def test_the_table_allows_exactly_the_valid_sequences(names: tuple[str, ...], scheme: str) -> None:
    allowed = allowed_transitions(names, scheme)
    assert allowed.shape == (len(names) + 1, len(names) + 1)
    edge = len(names)
    for length in (1, 2, 3):
        for ids in product(range(len(names)), repeat=length):
            path = [edge, *ids, edge]
            found = all(bool(allowed[last, tag]) for last, tag in pairwise(path))
            assert found is is_valid([names[index] for index in ids], scheme), ids


@st.composite
def problems(draw: st.DrawFn) -> tuple[str, tuple[str, ...], torch.Tensor, torch.Tensor]:
    """A scheme, some of its tags in any order, logits of shape (2, 4, tags), and a mask with gaps."""
    scheme = draw(st.sampled_from(["bio", "bioes"]))
    tags = list(BIO if scheme == "bio" else BIOES)
    names = tuple(draw(st.lists(st.sampled_from(tags), min_size=1, max_size=4, unique=True)))
    # eighths: distinct sums stay distinct beside any penalty
    values = st.integers(-24, 24).map(lambda number: number / 8)
    logits = draw(st.lists(values, min_size=8 * len(names), max_size=8 * len(names)))
    mask = draw(st.lists(st.booleans(), min_size=8, max_size=8))
    return scheme, names, torch.tensor(logits).reshape(2, 4, len(names)), torch.tensor(mask).reshape(2, 4)


@given(problems())
def test_the_best_sequence_is_that_of_a_search_over_all(
    problem: tuple[str, tuple[str, ...], torch.Tensor, torch.Tensor],
) -> None:
    scheme, names, logits, mask = problem
    allowed = allowed_transitions(names, scheme)
    found = best_valid_sequence(logits, mask, allowed)
    assert found.shape == mask.shape
    scores = logits.double().log_softmax(dim=-1)

    def worth(row: int, ids: tuple[int, ...]) -> tuple[int, float]:
        """Minus the violations, then the log probability."""
        path = [len(names), *ids, len(names)]
        violations = sum(not allowed[last, tag] for last, tag in pairwise(path))
        return -violations, float(scores[row, mask[row]][range(len(ids)), list(ids)].sum())

    for row in range(2):
        ids = tuple(found[row, mask[row]].tolist())
        if not ids:
            continue
        violations, probability = max(worth(row, other) for other in product(range(len(names)), repeat=len(ids)))
        assert worth(row, ids) == (violations, pytest.approx(probability, abs=1e-5))


def test_a_greedy_choice_would_be_invalid() -> None:
    # word by word I-x is best at both places; the start forbids it at the first
    logits = torch.tensor([[[0.0, 2.0, 3.0], [0.0, 1.0, 2.0]]])
    allowed = allowed_transitions(("O", "B-x", "I-x"), "bio")
    assert best_valid_sequence(logits, torch.ones(1, 2, dtype=torch.bool), allowed).tolist() == [[1, 2]]


def test_places_outside_the_mask_do_not_interrupt() -> None:
    # B-x, (a sub-token that would be O), I-x
    logits = torch.tensor([[[0.0, 5.0, 0.0], [50.0, 0.0, 0.0], [0.0, 0.0, 5.0]]])
    mask = torch.tensor([[True, False, True]])
    allowed = allowed_transitions(("O", "B-x", "I-x"), "bio")
    found = best_valid_sequence(logits, mask, allowed)
    assert found[mask].tolist() == [1, 2]
    everywhere = best_valid_sequence(logits, torch.ones_like(mask), allowed)
    assert everywhere.tolist() == [[1, 0, 1]] or everywhere.tolist() == [[1, 0, 0]]


def test_sixteen_bits() -> None:
    logits = torch.tensor([[[0.0, 2.0, 3.0], [0.0, 1.0, 2.0]]], dtype=torch.bfloat16)
    allowed = allowed_transitions(("O", "B-x", "I-x"), "bio")
    assert best_valid_sequence(logits, torch.ones(1, 2, dtype=torch.bool), allowed).tolist() == [[1, 2]]


@pytest.mark.parametrize("difference", [1.0, 0.01])
def test_without_a_valid_sequence_the_best_of_the_fewest_violations_is_kept(difference: float) -> None:
    # under BIOES a row of one word that is B-x or B-y is never valid; each violates once
    allowed = allowed_transitions(("B-x", "B-y"), "bioes")
    mask = torch.ones(1, 1, dtype=torch.bool)
    assert best_valid_sequence(torch.tensor([[[0.0, difference]]]), mask, allowed).tolist() == [[1]]
    assert best_valid_sequence(torch.tensor([[[difference, 0.0]]]), mask, allowed).tolist() == [[0]]


def test_a_long_row_keeps_its_digits() -> None:
    # 500 times O, then a close call
    logits = torch.zeros(1, 501, 3)
    logits[0, :500, 0] = 0.5
    logits[0, 500] = torch.tensor([0.0, 0.01, 0.0])
    allowed = allowed_transitions(("O", "B-x", "I-x"), "bio")
    found = best_valid_sequence(logits, torch.ones(1, 501, dtype=torch.bool), allowed)
    assert found[0, 500].item() == 1


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ([], []),
        (["O", "O"], []),
        (["B-x"], [("x", 0, 1)]),
        (["O", "B-x", "I-x", "O", "B-y"], [("x", 1, 3), ("y", 4, 5)]),
        (["B-x", "B-x"], [("x", 0, 1), ("x", 1, 2)]),
        (["B-x", "I-x", "I-x"], [("x", 0, 3)]),
        (["B-x", "I-y"], [("x", 0, 1), ("y", 1, 2)]),
        (["I-x", "I-x"], [("x", 0, 2)]),
        (["B-x", "O", "I-x"], [("x", 0, 1), ("x", 2, 3)]),
        (["B-x", "E-x", "S-y", "B-y", "I-y", "E-y"], [("x", 0, 2), ("y", 2, 3), ("y", 3, 6)]),
        (["B-x", "E-x", "E-x"], [("x", 0, 2), ("x", 2, 3)]),
        (["S-x", "I-x"], [("x", 0, 1), ("x", 1, 2)]),
        (["B-a-b", "I-a-b"], [("a-b", 0, 2)]),
    ],
)
def test_entity_spans(tags: list[str], spans: list[tuple[str, int, int]]) -> None:
    assert entity_spans(tags) == spans


@given(st.lists(st.sampled_from(BIOES), max_size=6))
def test_the_spans_of_a_valid_sequence_are_its_entities(tags: list[str]) -> None:
    if not is_valid(tags, "bioes"):
        return
    rebuilt = ["O"] * len(tags)
    for kind, first, last in entity_spans(tags):
        inside = [f"I-{kind}"] * (last - first - 2)
        rebuilt[first:last] = [f"S-{kind}"] if last - first == 1 else [f"B-{kind}", *inside, f"E-{kind}"]
    assert rebuilt == tags


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (["O", "B-x", "I-x"], "bio"),
        (["B-x"], "bio"),
        (["O", "S-x"], "bioes"),
        (["O", "B-x", "E-x"], "bioes"),
        (["NOUN", "VERB"], "plain"),
        (["O"], "plain"),
        ([], "plain"),
        (["O", "B-x", "NOUN"], "plain"),
        (["B-", "I-"], "plain"),
        (["Beta", "Iota"], "plain"),
    ],
)
def test_find_scheme(names: list[str], scheme: str) -> None:
    assert find_scheme(names) == scheme


def test_check_scheme_names_the_first_that_does_not_fit() -> None:
    check_scheme(["O", "B-x", "I-x"], "bio")
    check_scheme(["O", "S-x", "E-x"], "bioes")
    with pytest.raises(InputError, match="label_scheme is 'bio': expected labels O, B-type, I-type, found 'S-x'"):
        check_scheme(["O", "B-x", "S-x", "E-x"], "bio")
    with pytest.raises(InputError, match="expected labels O, B-type, I-type, E-type, S-type, found 'B'"):
        check_scheme(["O", "B"], "bioes")
