"""Words of a text, and which sub-token stands for each."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import sub_word_tokenizer, tiny_tokenizer
from mt_transformers.heads import find_words, split_words


def encode(tokenizer: Any, *texts: Any, **options: Any) -> Any:
    split = isinstance(texts[0][0], list)
    return tokenizer(*texts, is_split_into_words=split, return_offsets_mapping=True, padding=True, **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("   \n\t", []),
        ("play music", ["play", "music"]),
        ("  play \n music ", ["play", "music"]),
        ("Don't play it, Sam.", ["Don't", "play", "it", ",", "Sam", "."]),
        ("l\u2019\u00e9t\u00e9", ["l\u2019\u00e9t\u00e9"]),
        ("state-of-the-art", ["state-of-the-art"]),
        ("-a- 'b'", ["-", "a", "-", "'", "b", "'"]),
        ("3.14 a_b", ["3", ".", "14", "a", "_", "b"]),
        ("__init__", ["__", "init", "__"]),
        ("?!...", ["?", "!", ".", ".", "."]),
        ("bj\u00f6rk", ["bj\u00f6rk"]),
        ("\u97f3\u697d\u3092", ["\u97f3", "\u697d", "\u3092"]),
        ("\u0645\u0631\u062d\u0628\u0627 \u0628\u0643", ["\u0645\u0631\u062d\u0628\u0627", "\u0628\u0643"]),
        ("hi\U0001f600\U0001f600", ["hi", "\U0001f600", "\U0001f600"]),
        # accents, vowel signs and joiners belong to what stands before them
        ("e\u0301te\u0301 \u0301", ["e\u0301te\u0301", "\u0301"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),
        ("\u0645\u064f\u062d\u064e\u0645", ["\u0645\u064f\u062d\u064e\u0645"]),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"]),
        ("\u304b\u3099\u97f3", ["\u304b\u3099", "\u97f3"]),
        ("\u2764\ufe0fart'\u0301s", ["\u2764\ufe0f", "art", "'\u0301", "s"]),
        ("\U0001f468\u200d\U0001f469", ["\U0001f468\u200d", "\U0001f469"]),
    ],
)
def test_split_words(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == expected


@given(st.text(max_size=40))
def test_words_cover_all_but_spaces_and_do_not_overlap(text: str) -> None:
    spans = split_words(text)
    assert all(start < end for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    covered = {place for start, end in spans for place in range(start, end)}
    assert not {place for place in covered if text[place].isspace()}
    assert {place for place, sign in enumerate(text) if sign.isalnum()} <= covered


def test_words_of_a_text() -> None:
    text = "weather in newyork, unhappy"
    encoding = encode(sub_word_tokenizer(), [text])
    # [CLS] weather in new ##york , un ##happy [SEP]
    assert find_words(encoding, 0, text) == [
        (1, "weather", 0, 7),
        (2, "in", 8, 10),
        (3, "newyork", 11, 18),
        (5, ",", 18, 19),
        (6, "unhappy", 20, 27),
    ]


def test_words_of_a_list() -> None:
    """As if joined by single spaces, whatever the words hold."""
    words = ["singers", "in", "newyork", ".", "is dull"]
    encoding = encode(sub_word_tokenizer(), [words])
    # [CLS] sing ##er ##s in new ##york . is dull [SEP]
    found = find_words(encoding, 0, words)
    assert found == [
        (1, "singers", 0, 7),
        (4, "in", 8, 10),
        (5, "newyork", 11, 18),
        (7, ".", 19, 20),
        (8, "is dull", 21, 28),
    ]
    joined = " ".join(words)
    assert [joined[word.start : word.end] for word in found] == words


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("as_words", [False, True])
def test_padding_shifts_the_sub_tokens_and_no_offset(side: str, as_words: bool) -> None:
    texts = ["play newyork", "the new film is great"]
    rows: list[Any] = [text.split() for text in texts] if as_words else texts
    tokenizer = sub_word_tokenizer(side)
    encoding = encode(tokenizer, rows)
    shift = 2 if side == "left" else 0
    assert len(encoding["input_ids"][0]) == 7
    assert find_words(encoding, 0, rows[0]) == [(1 + shift, "play", 0, 4), (2 + shift, "newyork", 5, 12)]
    found = find_words(encoding, 1, rows[1])
    assert [word.position for word in found] == [1, 2, 3, 4, 5]
    assert [texts[1][word.start : word.end] for word in found] == texts[1].split()
    # the sub-token that stands for a word is its first one
    ids = encoding["input_ids"][0]
    assert tokenizer.convert_ids_to_tokens([ids[word.position] for word in find_words(encoding, 0, rows[0])]) == [
        "play",
        "new",
    ]


@pytest.mark.parametrize("as_words", [False, True])
def test_words_behind_the_maximum_length_have_no_sub_token(as_words: bool) -> None:
    text = "play music in newyork in rome"
    row: Any = text.split() if as_words else text
    encoding = encode(sub_word_tokenizer(), [row], truncation=True, max_length=6)
    # [CLS] play music in new [SEP]: of newyork only the first piece is left
    assert [word.text for word in find_words(encoding, 0, row)] == ["play", "music", "in", "newyork"]


def test_only_the_first_text_of_a_pair_has_words() -> None:
    encoding = encode(tiny_tokenizer(), ["play music"], ["the film is great"])
    assert find_words(encoding, 0, "play music") == [(1, "play", 0, 4), (2, "music", 5, 10)]
    # also where the first text was cut, so that tokens of the second stand at places of its words
    cut = encode(
        tiny_tokenizer(), ["play music by dido"], ["the film is great"], truncation="only_first", max_length=9
    )
    assert find_words(cut, 0, "play music by dido") == [(1, "play", 0, 4), (2, "music", 5, 10)]


def test_a_sub_token_over_several_words_stands_for_the_first() -> None:
    """The word-level tokenizer splits at hyphens only where BERT does; offsets decide, not the number of tokens."""
    text = "is it state-of-the-art"
    encoding = encode(tiny_tokenizer(), [text])
    found = find_words(encoding, 0, text)
    # BERT splits the last word in seven: its first piece stands for it
    assert [(word.position, word.text) for word in found] == [(1, "is"), (2, "it"), (3, "state-of-the-art")]


@pytest.mark.parametrize("row", ["", "   ", []])
def test_rows_without_words(row: Any) -> None:
    encoding = encode(tiny_tokenizer(), [row])
    assert find_words(encoding, 0, row) == []


def test_an_empty_word_has_no_sub_token() -> None:
    words = ["play", "", "music"]
    assert find_words(encode(tiny_tokenizer(), [words]), 0, words) == [(1, "play", 0, 4), (2, "music", 6, 11)]


def test_offsets_count_characters_not_bytes() -> None:
    text = "\U0001f600 bj\u00f6rk"
    assert find_words(encode(tiny_tokenizer(), [text]), 0, text) == [(1, "\U0001f600", 0, 1), (2, "bj\u00f6rk", 2, 7)]
