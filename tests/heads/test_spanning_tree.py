"""Dependency trees: the best one is that of a search over all, and what is none is refused by name."""

from __future__ import annotations

from functools import cache
from itertools import product

import networkx
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mt_transformers.errors import InputError
from mt_transformers.heads import spanning_tree
from mt_transformers.heads.spanning_tree import check_tree, single_root_tree

FORBIDDEN = float("-inf")


def is_tree(heads: tuple[int, ...]) -> bool:
    """Whether heads (-1 the root) are a tree with one root, written from the definition: all walks end there."""
    for word in range(len(heads)):
        steps = 0
        while word != -1 and steps <= len(heads):
            word, steps = heads[word], steps + 1
        if word != -1:
            return False
    return heads.count(-1) == 1


@cache
def all_trees(words: int) -> list[tuple[int, ...]]:
    return [heads for heads in product(range(-1, words), repeat=words) if is_tree(heads)]


def worth(scores: np.ndarray, heads: tuple[int, ...]) -> float:
    # column -1 is the root's
    return float(scores[np.arange(len(heads)), list(heads)].sum())


# eighths: sums are exact, and ties are frequent
eighths = st.integers(-16, 16).map(lambda number: number / 8)


@st.composite
def problems(draw: st.DrawFn, values: st.SearchStrategy[float]) -> np.ndarray:
    words = draw(st.integers(1, 5))
    size = words * (words + 1)
    return np.array(draw(st.lists(values, min_size=size, max_size=size))).reshape(words, words + 1)


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5])
def test_as_many_trees_as_counted_by_cayley(words: int) -> None:
    assert len(all_trees(words)) == words ** (words - 1)


@given(problems(eighths))
def test_the_best_tree_is_that_of_a_search_over_all(scores: np.ndarray) -> None:
    heads = single_root_tree(scores)
    assert heads.dtype == np.int64
    assert is_tree(tuple(heads.tolist()))
    assert worth(scores, tuple(heads.tolist())) == max(worth(scores, tree) for tree in all_trees(len(scores)))


@given(problems(st.one_of(st.just(FORBIDDEN), eighths)))
def test_forbidden_heads_are_not_chosen(scores: np.ndarray) -> None:
    best = max(worth(scores, tree) for tree in all_trees(len(scores)))
    if best == FORBIDDEN:
        with pytest.raises(InputError, match=r"expected at least one tree with a single root .* found none"):
            single_root_tree(scores)
    else:
        assert worth(scores, tuple(single_root_tree(scores).tolist())) == best


@given(problems(eighths), st.data())
def test_the_order_of_the_words_does_not_matter(scores: np.ndarray, data: st.DataObject) -> None:
    words = len(scores)
    best = sorted((worth(scores, tree) for tree in all_trees(words)), reverse=True)
    assume(words > 1 and best[0] > best[1])
    order = np.array(data.draw(st.permutations(range(words))))
    heads = single_root_tree(scores[order][:, [*order, words]])
    # head of each word in the new order, named as in the old one
    renamed = np.where(heads == -1, -1, order[heads])
    assert renamed.tolist() == single_root_tree(scores)[order].tolist()


@given(problems(eighths))
def test_the_diagonal_is_not_read(scores: np.ndarray) -> None:
    expected = single_root_tree(scores).tolist()
    for value in (100.0, float("nan"), float("inf")):
        np.fill_diagonal(scores, value)
        assert single_root_tree(scores).tolist() == expected


def test_equal_scores_give_a_tree_the_same_each_time() -> None:
    for words in (1, 2, 7, 40):
        heads = single_root_tree(np.zeros((words, words + 1)))
        assert is_tree(tuple(heads.tolist()))
        assert heads.tolist() == single_root_tree(np.zeros((words, words + 1))).tolist()


def test_the_best_tree_with_several_roots_is_passed_over() -> None:
    # both words score highest on the root; the pair that loses least keeps one there
    scores = np.array([[0.0, 1.0, 9.0], [3.0, 0.0, 9.0]])
    assert single_root_tree(scores).tolist() == [-1, 0]
    # a root far above all else neither hides the differences of the other scores nor attracts a second word
    scores[:, 2] = 1e12
    assert single_root_tree(scores).tolist() == [-1, 0]


def test_small_differences_of_the_root_survive_beside_a_large_score() -> None:
    # a constant above 3e9, taken from the scores of the root, would swallow what makes word 1 the best root
    scores = np.zeros((3, 4))
    scores[0, 1] = -1e9
    scores[1, 3] = 1e-8
    assert single_root_tree(scores).tolist() == [2, -1, 1]


def test_cycles_within_cycles_are_broken() -> None:
    # 0 and 1 choose each other, then that cycle and 2, then all of them and 3; the root enters at 3
    scores = np.full((4, 5), -50.0)
    scores[0, 1] = scores[1, 0] = 10.0
    scores[2, 0], scores[1, 2] = 9.0, 8.0
    scores[3, 1], scores[2, 3] = 7.0, 6.0
    scores[3, 4], scores[0, 4] = 5.0, -20.0
    heads = single_root_tree(scores)
    # 0 <- 1 (10), 1 <- 2 (8), 2 <- 3 (6), 3 <- root (5)
    assert heads.tolist() == [1, 2, 3, -1]


def test_a_single_word_hangs_on_the_root() -> None:
    assert single_root_tree(np.array([[5.0, -3.0]])).tolist() == [-1]
    assert single_root_tree(np.empty((0, 1))).tolist() == []


@pytest.mark.parametrize("words", [1, 2, 3, 4, 127, 128, 129])
def test_best_heads_that_form_a_tree_are_taken_at_once(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(weights: np.ndarray) -> None:
        raise AssertionError("contracted")

    monkeypatch.setattr(spanning_tree, "_Contraction", refuse)
    # the longest way up to the root that there is
    chain = np.arange(words) - 1
    scores = np.zeros((words, words + 1))
    scores[np.arange(words), chain] = 1.0
    assert single_root_tree(scores).tolist() == chain.tolist()
    with pytest.raises(AssertionError, match="contracted"):
        single_root_tree(np.hstack([np.ones((words + 1, words + 1)), np.zeros((words + 1, 1))]))


def test_the_last_digits_of_64_bits_count() -> None:
    scores = np.ones((3, 4))
    scores[1, 3] += 1e-12
    scores[2, 1] += 1e-12
    scores[0, 2] += 1e-12
    assert single_root_tree(scores).tolist() == [2, -1, 1]


def test_sixteen_bits_and_integers() -> None:
    scores = [[0, 5, 6], [1, 0, 4]]
    assert single_root_tree(np.array(scores, dtype=np.float16)).tolist() == [1, -1]
    assert single_root_tree(np.array(scores)).tolist() == [1, -1]


def test_the_input_stays_as_it_is() -> None:
    scores = np.arange(12.0).reshape(3, 4)
    single_root_tree(scores)
    assert scores.tolist() == np.arange(12.0).reshape(3, 4).tolist()


def networkx_worth(scores: np.ndarray) -> float:
    """The sum of scores of the best tree by networkx, the root's edges lowered by one constant."""
    words = len(scores)
    constant = words * float(np.ptp(scores[np.isfinite(scores)])) + 1
    graph = networkx.DiGraph()
    for word, head in np.argwhere(np.isfinite(scores)).tolist():
        if word != head:
            graph.add_edge(head, word, weight=scores[word, head] - constant * (head == words))
    tree = networkx.maximum_spanning_arborescence(graph)
    assert tree.out_degree(words) == 1
    return float(sum(scores[word, head] for head, word in tree.edges))


@pytest.mark.parametrize(
    ("words", "forbidden"),
    [(20, 0.0), (60, 0.0), (200, 0.95), pytest.param(200, 0.0, marks=pytest.mark.slow)],
)
def test_a_long_sentence_is_parsed_as_by_networkx(words: int, forbidden: float) -> None:
    generator = np.random.default_rng(words)
    scores = generator.normal(size=(words, words + 1))
    scores[generator.random(scores.shape) < forbidden] = FORBIDDEN
    heads = single_root_tree(scores)
    check_tree((heads + 1).tolist(), "heads")
    assert worth(scores, tuple(heads.tolist())) == pytest.approx(networkx_worth(scores), abs=1e-9)


@pytest.mark.parametrize("words", [50, 200])
def test_a_planted_tree_is_found(words: int) -> None:
    generator = np.random.default_rng(words)
    # in a random order, each word hangs on one before it
    order = generator.permutation(words)
    planted = np.full(words, -1)
    for place in range(1, words):
        planted[order[place]] = order[generator.integers(place)]
    scores = generator.normal(size=(words, words + 1))
    scores[np.arange(words), planted] += 20
    assert single_root_tree(scores).tolist() == planted.tolist()
    # a cycle in the best heads: the root's word would gain 10 by another head, less than a second word loses as root
    scores[order[0], order[-1]] = scores[order[0], words] + 10
    assert scores[order[0]].argmax() == order[-1]
    assert single_root_tree(scores).tolist() == planted.tolist()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((2, 2)), r"expected shape \(words, words \+ 1\), found \(2, 2\)"),
        (np.zeros(3), r"expected shape \(words, words \+ 1\), found \(3,\)"),
        (np.array([[0.0, 1.0, 2.0], [np.nan, 0.0, 1.0]]), "found nan in row 1, column 0"),
        (np.array([[0.0, 1.0, np.inf], [1.0, 0.0, 1.0]]), "found inf in row 0, column 2"),
        (np.array([[0.0, FORBIDDEN]]), "found none"),
        # no head at all for a word, which leaves the best heads of the others as they are
        (np.array([[0.0, 1.0, 2.0], [FORBIDDEN, 0.0, FORBIDDEN]]), "found none"),
        (np.array([[0.0, FORBIDDEN, FORBIDDEN], [1.0, 0.0, 1.0]]), "found none"),
        # a cycle that the root cannot enter
        (np.array([[0.0, 1.0, FORBIDDEN], [1.0, 0.0, FORBIDDEN]]), "found none"),
        # two words that only the root can take
        (np.array([[0.0, FORBIDDEN, 1.0], [FORBIDDEN, 0.0, 1.0]]), "found none"),
    ],
)
def test_scores_that_give_no_tree_are_refused(scores: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=f"^scores: .*{message}"):
        single_root_tree(scores)


@pytest.mark.parametrize("heads", [[0], [2, 0], [0, 1], [2, 0, 2, 3], [3, 3, 4, 0, 6, 4, 4], np.array([2, 0])])
def test_a_tree_passes(heads: list[int]) -> None:
    check_tree(heads, "row 0")


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([2, 0, 4], "row 3: word 3: expected a head from 0 (the root) to 3, found 4."),
        ([-1, 1], "row 3: word 1: expected a head from 0 (the root) to 2, found -1."),
        ([0, None], "row 3: word 2: expected a head from 0 (the root) to 2, found None."),
        ([0, 1.0], "row 3: word 2: expected a head from 0 (the root) to 2, found 1.0."),
        ([0, 2], "row 3: word 2: expected another word as its head, found the word itself."),
        ([], "row 3: expected one word with the head 0 (the root), found none."),
        ([2, 1], "row 3: expected one word with the head 0 (the root), found none."),
        ([0, 1, 0], "row 3: expected one word with the head 0 (the root), found the words 1, 3."),
        ([0, 3, 2], "row 3: expected heads that form a tree, found a cycle of the words 2, 3."),
        # word 1 leads into the cycle and is not part of it
        ([4, 0, 5, 3, 4], "row 3: expected heads that form a tree, found a cycle of the words 3, 4, 5."),
        # the first of two cycles
        ([3, 0, 1, 5, 4], "row 3: expected heads that form a tree, found a cycle of the words 1, 3."),
    ],
)
def test_what_is_no_tree_is_refused_by_name(heads: list[int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_tree(heads, "row 3")
    assert str(caught.value) == message


@pytest.mark.parametrize("words", [1, 2, 3, 4])
def test_exactly_the_trees_pass(words: int) -> None:
    for heads in product(range(words + 1), repeat=words):
        passes = True
        try:
            check_tree(heads, "row 0")
        except InputError:
            passes = False
        assert passes is is_tree(tuple(head - 1 for head in heads)), heads
