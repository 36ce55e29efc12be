"""Answers in windows: from characters to tokens, and the best span against a search over all."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from fixtures import sub_word_tokenizer
from mt_transformers.errors import InputError
from mt_transformers.heads.answer_spans import best_spans, check_answer, find_answer_tokens

CONTEXT = "Ada met Bob. Bob left, Ada stayed."


@pytest.mark.parametrize(
    ("text", "start"),
    [("Ada", 0), ("Bob", 8), ("Bob", 13), (CONTEXT, 0), (".", len(CONTEXT) - 1), (" met ", 3)],
)
def test_an_answer_where_it_stands_is_accepted(text: str, start: int) -> None:
    check_answer(CONTEXT, text, start, "row 0")


@pytest.mark.parametrize(
    ("text", "start", "message"),
    [
        ("Bob", 7, "'Bob' at character 7 of the context, found ' Bo', .* character 0 on. .* occurs at character 8."),
        # the nearest of several
        ("Bob", 10, "found 'b. ', .* occurs at character 8."),
        ("Bob", 12, "found ' Bo', .* occurs at character 13."),
        ("Bob", 999, "found '', .* occurs at character 13."),
        # an offset from the end is none
        ("stayed.", -7, "at character -7 of the context, found '', .* occurs at character 27."),
        ("ye", -4, "at character -4 of the context, found '', .* occurs at character 30."),
        (
            "bob",
            8,
            "'bob' at character 8 of the context, found 'Bob', .* character 0 on. .* does not occur in the context.",
        ),
        ("Bob left; Ada", 13, "found 'Bob left, Ada', .* answer's character 8 on. .* does not occur in the context."),
        # more than the context has
        ("stayed. Bye", 27, "found 'stayed.', .* answer's character 7 on. .* does not occur in the context."),
    ],
)
def test_an_answer_that_does_not_stand_there_is_refused(text: str, start: int, message: str) -> None:
    with pytest.raises(InputError, match=f"^task 'qa', row 3: expected the answer .*{message}"):
        check_answer(CONTEXT, text, start, "task 'qa', row 3")


def test_long_texts_are_shortened() -> None:
    with pytest.raises(InputError) as caught:
        check_answer("x" * 5000, "y" * 4000, 0, "row 0")
    assert len(str(caught.value)) < 400


# question, [SEP], "Ada", " met" with its space, "Bo", "b", nothing, "." and a token without characters
WINDOW = [None, None, (0, 3), (3, 7), (8, 10), (10, 11), (11, 11), (11, 12), (0, 0), None]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 3, (2, 2)),
        # the token begins with the space before the answer
        (4, 7, (3, 3)),
        # several tokens, one word in two
        (8, 11, (4, 5)),
        (0, 12, (2, 7)),
        # the border cuts tokens
        (1, 5, (2, 3)),
        (9, 10, (4, 4)),
        # a space that is no token's, at either end
        (7, 10, (4, 4)),
        (4, 8, (3, 3)),
        (11, 12, (7, 7)),
        # outside, partly outside, between the tokens, empty
        (12, 15, None),
        (11, 13, None),
        (7, 8, None),
        (5, 5, None),
        (8, 8, None),
        (7, 5, None),
    ],
)
def test_the_tokens_of_an_answer(start: int, end: int, expected: tuple[int, int] | None) -> None:
    assert find_answer_tokens(WINDOW, start, end) == expected


def test_an_answer_before_the_window() -> None:
    window = [None, (3, 7), (8, 10), None]
    assert find_answer_tokens(window, 2, 7) is None
    assert find_answer_tokens(window, 0, 2) is None
    assert find_answer_tokens(window, 3, 10) == (1, 2)


@pytest.mark.parametrize("window", [[], [None, None], [(0, 0), None], [None, (5, 5)]])
def test_a_window_without_context(window: list[tuple[int, int] | None]) -> None:
    assert find_answer_tokens(window, 0, 1) is None
    assert find_answer_tokens(window, 0, 0) is None


@st.composite
def windows(draw: st.DrawFn) -> list[tuple[int, int] | None]:
    """A window: tokens in order with gaps between them, some without characters, some that are no context."""
    cuts = sorted(draw(st.lists(st.integers(0, 12), max_size=12)))
    offsets: list[tuple[int, int] | None] = list(zip(cuts[::2], cuts[1::2], strict=False))
    for place in draw(st.lists(st.integers(0, 8), max_size=3)):
        offsets.insert(place, draw(st.sampled_from([None, (0, 0)])))
    return offsets


@given(window=windows(), start=st.integers(0, 13), length=st.integers(0, 13))
def test_the_tokens_are_those_that_share_a_character(
    window: list[tuple[int, int] | None], start: int, length: int
) -> None:
    answer = set(range(start, start + length))
    characters = [set() if span is None else set(range(*span)) for span in window]
    shown = set().union(*characters)
    inside = bool(shown) and answer <= set(range(min(shown), max(shown) + 1))
    sharing = [number for number, own in enumerate(characters) if own & answer]
    expected = (sharing[0], sharing[-1]) if inside and sharing else None
    assert find_answer_tokens(window, start, start + length) == expected


def test_the_windows_of_a_tokenizer() -> None:
    context = "a new song by adele is playing in newyork and the singers is unhappy"
    encoding = sub_word_tokenizer()(
        ["the book"],
        [context],
        max_length=12,
        stride=3,
        truncation="only_second",
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    seen = 0
    for text in ("adele", "newyork", "song by adele", "a", "new", "york", "unhappy", context):
        start = context.find(text)
        for number, mapping in enumerate(encoding["offset_mapping"]):
            parts = encoding.sequence_ids(number)
            offsets = [span if part == 1 else None for span, part in zip(mapping, parts, strict=True)]
            found = find_answer_tokens(offsets, start, start + len(text))
            spans = [span for span in offsets if span is not None]
            assert (found is None) is not (spans[0][0] <= start and start + len(text) <= spans[-1][1])
            if found is not None:
                seen += 1
                assert context[offsets[found[0]][0] : offsets[found[1]][1]] == text
    assert seen >= 7


@pytest.mark.parametrize("trim_offsets", [True, False])
def test_a_byte_level_tokenizer(trim_offsets: bool) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["she sang in Rome in Rome in Rome"] * 3, trainer)
    context = "in Rome she sang Ünder東 in Rome"
    offsets = tokenizer.encode(context).offsets
    assert len(offsets) > len(set(offsets)), "one character in several tokens"
    for text in ("Rome", "she", "Ünder東", "東", "in", context):
        start = context.find(text)
        first, last = find_answer_tokens(offsets, start, start + len(text))
        assert context[offsets[first][0] : offsets[last][1]].strip() == text
        # no token beside them has a part in the answer
        assert first == 0 or offsets[first - 1][1] <= start
        assert last == len(offsets) - 1 or offsets[last + 1][0] >= start + len(text)


def search(
    start: list[list[float]], end: list[list[float]], allowed: list[list[bool]], max_answer_length: int
) -> tuple[float, list[int] | None]:
    """Score and place of the first best span of one row, found by trying all."""
    best: tuple[float, list[int] | None] = (-torch.inf, None)
    for window, marks in enumerate(allowed):
        for first, last in product(range(len(marks)), repeat=2):
            score = start[window][first] + end[window][last]
            near = first <= last < first + max_answer_length
            if near and marks[first] and marks[last] and score > best[0]:
                best = (score, [window, first, last])
    return best


@pytest.mark.parametrize("length", range(1, 7))
@pytest.mark.parametrize("max_answer_length", range(1, 8))
def test_the_best_span_is_that_of_a_search_over_all(length: int, max_answer_length: int) -> None:
    # few different logits, so that ties are common
    start, end = torch.randint(-3, 4, (2, 40, 3, length)) / 4
    allowed = torch.rand(40, 3, length) < 0.7
    spans, scores = best_spans(start, end, allowed, max_answer_length)
    assert spans.shape == (40, 3)
    assert spans.dtype == torch.long
    for row in range(40):
        score, place = search(start[row].tolist(), end[row].tolist(), allowed[row].tolist(), max_answer_length)
        assert scores[row].item() == score
        assert place is None or spans[row].tolist() == place


def test_the_best_ends_apart_would_be_no_span() -> None:
    # best start behind the best end; together they would score 10
    start = torch.tensor([[[0.0, 1.0, 5.0]]])
    end = torch.tensor([[[5.0, 2.0, 0.5]]])
    spans, scores = best_spans(start, end, torch.ones(1, 1, 3, dtype=torch.bool), 3)
    assert (spans.tolist(), scores.tolist()) == ([[0, 2, 2]], [5.5])


def test_a_row_for_which_nothing_is_allowed() -> None:
    allowed = torch.tensor([[[False, False]], [[False, True]]])
    spans, scores = best_spans(torch.zeros(2, 1, 2), torch.zeros(2, 1, 2), allowed, 2)
    assert scores.tolist() == [-torch.inf, 0.0]
    assert spans[1].tolist() == [0, 1, 1]


def test_no_rows() -> None:
    none = torch.zeros(0, 2, 3)
    spans, scores = best_spans(none, none, none.bool(), 2)
    assert (spans.shape, scores.shape) == ((0, 3), (0,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_sum_is_not_rounded_to_a_tie(dtype: torch.dtype) -> None:
    # in the logits' own digits both sums are 1024
    small = torch.finfo(dtype).eps
    start = torch.tensor([[[small, 2 * small]]], dtype=dtype)
    end = torch.tensor([[[-9.0, 1024.0]]], dtype=dtype)
    spans, scores = best_spans(start, end, torch.ones(1, 1, 2, dtype=torch.bool), 2)
    assert spans.tolist() == [[0, 1, 1]]
    assert scores.tolist() == [1024 + 2 * small]


def test_the_logits_given_stay_as_they_are() -> None:
    start, end = torch.ones(1, 1, 2, dtype=torch.double), torch.ones(1, 1, 2, dtype=torch.double)
    best_spans(start, end, torch.zeros(1, 1, 2, dtype=torch.bool), 1)
    assert start.tolist() == end.tolist() == [[[1.0, 1.0]]]


@pytest.mark.parametrize("max_answer_length", [0, -1])
def test_a_length_that_allows_no_answer_is_refused(max_answer_length: int) -> None:
    logits = torch.zeros(1, 1, 2)
    with pytest.raises(InputError, match=f"max_answer_length: expected at least 1, found {max_answer_length}"):
        best_spans(logits, logits, logits.bool(), max_answer_length)
