"""make_output_human_readable: tokens, text and each head's answers, from what the model put out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import decoders
from transformers import BatchEncoding, PreTrainedTokenizerFast

from fixtures import HEADS, SLOTS, VOCABULARY, sub_word_tokenizer, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskModel
from mt_transformers.heads import words_of_ids

TEXTS = ["play music by dido", "weather in rome .", "play the new song"]
TAGS = {"head_type": "token_classification", "id2label": ["x", "y", "z"]}
TOPICS = {
    "head_type": "sequence_classification",
    "id2label": ["a", "b", "c"],
    "problem_type": "multi_label_classification",
}


def encode(tokenizer: PreTrainedTokenizerFast, *texts: Any, **options: Any) -> BatchEncoding:
    """The texts as the model takes them, padded."""
    return tokenizer(*texts, padding=True, return_tensors="pt", return_token_type_ids=False, **options)


def sub_words_that_join(padding_side: str = "right") -> PreTrainedTokenizerFast:
    """The sub-word tokenizer, whose text has no `##`, as BERT's has none."""
    tokenizer = sub_word_tokenizer(padding_side)
    tokenizer.backend_tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def slots_by_token(model: MultiTaskModel, ids: Sequence[int], tags: Sequence[str]) -> None:
    """Make the head `slots` answer with these tags, whatever the context: ids of words -> tags, O for all others."""

    def answer(module: Any, args: Any, kwargs: Any, outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logits = torch.zeros_like(outputs["logits"])
        logits[..., 0] = 10.0
        for index, tag in zip(ids, tags, strict=True):
            logits[seen[-1][: len(logits)] == index] = 20.0 * torch.eye(len(SLOTS))[SLOTS.index(tag)]
        return {**outputs, "logits": logits}

    seen: list[torch.Tensor] = []
    model.backbone.register_forward_hook(lambda _m, _a, outputs: seen.append(outputs["token_ids"]))
    model.heads["slots"].register_forward_hook(answer, with_kwargs=True)


def vocabulary_ids(*words: str) -> list[int]:
    """Ids of words."""
    return [VOCABULARY.index(word) for word in words]


# ------------------------------------------------------------------------------------------------------------------
# tokens and text


@pytest.mark.parametrize("side", ["right", "left"])
def test_tokens_and_text_without_padding(side: str) -> None:
    tokenizer = tiny_tokenizer(side)
    model = tiny_model()
    readable = model.make_output_human_readable(model(**encode(tokenizer, ["play dido", *TEXTS])), tokenizer)
    assert readable["tokens"] == [
        ["[CLS]", "play", "dido", "[SEP]"],
        ["[CLS]", "play", "music", "by", "dido", "[SEP]"],
        ["[CLS]", "weather", "in", "rome", ".", "[SEP]"],
        ["[CLS]", "play", "the", "new", "song", "[SEP]"],
    ]
    assert readable["text"] == ["play dido", *TEXTS]
    # what only passes from backbone to heads stays inside
    assert "words" not in readable


def test_the_tokenizer_is_the_models_own_unless_another_is_given() -> None:
    model = tiny_model()
    output = model(**encode(tiny_tokenizer(), ["play newyork"]))
    model.tokenizer = tiny_tokenizer()
    assert model.make_output_human_readable(output)["text"] == ["play newyork"]
    other = sub_word_tokenizer()
    other.add_tokens(["anything"])
    ids = encode(other, ["play anything"])["input_ids"]
    resized = {**output, "token_ids": ids, "encoded_text_mask": torch.ones_like(ids, dtype=torch.bool)}
    assert model.make_output_human_readable(resized, other)["text"] == ["play anything"]


@pytest.mark.parametrize("padded", [False, True])
def test_without_a_mask_every_token_counts(padded: bool) -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model()
    texts = ["play dido", "play music by dido"] if padded else ["play dido"]
    output = model(input_ids=encode(tokenizer, texts)["input_ids"])
    readable = model.make_output_human_readable(output, tokenizer)
    padding = ["[PAD]", "[PAD]"] if padded else []
    assert readable["tokens"][0] == ["[CLS]", "play", "dido", "[SEP]", *padding]
    assert readable["text"] == texts


def test_without_ids_there_is_no_text() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model()
    embeds = model.get_input_embeddings()(encode(tokenizer, TEXTS)["input_ids"])
    readable = model.make_output_human_readable(model(inputs_embeds=embeds), tokenizer)
    assert not {"tokens", "text"} & set(readable)
    assert readable["slots_decoded"] == [[], [], []]
    assert [answer["label"] in HEADS["intent"]["id2label"] for answer in readable["intent_decoded"]] == [True] * 3


# ------------------------------------------------------------------------------------------------------------------
# answers of the heads


def test_each_kind_of_head() -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model({**HEADS, "topics": TOPICS, "tags": TAGS})
    output = model(**encode(tokenizer, TEXTS))
    readable = model.make_output_human_readable(output, tokenizer)
    names = HEADS["intent"]["id2label"]
    best = output["intent_logits"].softmax(-1).max(-1)
    assert readable["intent_decoded"] == [
        {"label": names[index], "score": pytest.approx(score)}
        for index, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    assert readable["stars_decoded"] == [{"value": pytest.approx(row[0])} for row in output["stars_logits"].tolist()]
    for row, found in zip(output["topics_logits"].sigmoid().tolist(), readable["topics_decoded"], strict=True):
        expected = sorted(
            ((score, name) for score, name in zip(row, "abc", strict=True) if score >= 0.5), reverse=True
        )
        assert [(answer["score"], answer["label"]) for answer in found] == [
            (pytest.approx(score), name) for score, name in expected
        ]
    for row, text in enumerate(TEXTS):
        scores = output["tags_logits"][row].softmax(-1)
        words = text.split()
        assert [answer["text"] for answer in readable["tags_decoded"][row]] == words
        for place, answer in enumerate(readable["tags_decoded"][row]):
            # the first token is [CLS]
            assert answer["label"] == "xyz"[int(scores[place + 1].argmax())]
            assert answer["score"] == pytest.approx(scores[place + 1].max().item())
            assert readable["text"][row][answer["start"] : answer["end"]] == words[place]


@pytest.mark.parametrize("side", ["right", "left"])
def test_spans_lie_in_the_text(side: str) -> None:
    tokenizer, model = tiny_tokenizer(side), tiny_model()
    slots_by_token(model, vocabulary_ids("dido", "new", "rome"), ["B-singer", "B-city", "I-city"])
    texts = ["play music by dido", "weather in new rome", "dido in oslo"]
    readable = model.make_output_human_readable(model(**encode(tokenizer, texts)), tokenizer)
    spans = [
        [(answer["label"], text[answer["start"] : answer["end"]]) for answer in answers]
        for text, answers in zip(readable["text"], readable["slots_decoded"], strict=True)
    ]
    assert spans == [[("singer", "dido")], [("city", "new rome")], [("singer", "dido")]]
    assert [list(answers[0]) for answers in readable["slots_decoded"]] == [
        ["label", "score", "text", "start", "end"]
    ] * 3
    assert all(answers[0]["score"] > 0.99 for answers in readable["slots_decoded"])


@pytest.mark.parametrize("side", ["right", "left"])
def test_words_of_several_sub_tokens(side: str) -> None:
    tokenizer, model = sub_words_that_join(side), tiny_model({"tags": TAGS})
    texts = ["singers in newyork", "play"]
    output = model(**encode(tokenizer, texts))
    readable = model.make_output_human_readable(output, tokenizer)
    assert readable["tokens"] == [
        ["[CLS]", "sing", "##er", "##s", "in", "new", "##york", "[SEP]"],
        ["[CLS]", "play", "[SEP]"],
    ]
    assert readable["text"] == texts
    best = output["tags_logits"].argmax(-1)
    shift = 5 if side == "left" else 0
    assert [[answer["text"] for answer in answers] for answers in readable["tags_decoded"]] == [
        ["singers", "in", "newyork"],
        ["play"],
    ]
    # a word is labelled where its first sub-token is
    labels = [[answer["label"] for answer in answers] for answers in readable["tags_decoded"]]
    assert labels == [["xyz"[best[0, at]] for at in (1, 4, 5)], ["xyz"[best[1, 1 + shift]]]]
    for text, answers in zip(texts, readable["tags_decoded"], strict=True):
        assert [text[answer["start"] : answer["end"]] for answer in answers] == text.split()


def test_answers_can_be_written_as_json() -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model({**HEADS, "topics": TOPICS, "tags": TAGS})
    readable = model.make_output_human_readable(model(**encode(tokenizer, TEXTS)), tokenizer)
    answers = {key: value for key, value in readable.items() if not isinstance(value, torch.Tensor)}
    assert set(answers) == {
        "tokens",
        "text",
        "intent_decoded",
        "slots_decoded",
        "stars_decoded",
        "topics_decoded",
        "tags_decoded",
    }
    assert json.loads(json.dumps(answers)) == answers


# ------------------------------------------------------------------------------------------------------------------
# which heads, which rows


def test_a_head_that_did_not_run_says_nothing() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model()
    readable = model.make_output_human_readable(model(**encode(tokenizer, TEXTS), heads=["stars"]), tokenizer)
    assert [key for key in readable if key.endswith("_decoded")] == ["stars_decoded"]
    assert readable["text"] == TEXTS


def test_a_head_takes_no_keys_of_another_whose_name_it_begins() -> None:
    two, three = {"id2label": ["no", "yes"]}, {"id2label": ["1", "2", "3"]}
    classification = {"head_type": "sequence_classification"}
    heads = {
        "cls": {**classification, **two},
        "cls2": {**classification, **three},
        "a": {"head_type": "regression"},
        "a_b": {**classification, **three},
    }
    tokenizer, model = tiny_tokenizer(), tiny_model(heads)
    inputs = encode(tokenizer, TEXTS)
    readable = model.make_output_human_readable(model(**inputs), tokenizer)
    assert all(answer["label"] in ("no", "yes") for answer in readable["cls_decoded"])
    assert all(answer["label"] in ("1", "2", "3") for answer in readable["cls2_decoded"])
    assert all(list(answer) == ["value"] for answer in readable["a_decoded"])
    assert all(answer["label"] in ("1", "2", "3") for answer in readable["a_b_decoded"])
    for other, name in (("cls2", "cls"), ("a_b", "a")):
        readable = model.make_output_human_readable(model(**inputs, heads=[other]), tokenizer)
        assert f"{other}_decoded" in readable
        assert f"{name}_decoded" not in readable


def test_heads_that_ran_on_some_rows_only() -> None:
    tokenizer, model = tiny_tokenizer("left"), tiny_model({**HEADS, "tags": TAGS})
    slots_by_token(model, [], [])
    texts = ["play dido", "weather in rome", "play the new song", "cher"]
    inputs = encode(tokenizer, texts)
    everything = model.make_output_human_readable(model(**inputs), tokenizer)
    output = model(**inputs, task=["tags", "intent", "tags", "intent"])
    readable = model.make_output_human_readable(output, tokenizer)
    assert output["tags_rows"].tolist() == [0, 2]
    assert readable["text"] == texts
    assert [[answer["text"] for answer in answers] for answers in readable["tags_decoded"]] == [
        ["play", "dido"],
        ["play", "the", "new", "song"],
    ]
    for place, row in enumerate((0, 2)):
        for found, expected in zip(readable["tags_decoded"][place], everything["tags_decoded"][row], strict=True):
            assert found == {**expected, "score": pytest.approx(expected["score"])}
    assert [answer["label"] for answer in readable["intent_decoded"]] == [
        everything["intent_decoded"][row]["label"] for row in (1, 3)
    ]
    assert not {"slots_decoded", "stars_decoded"} & set(readable)


def test_the_output_of_a_training_call() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model().train()
    labels = {"intent": torch.tensor([0, -100, 1]), "stars": torch.tensor([[1.0], [2.0], [float("nan")]])}
    output = model(**encode(tokenizer, TEXTS), labels=labels)
    readable = model.make_output_human_readable(output, tokenizer)
    assert [len(readable[f"{name}_decoded"]) for name in ("intent", "stars")] == [2, 2]
    assert readable["loss"] is output["loss"]


def test_what_was_given_is_not_changed() -> None:
    tokenizer, model = tiny_tokenizer("left"), tiny_model()
    output = model(**encode(tokenizer, TEXTS), task=["slots", "intent", "slots"])
    given = dict(output)
    before = {key: value.clone() for key, value in given.items()}
    readable = model.make_output_human_readable(output, tokenizer)
    assert list(output) == list(before)
    for key, value in before.items():
        assert output[key] is given[key] is readable[key]
        assert torch.equal(given[key], value)
    # a plain dict does as well, and an answer may be asked for again
    again = model.make_output_human_readable(readable, tokenizer)
    assert {key for key in again if key not in given} == {"tokens", "text", "slots_decoded", "intent_decoded"}
    assert again["slots_decoded"] == readable["slots_decoded"]
    assert again["slots_decoded"] is not readable["slots_decoded"]
    assert set(given) == set(before)


# ------------------------------------------------------------------------------------------------------------------
# without a tokenizer, and what is no part of the model


def test_without_a_tokenizer() -> None:
    model = tiny_model({**HEADS, "tags": TAGS})
    assert model.tokenizer is None
    readable = model.make_output_human_readable(model(**tiny_inputs()))
    assert not {"tokens", "text"} & set(readable)
    assert readable["slots_decoded"] == readable["tags_decoded"] == [[], [], [], []]
    assert [answer["label"] in HEADS["intent"]["id2label"] for answer in readable["intent_decoded"]] == [True] * 4
    assert [list(answer) for answer in readable["stars_decoded"]] == [["value"]] * 4
    some = model.make_output_human_readable(model(**tiny_inputs(), task=["tags", "tags", "stars", "tags"]))
    assert some["tags_decoded"] == [[], [], []]


def test_the_tokenizer_is_not_saved(tmp_path: Path) -> None:
    model = tiny_model()
    model.tokenizer = tiny_tokenizer()
    model.save_pretrained(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert "tokenizer" not in (tmp_path / "config.json").read_text()
    assert MultiTaskModel.from_pretrained(tmp_path).tokenizer is None
    # nor shared between models
    assert tiny_model().tokenizer is None


# ------------------------------------------------------------------------------------------------------------------
# rows whose text does not lead back to their ids


def words_said(tokenizer: PreTrainedTokenizerFast, inputs: Any) -> tuple[list[str], list[list[str]]]:
    """The texts, and the words that a head for words labels; each lies in its row's text."""
    model = tiny_model({"tags": TAGS})
    output = model(**inputs)
    readable = model.make_output_human_readable(output, tokenizer)
    for row, (text, answers) in enumerate(zip(readable["text"], readable["tags_decoded"], strict=True)):
        assert [text[answer["start"] : answer["end"]] for answer in answers] == [answer["text"] for answer in answers]
        # each is labelled where its token is
        tokens = tokenizer.convert_ids_to_tokens(output["token_ids"][row].tolist())
        for answer in answers:
            if tokens.count(answer["text"]) == 1:
                logits = output["tags_logits"][row, tokens.index(answer["text"])]
                assert answer["label"] == "xyz"[int(logits.argmax())]
    return readable["text"], [[answer["text"] for answer in answers] for answers in readable["tags_decoded"]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_that_were_cut(side: str) -> None:
    tokenizer = tiny_tokenizer(side)
    inputs = encode(tokenizer, ["play the new song by dido", "cher"], truncation=True, max_length=5)
    assert words_said(tokenizer, inputs) == (["play the new", "cher"], [["play", "the", "new"], ["cher"]])
    # without the [SEP] that a tokenizer would put behind
    cut = {name: value[:, :4] for name, value in encode(tiny_tokenizer(), ["play the new song by dido"]).items()}
    assert words_said(tokenizer, cut) == (["play the new"], [["play", "the", "new"]])


@pytest.mark.parametrize("side", ["right", "left"])
def test_pairs(side: str) -> None:
    tokenizer = tiny_tokenizer(side)
    inputs = encode(tokenizer, ["play dido", "cher"], ["the film is great", "rome ."])
    texts, words = words_said(tokenizer, inputs)
    assert texts == ["play dido the film is great", "cher rome ."]
    assert words == [text.split() for text in texts]


@pytest.mark.parametrize("side", ["right", "left"])
def test_known_words_beside_an_unknown_one(side: str) -> None:
    tokenizer = tiny_tokenizer(side)
    _, words = words_said(tokenizer, encode(tokenizer, ["play something by dido", "weather in rome in rome ."]))
    assert [word for word in words[0] if word != "[UNK]"] == ["play", "by", "dido"]
    assert words[1] == ["weather", "in", "rome", "in", "rome", "."]


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_unknown_word_is_a_word(side: str) -> None:
    """[UNK] stands for a word of the row, which trained and is labelled; only what the tokenizer adds is none."""
    tokenizer = tiny_tokenizer(side)
    texts, words = words_said(tokenizer, encode(tokenizer, ["play something by dido", "weather in rome in rome ."]))
    assert texts[0] == "play [UNK] by dido"
    assert words[0] == ["play", "[UNK]", "by", "dido"]


def test_an_entity_of_an_unknown_word_is_told() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model()
    slots_by_token(model, vocabulary_ids("[UNK]"), ["B-singer"])
    readable = model.make_output_human_readable(model(**encode(tokenizer, ["play music by somebody"])), tokenizer)
    assert [answer["label"] for answer in readable["slots_decoded"][0]] == ["singer"]


def test_pieces_of_words_that_do_not_join() -> None:
    """Without a text that leads back each token counts as a word."""
    tokenizer = sub_word_tokenizer()
    inputs = encode(tokenizer, ["play newyork"])
    assert words_said(tokenizer, inputs) == (["play new ##york"], [["play", "new", "##york"]])


def test_a_row_of_nothing_but_padding() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model({"tags": TAGS, "intent": HEADS["intent"]})
    inputs = encode(tokenizer, ["play dido", "cher"])
    inputs["attention_mask"][1] = 0
    readable = model.make_output_human_readable(model(**inputs), tokenizer)
    assert (readable["tokens"][1], readable["text"][1], readable["tags_decoded"][1]) == ([], "", [])
    assert len(readable["intent_decoded"]) == 2


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([], ("", [])),
        ([2, 3], ("", [])),
        ([2, 24, 3], ("play", [(1, "play", 0, 4)])),
        ([24], ("play", [(0, "play", 0, 4)])),
        ([24, 3, 24], ("play play", [(0, "play", 0, 4), (2, "play", 5, 9)])),
        ([2, 24, 0, 0], ("play", [(1, "play", 0, 4)])),
    ],
)
def test_words_of_ids(ids: list[int], expected: Any) -> None:
    assert words_of_ids(ids, tiny_tokenizer()) == expected
