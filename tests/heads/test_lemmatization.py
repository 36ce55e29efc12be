"""Lemmas: edit scripts on first sub-tokens going in, lemmas as texts scored and coming out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value

from fixtures import HEADS, sub_word_tokenizer, tiny_bert_config, tiny_model, tiny_tokenizer
from mt_transformers import (
    MultiTaskModel,
    MultiTaskPredictor,
    MultiTaskTrainer,
    MultiTaskTrainingArguments,
    Task,
    get_head_config,
)
from mt_transformers.data import complete_heads, label_sources, prepare_split
from mt_transformers.errors import InputError
from mt_transformers.heads import (
    EncodedRows,
    LabelSource,
    LemmatizationHead,
    LemmatizationHeadConfig,
    SourceRow,
    Word,
)
from mt_transformers.heads.edit_scripts import find_edit_script

LEMMAS = List(Value("string"))
# the word as it is but for its case, without its last letter, without its last three, "be"
KEEP, DROP, DROP_3, BE = SCRIPTS = ["lower:*", "lower:*-", "lower:*---", "whole:be"]

# [CLS] sing ##er ##s in new ##york play ##ing [SEP]
ROW = ["singers", "in", "newyork", "playing"]


def make_config(**fields: Any) -> LemmatizationHeadConfig:
    return LemmatizationHeadConfig(**{"id2label": SCRIPTS, **fields})


def make_head(**fields: Any) -> LemmatizationHead:
    """A head on 4 features, in float64."""
    return LemmatizationHead(make_config(**fields), 4).double().eval()


def source(
    words: list[Any] | None = None, lemmas: list[Any] | None = None, feature: Any = LEMMAS, task: str = "ewt"
) -> LabelSource:
    return LabelSource(task, "lemma", feature, lambda: lemmas or [], lambda name: {"tokens": words or []}[name])


def encoded_rows(words: list[list[str]], **tokenize: Any) -> EncodedRows:
    encoding = sub_word_tokenizer()(words, is_split_into_words=True, **tokenize)
    word_ids = [encoding.word_ids(row) for row in range(len(words))]
    return EncodedRows(range(10, 10 + len(words)), {"tokens": words}, word_ids)


def encode(words: list[list[str]], lemmas: list[Any], **tokenize: Any) -> list[list[int]]:
    return make_config().encode_labels(lemmas, source(), encoded_rows(words, **tokenize))


def encode_gold(words: list[list[str]], lemmas: list[Any], **tokenize: Any) -> list[Any]:
    return make_config().encode_gold(lemmas, source(), encoded_rows(words, **tokenize))


# ------------------------------------------------------------------------------------------------------------------
# labels


def test_the_names_of_these_tests_are_scripts_of_words() -> None:
    pairs = [("In", "in"), ("dogs", "dog"), ("Playing", "play"), ("is", "be")]
    assert [find_edit_script(*pair) for pair in pairs] == SCRIPTS


def test_labels_stand_on_first_sub_tokens() -> None:
    found = encode([ROW], [["singer", "in", "newyork", "play"]])
    assert found == [[-100, 1, -100, -100, 0, 0, -100, 2, -100, -100]]


def test_rows_do_not_get_mixed_up() -> None:
    words = [["dido"], ["is", "playing"], [], ["cher", "songs", "rome"]]
    assert encode(words, [["dido"], ["be", "play"], [], ["cher", "song", "rome"]]) == [
        [-100, 0, -100],
        [-100, 3, 2, -100, -100],
        [-100, -100],
        [-100, 0, 1, -100, 0, -100],
    ]


def test_words_and_rows_without_a_lemma() -> None:
    words = [["is", "in", "songs"], ["dido"], ["_", "is", "__"]]
    lemmas = [[None, "in", "_"], None, ["_", "be", "_"]]
    # an underscore is the lemma of an underscore, and of nothing else
    assert encode(words, lemmas) == [
        [-100, -100, 0, -100, -100, -100],
        [-100, -100, -100],
        [-100, 0, 3, -100, -100, -100],
    ]
    assert [gold["words"] for gold in encode_gold(words, lemmas)] == [["in"], [""], ["_", "is"]]


def test_words_behind_the_maximum_length_are_left_out() -> None:
    lemmas = [["singer", "in", "newyork", "play"]]
    assert encode([ROW], lemmas, truncation=True, max_length=7) == [[-100, 1, -100, -100, 0, 0, -100]]
    assert encode_gold([ROW], lemmas, truncation=True, max_length=7) == [
        {"positions": [1, 4, 5], "words": ROW[:3], "lemmas": ["singer", "in", "newyork"]}
    ]


def test_words_without_a_sub_token_are_left_out() -> None:
    words, lemmas = [["is", " ", "playing"]], [["be", "x", "play"]]
    assert encode(words, lemmas) == [[-100, 3, 2, -100, -100]]
    assert encode_gold(words, lemmas) == [{"positions": [1, 2], "words": ["is", "playing"], "lemmas": ["be", "play"]}]


def test_words_whose_script_is_no_class_train_nothing_and_are_kept_for_metrics() -> None:
    words, lemmas = [["is", "sang"]], [["be", "sing"]]
    assert encode(words, lemmas) == [[-100, 3, -100, -100]]
    assert encode_gold(words, lemmas) == [{"positions": [1, 2], "words": ["is", "sang"], "lemmas": ["be", "sing"]}]


def test_collating() -> None:
    labels = make_config().collate_labels([[-100, 1, -100], None, [-100, 3, 2, -100]], 5)
    assert labels.tolist() == [[-100, 1, -100, -100, -100], [-100] * 5, [-100, 3, 2, -100, -100]]
    assert labels.dtype == torch.long
    assert make_config().count_items(labels).tolist() == [1, 0, 2]


# ------------------------------------------------------------------------------------------------------------------
# the config


def test_scripts_are_learned_the_most_frequent_first() -> None:
    words = [["Dogs", "cats", "is"], None, ["songs", "."], ["is"], ["is", "is", "are"]]
    lemmas = [["dog", "cat", "be"], ["x"], ["song", "."], None, [None, "_", "be"]]
    config = LemmatizationHeadConfig()
    config.complete([source(words, lemmas)])
    assert config.names == [DROP, BE, KEEP]
    assert config.num_labels == 3


def test_scripts_need_their_number_of_words_over_all_tasks() -> None:
    first = source([["dogs", "in", "is"]], [["dog", "in", "be"]])
    second = source([["cats", "by", "playing", "cars"]], [["cat", "by", "play", "car"]], task="other")
    for min_count, expected in ((1, [DROP, KEEP, DROP_3, BE]), (2, [DROP, KEEP]), (3, [DROP])):
        config = LemmatizationHeadConfig(min_count=min_count)
        config.complete([first, second])
        assert config.names == expected
    with pytest.raises(InputError, match=r"^task 'ewt', column 'lemma': no edit script fits 4 word\(s\)"):
        LemmatizationHeadConfig(min_count=4).complete([first, second])


def test_scripts_that_were_given_stay() -> None:
    config = make_config()
    # the data is not read
    config.complete([LabelSource("ewt", "lemma", LEMMAS, lambda: pytest.fail("read"))])
    assert config.names == SCRIPTS


def test_a_number_of_labels_has_to_be_that_of_the_scripts() -> None:
    with pytest.raises(InputError, match="num_labels is 5, but id2label has 1 names"):
        LemmatizationHeadConfig(num_labels=5).complete([source([["dogs"]], [["dog"]])])


def test_without_scripts_or_data_there_is_no_head() -> None:
    for fields in ({}, {"num_labels": 3}):
        with pytest.raises(InputError, match="no training data was read to learn edit scripts from"):
            LemmatizationHeadConfig(**fields).check_complete()
    make_config().check_complete()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_count": 0}, "min_count: expected at least 1, found 0"),
        ({"min_count": True}, "min_count: expected at least 1, found True"),
        ({"min_count": 1.5}, "min_count: expected at least 1, found 1.5"),
        ({"classifier_dropout": 1.0}, r"classifier_dropout: expected a fraction in \[0, 1\), found 1.0"),
        ({"metrics": ["f1_macro"]}, "metrics: unknown metric 'f1_macro'. Known: accuracy"),
        ({"id2label": [KEEP, "NOUN"]}, "script: expected .* found 'NOUN'"),
        ({"id2label": [KEEP, KEEP]}, "each name may occur once"),
    ],
)
def test_bad_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(**fields)


def test_the_config_survives_json() -> None:
    scripts = [KEEP, "keep:*-+\n", 'whole:"\u00e4\U0001f600']
    config = make_config(id2label=scripts, min_count=3, classifier_dropout=0.0)
    again = get_head_config("lemma", json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.to_dict()["id2label"] == dict(enumerate(scripts))


@pytest.mark.parametrize("feature", [Value("string"), List(ClassLabel(names=["a"])), List(Value("int32")), None])
def test_columns_that_hold_no_lemmas_are_refused(feature: Any) -> None:
    bad = source(feature=feature)
    for call in (
        lambda: make_config().complete([source(), bad]),
        lambda: make_config().encode_labels([], bad, EncodedRows([], {"tokens": []})),
    ):
        with pytest.raises(InputError, match=r"^task 'ewt', column 'lemma': expected a list with a lemma for each"):
            call()


# ------------------------------------------------------------------------------------------------------------------
# losses and metrics

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()
LABELS = torch.tensor([[-100, 3, 0, -100], [-100, 2, -100, -100]])


def test_losses_are_sums_over_words() -> None:
    head = make_head()
    encoded = torch.randn(2, 4, 4, dtype=torch.float64)
    outputs = head(encoded, MASK, LABELS)
    logits = encoded @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(outputs["logits"], logits)
    losses = -logits.log_softmax(dim=2).detach()
    assert outputs["row_losses"].tolist() == pytest.approx(
        [float(losses[0, 1, 3] + losses[0, 2, 0]), float(losses[1, 1, 2])], rel=1e-12
    )
    with torch.no_grad():
        head.classifier.weight.zero_()
        head.classifier.bias.zero_()
    assert head(encoded, MASK, LABELS)["row_losses"].tolist() == pytest.approx([2 * math.log(4), math.log(4)])
    assert set(head(encoded, MASK)) == {"logits"}


def test_predictions_are_the_likeliest_scripts() -> None:
    head = make_head()
    logits = torch.randn(2, 4, 4)
    assert torch.equal(head.predictions({"logits": logits}, LABELS), logits.argmax(dim=2))


def test_metrics_count_lemmas_not_scripts() -> None:
    words = [["is", "Songs", "In", "sang"], ["Rome", "_"], ["cher"]]
    lemmas = [["be", "song", "in", "sing"], ["Rome", "_"], None]
    config, gold = make_config(), encode_gold(words, lemmas)
    labels = config.collate_labels(encode(words, lemmas), 6).numpy()
    # "is" and "In" are right; "songs" for "Songs" is wrong; no class makes "sing" of "sang", nor "Rome" of "Rome"
    predictions = np.array([[3, 3, 0, 0, 0, 3], [3, 0, 0, 3, 3, 3], [3] * 6])
    assert config.compute_metrics(predictions, labels, gold) == {"accuracy": pytest.approx(3 / 6)}
    # another script than the one that was found may lead to the same lemma
    assert labels[0, 3] == 0
    richer = make_config(id2label=[*SCRIPTS, "keep:*", "whole:in"])
    others = np.array([[0, 3, 1, 5, 0, 0], [0, 4, 4, 0, 0, 0], [0] * 6])
    assert richer.compute_metrics(others, labels, gold) == {"accuracy": pytest.approx(5 / 6)}


def test_metrics_need_words_and_a_lemma() -> None:
    config = make_config()
    predictions, labels = np.zeros((1, 3), dtype=np.int64), np.array([[-100, 0, -100]])
    with pytest.raises(InputError, match="lemmas are scored as texts: their words are needed beside the labels"):
        config.compute_metrics(predictions, labels)
    with pytest.raises(InputError, match="no labelled row, so that accuracy cannot be computed"):
        config.compute_metrics(predictions, labels, encode_gold([["dido"]], [["_"]]))


def test_answers_hold_lemma_score_and_place_of_each_word() -> None:
    words = [Word(1, "Singers", 2, 9), Word(3, "is", 11, 13), Word(4, "a", 14, 15)]
    probabilities = torch.tensor(
        [
            [[0.1, 0.7, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1], [0.0, 0.1, 0.1, 0.8], [0, 0, 0.9, 0.1]],
            [[0.25] * 4] * 5,
        ]
    )
    answers = make_head().decode({"logits": probabilities.log()}, [SourceRow(words), SourceRow()])
    assert answers == [
        [
            {"lemma": "singer", "score": pytest.approx(0.6), "text": "Singers", "start": 2, "end": 9},
            {"lemma": "be", "score": pytest.approx(0.8), "text": "is", "start": 11, "end": 13},
            # too short for the script, so that it stays as it is
            {"lemma": "a", "score": pytest.approx(0.9), "text": "a", "start": 14, "end": 15},
        ],
        [],
    ]


# ------------------------------------------------------------------------------------------------------------------
# from the dataset to the answer

SENTENCES: list[tuple[list[str], Any]] = [
    (["cher", "is", "playing", "."], ["cher", "be", "play", "."]),
    (["singers", "play", "the", "song"], ["singer", "play", "the", "song"]),
    (["the", "film", "is", "dull", "."], ["the", "film", "be", "dull", "."]),
    (["unhappy", "singers", "in", "newyork"], ["unhappy", "singer", "in", "New York"]),
    (["playing", "music"], ["play", None]),
    (["the", "book"], None),
]
UNSEEN = [(["a", "film", "playing"], ["a", "movie", "play"])]
"""A sentence with a lemma that no script of `SENTENCES` makes."""


def make_split(sentences: list[tuple[list[str], Any]]) -> Dataset:
    rows = [{"words": words, "lemma": lemmas} for words, lemmas in sentences]
    return Dataset.from_list(rows, features=Features({"words": List(Value("string")), "lemma": LEMMAS}))


def make_task(**splits: list[tuple[list[str], Any]]) -> Task:
    dataset = {name: make_split(sentences) for name, sentences in splits.items()}
    return Task(dataset=dataset, inputs={"tokens": "words"}, labels={"lemma": "lemma"})


def prepare(sentences: list[tuple[list[str], Any]]) -> Dataset:
    task = make_task(train=sentences)
    return prepare_split("ewt", task, "train", task.dataset["train"], {"lemma": make_config()}, sub_word_tokenizer())


def test_lists_of_other_lengths_are_refused() -> None:
    for lemmas in (["be"], ["be", "a", "b"]):
        with pytest.raises(InputError, match=r"column 'lemma', row 1: expected 2 labels, one for each word, found"):
            prepare([(["dido"], ["dido"]), (["is", "a"], lemmas)])


def test_rows_may_lack_lemmas_for_long() -> None:
    prepared = prepare([(["dido"], None)] * 1100 + [(["playing"], ["play"])])
    assert prepared[1100]["gold_lemma"] == {"positions": [1], "words": ["playing"], "lemmas": ["play"]}
    predictions = np.full((len(prepared), 4), 2)
    labels = make_config().collate_labels(prepared["labels_lemma"], 4).numpy()
    assert make_config().compute_metrics(predictions, labels, prepared["gold_lemma"]) == {"accuracy": 1.0}


def test_texts_in_place_of_words_are_refused() -> None:
    rows = Dataset.from_dict({"text": ["is a"], "lemma": [["be", "a"]]})
    task = Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"lemma": "lemma"})
    heads = {"lemma": LemmatizationHeadConfig()}
    with pytest.raises(InputError, match=r"^head 'lemma': task 'ewt': expected the input 'tokens', found text"):
        complete_heads(heads, label_sources({"ewt": task}, {"ewt": task.dataset}))
    with pytest.raises(InputError, match="lemmatization needs the inputs tokens, found text"):
        prepare_split("ewt", task, "train", rows, {"lemma": make_config()}, sub_word_tokenizer())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> MultiTaskTrainer:
    """A trainer that has learned `SENTENCES` by heart; the head's scripts are those that fit them."""
    torch.manual_seed(0)
    task = make_task(train=SENTENCES, validation=SENTENCES, test=[*SENTENCES, *UNSEEN])
    config = LemmatizationHeadConfig(classifier_dropout=0.0)
    complete_heads({"lemma": config}, label_sources({"ewt": task}, {"ewt": task.dataset}))
    arguments = MultiTaskTrainingArguments(
        output_dir=str(tmp_path_factory.mktemp("lemma")),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        per_device_train_batch_size=3,
        max_steps=60,
        learning_rate=5e-3,
        lr_scheduler_type="constant",
    )
    model = tiny_model(
        {"lemma": config.to_dict(), "intent": HEADS["intent"]},
        tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    )
    trainer = MultiTaskTrainer(model, arguments, tasks={"ewt": task}, processing_class=sub_word_tokenizer())
    trainer.train()
    return trainer


def test_a_tiny_model_learns_lemmas_by_heart(trained: MultiTaskTrainer) -> None:
    metrics = trained.evaluate()
    assert metrics["eval_ewt_lemma_accuracy"] == metrics["eval_score"] == 1.0
    assert metrics["eval_ewt_loss"] < 0.1
    # of 18 words with a lemma and 3 more, one has a lemma that no script makes
    assert trained.evaluate(split="test")["eval_ewt_lemma_accuracy"] <= 20 / 21


def test_a_split_whose_scripts_are_all_new_is_scored(trained: MultiTaskTrainer) -> None:
    metrics = trained.evaluate({"ewt": make_split([(["film", "book"], ["movie", "tome"])])})
    assert metrics["eval_ewt_lemma_accuracy"] == 0.0
    assert metrics["eval_ewt_loss"] == 0.0


def test_predict_returns_scripts(trained: MultiTaskTrainer) -> None:
    found = trained.predict()["ewt"]
    scripts, labels = found.predictions["lemma"], found.label_ids["lemma"]
    assert scripts.shape == labels.shape
    kept = labels != -100
    assert kept.sum() == 20
    assert found.metrics["test_ewt_lemma_accuracy"] == trained.evaluate(split="test")["eval_ewt_lemma_accuracy"]


def test_the_predictor_answers_words_and_texts(trained: MultiTaskTrainer) -> None:
    model = trained.model
    assert isinstance(model, MultiTaskModel)
    predictor = MultiTaskPredictor(model, sub_word_tokenizer(), batch_size=2)
    for rows in ([{"tokens": words} for words, _ in SENTENCES], [" ".join(words) for words, _ in SENTENCES]):
        for answer, (words, lemmas) in zip(predictor(rows), SENTENCES, strict=True):
            assert [word["text"] for word in answer["lemma"]] == words
            found = [word["lemma"] for word in answer["lemma"]]
            assert all(lemma in (other, None) for lemma, other in zip(lemmas or [], found, strict=False))
    text = "  Cher is\tplaying. "
    answer = predictor([text])[0]["lemma"]
    assert [text[word["start"] : word["end"]] for word in answer] == [word["text"] for word in answer]
    assert [word["text"] for word in answer] == ["Cher", "is", "playing", "."]
    assert [each["lemma"] for each in predictor(["", {"tokens": []}])] == [[], []]


def test_saved_and_loaded_it_gives_the_same(trained: MultiTaskTrainer, tmp_path: Path) -> None:
    model = trained.model
    assert isinstance(model, MultiTaskModel)
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.named_heads["lemma"].config == model.named_heads["lemma"].config
    inputs = sub_word_tokenizer()([" ".join(words) for words, _ in SENTENCES], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(loaded(**inputs)["lemma_logits"], model.eval()(**inputs)["lemma_logits"])


def test_running_metrics_leave_lemmas_out(trained: MultiTaskTrainer) -> None:
    model = trained.model
    assert isinstance(model, MultiTaskModel)
    inputs = tiny_tokenizer()(["the film"], return_tensors="pt")
    model.track_metrics = True
    try:
        model(**inputs, labels={"lemma": torch.tensor([[-100, 0, 1, -100]]), "intent": torch.tensor([1])})
        assert set(model.get_metrics()) == {"intent_accuracy", "intent_f1_macro"}
    finally:
        model.track_metrics = False
