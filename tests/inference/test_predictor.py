"""Every head's answer for each row: order, mixed kinds of rows, strange texts, and folders that cannot be used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel, ByT5Tokenizer, Wav2Vec2FeatureExtractor

from backbones import tiny_backbone_config
from fixtures import SLOTS, tiny_bert_config, tiny_model, tiny_tokenizer
from mt_transformers.data import Processing
from mt_transformers.errors import InputError
from mt_transformers.inference import MultiTaskPredictor, check_row, load_model

MIXED: list[Any] = [
    "play music by dido",
    {"text": "the film is great .", "text_pair": "the book is dull ."},
    {"tokens": ["weather", "in", "rome"]},
    "",
    "the film is awful . " * 5,
    {"tokens": []},
    {"text": "weather in new cairo", "task": "requests"},
    {"text": "the song is lovely ."},
    {"tokens": ["play", "music", "by", "new", "cher"], "task": "requests"},
    {"text": "the book is poor .", "text_pair": "", "task": "moods"},
    "play",
]


@pytest.fixture
def predictor(trained_folder: Path) -> MultiTaskPredictor:
    return MultiTaskPredictor(*load_model(trained_folder))


def same(one: Any, other: Any) -> bool:
    """Equal but for the last digits of scores."""
    if isinstance(one, dict):
        return isinstance(other, dict) and set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == (pytest.approx(other, abs=1e-4) if isinstance(one, float) else other)


def labels(answer: dict[str, Any]) -> tuple[str, str]:
    return answer["intent"]["label"], answer["mood"]["label"]


# answers


def test_answers_stand_in_the_order_of_the_rows(predictor: MultiTaskPredictor) -> None:
    rows = ["weather in the old rome", "play dido", "weather in lima", "play music by adele", "play"] * 3
    answers = predictor(rows)
    wanted = ["PlayMusic" if row.startswith("play") else "GetWeather" for row in rows]
    assert [answer["intent"]["label"] for answer in answers] == wanted
    moods = predictor(["the film is great .", "the book is dull .", "the song is superb ."])
    assert [answer["mood"]["label"] for answer in moods] == ["positive", "negative", "positive"]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 32])
def test_mixed_rows_equal_one_by_one(predictor: MultiTaskPredictor, batch_size: int) -> None:
    predictor.batch_size = batch_size
    answers = predictor(MIXED)
    assert len(answers) == len(MIXED)
    for row, answer in zip(MIXED, answers, strict=True):
        assert same(answer, predictor([row])[0])
    assert not same(answers[0]["intent"], answers[2]["intent"])


def test_rows_of_like_length_and_kind_are_encoded_together(predictor: MultiTaskPredictor) -> None:
    predictor.batch_size = 2
    shapes: list[tuple[int, ...]] = []
    predictor.model.backbone.register_forward_hook(
        lambda _, __, output: shapes.append(output["encoded_text"].shape[:2])
    )
    predictor(["a " * 9, "a", "a " * 8, {"tokens": ["a"]}, "a a"])
    # each with its two special tokens, the longest first
    assert shapes == [(2, 11), (2, 4), (1, 3)]


def test_no_rows_no_answers(predictor: MultiTaskPredictor) -> None:
    assert predictor([]) == []


def test_scores_are_those_of_a_plain_forward(predictor: MultiTaskPredictor) -> None:
    text = "weather in new rome"
    with torch.no_grad():
        outputs = predictor.model(**tiny_tokenizer()([text], return_tensors="pt"))
    answer = predictor([text])[0]
    assert answer["intent"]["score"] == pytest.approx(outputs["intent_logits"].softmax(-1).max().item(), rel=1e-5)
    assert set(answer) == {"intent", "slots", "mood"}
    scores = outputs["slots_logits"].softmax(-1)[0, 3:5, [SLOTS.index("B-city"), SLOTS.index("I-city")]].diagonal()
    assert answer["slots"] == [
        {
            "label": "city",
            "score": pytest.approx(scores.mean().item(), rel=1e-5),
            "text": "new rome",
            "start": 11,
            "end": 19,
        }
    ]


@pytest.mark.parametrize(
    ("row", "text", "spans"),
    [
        ("play music by adele", "play music by adele", ["adele"]),
        ("  play\tmusic  by   cher ", "  play\tmusic  by   cher ", ["cher"]),
        ("weather in new oslo", "weather in new oslo", ["new oslo"]),
        ({"tokens": ["weather", "in", "new", "oslo"]}, "weather in new oslo", ["new oslo"]),
        ({"tokens": ["play", "music", "by", "dido"]}, "play music by dido", ["dido"]),
        ({"text": "weather in rome", "text_pair": ""}, "weather in rome", ["rome"]),
    ],
)
def test_spans_point_at_their_words(predictor: MultiTaskPredictor, row: Any, text: str, spans: list[str]) -> None:
    found = predictor([row])[0]["slots"]
    assert [text[span["start"] : span["end"]] for span in found] == spans


@pytest.mark.parametrize("side", ["left", "right"])
def test_every_word_is_found_again_with_padding_on_either_side(trained_folder: Path, side: str) -> None:
    """The classifier is made to call every word a city."""
    model, _ = load_model(trained_folder)
    with torch.no_grad():
        model.heads["slots"].classifier.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1000.0, 0.0]))
    rows = [
        "play  dido",
        "the new film is great .",
        {"tokens": ["in", "rome"]},
        {"tokens": ["a", "new", "old", "song"]},
    ]
    answers = MultiTaskPredictor(model, tiny_tokenizer(side))(rows)
    assert [[(span["start"], span["end"]) for span in answer["slots"]] for answer in answers] == [
        [(0, 4), (6, 10)],
        [(0, 3), (4, 7), (8, 12), (13, 15), (16, 21), (22, 23)],
        [(0, 2), (3, 7)],
        [(0, 1), (2, 5), (6, 9), (10, 14)],
    ]


def test_chosen_heads_answer_and_no_others_run(predictor: MultiTaskPredictor) -> None:
    calls: list[str] = []
    for name, head in predictor.model.heads.items():
        head.register_forward_hook(lambda *_, name=name: calls.append(name))
    answers = predictor(["play dido", "the film is dull ."], heads=["mood", "intent"])
    assert [set(answer) for answer in answers] == [{"mood", "intent"}] * 2
    assert set(calls) == {"mood", "intent"}
    assert predictor(["play dido"], heads=[]) == [{}]
    with pytest.raises(InputError, match="heads: unknown head 'mod', did you mean 'mood'"):
        predictor(["play dido"], heads=["mod"])


def test_a_row_with_a_task_goes_to_its_heads(predictor: MultiTaskPredictor) -> None:
    rows = [{"text": "play dido", "task": "requests"}, {"text": "play dido", "task": "moods"}, "play dido"]
    answers = predictor(rows)
    assert [set(answer) for answer in answers] == [{"intent", "slots"}, {"mood"}, {"intent", "slots", "mood"}]
    assert [set(answer) for answer in predictor(rows, heads=["mood"])] == [set(), {"mood"}, {"mood"}]
    assert same(answers[0], {key: answers[2][key] for key in ("intent", "slots")})


def test_without_tasks_each_head_is_a_task_of_its_own_name() -> None:
    predictor = MultiTaskPredictor(tiny_model(), tiny_tokenizer())
    assert [set(each) for each in predictor([{"text": "play", "task": "stars"}])] == [{"stars"}]


def test_the_model_is_left_in_evaluation_mode(trained_folder: Path) -> None:
    model, tokenizer = load_model(trained_folder)
    predictor = MultiTaskPredictor(model.train(), tokenizer)
    assert predictor(["play dido"]) == predictor(["play dido"])
    assert not model.training


# strange texts


@pytest.mark.parametrize(
    "row",
    [
        "",
        " \n\t ",
        "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643",
        "\u97f3\u697d",
        "e\u0301\u0301\u0301",
        "\x00\x01\ufffd",
        "[CLS] [SEP] [PAD] [MASK]",
        {"tokens": []},
        {"tokens": [""]},
        {"tokens": ["", "play", ""]},
        {"text": "", "text_pair": ""},
    ],
)
def test_strange_texts_are_answered(predictor: MultiTaskPredictor, row: Any) -> None:
    answers = predictor([row, "play dido", row])
    assert [set(answer) for answer in answers] == [{"intent", "slots", "mood"}] * 3
    assert same(answers[0], answers[2])
    text = row if isinstance(row, str) else " ".join(row["tokens"]) if "tokens" in row else row["text"]
    assert all(0 <= span["start"] < span["end"] <= len(text) for span in answers[0]["slots"])
    # they can be written
    json.dumps(answers, ensure_ascii=False, allow_nan=False).encode("utf-8")


def test_long_texts_are_cut_and_counted(predictor: MultiTaskPredictor) -> None:
    long = "play " * 20_000
    assert len(long) == 100_000
    assert predictor.truncated_rows == 0
    answers = predictor([long, "play dido", {"tokens": ["play"] * 63}])
    assert predictor.truncated_rows == 2
    assert same(answers[0], predictor(["play " * 62])[0])
    # 62 words and the two special tokens are just what the model takes
    assert predictor.truncated_rows == 2
    predictor([{"text": "play " * 100, "text_pair": "play"}])
    assert predictor.truncated_rows == 3


# rows of several sequences

SEVERAL: dict[str, Any] = {
    "mood": {"head_type": "sequence_classification", "id2label": ["negative", "positive"]},
    "choice": {"head_type": "multiple_choice"},
    "answer": {"head_type": "question_answering", "stride": 2},
}
CONTEXT = "the film is great . the book is dull . the song is lovely . the play is poor ."


def test_rows_of_several_sequences_are_answered_as_alone() -> None:
    predictor = MultiTaskPredictor(tiny_model(SEVERAL), tiny_tokenizer_of(16), batch_size=3)
    rows: list[Any] = [
        {"question": "is the film great", "context": CONTEXT},
        {"text": "the film is", "choices": ["great", "awful .", "a new song by dido"]},
        "play dido",
        {"question": "is the book dull", "context": "the book is dull ."},
        {"text": "the song is", "choices": ["lovely"]},
        {"question": "", "context": CONTEXT * 2},
        {"choices": ["play", "music by adele"]},
    ]
    answers = predictor(rows)
    assert [set(answer) for answer in answers] == [
        {"mood", "answer"},
        {"choice"},
        {"mood"},
        {"mood", "answer"},
        {"choice"},
        {"mood", "answer"},
        {"choice"},
    ]
    for row, answer in zip(rows, answers, strict=True):
        assert same(answer, predictor([row])[0])
    for row, answer in zip(rows, answers, strict=True):
        if "answer" in answer:
            found = answer["answer"]
            assert row["context"][found["start"] : found["end"]] == found["answer"]


def tiny_tokenizer_of(length: int) -> Any:
    """The tiny tokenizer, which takes so many tokens."""
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = length
    return tokenizer


def test_a_head_of_one_sequence_reads_the_first_window() -> None:
    model = tiny_model({"mood": SEVERAL["mood"]})
    predictor = MultiTaskPredictor(model, tiny_tokenizer_of(16))
    rows = [{"question": "is it great", "context": CONTEXT}, {"question": "is it", "context": "the film"}]
    long, short = predictor(rows)
    # 3 tokens of the question and 3 special ones leave 10 for the context
    first = {"text": "is it great", "text_pair": " ".join(CONTEXT.split()[:10])}
    assert same(long, predictor([first])[0])
    assert same(short, predictor([{"text": "is it", "text_pair": "the film"}])[0])


def test_only_heads_that_answer_are_asked_for_their_sequences() -> None:
    predictor = MultiTaskPredictor(tiny_model(SEVERAL), tiny_tokenizer_of(16))
    row = {"question": "is it great", "context": CONTEXT}
    everything, mood = predictor([row])[0], predictor([row], heads=["mood"])[0]
    assert set(mood) == {"mood"}
    assert same(mood["mood"], everything["mood"])
    assert predictor([row], heads=["choice"]) == [{}]


# rows that cannot be used


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (None, "expected a text, a pair of texts, a list of words or an object, found NoneType"),
        (5, "expected a text, a pair of texts, a list of words or an object, found int"),
        (["play", 1], "tokens: expected a list of words"),
        ({}, "inputs: expected one of [text; text, text_pair; tokens; "),
        ({}, "; found none."),
        ({"task": "moods"}, "; found none."),
        ({"text": "a", "tokens": ["a"]}, "; found text, tokens."),
        ({"text_pair": "a"}, "; found text_pair."),
        ({"txt": "a"}, "unknown key 'txt', did you mean 'text'?"),
        ({"text": 5}, "text: expected a text, found int"),
        ({"text": None}, "text: expected a text, found NoneType"),
        ({"text": "a", "text_pair": ["b"]}, "text_pair: expected a text, found list"),
        ({"tokens": "a b"}, "tokens: expected a list of words"),
        ({"tokens": ["a", 5]}, "tokens: expected a list of words"),
        ({"tokens": ["a"], "text_pair": "b"}, "; found text_pair, tokens."),
        ({"text": "a", "task": "mods"}, "unknown task 'mods', did you mean 'moods'"),
        ({"text": "a", "task": 5}, "unknown task 5"),
        ({"text": "a", "task": None}, "unknown task None"),
        ({"text": "a", "task": ["moods"]}, "unknown task ['moods']"),
        ({"text": "a", "task": {"name": "moods"}}, "unknown task"),
        ({"text": "ab\ud800"}, "a surrogate without its pair at character 2"),
        ("\udc00", "a surrogate without its pair at character 0"),
        ({"text": "a", "text_pair": "\ud800"}, "a surrogate without its pair"),
        ({"tokens": ["a", "\ud800"]}, "a surrogate without its pair"),
        ({"text": "a", "task": "\ud800"}, "unknown task"),
        ({5: "a"}, "unknown key 5"),
    ],
)
def test_rows_that_cannot_be_used_are_named(predictor: MultiTaskPredictor, row: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_row(row, predictor.tasks)
    assert message in str(caught.value)
    with pytest.raises(InputError) as caught:
        predictor(["play dido", row])
    assert str(caught.value).startswith("row 1: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_without_rows_is_refused(batch_size: int) -> None:
    with pytest.raises(InputError, match="expected a batch size of at least 1"):
        MultiTaskPredictor(tiny_model(), tiny_tokenizer(), batch_size=batch_size)


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(InputError, match="expected a fast tokenizer, found ByT5Tokenizer"):
        MultiTaskPredictor(tiny_model(), ByT5Tokenizer())


def test_a_tokenizer_that_the_model_does_not_read_may_be_any() -> None:
    model = tiny_model({"mood": SEVERAL["mood"]}, tiny_backbone_config("wav2vec2"))
    processing = Processing(ByT5Tokenizer(), None, Wav2Vec2FeatureExtractor())
    clips = [{"audio": [0.5, -0.25, 0.0, 0.125] * count} for count in (80, 40)]
    answers = MultiTaskPredictor(model, processing)(clips)
    assert [set(answer) for answer in answers] == [{"mood"}, {"mood"}]
    with pytest.raises(InputError, match=r"^row 0: expected a fast tokenizer, found ByT5Tokenizer"):
        MultiTaskPredictor(model, processing)(["play"])


def test_what_prepares_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"^processing_class: expected the backbone's tokenizer, .*, found object\.$"):
        MultiTaskPredictor(tiny_model(), object())


# folders


def test_a_trained_folder_loads(trained_folder: Path) -> None:
    model, tokenizer = load_model(str(trained_folder))
    assert not model.training
    assert tokenizer("play").input_ids == [2, 24, 3]


def refused(folder: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    return str(caught.value)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path)


def test_a_plain_backbone_is_refused(tmp_path: Path) -> None:
    """It has no heads, and its weights have other names."""
    BertModel(tiny_bert_config()).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    refused(tmp_path)


@pytest.fixture
def broken_folder(trained_folder: Path, tmp_path: Path) -> Path:
    """A copy of the trained folder, to be spoiled by the test."""
    shutil.copytree(trained_folder, tmp_path / "broken")
    return tmp_path / "broken"


@pytest.mark.parametrize("kept", [0, 4, 100, 5000])
def test_corrupt_weights_are_refused(broken_folder: Path, kept: int) -> None:
    file = broken_folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    refused(broken_folder)


def test_weights_that_are_missing_are_refused(broken_folder: Path) -> None:
    (broken_folder / "model.safetensors").unlink()
    refused(broken_folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_corrupt_config_is_refused(broken_folder: Path, text: str) -> None:
    (broken_folder / "config.json").write_text(text, encoding="utf-8")
    refused(broken_folder)


def test_a_config_with_another_head_is_refused(broken_folder: Path) -> None:
    file = broken_folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["heads"]["topic"] = config["heads"]["mood"]
    file.write_text(json.dumps(config), encoding="utf-8")
    assert "head 'topic'" in refused(broken_folder)
    config["heads"]["topic"]["head_type"] = "unheard_of"
    file.write_text(json.dumps(config), encoding="utf-8")
    assert "unheard_of" in refused(broken_folder)


def test_a_tokenizer_that_is_missing_is_refused(broken_folder: Path) -> None:
    (broken_folder / "tokenizer.json").unlink()
    (broken_folder / "tokenizer_config.json").unlink()
    refused(broken_folder)


@pytest.mark.parametrize("text", ["", "{", "{}"])
def test_a_corrupt_tokenizer_is_refused(broken_folder: Path, text: str) -> None:
    (broken_folder / "tokenizer.json").write_text(text, encoding="utf-8")
    refused(broken_folder)


def test_tokens_are_what_the_backbone_reads(predictor: MultiTaskPredictor) -> None:
    assert predictor.tokens("play dido") == [["[CLS]", "play", "dido", "[SEP]"]]
    assert predictor.tokens(["weather", "in"]) == predictor.tokens({"text": "weather in", "task": "requests"})
    with pytest.raises(InputError, match="expected a text, a pair"):
        predictor.tokens(None)
