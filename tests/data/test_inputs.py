"""What a row is read as: the sequences of each combination of inputs, token for token."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import VOCABULARY, WORDS, sub_word_tokenizer, tiny_tokenizer
from mt_transformers.data import EncodedTexts, check_inputs, encode_texts, text_inputs
from mt_transformers.data.inputs import outputs_given
from mt_transformers.errors import InputError

CLS, SEP, PAD = "[CLS]", "[SEP]", "[PAD]"


def encode(inputs: dict[str, list[Any]], max_length: int | None = None, **options: Any) -> EncodedTexts:
    return encode_texts(inputs, tiny_tokenizer(), max_length, **options)


def tokens(found: EncodedTexts) -> list[list[list[str]]]:
    """For each row the tokens of each of its sequences."""
    ids = found.encoding["input_ids"]
    return [[[VOCABULARY[index] for index in ids[place]] for place in own] for own in found.sequences]


def between(*parts: str) -> list[str]:
    """Tokens of a sequence of one text, or of a pair."""
    found = [CLS]
    for part in parts:
        found += [*part.split(), SEP]
    return found


# combinations


@pytest.mark.parametrize(
    "names",
    [
        ["text"],
        ["text", "text_pair"],
        ["tokens"],
        ["question", "context"],
        ["choices"],
        ["choices", "text"],
        ["sentences"],
        ["rejected", "chosen"],
        ["text", "rejected", "chosen"],
        ["images"],
        ["audio"],
        ["images", "text"],
        ["images", "question", "context"],
    ],
)
def test_inputs_that_go_together(names: list[str]) -> None:
    check_inputs(names)
    check_inputs(dict.fromkeys(names))


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["txt"],
        ["text_pair"],
        ["question"],
        ["context"],
        ["text", "context"],
        ["chosen"],
        ["chosen", "choices"],
        ["text", "tokens"],
        ["text", "sentences"],
        ["images", "audio"],
        ["text", "audio"],
        ["text", "images", "audio"],
        ["images", "text_pair"],
    ],
)
def test_inputs_that_do_not(names: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check_inputs(names)
    assert str(caught.value).startswith("inputs: expected one of [text; text, text_pair; tokens; ")
    assert str(caught.value).endswith(f"; found {', '.join(sorted(names)) or 'none'}.")


def test_which_inputs_are_text_and_what_they_become() -> None:
    assert text_inputs(["images", "text", "text_pair", "audio"]) == {"text", "text_pair"}
    assert text_inputs(["images"]) == text_inputs([]) == set()
    assert outputs_given(["audio"]) == {"encoded_audio"}
    assert outputs_given(["images", "tokens"]) == {"encoded_image", "encoded_text", "encoded_text_decoder"}


# one sequence a row


def test_texts_and_pairs() -> None:
    assert tokens(encode({"text": ["play music", "dido"]})) == [[between("play music")], [between("dido")]]
    found = encode({"text_pair": ["dido", "is"], "text": ["play music", "cher"]})
    assert tokens(found) == [[between("play music", "dido")], [between("cher", "is")]]
    assert found.encoding["token_type_ids"] == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]


def test_words_are_no_texts() -> None:
    found = encode_texts({"tokens": [["singers", "in"], [], ["newyork"]]}, sub_word_tokenizer(), None)
    assert tokens(found) == [[between("sing ##er ##s in")], [between("")], [between("new ##york")]]
    assert found.word_ids() == [[None, 0, 0, 0, 1, None], [None, None], [None, 0, 0, None]]


def test_texts_are_cut() -> None:
    assert tokens(encode({"text": ["play music by dido"]}, 4)) == [[between("play music")]]
    # the longer one first, as the tokenizer cuts pairs
    assert tokens(encode({"text": ["play music by dido"], "text_pair": ["is"]}, 6)) == [[between("play music", "is")]]
    assert tokens(encode({"text": ["play " * 100]}))[0][0] == between("play " * 100)


def test_padding_is_on_the_right_whatever_the_tokenizer_does() -> None:
    found = encode_texts({"text": ["play", "play music"]}, tiny_tokenizer("left"), None, padding=True)
    assert tokens(found) == [[[*between("play"), PAD]], [between("play music")]]
    assert found.encoding["attention_mask"] == [[1, 1, 1, 0], [1, 1, 1, 1]]
    # what pads later makes the mask
    assert "attention_mask" not in encode({"text": ["play"]}).encoding


def test_offsets_are_kept_where_they_are_asked_for() -> None:
    assert "offset_mapping" not in encode({"text": ["play music"]}).encoding
    found = encode({"text": ["play music"]}, offsets=True)
    assert found.encoding["offset_mapping"] == [[(0, 0), (0, 4), (5, 10), (0, 0)]]


# several sequences a row


def test_choices() -> None:
    found = encode({"choices": [["play music", "dido"], ["is", "a", "the"]]})
    assert tokens(found) == [[between("play music"), between("dido")], [between("is"), between("a"), between("the")]]
    assert [list(own) for own in found.sequences] == [[0, 1], [2, 3, 4]]


def test_choices_behind_a_text() -> None:
    found = encode({"choices": [["dido", "cher"], ["rome"]], "text": ["music by", "weather in"]})
    assert tokens(found) == [
        [between("music by", "dido"), between("music by", "cher")],
        [between("weather in", "rome")],
    ]
    assert found.encoding["token_type_ids"] == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]


def test_sentences_are_encoded_apart() -> None:
    found = encode({"sentences": [["play music", "dido"], ["cher"]]})
    assert tokens(found) == [[between("play music"), between("dido")], [between("cher")]]
    assert set(found.encoding["token_type_ids"][0]) == {0}


@pytest.mark.parametrize("order", [("chosen", "rejected", "text"), ("text", "rejected", "chosen")])
def test_the_chosen_answer_stands_before_the_rejected_one(order: tuple[str, ...]) -> None:
    values = {"chosen": ["great", "lovely"], "rejected": ["awful", "dull"], "text": ["the film is", "a book is"]}
    behind_text = encode({name: values[name] for name in order})
    assert tokens(behind_text) == [
        [between("the film is", "great"), between("the film is", "awful")],
        [between("a book is", "lovely"), between("a book is", "dull")],
    ]
    alone = encode({name: values[name] for name in order if name != "text"})
    assert tokens(alone) == [[between("great"), between("awful")], [between("lovely"), between("dull")]]


def test_several_sequences_are_padded_together() -> None:
    found = encode({"choices": [["play music", "dido"], ["is"]]}, padding=True)
    assert [len(ids) for ids in found.encoding["input_ids"]] == [4, 4, 4]


# windows of a context


def windows(question: str, context: str, max_length: int | None, stride: int | None = None) -> list[list[str]]:
    (found,) = tokens(encode({"question": [question], "context": [context]}, max_length, stride=stride))
    return found


def test_a_context_that_fits_is_one_window() -> None:
    context = "music by dido in rome"
    assert windows("play", context, None) == [between("play", context)]
    assert windows("play", context, 9, stride=2) == [between("play", context)]
    assert windows("play", "", 9) == [between("play", "")]


@pytest.mark.parametrize(
    ("stride", "cuts"),
    [
        (None, [(0, 8), (8, 16), (16, 18)]),
        (0, [(0, 8), (8, 16), (16, 18)]),
        (1, [(0, 8), (7, 15), (14, 18)]),
        (2, [(0, 8), (6, 14), (12, 18)]),
    ],
)
def test_windows_share_the_stride(stride: int | None, cuts: list[tuple[int, int]]) -> None:
    context = WORDS[:18]
    found = windows("play", " ".join(context), 12, stride)
    assert found == [between("play", " ".join(context[start:end])) for start, end in cuts]


def test_a_stride_that_windows_cannot_keep_is_made_smaller() -> None:
    # half of 8 tokens is for the context, and 3 are special: 1 at least, whatever the question
    assert windows("play music by dido", "a by in", 8, stride=100) == [
        between("play music by dido", part) for part in ("a", "by", "in")
    ]


def test_a_long_question_leaves_half_of_the_window() -> None:
    question = " ".join(["play"] * 40)
    found = windows(question, "a by in is new old the", 20, stride=2)
    cut = " ".join(["play"] * 10)
    # 20 tokens, 10 of them of the question, 3 special
    assert found == [between(cut, "a by in is new old the")]
    found = windows(question, "a by in is new old the .", 20, stride=2)
    assert found == [between(cut, "a by in is new old the"), between(cut, "old the .")]


def test_a_question_is_cut_behind_a_whole_token() -> None:
    found = encode_texts({"question": ["singers in newyork"], "context": ["dido"]}, sub_word_tokenizer(), 8)
    assert tokens(found) == [[between("sing ##er ##s in", "dido")]]
    found = encode_texts({"question": ["in singers"], "context": ["dido"]}, sub_word_tokenizer(), 7)
    # what stands before the cut is read as a word of its own, and has no more tokens than it had
    assert tokens(found) == [[between("in sing ##er", "dido")]]


@pytest.mark.parametrize("max_length", [3, 4, 5, 6])
def test_a_length_without_room_for_a_context_is_refused(max_length: int) -> None:
    with pytest.raises(InputError, match=f"^max_length: {max_length} tokens leave no room for a context"):
        windows("play", "music", max_length)


def test_windows_belong_to_their_rows() -> None:
    contexts = ["a by in is", "dido", "new old the . film"]
    found = encode({"question": ["play", "cher", ""], "context": contexts}, 7, stride=0)
    assert tokens(found) == [
        [between("play", "a by in"), between("play", "is")],
        [between("cher", "dido")],
        [between("", "new old the ."), between("", "film")],
    ]
    assert [list(own) for own in found.sequences] == [[0, 1], [2], [3, 4]]


def test_context_offsets_point_into_the_context() -> None:
    contexts = ["dido in newyork", "playing"]
    found = encode_texts({"question": ["singers", "a"], "context": contexts}, sub_word_tokenizer(), 9, stride=1)
    # [CLS] sing ##er ##s [SEP] ... [SEP]
    assert tokens(found)[0] == [
        between("sing ##er ##s", "dido in new"),
        between("sing ##er ##s", "new ##york"),
    ]
    none = [None] * 5
    assert found.context_offsets(0) == [
        [*none, (0, 4), (5, 7), (8, 11), None],
        [*none, (8, 11), (11, 15), None],
    ]
    # [CLS] a [SEP] play ##ing [SEP]
    assert found.context_offsets(1) == [[None, None, None, (0, 4), (4, 7), None]]


def test_context_offsets_leave_out_padding() -> None:
    found = encode({"question": ["play", "play music"], "context": ["dido", "cher is"]}, padding=True)
    assert found.context_offsets(0) == [[None, None, None, (0, 4), None, None, None]]
    assert found.context_offsets(1) == [[None, None, None, None, (0, 4), (5, 7), None]]


words = st.lists(st.sampled_from(WORDS), max_size=30)


@given(
    question=words,
    context=words.filter(len),
    max_length=st.integers(8, 24),
    stride=st.one_of(st.none(), st.integers(0, 30)),
)
def test_windows_cover_the_context_in_order(
    question: list[str], context: list[str], max_length: int, stride: int | None
) -> None:
    found = encode({"question": [" ".join(question)], "context": [" ".join(context)]}, max_length, stride=stride)
    shared = min(stride or 0, max_length - max_length // 2 - 4)
    kept = question[: max_length // 2]
    starts = [len(" ".join(["", *context[:index], ""])) - 1 for index in range(len(context))]
    position = 0
    for number, (ids, window) in enumerate(zip(tokens(found)[0], found.context_offsets(0), strict=True)):
        assert len(ids) <= max_length
        assert ids[: len(kept) + 2] == [CLS, *kept, SEP]
        part = ids[len(kept) + 2 : -1]
        last = position + len(part) == len(context)
        # all windows but the last are full
        assert last == (number == len(found.sequences[0]) - 1)
        assert last or len(ids) == max_length
        assert part == context[position : position + len(part)]
        places = [(starts[at], starts[at] + len(context[at])) for at in range(position, position + len(part))]
        assert window == [*[None] * (len(kept) + 2), *places, None]
        position += len(part) - shared
