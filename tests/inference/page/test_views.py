"""Answers of every kind are drawn, and nothing in them becomes markup."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import tiny_model, tiny_tokenizer
from mt_transformers.inference import MultiTaskPredictor
from mt_transformers.inference.page.cards import show_error, show_prediction
from mt_transformers.inference.page.prediction import Prediction
from mt_transformers.inference.page.views import is_wide, show_answer

EVIL = "<i>&\"'</i>"
SPAN = {"label": "x", "score": 0.5, "start": 0, "end": 1}


def parsed(markup: Any) -> ElementTree.Element:
    """The markup as a tree, which fails for what is not well-formed."""
    return ElementTree.fromstring(f"<div>{markup}</div>")


def texts(markup: Any, path: str) -> list[str]:
    """The whole text of each element of a path."""
    return ["".join(element.itertext()) for element in parsed(markup).iterfind(path)]


def classes(markup: Any) -> list[str]:
    return [name for element in parsed(markup).iter() for name in element.get("class", "").split()]


def test_one_class_is_a_bar_as_long_as_its_score() -> None:
    markup = show_answer({"label": "a", "score": 0.25}, {"text": "t"})
    assert texts(markup, ".//span[@class='mt-bar-label']") == ["a"]
    assert "width:25.0%" in markup
    assert classes(markup).count("mt-best") == 1


def test_several_classes_are_bars_best_first() -> None:
    """Of a head for several labels, or the best few of one label."""
    markup = show_answer([{"label": "b", "score": 0.7}, {"label": "a", "score": 0.2}], {"text": "t"})
    assert texts(markup, ".//span[@class='mt-bar-label']") == ["b", "a"]
    assert texts(markup, ".//span[@class='mt-bar-score']") == ["0.700", "0.200"]
    assert classes(markup).count("mt-best") == 1


@pytest.mark.parametrize(("score", "width"), [(-1.0, "0.0"), (2.0, "100.0"), (float("nan"), "0.0"), (1, "100.0")])
def test_bars_stay_within_their_track(score: float, width: str) -> None:
    assert f"width:{width}%" in show_answer({"label": "a", "score": score}, {})


def test_entities_are_marked_where_they_stand() -> None:
    spans = [{**SPAN, "start": 7, "end": 11, "label": "city"}, {**SPAN, "start": 0, "end": 3, "label": "city"}]
    markup = show_answer(spans, {"text": "Ulm or Rome"})
    assert texts(markup, ".//mark/span") == ["Ulm", "Rome"]
    assert texts(markup, "div")[0] == "Ulmcity or Romecity"
    assert texts(markup, ".//li/b") == ["city"]
    assert "2 times" in texts(markup, ".//li")[0]


def test_offsets_of_words_count_in_the_words_joined() -> None:
    markup = show_answer([{**SPAN, "start": 3, "end": 11}], {"tokens": ["in", "New", "York"]})
    assert texts(markup, ".//mark/span") == ["New York"]


def test_overlapping_spans_and_spans_outside_the_text_lose_nothing_of_it() -> None:
    spans = [{**SPAN, "start": s, "end": e} for s, e in ((0, 3), (2, 5), (4, 99), (50, 60), (-2, 1), (3, 3))]
    markup = show_answer(spans, {"text": "abcdefg"})
    assert texts(markup, ".//mark/span") == ["abc", "efg"]
    assert texts(markup, "div")[0].replace("x", "") == "abcdefg"


def test_words_have_their_labels_beneath() -> None:
    words = [{**SPAN, "label": "N", "text": "ab", "end": 2}, {**SPAN, "label": "V", "text": "c", "start": 3, "end": 4}]
    markup = show_answer(words, {"text": "ab c"})
    assert texts(markup, ".//mark") == ["abN", "cV"]
    assert "mt-words" in classes(markup)
    # of entities not every word is one
    assert "mt-words" not in classes(show_answer(words, {"text": "ab c d"}))


def test_lemmas_are_a_table() -> None:
    markup = show_answer([{"lemma": "be", "score": 0.5, "text": "is", "start": 0, "end": 2}], {"text": "is"})
    assert texts(markup, ".//td") == ["is", "be", "0.500"]


def test_an_answer_is_marked_in_its_context() -> None:
    answer = {"answer": "Rome", "score": 0.5, "start": 3, "end": 7}
    markup = show_answer(answer, {"question": "where?", "context": "in Rome."})
    assert texts(markup, ".//mark/span") == ["Rome"]
    assert texts(markup, "div")[0] == "in Romeanswer."


@pytest.mark.parametrize("answer", ["", None])
def test_no_answer_is_said(answer: str | None) -> None:
    found = {"answer": answer, "score": None if answer is None else 0.4, "start": None, "end": None}
    assert texts(show_answer(found, {"context": "a"}), "p") == [
        "No answer." if answer is None else "No answer (score 0.400)."
    ]


NUMBERS = [
    ({"value": 3.25}, ["3.250"]),
    ({"score": 0.5}, ["0.500"]),
    ({"score": 0.5, "embedding": [0.1, 2]}, ["0.500"]),
]


@pytest.mark.parametrize(("answer", "shown"), NUMBERS)
def test_a_number_is_shown_large(answer: Any, shown: list[str]) -> None:
    assert texts(show_answer(answer, {}), "p[@class='mt-value']") == shown


def test_the_other_answers() -> None:
    assert texts(show_answer({"values": [1.0, 2.5]}, {}), ".//td") == ["1", "1.000", "2", "2.500"]
    assert texts(show_answer({"score": 1.0, "rejected_score": 2.0}, {}), ".//td") == [
        "chosen",
        "1.000",
        "rejected",
        "2.000",
    ]
    assert texts(show_answer({"embedding": [0.5] * 100}, {}), ".//summary") == ["Embedding, 100 numbers"]
    assert texts(show_answer({"token": "play", "score": 0.5}, {}), ".//span[@title]") == ["play"]
    assert texts(show_answer([{"position": 2, "token": None, "score": 0.5}], {}), ".//td") == ["2", "None", "0.500"]
    assert texts(show_answer({"choice": 1, "score": 0.5}, {"choices": ["a", "b"]}), ".//span[@title]") == ["b"]
    ranked = [{"choice": 1, "score": 0.5}, {"choice": 2, "score": 0.3}]
    assert texts(show_answer(ranked, {"choices": ["a", "b"]}), ".//span[@title]") == ["b", "choice 2"]
    assert texts(show_answer([], {}), "p") == ["None."]


@pytest.mark.parametrize("answer", [{"a": 1}, 5, "text", [1, 2], {"label": 5, "score": "x"}, [{"label": "a"}, 3]])
def test_what_no_view_is_made_for_is_json(answer: Any) -> None:
    assert "mt-json" in classes(show_answer(answer, {"text": "t"}))


def test_a_tree_whose_heads_are_no_words_is_json() -> None:
    word = {"text": "a", "start": 0, "end": 1, "head": 2, "deprel": "x", "score": 0.5}
    assert "mt-json" in classes(show_answer([word], {"text": "a"}))


NAMES = st.text(max_size=12) | st.sampled_from([EVIL, "</mark>", "${a}", "{0}", "%s"])
ANSWERS = st.one_of(
    st.lists(st.builds(lambda label, score: {"label": label, "score": score}, NAMES, st.floats()), min_size=1),
    st.lists(
        st.builds(
            lambda name, start, end: {**SPAN, "label": name, "start": start, "end": end},
            NAMES,
            st.integers(-3, 30),
            st.integers(-3, 30),
        )
    ),
    st.lists(
        st.builds(
            lambda name, start: {**SPAN, "label": name, "start": start, "end": start + 2, "text": name},
            NAMES,
            st.integers(0, 9),
        )
    ),
    st.lists(
        st.builds(
            lambda t, h: {"text": t, "start": 0, "end": 1, "head": h, "deprel": t, "score": 0.1},
            NAMES,
            st.integers(0, 4),
        ),
        min_size=4,
        max_size=6,
    ),
    st.builds(lambda t: {"token": t, "score": 0.5}, NAMES),
    st.recursive(NAMES | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)),
)


@given(answer=ANSWERS, text=NAMES)
def test_no_answer_becomes_markup(answer: Any, text: str) -> None:
    """Whatever stands in labels and texts, the same elements come out as for harmless ones of the same shape."""
    allowed = {
        "div",
        "span",
        "mark",
        "b",
        "ul",
        "li",
        "small",
        "p",
        "pre",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    allowed |= {"details", "summary", "code", "section", "h3"}
    clean = str(show_answer(answer, {"text": text}))
    without_controls = "".join(sign for sign in clean if sign.isprintable())
    elements = list(parsed(without_controls).iter())
    assert {element.tag.rpartition("}")[2] for element in elements} <= allowed | {"svg", "path", "text"}
    drawn = {"role", "width", "height", "viewBox", "d", "x", "y"}
    assert {name for element in elements for name in element.attrib} <= {"class", "title", "style", "open", *drawn}


def test_every_head_of_the_package_has_a_view() -> None:
    heads = {
        "mood": {"head_type": "sequence_classification", "id2label": ["a", "b"]},
        "tags": {"head_type": "token_classification", "id2label": ["N", "V"], "label_scheme": "plain"},
        "slots": {"head_type": "token_classification", "id2label": ["B-x", "I-x"]},
        "parse": {"head_type": "dependency_parsing", "id2label": ["root", "obj"]},
        "stars": {"head_type": "regression", "mean": [0.0], "std": [1.0]},
        "answer": {"head_type": "question_answering"},
        "best": {"head_type": "multiple_choice"},
        "same": {"head_type": "sentence_similarity"},
        "reward": {"head_type": "preference"},
    }
    predictor = MultiTaskPredictor(tiny_model(heads), tiny_tokenizer())
    rows: list[dict[str, Any]] = [
        {"text": "play music by adele"},
        {"tokens": ["the", "film"]},
        {"question": "is the film new", "context": "the film is old"},
        {"choices": ["great", "poor"]},
        {"sentences": ["the film", "the book"]},
        {"chosen": "great", "rejected": "poor"},
    ]
    seen = set()
    for row, answers in zip(rows, predictor(rows), strict=True):
        for name, answer in answers.items():
            seen.add(name)
            assert "mt-json" not in classes(show_answer(answer, row)), name
    assert seen == set(heads)


def test_cards_stand_in_the_order_of_the_heads_with_their_errors() -> None:
    prediction = Prediction({"b": {"label": "x", "score": 0.5}, "w": [SPAN]}, {"a": EVIL}, [["[CLS]", "<b>"]], 1.25)
    markup = show_prediction(
        prediction, {"text": "t"}, {"a": "own", "b": "sequence_classification", "c": "own", "w": "own"}
    )
    cards = parsed(markup).findall(".//section")
    assert [card.get("data-head") for card in cards] == ["a", "b", "w"]
    assert [card.get("class") for card in cards] == ["mt-card mt-error", "mt-card ", "mt-card mt-wide"]
    assert "".join(cards[0].itertext()) == f"aown{EVIL}"
    assert texts(markup, ".//code") == ["[CLS]", "<b>"]
    assert texts(markup, ".//summary") == ["One pass: 1.2 ms, 2 tokens"]


def test_a_message_is_a_card_of_its_own() -> None:
    assert texts(show_error(EVIL), ".//p") == [EVIL]


def test_texts_and_trees_are_wide() -> None:
    assert is_wide([SPAN])
    assert not is_wide({"label": "a", "score": 0.5})
    assert not is_wide([])
