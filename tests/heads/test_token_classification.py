"""Word labels: on the first sub-token of each word going in, as entities with offsets coming out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, List, Value

from fixtures import sub_word_tokenizer, tiny_tokenizer
from mt_transformers.errors import InputError
from mt_transformers.heads import (
    EncodedRows,
    LabelSource,
    SourceRow,
    TokenClassificationHead,
    TokenClassificationHeadConfig,
    Word,
)

BIO = ["O", "B-singer", "I-singer", "B-city", "I-city"]
FEATURE = List(ClassLabel(names=BIO))


def make_config(**fields: Any) -> TokenClassificationHeadConfig:
    return TokenClassificationHeadConfig(**{"id2label": BIO, **fields})


def source(feature: Any = FEATURE, values: list[Any] | None = None) -> LabelSource:
    return LabelSource("snips", "slots", feature, lambda: values or [])


def word_ids(rows: list[list[str]], tokenizer: Any = None, **kwargs: Any) -> list[list[int | None]]:
    encoding = (tokenizer or sub_word_tokenizer())(rows, is_split_into_words=True, **kwargs)
    return [encoding.word_ids(row) for row in range(len(rows))]


# [CLS] sing ##er ##s in new ##york play ##ing [SEP]
ROW = ["singers", "in", "newyork", "playing"]


def encode(values: list[Any], words: list[list[int | None]], **fields: Any) -> list[list[int]]:
    rows = EncodedRows(range(10, 10 + len(values)), word_ids=words)
    return make_config(**fields).encode_labels(values, source(), rows)


def test_labels_go_to_the_first_sub_token_of_each_word() -> None:
    found = encode([[1, 0, 3, 4]], word_ids([ROW]))
    assert found == [[-100, 1, -100, -100, 0, 3, -100, 4, -100, -100]]


def test_words_of_one_sub_token() -> None:
    assert encode([[1, 0, 3, 4]], word_ids([ROW], tiny_tokenizer())) == [[-100, 1, 0, 3, 4, -100]]


def test_equal_words_in_a_row_each_have_their_label() -> None:
    assert encode([[1, 2]], word_ids([["dido", "dido"]])) == [[-100, 1, 2, -100]]


def test_rows_do_not_get_mixed_up() -> None:
    rows = [["dido"], ["unhappy", "cher"], ["rome"]]
    assert encode([[1], [0, 1], [3]], word_ids(rows)) == [[-100, 1, -100], [-100, 0, -100, 1, -100], [-100, 3, -100]]


def test_labels_behind_the_maximum_length_are_left_out() -> None:
    words = word_ids([ROW], truncation=True, max_length=6)
    assert encode([[1, 0, 3, 4]], words) == [[-100, 1, -100, -100, 0, -100]]


def test_words_and_rows_without_a_label() -> None:
    rows = [["dido", "rome"], ["dido"], ["rome"]]
    assert encode([[-1, 3], None, [None]], word_ids(rows)) == [[-100, -100, 3, -100], [-100] * 3, [-100] * 3]


def test_labels_by_name_from_a_column_in_another_order() -> None:
    feature = List(ClassLabel(names=["B-city", "O"]))
    rows = EncodedRows([0], word_ids=word_ids([["rome", "is"]]))
    found = make_config().encode_labels([[0, 1]], source(feature), rows)
    assert found == [[-100, 3, 0, -100]]
    by_text = make_config().encode_labels([["B-city", "O"]], source(List(Value("string"))), rows)
    assert by_text == found


def test_bad_labels_name_task_column_row_and_value() -> None:
    words = word_ids([["dido"], ["rome", "is"]])
    rows = EncodedRows([10, 11], word_ids=words)
    with pytest.raises(InputError, match=r"^task 'snips', column 'slots', row 11: label 9 is out of range"):
        encode([[1], [0, 9]], words)
    with pytest.raises(InputError, match=r"^task 'snips', column 'slots', row 11: label 'B-x' is not among"):
        make_config().encode_labels([["O"], ["O", "B-x"]], source(List(Value("string"))), rows)


def test_a_column_needs_a_list_of_labels() -> None:
    with pytest.raises(InputError, match=r"^task 'snips', column 'slots': expected a list with a label for each word"):
        make_config().complete([source(ClassLabel(names=BIO))])


def test_names_are_read_from_the_data() -> None:
    config = TokenClassificationHeadConfig()
    config.complete([source()])
    assert config.names == BIO
    by_text = TokenClassificationHeadConfig()
    by_text.complete([source(List(Value("string")), [["O", "B-x"], ["O"], None])])
    assert by_text.names == ["B-x", "O"]


def test_a_scheme_that_was_given_is_held_against_names_from_the_data() -> None:
    config = TokenClassificationHeadConfig(label_scheme="bioes")
    with pytest.raises(InputError, match="label_scheme is 'bioes': expected labels O, B-type"):
        config.complete([source(List(ClassLabel(names=["O", "L-x"])))])


@pytest.mark.parametrize(
    ("fields", "scheme", "metrics"),
    [
        ({}, "bio", ("entity_f1", "accuracy")),
        ({"id2label": ["O", "S-x"]}, "bioes", ("entity_f1", "accuracy")),
        ({"id2label": ["NOUN", "VERB"]}, "plain", ("accuracy", "f1_macro")),
        ({"label_scheme": "plain"}, "plain", ("accuracy", "f1_macro")),
        ({"label_scheme": "bioes"}, "bioes", ("entity_f1", "accuracy")),
    ],
)
def test_scheme_and_metrics(fields: dict[str, Any], scheme: str, metrics: tuple[str, ...]) -> None:
    config = make_config(**fields)
    assert (config.scheme, config.metric_names) == (scheme, metrics)


@pytest.mark.parametrize("metrics", [["accuracy"], ["entity_f1"], ["f1_micro", "entity_f1"]])
@pytest.mark.parametrize("id2label", [BIO, dict(enumerate(BIO))])
def test_metrics_can_be_chosen_beside_names(metrics: list[str], id2label: Any) -> None:
    assert make_config(metrics=metrics, id2label=id2label).metric_names == tuple(metrics)


def test_collating() -> None:
    labels = make_config().collate_labels([[-100, 1, -100], None, [-100, 3, 4, -100]], 5)
    assert labels.tolist() == [[-100, 1, -100, -100, -100], [-100] * 5, [-100, 3, 4, -100, -100]]
    assert labels.dtype == torch.long
    assert make_config().count_items(labels).tolist() == [1, 0, 2]


# ------------------------------------------------------------------------------------------------------------------
# answers


def make_head(**fields: Any) -> TokenClassificationHead:
    config = make_config(**fields)
    config.check_complete()
    return TokenClassificationHead(config, 4).eval()


def logits(labels: list[int], size: int, second: list[int] | None = None) -> torch.Tensor:
    """For each place a probability of 0.75 of one label, and, if given, of 0.2 of another; shape (1, places, size)."""
    rows = []
    for place, label in enumerate(labels):
        runner_up = None if second is None else second[place]
        rest = 0.25 if runner_up is None or runner_up == label else 0.05
        others = size - (1 if rest == 0.25 else 2)
        row = [rest / others] * size
        row[label] = 0.75
        if rest == 0.05 and runner_up is not None:
            row[runner_up] = 0.2
        rows.append(row)
    return torch.tensor([rows]).log()


# "singers in newyork playing", with their places among the sub-tokens of ROW
TEXT = "singers in newyork playing"
WORDS = [Word(1, "singers", 0, 7), Word(4, "in", 8, 10), Word(5, "newyork", 11, 18), Word(7, "playing", 19, 26)]


def test_entities_have_character_offsets_and_the_mean_score_of_their_words() -> None:
    # [CLS] sing ##er ##s in new ##york play ##ing [SEP]; what stands beside the first sub-tokens does not count
    predicted = logits([3, 1, 3, 3, 0, 3, 0, 4, 3, 3], 5)
    answers = make_head().decode({"logits": predicted}, [SourceRow(WORDS, TEXT)])
    assert answers == [
        [
            {"label": "singer", "score": pytest.approx(0.75), "text": TEXT[:7], "start": 0, "end": 7},
            {"label": "city", "score": pytest.approx(0.75), "text": TEXT[11:26], "start": 11, "end": 26},
        ]
    ]


def test_only_valid_sequences_are_answered() -> None:
    # I-singer cannot stand behind B-city: I-city, its runner-up, is the best that can
    predicted = logits([0, 0, 0, 0, 0, 3, 0, 2, 0, 0], 5, second=[0, 0, 0, 0, 0, 3, 0, 4, 0, 0])
    answers = make_head().decode({"logits": predicted}, [SourceRow(WORDS, TEXT)])
    assert answers == [
        [{"label": "city", "score": pytest.approx((0.75 + 0.2) / 2), "text": TEXT[11:26], "start": 11, "end": 26}],
    ]


def test_plain_labels_are_answered_word_by_word() -> None:
    head = make_head(id2label=["NOUN", "ADP", "VERB"])
    predicted = logits([2, 0, 2, 2, 1, 0, 2, 2, 0, 0], 3)
    answers = head.decode({"logits": predicted}, [SourceRow(WORDS, TEXT)])
    assert answers == [
        [
            {"label": label, "score": pytest.approx(0.75), "text": word.text, "start": word.start, "end": word.end}
            for label, word in zip(["NOUN", "ADP", "NOUN", "VERB"], WORDS, strict=True)
        ]
    ]


def test_rows_without_words() -> None:
    predicted = logits([1, 1, 1], 5).repeat(2, 1, 1)
    answers = make_head().decode({"logits": predicted}, [SourceRow(), SourceRow([Word(1, "dido", 3, 7)], "by dido")])
    assert answers == [[], [{"label": "singer", "score": pytest.approx(0.75), "text": "dido", "start": 3, "end": 7}]]


def test_predictions_are_valid_over_the_labelled_places() -> None:
    # places 1, 2 and 4 are words; O at place 3 does not interrupt
    predicted = logits([0, 1, 2, 0, 2], 5)
    labels = torch.tensor([[-100, 0, 0, -100, 0]])
    found = make_head().predictions({"logits": predicted}, labels)
    assert found[labels != -100].tolist() == [1, 2, 2]
    plain = make_head(label_scheme="plain").predictions({"logits": logits([0, 2, 2, 0, 4], 5)}, labels)
    assert plain.tolist() == [[0, 2, 2, 0, 4]]


def test_metrics_count_words_and_entities() -> None:
    # B-singer I-singer O / B-city: one of the two entities is right, three of four words
    references = np.array([[-100, 1, 2, 0], [-100, 3, -100, -100]])
    predictions = np.array([[4, 1, 2, 0], [4, 1, 4, 4]])
    results = make_config().compute_metrics(predictions, references)
    assert results["entity_f1"] == pytest.approx(0.5)
    assert results["accuracy"] == pytest.approx(0.75)
