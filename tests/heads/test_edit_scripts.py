"""Edit scripts: exact for any pair, shared by words that inflect alike, and few on real data."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.errors import InputError
from mt_transformers.heads.edit_scripts import apply_edit_script, edit_script_counts, find_edit_script

# among them what changes length, or does not come back, when its case changes, and the signs of the scripts
TRICKY = st.text(
    st.sampled_from(
        "aAbBsSkK=-+*:\n\u0131\u0130iI\u00df\u1e9e\u017f\u212a\u03a3\u03c2\u03c3\u01c6\u01c5\u01c4\ufb01\u0307\ud800"
    ),
    max_size=8,
)


@given(st.text(max_size=12), st.text(max_size=12))
def test_a_script_makes_the_lemma_it_was_found_for(word: str, lemma: str) -> None:
    assert apply_edit_script(word, find_edit_script(word, lemma)) == lemma


@given(TRICKY, TRICKY)
def test_a_script_makes_the_lemma_whatever_the_characters(word: str, lemma: str) -> None:
    script = find_edit_script(word, lemma)
    assert apply_edit_script(word, script) == lemma
    assert json.loads(json.dumps(script)) == script


@given(st.text("abc", min_size=1, max_size=6), st.text("abc", max_size=3), st.text("abc", max_size=3))
def test_a_script_makes_the_lemma_of_a_word_with_its_stem(stem: str, ending: str, other: str) -> None:
    script = find_edit_script(stem + ending, stem + other)
    assert apply_edit_script(stem + ending, script) == stem + other
    assert apply_edit_script((stem + ending).upper(), script) == stem + other


@given(TRICKY, TRICKY, TRICKY)
def test_a_script_of_another_word_never_fails(word: str, other: str, lemma: str) -> None:
    assert isinstance(apply_edit_script(word, find_edit_script(other, lemma)), str)


@pytest.mark.parametrize(
    ("script", "pairs"),
    [
        ("lower:*", "the the, The the, THE the, 1999 1999, . ., 東京 東京"),
        ("lower:*-", "dogs dog, Cats cat, liked like"),
        ("lower:*---", "walking walk, talking talk, TALKING talk"),
        ("lower:*---+y", "tries try, Cities city"),
        ("lower:*----", "running run, getting get"),
        ("lower:*-+e=-+l", "told tell, sold sell"),
        ("lower:=-+i*", "sang sing, rang ring"),
        ("lower:--*-+e+n", "gemacht machen, gesagt sagen"),
        ("lower:==-*", "12,000 12000, 38,500 38500"),
        ("keep:*", "Paris Paris, IBM IBM, McDonald McDonald, I I, iPod iPod"),
        ("keep:*-", "Americans American, IBMs IBM"),
        ("title:*", "paris Paris, PARIS Paris, i I"),
        ("title:*-", "americans American, AMERICANS American"),
        ("upper:*", "asap ASAP, Tv TV"),
        ("upper:*-", "roms ROM, Cds CD"),
        ("lower:=-+P*", "iphone iPhone, ipod iPod"),
        ("whole:go", "went go, Went go"),
        ("whole:be", "is be, was be, are be, WERE be, 's be"),
        ("whole:I", "me I, Me I"),
        ("whole:will", "wo will"),
    ],
)
def test_words_that_inflect_alike_share_a_script(script: str, pairs: str) -> None:
    for pair in pairs.split(", "):
        word, lemma = pair.split(" ")
        assert find_edit_script(word, lemma) == script, pair


@pytest.mark.parametrize(
    ("word", "script", "lemma"),
    [
        ("dreaming", "lower:*---", "dream"),
        ("Dreaming", "keep:*---", "Dream"),
        ("dreaming", "title:*---", "Dream"),
        ("dreaming", "upper:*---", "DREAM"),
        ("dreaming", "whole:*---", "*---"),
        ("dreaming", "whole:", ""),
        ("brang", "lower:==-+i*", "bring"),
        ("brang", "lower:*-+i==", "bring"),
        # the signs of the steps as characters to add, and a line break
        ("ab", "lower:++*+*", "+ab*"),
        ("ab", "lower:*+-+=", "ab-="),
        ("ab", "keep:+\n*", "\nab"),
        # one character is left, none is left, there are fewer than the script goes over
        ("Ring", "lower:*---", "r"),
        ("Ing", "lower:*---", "Ing"),
        ("In", "lower:--*--", "In"),
        ("", "lower:*", ""),
        ("", "title:*+s", ""),
        # lower case is longer than the word
        ("\u0130", "lower:*-", "i"),
    ],
)
def test_apply_edit_script(word: str, script: str, lemma: str) -> None:
    assert apply_edit_script(word, script) == lemma


@pytest.mark.parametrize(
    "script", ["", "NOUN", "lower", "lower:", "lower:---", "lower:**", "lower:*+", "lower:*s", "Lower:*", "_:*", "*"]
)
def test_what_is_no_script_is_refused(script: str) -> None:
    with pytest.raises(InputError, match="expected '<casing>:<start>\\*<end>' with a casing of lower, keep, title"):
        apply_edit_script("word", script)


def test_a_long_word() -> None:
    # from 200 characters on, difflib drops frequent ones unless told not to
    assert find_edit_script("Ab" * 150 + "s", "ab" * 150) == "lower:*-"


def test_counts_do_not_depend_on_the_order() -> None:
    pairs = [("went", "go"), ("cats", "cat"), ("the", "the"), ("dogs", "dog")]
    counts = {"lower:*-": 2, "lower:*": 1, "whole:go": 1}
    assert list(edit_script_counts(pairs).items()) == list(counts.items())
    assert list(edit_script_counts(reversed(pairs)).items()) == list(counts.items())
    assert edit_script_counts([]) == {}


def test_few_scripts_cover_the_english_web_treebank(data_folder: Path) -> None:
    pairs: dict[str, list[tuple[str, str]]] = {}
    for split in ("train", "test"):
        table = pq.read_table(data_folder / "ewt" / f"{split}.parquet", columns=["tokens", "lemma"])
        rows = zip(table["tokens"].to_pylist(), table["lemma"].to_pylist(), strict=True)
        every = [pair for words, lemmas in rows for pair in zip(words, lemmas, strict=True)]
        # the underscore stands where the rest of a word that was torn apart has no lemma of its own
        pairs[split] = [(word, lemma) for word, lemma in every if lemma != "_" or word == "_"]
    counts = edit_script_counts(pairs["train"])
    assert len(counts) == 523
    assert sum(count >= 2 for count in counts.values()) == 235
    assert sum(count >= 5 for count in counts.values()) == 125
    reached = [find_edit_script(*pair) in counts for pair in pairs["test"]]
    assert sum(reached) / len(reached) == pytest.approx(0.9978, abs=1e-4)
