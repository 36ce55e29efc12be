"""CoNLL-U: reading, writing, what is refused by its line, and scores counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.errors import InputError
from mt_transformers.metrics.conllu import (
    ConlluWord,
    read_conllu,
    score_conllu,
    universal_relation,
    write_conllu,
)

# as in a treebank: comments, a multi-word token, an empty node, features, no empty line at the end
TEXT = """\
# sent_id = 1
# text = Don't ask.
1-2|Don't|_|_|_|_|_|_|_|SpaceAfter=No
1|Do|do|AUX|VB|Mood=Imp|3|aux|3:aux|_
2|n't|not|PART|RB|_|3|advmod:neg|_|_
2.1|ever|ever|ADV|RB|_|_|_|3:advmod|_
3|ask|ask|VERB|VB|Mood=Imp|0|root|_|_
4|.|.|PUNCT|.|_|3|punct|_|_


# sent_id = 2
1|New York|New York|PROPN|NNP|Number=Sing|0|root|_|_
""".replace("|", "\t")

WORDS = [
    [
        ConlluWord(form="Do", lemma="do", upos="AUX", xpos="VB", feats="Mood=Imp", head=3, deprel="aux"),
        ConlluWord(form="n't", lemma="not", upos="PART", xpos="RB", head=3, deprel="advmod:neg"),
        ConlluWord(form="ask", lemma="ask", upos="VERB", xpos="VB", feats="Mood=Imp", head=0, deprel="root"),
        ConlluWord(form=".", lemma=".", upos="PUNCT", xpos=".", head=3, deprel="punct"),
    ],
    [
        ConlluWord(
            form="New York", lemma="New York", upos="PROPN", xpos="NNP", feats="Number=Sing", head=0, deprel="root"
        )
    ],
]

# anything but what ends a column or a line; also Unicode's own line breaks
values = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), min_size=1, max_size=4)


@st.composite
def sentences(draw: st.DrawFn) -> list[list[ConlluWord]]:
    lengths = draw(st.lists(st.integers(1, 4), max_size=3))
    names = ("form", "lemma", "upos", "xpos", "feats", "deprel")
    return [
        [
            ConlluWord(head=draw(st.integers(0, length)), **{name: draw(values) for name in names})
            for _ in range(length)
        ]
        for length in lengths
    ]


def line(text: str) -> str:
    return text.replace("|", "\t") + "\n"


def test_words_are_read_without_comments_ranges_and_empty_nodes() -> None:
    assert read_conllu(TEXT) == WORDS


def test_line_ends_of_windows_and_empty_texts_are_read() -> None:
    assert read_conllu(TEXT.replace("\n", "\r\n")) == WORDS
    assert read_conllu(TEXT.rstrip("\n")) == WORDS
    assert read_conllu("") == read_conllu("\n\n# a comment\n\n") == []


def test_words_are_written_in_ten_columns() -> None:
    assert write_conllu(WORDS).replace("\t", "|").splitlines() == [
        "1|Do|do|AUX|VB|Mood=Imp|3|aux|_|_",
        "2|n't|not|PART|RB|_|3|advmod:neg|_|_",
        "3|ask|ask|VERB|VB|Mood=Imp|0|root|_|_",
        "4|.|.|PUNCT|.|_|3|punct|_|_",
        "",
        "1|New York|New York|PROPN|NNP|Number=Sing|0|root|_|_",
        "",
    ]
    assert write_conllu(WORDS).endswith("\n\n")
    assert write_conllu([]) == ""


@given(sentences())
def test_what_is_written_is_read_back(words: list[list[ConlluWord]]) -> None:
    assert read_conllu(write_conllu(words)) == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1|a|a|X|X|_|0|root|_", "line 1: expected 10 columns separated by tabs, found 9."),
        ("1 a a X X _ 0 root _ _", "line 1: expected 10 columns separated by tabs, found 1."),
        ("1-2|ab|_", "line 1: expected 10 columns separated by tabs, found 3."),
        (" ", "line 1: expected 10 columns separated by tabs, found 1."),
        ("1||a|X|X|_|0|root|_|_", "line 1: column FORM: expected text without tabs and line breaks, found ''."),
        ("1|a|a|X|X|_|0||_|_", "line 1: column DEPREL: expected text without tabs and line breaks, found ''."),
        ("1|a\rb|a|X|X|_|0|root|_|_", "line 1: column FORM: expected text without .*, found 'a.rb'."),
        ("0|a|a|X|X|_|0|root|_|_", "line 1: column ID: expected word 1, found '0'."),
        ("2|a|a|X|X|_|0|root|_|_", "line 1: column ID: expected word 1, found '2'."),
        ("x|a|a|X|X|_|0|root|_|_", "line 1: column ID: expected word 1, found 'x'."),
        ("1-|a|a|X|X|_|0|root|_|_", "line 1: column ID: expected word 1, found '1-'."),
        ("1|a|a|X|X|_|_|root|_|_", "line 1: column HEAD: expected a number, found '_'."),
        ("1|a|a|X|X|_|-1|root|_|_", "line 1: column HEAD: expected a number, found '-1'."),
        ("1|a|a|X|X|_|\u00b2|root|_|_", "line 1: column HEAD: expected a number, found '\u00b2'."),
        ("1|a|a|X|X|_|2|root|_|_", r"line 1: column HEAD: expected a number from 0 \(the root\) to 1, found 2."),
    ],
)
def test_a_malformed_line_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^CoNLL-U, {message}$"):
        read_conllu(line(text))
    # behind a good sentence with a comment, in a named file
    later = message.replace("line 1", "line 4")
    with pytest.raises(InputError, match=f"^dev.conllu, {later}$"):
        read_conllu("# x\n" + line("1|b|b|X|X|_|0|root|_|_") + "\n" + line(text), "dev.conllu")


def test_numbers_must_not_repeat_or_skip_within_a_sentence() -> None:
    good = line("1|a|a|X|X|_|0|root|_|_")
    for number in (1, 3):
        with pytest.raises(InputError, match=f"^CoNLL-U, line 2: column ID: expected word 2, found '{number}'"):
            read_conllu(good + line(f"{number}|a|a|X|X|_|1|dep|_|_"))


def test_a_head_behind_the_sentence_is_named_by_its_own_line() -> None:
    text = line("1|a|a|X|X|_|3|dep|_|_") + line("2|b|b|X|X|_|0|root|_|_") + "\n"
    with pytest.raises(InputError, match=r"^CoNLL-U, line 1: column HEAD: .* to 2, found 3"):
        read_conllu(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": ""}, "column FORM: expected text without tabs and line breaks, found ''"),
        ({"form": "a\tb"}, r"column FORM: expected text without tabs and line breaks, found 'a\\tb'"),
        ({"lemma": "a\nb"}, r"column LEMMA: expected text without tabs and line breaks, found 'a\\nb'"),
        ({"xpos": "a\r"}, r"column XPOS: expected text without tabs and line breaks, found 'a\\r'"),
        ({"head": 5}, r"column HEAD: expected a number from 0 \(the root\) to 4, found 5"),
        ({"head": -1}, r"column HEAD: expected a number from 0 \(the root\) to 4, found -1"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(change: dict[str, str | int], message: str) -> None:
    words = [WORDS[1], [*WORDS[0][:2], replace(WORDS[0][2], **change), WORDS[0][3]]]
    with pytest.raises(InputError, match=f"^sentence 2, word 3: {message}"):
        write_conllu(words)
    with pytest.raises(InputError, match=r"^sentence 2: expected at least one word, found none"):
        write_conllu([WORDS[1], []])


@pytest.mark.parametrize(("deprel", "universal"), [("obl", "obl"), ("obl:agent", "obl"), ("a:b:c", "a"), ("_", "_")])
def test_universal_relation(deprel: str, universal: str) -> None:
    assert universal_relation(deprel) == universal


def test_scores_counted_by_hand() -> None:
    system = [
        [
            # lemma wrong
            replace(WORDS[0][0], lemma="don"),
            # subtype left out: right; the features are not scored
            replace(WORDS[0][1], deprel="advmod", feats="Polarity=Neg"),
            # xpos and head wrong, relation right
            replace(WORDS[0][2], xpos="VBP", head=1),
            # relation wrong
            replace(WORDS[0][3], deprel="dep"),
        ],
        # both tags wrong
        [replace(WORDS[1][0], upos="NOUN", xpos="NN")],
    ]
    assert score_conllu(WORDS, system) == {
        "UPOS": 4 / 5,
        "XPOS": 3 / 5,
        "Lemmas": 4 / 5,
        "UAS": 4 / 5,
        "LAS": 3 / 5,
    }
    assert set(score_conllu(WORDS, WORDS).values()) == {1.0}


@pytest.mark.parametrize(
    ("gold", "system", "right"), [("_", "ask", 1.0), ("_", "_", 1.0), ("ask", "_", 0.0), ("ask", "Ask", 0.0)]
)
def test_any_lemma_is_right_where_gold_has_none(gold: str, system: str, right: float) -> None:
    word = ConlluWord(form="asks", lemma=gold, head=0, deprel="root")
    assert score_conllu([[word]], [[replace(word, lemma=system)]])["Lemmas"] == right


@pytest.mark.parametrize(
    ("gold", "system", "right"),
    [("obl:agent", "obl:tmod", 1.0), ("obl", "obl:tmod", 1.0), ("obl:agent", "nmod:agent", 0.0)],
)
def test_relations_are_compared_by_their_universal_part(gold: str, system: str, right: float) -> None:
    word = ConlluWord(form="asks", head=0, deprel=gold)
    assert score_conllu([[word]], [[replace(word, deprel=system)]])["LAS"] == right


def test_no_words_give_zero() -> None:
    assert score_conllu([], []) == {"UPOS": 0.0, "XPOS": 0.0, "Lemmas": 0.0, "UAS": 0.0, "LAS": 0.0}


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (WORDS[:1], "system: expected 2 sentences, as many as gold, found 1"),
        ([WORDS[0], WORDS[1] * 2], "system, sentence 2: expected 1 words, as in gold, found 2"),
        (
            [[*WORDS[0][:3], replace(WORDS[0][3], form="!")], WORDS[1]],
            "system, sentence 1, word 4: expected the form '.', as in gold, found '!'",
        ),
    ],
)
def test_other_words_than_gold_are_refused(system: list[list[ConlluWord]], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        score_conllu(WORDS, system)
