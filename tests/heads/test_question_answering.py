"""Questions and contexts: labels in windows, the loss over all of them, answers as text, training to prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, List, Value
from torch.func import functional_call
from transformers import PreTrainedTokenizerFast

from fixtures import CITIES, SINGERS, sub_word_tokenizer, tiny_bert_config, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import (
    Mixture,
    MultiTaskModel,
    MultiTaskTrainer,
    MultiTaskTrainingArguments,
    Task,
    get_head_config,
)
from mt_transformers.data import encode_texts
from mt_transformers.errors import InputError
from mt_transformers.heads import (
    BackboneInfo,
    EncodedRows,
    LabelSource,
    QuestionAnsweringHead,
    QuestionAnsweringHeadConfig,
    SourceRow,
)
from mt_transformers.inference import MultiTaskPredictor

FEATURE = {"text": List(Value("string")), "answer_start": List(Value("int32"))}
SOURCE = LabelSource("qa", "answers", FEATURE, list)
OFF = -100
CONTEXT = "the film by cher is great . the book by dido is dull ."
NO_ANSWER = {"text": [], "answer_start": []}


def make_config(**fields: Any) -> QuestionAnsweringHeadConfig:
    return QuestionAnsweringHeadConfig(**{"stride": 2, **fields})


def make_head(**fields: Any) -> QuestionAnsweringHead:
    """A head in float64 and evaluation mode whose two features are its logits."""
    head = QuestionAnsweringHead(make_config(**fields), hidden_size=2).double().eval()
    with torch.no_grad():
        head.qa_outputs.weight.copy_(torch.eye(2))
        head.qa_outputs.bias.zero_()
    return head


def answers(*texts: str, context: str = CONTEXT) -> dict[str, Any]:
    return {"text": list(texts), "answer_start": [context.index(text) for text in texts]}


def windows_of(
    contexts: Sequence[str], max_length: int | None = None, question: str = "book by", stride: int = 2
) -> Any:
    """The rows of some contexts, each behind one question."""
    inputs = {"question": [question] * len(contexts), "context": list(contexts)}
    texts = encode_texts(inputs, tiny_tokenizer(), max_length, stride)
    offsets = [texts.context_offsets(row) for row in range(len(contexts))]
    return EncodedRows(range(10, 10 + len(contexts)), inputs, (), offsets)


def run(
    head: QuestionAnsweringHead, logits: torch.Tensor, labels: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    return head(logits, torch.ones(logits.shape[:3], dtype=torch.bool), labels)


# the config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stride": -1}, "stride: expected at least 0 (tokens), found -1."),
        ({"stride": 1.5}, "stride: expected at least 0 (tokens), found 1.5."),
        ({"max_answer_length": 0}, "max_answer_length: expected at least 1 (tokens), found 0."),
        ({"allow_no_answer": "no"}, "allow_no_answer: expected true or false, found 'no'."),
        ({"allow_no_answer": True, "no_answer_threshold": math.inf}, "expected a finite number, found inf."),
        ({"no_answer_threshold": 1.0}, "no_answer_threshold: 1.0 has no effect, set allow_no_answer."),
        ({"classifier_dropout": 1.0}, "classifier_dropout: expected a fraction in [0, 1), found 1.0."),
        ({"metrics": ["accuracy"]}, "unknown metric 'accuracy'"),
    ],
)
def test_fields_that_cannot_be_used(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        get_head_config("answer", {"head_type": "question_answering", **fields})
    assert message in str(caught.value)


def test_config_round_trip() -> None:
    config = make_config(stride=0, max_answer_length=7, allow_no_answer=True, no_answer_threshold=-1.5)
    assert get_head_config("answer", config.to_dict()) == config
    assert config.window_stride == 0
    assert QuestionAnsweringHeadConfig().window_stride == 128
    assert config.metric_names == ("answer_f1", "exact_match")


def test_no_answer_needs_a_backbone_that_looks_both_ways() -> None:
    info = BackboneInfo("gpt2", {"encoded_text": 2}, {"encoded_text": 3}, {"encoded_text": "last"}, True, 9, 2)
    make_config().resolve(info)
    with pytest.raises(InputError, match="allow_no_answer: a 'gpt2' backbone only looks back"):
        make_config(allow_no_answer=True).resolve(info)


def test_columns_are_checked_before_any_row() -> None:
    wrong = LabelSource("qa", "answer", Value("string"), list)
    with pytest.raises(InputError, match="task 'qa', column 'answer': expected SQuAD's answers"):
        make_config().complete([SOURCE, wrong])
    with pytest.raises(InputError, match="task 'qa', column 'answer': expected SQuAD's answers"):
        make_config().encode_labels([], wrong, EncodedRows([]))


# labels. One window is [CLS] book by [SEP] and the words of CONTEXT from position 4 on, then [SEP].


def test_the_first_gold_answer_is_the_label() -> None:
    found = make_config().encode_labels(
        [answers("dido", "cher"), answers("cher"), answers("by dido is dull")], SOURCE, windows_of([CONTEXT] * 3)
    )
    assert found == [[[4, 18, 14, 14]], [[4, 18, 7, 7]], [[4, 18, 13, 16]]]


def test_an_answer_within_a_word_covers_its_token() -> None:
    assert make_config().encode_labels([answers("ook")], SOURCE, windows_of([CONTEXT])) == [[[4, 18, 12, 12]]]


def test_labels_of_several_windows() -> None:
    rows = windows_of([CONTEXT, CONTEXT, CONTEXT, "is new ."], max_length=13)
    # 8 tokens of the context in each window, of which 2 are shared: 0 to 7 and 6 to 13
    assert [len(windows) for windows in rows.offsets] == [2, 2, 2, 1]
    values = [answers("cher"), answers("."), answers("is dull"), answers("new", context="is new .")]
    assert make_config().encode_labels(values, SOURCE, rows) == [
        [[4, 12, 7, 7], [4, 12, OFF, OFF]],
        # in the part that both windows have
        [[4, 12, 10, 10], [4, 12, 4, 4]],
        [[4, 12, OFF, OFF], [4, 12, 9, 10]],
        [[4, 7, 5, 5]],
    ]


def test_rows_without_an_answer() -> None:
    rows = windows_of([CONTEXT] * 2, max_length=13)
    assert make_config().encode_labels([NO_ANSWER, None], SOURCE, rows) == [[[OFF] * 4] * 2] * 2
    allowed = make_config(allow_no_answer=True)
    assert allowed.encode_labels([NO_ANSWER, None], SOURCE, rows) == [[[4, 12, 0, 0]] * 2, [[OFF] * 4] * 2]


def test_an_answer_that_no_window_holds_is_told_of() -> None:
    rows = windows_of([CONTEXT] * 2, max_length=13)
    config = make_config()
    message = (
        r"^task 'qa', column 'answers': of 1 row\(s\) among 10 to 11 no window of the context holds an answer whole"
    )
    with pytest.warns(UserWarning, match=message):
        encoded = config.encode_labels([answers("cher is great . the book"), answers("cher")], SOURCE, rows)
    assert encoded[0] == [[4, 12, OFF, OFF]] * 2
    assert config.count_items(config.collate_labels(encoded, 13)).tolist() == [0, 1]


def test_an_empty_context_has_no_tokens() -> None:
    config = make_config(allow_no_answer=True)
    encoded = config.encode_labels([NO_ANSWER], SOURCE, windows_of([""]))
    assert encoded == [[[0, 0, 0, 0]]]
    assert config.count_items(config.collate_labels(encoded, 4)).tolist() == [1]


def test_bad_answers_name_task_column_row_and_value() -> None:
    value = {"text": ["cher"], "answer_start": [11]}
    with pytest.raises(InputError) as caught:
        make_config().encode_labels([None, value], SOURCE, windows_of([CONTEXT] * 2))
    assert str(caught.value).startswith(
        "task 'qa', column 'answers', row 11: expected the answer 'cher' at character 11 of the context, found ' che'"
    )


def test_collating() -> None:
    config = make_config()
    labels = config.collate_labels([[[4, 9, 5, 6]], None, [[4, 9, OFF, OFF], [4, 8, 4, 4]]], 9)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [
        [[4, 9, 5, 6], [OFF] * 4],
        [[OFF] * 4] * 2,
        [[4, 9, OFF, OFF], [4, 8, 4, 4]],
    ]
    assert config.count_items(labels).tolist() == [1, 0, 1]
    assert config.collate_labels([None, None], 9).shape == (2, 1, 4)


# the loss


def summed(values: list[float]) -> float:
    return math.log(sum(map(math.exp, values)))


def loss_by_hand(logits: torch.Tensor, labels: torch.Tensor, allow_no_answer: bool) -> float:
    """The loss of one row, token by token."""
    loss = 0.0
    for side in (0, 1):
        candidates, gold = [], []
        for window, (first, behind, *places) in zip(logits.tolist(), labels.tolist(), strict=True):
            for position, scores in enumerate(window):
                if first <= position < behind or (allow_no_answer and position == 0 and first != OFF):
                    candidates.append(scores[side])
                if position == places[side]:
                    gold.append(scores[side])
        loss += summed(candidates) - summed(gold) if gold else 0.0
    return loss


LABELS = {
    "one window": [[2, 6, 3, 4], [OFF] * 4],
    "second window": [[2, 6, OFF, OFF], [2, 5, 2, 2]],
    "both windows": [[2, 6, 4, 5], [2, 5, 2, 3]],
    "lost": [[2, 6, OFF, OFF], [2, 5, OFF, OFF]],
    "none": [[OFF] * 4, [OFF] * 4],
}


@pytest.mark.parametrize("allow_no_answer", [False, True])
def test_the_loss_is_that_of_one_softmax_over_all_windows(allow_no_answer: bool) -> None:
    logits = 3 * torch.randn(len(LABELS) + 1, 2, 7, 2, dtype=torch.float64)
    # no answer: the first tokens of both windows, or of all there are
    none = [[2, 6, 0, 0], [2, 5, 0, 0]] if allow_no_answer else [[OFF] * 4] * 2
    labels = torch.tensor([*LABELS.values(), none])
    losses = run(make_head(allow_no_answer=allow_no_answer), logits, labels)["row_losses"]
    expected = [loss_by_hand(*pair, allow_no_answer) for pair in zip(logits, labels, strict=True)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-12)
    assert losses[3:5].tolist() == [0.0, 0.0]


def test_the_loss_of_equal_scores() -> None:
    head, logits = make_head(), torch.zeros(1, 2, 7, 2, dtype=torch.float64)
    # 2 of 7 tokens, for the first and for the last
    losses = run(head, logits, torch.tensor([LABELS["both windows"]]))["row_losses"]
    assert losses.tolist() == pytest.approx([2 * math.log(7 / 2)])
    allowed = run(make_head(allow_no_answer=True), logits, torch.tensor([LABELS["both windows"]]))["row_losses"]
    assert allowed.tolist() == pytest.approx([2 * math.log(9 / 2)])


def test_only_candidates_have_a_gradient_and_rows_without_a_label_have_none() -> None:
    logits = torch.randn(len(LABELS), 2, 7, 2, dtype=torch.float64, requires_grad=True)
    # refuses NaN on the way, too
    with torch.autograd.set_detect_anomaly(True):
        run(make_head(), logits, torch.tensor(list(LABELS.values())))["row_losses"].sum().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    touched = logits.grad.any(dim=-1).int().tolist()
    assert touched[0] == [[0, 0, 1, 1, 1, 1, 0], [0] * 7]
    assert touched[1] == touched[2] == [[0, 0, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0, 0]]
    assert touched[3] == touched[4] == [[0] * 7] * 2


@pytest.mark.parametrize("fields", [{}, {"allow_no_answer": True}])
def test_gradcheck(fields: dict[str, Any]) -> None:
    head = QuestionAnsweringHead(make_config(**fields), hidden_size=3).double().eval()
    parameters, mask = dict(head.named_parameters()), torch.ones(len(LABELS), 2, 7, dtype=torch.bool)

    def loss(encoded: torch.Tensor, *values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = dict(zip(parameters, values, strict=True))
        outputs = functional_call(head, state, (encoded, mask, torch.tensor(list(LABELS.values()))))
        return outputs["logits"], outputs["row_losses"]

    values = [value.detach().clone().requires_grad_() for value in parameters.values()]
    encoded = torch.randn(len(LABELS), 2, 7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (encoded, *values))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_16_bit_logits_are_computed_in_32(dtype: torch.dtype) -> None:
    logits = torch.randn(len(LABELS), 2, 7, 2).to(dtype)
    losses = run(make_head().to(dtype), logits, torch.tensor(list(LABELS.values())))["row_losses"]
    assert losses.dtype == torch.float32
    exact = run(make_head(), logits.double(), torch.tensor(list(LABELS.values())))["row_losses"]
    assert losses.tolist() == pytest.approx(exact.tolist(), rel=1e-5)


def test_dropout_acts_in_training_only() -> None:
    head, logits = make_head(classifier_dropout=0.5), torch.randn(1, 1, 50, 2, dtype=torch.float64)
    assert torch.equal(run(head, logits)["logits"], logits)
    head.train()
    assert not torch.equal(run(head, logits)["logits"], logits)
    assert torch.equal(run(make_head(classifier_dropout=0.0).train(), logits)["logits"], logits)


def every_result(head: QuestionAnsweringHead, logits: torch.Tensor, labels: torch.Tensor) -> tuple[Any, Any]:
    outputs = run(head, logits, labels)
    return outputs["row_losses"], head.predictions(outputs, labels)


@pytest.mark.parametrize("fields", [{}, {"allow_no_answer": True}])
def test_neither_padding_nor_windows_of_other_rows_matter(fields: dict[str, Any]) -> None:
    head, labels = make_head(**fields), torch.tensor([LABELS["both windows"], LABELS["second window"]])
    logits = torch.randn(2, 2, 7, 2, dtype=torch.float64)
    losses, places = every_result(head, logits, labels)
    longer = torch.cat([logits, torch.full((2, 2, 3, 2), 9.0, dtype=torch.float64)], dim=2)
    more = torch.cat([longer, torch.full((2, 1, 10, 2), 9.0, dtype=torch.float64)], dim=1)
    ignored = torch.cat([labels, torch.full((2, 1, 4), OFF)], dim=1)
    # windows that only rows of other tasks have: labels may have them or not
    for padded in (every_result(head, more, ignored), every_result(head, more, labels)):
        torch.testing.assert_close(padded[0], losses, rtol=1e-12, atol=1e-12)
        assert torch.equal(padded[1], places)
    alone = every_result(head, logits[1:], labels[1:])
    torch.testing.assert_close(alone[0], losses[1:], rtol=1e-12, atol=1e-12)
    assert torch.equal(alone[1], places[1:])


@pytest.mark.parametrize("fields", [{}, {"allow_no_answer": True}])
def test_the_order_of_windows_does_not_matter(fields: dict[str, Any]) -> None:
    head, labels = make_head(**fields), torch.tensor([LABELS["both windows"]] * 8)
    logits = torch.randn(8, 2, 7, 2, dtype=torch.float64)
    losses, places = every_result(head, logits, labels)
    turned_losses, turned = every_result(head, logits.flip(1), labels.flip(1))
    torch.testing.assert_close(turned_losses, losses, rtol=1e-12, atol=1e-12)
    back = torch.where(turned[:, :1] < 0, turned[:, :1], 1 - turned[:, :1])
    assert torch.equal(torch.cat([back, turned[:, 1:]], dim=1), places)


# answers


def scores(*tokens: tuple[float, float]) -> torch.Tensor:
    """One row with one window: start and end logit of each token."""
    return torch.tensor([[tokens]], dtype=torch.float64)


CONTEXT_AT_2 = torch.tensor([[[2, 6, OFF, OFF]]])


def test_the_best_span_of_the_context_is_predicted() -> None:
    head = make_head()
    # the highest scores stand outside of the context, the next ones in the wrong order
    logits = scores((9, 9), (9, 9), (1, 5), (2, 0), (4, 1), (0, 3), (9, 9))
    assert head.predictions(run(head, logits), CONTEXT_AT_2).tolist() == [[0, 4, 5]]
    short = make_head(max_answer_length=1)
    assert short.predictions(run(short, logits), CONTEXT_AT_2).tolist() == [[0, 2, 2]]


def test_windows_compete() -> None:
    head, logits = make_head(), torch.zeros(1, 2, 7, 2, dtype=torch.float64)
    logits[0, 0, 3], logits[0, 1, 4] = 1.0, 2.0
    labels = torch.tensor([[[2, 6, OFF, OFF], [2, 6, OFF, OFF]]])
    assert head.predictions(run(head, logits), labels).tolist() == [[1, 4, 4]]


def test_rows_without_a_label_have_no_prediction() -> None:
    for head in (make_head(), make_head(allow_no_answer=True)):
        found = head.predictions(run(head, torch.randn(1, 2, 7, 2).double()), torch.full((1, 2, 4), OFF))
        assert found.tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize(
    ("threshold", "first", "found"),
    [(0.0, 1.9, [0, 3, 3]), (0.0, 2.1, [-1, -1, -1]), (0.5, 2.1, [0, 3, 3]), (-0.5, 1.9, [-1, -1, -1])],
)
def test_no_answer_has_to_win_by_the_threshold(threshold: float, first: float, found: list[int]) -> None:
    head = make_head(allow_no_answer=True, no_answer_threshold=threshold)
    logits = scores((first, 2.0), (9, 9), (0, 0), (2.0, 2.0), (0, 0), (0, 0), (9, 9))
    assert head.predictions(run(head, logits), CONTEXT_AT_2).tolist() == [found]
    never = make_head()
    assert never.predictions(run(never, logits), CONTEXT_AT_2).tolist() == [[0, 3, 3]]


def test_no_answer_counts_over_all_windows() -> None:
    head, logits = make_head(allow_no_answer=True), torch.zeros(1, 2, 7, 2, dtype=torch.float64)
    logits[0, 0, 3] = 0.5
    one, two = CONTEXT_AT_2, torch.cat([CONTEXT_AT_2, CONTEXT_AT_2], dim=1)
    assert head.predictions(run(head, logits), one).tolist() == [[0, 3, 3]]
    # 2 log 2 for the first tokens of two windows, against 2 x 0.5
    assert head.predictions(run(head, logits), two).tolist() == [[-1, -1, -1]]


SPANS = [None, None, (0, 3), (3, 7), (7, 8), (8, 12), None]
SOURCE_ROW = SourceRow((), "Bob met, Ada", [SPANS, [*SPANS[:2], (8, 12), None]])


def probability(logits: torch.Tensor, place: tuple[int, int, int], allow_no_answer: bool) -> float:
    """Probability of a place in [`SOURCE_ROW`], with a softmax over its tokens."""
    tokens = [(0, at) for at in range(2, 6)] + [(1, 2)] + ([(0, 0), (1, 0)] if allow_no_answer else [])
    window, first, last = place
    start = torch.stack([logits[each][0] for each in tokens]).softmax(dim=0)
    end = torch.stack([logits[each][1] for each in tokens]).softmax(dim=0)
    return float(start[tokens.index((window, first))] * end[tokens.index((window, last))])


@pytest.mark.parametrize("allow_no_answer", [False, True])
def test_answers_with_their_probability(allow_no_answer: bool) -> None:
    head = make_head(allow_no_answer=allow_no_answer)
    logits = torch.randn(2, 3, 7, 2, dtype=torch.float64)
    logits[:, :, 0] -= 9
    logits[0, 0, 3] += 9
    logits[1, 1, 2] += 9
    # the highest of all, in a window that the rows do not have
    logits[:, 2] += 99
    first, second = head.decode(run(head, logits), [SOURCE_ROW, SOURCE_ROW])
    score = pytest.approx(probability(logits[0], (0, 3, 3), allow_no_answer))
    # without the space in front
    assert first == {"answer": "met", "score": score, "start": 4, "end": 7}
    score = pytest.approx(probability(logits[1], (1, 2, 2), allow_no_answer))
    assert second == {"answer": "Ada", "score": score, "start": 9, "end": 12}
    assert type(first["score"]) is float


def test_no_answer_as_people_read_it() -> None:
    head = make_head(allow_no_answer=True)
    logits = torch.zeros(1, 2, 7, 2, dtype=torch.float64)
    logits[:, :, 0] = 3.0
    (found,) = head.decode(run(head, logits), [SOURCE_ROW])
    none = 2 * math.exp(3) / (2 * math.exp(3) + 5)
    assert found == {"answer": "", "score": pytest.approx(none**2), "start": None, "end": None}


@pytest.mark.parametrize("fields", [{}, {"allow_no_answer": True}])
def test_rows_of_which_nothing_is_known_have_no_answer(fields: dict[str, Any]) -> None:
    head = make_head(**fields)
    unknown = {"answer": None, "score": None, "start": None, "end": None}
    found = head.decode(
        run(head, torch.randn(2, 1, 7, 2).double()), [SourceRow(), SourceRow((), "Bob met, Ada", [SPANS])]
    )
    assert found[0] == unknown
    assert found[1] != unknown
    # an empty context: there may be no answer to that, or nothing can be said
    (empty,) = head.decode(run(head, torch.randn(1, 1, 2, 2).double()), [SourceRow((), "", [[None, None]])])
    assert empty == ({"answer": "", "score": 1.0, "start": None, "end": None} if fields else unknown)


def test_scores_of_large_logits_are_no_nan() -> None:
    head = make_head(allow_no_answer=True)
    logits = 1e4 * torch.randn(1, 2, 7, 2, dtype=torch.float64)
    (found,) = head.decode(run(head, logits), [SOURCE_ROW])
    assert 0 <= found["score"] <= 1


# metrics


def test_metrics_compare_texts_with_all_gold_answers() -> None:
    config = make_config(allow_no_answer=True)
    rows = windows_of([CONTEXT] * 5, max_length=13)
    values = [answers("great", "is great"), answers("dido"), answers("dull"), NO_ANSWER, None]
    labels = config.collate_labels(config.encode_labels(values, SOURCE, rows), 13).numpy()
    gold = config.encode_gold(values, SOURCE, rows)
    assert gold[0]["answers"] == ["great", "is great"]
    # "is great"; "dido is"; nothing; nothing; of no account
    predictions = np.array([[0, 8, 9], [1, 8, 9], [-1, -1, -1], [-1, -1, -1], [0, 4, 4]])
    found = config.compute_metrics(predictions, labels, gold)
    assert found == {"answer_f1": pytest.approx((1 + 2 / 3 + 0 + 1) / 4), "exact_match": 0.5}
    assert config.score_sign == 1


def test_rows_whose_answer_was_cut_are_scored_all_the_same() -> None:
    config, rows = make_config(), windows_of([CONTEXT], max_length=13)
    values = [answers("cher is great . the book")]
    with pytest.warns(UserWarning, match="no window"):
        labels = config.collate_labels(config.encode_labels(values, SOURCE, rows), 13).numpy()
    # "cher is great": the longest part that can be found
    found = config.compute_metrics(np.array([[0, 7, 9]]), labels, config.encode_gold(values, SOURCE, rows))
    assert found == {"answer_f1": pytest.approx(2 * 3 / (3 + 4)), "exact_match": 0.0}


def test_metrics_need_the_texts() -> None:
    with pytest.raises(InputError, match="answer_f1: expected the contexts and gold answers of the rows"):
        make_config().compute_metrics(np.zeros((1, 3)), np.zeros((1, 1, 4)))


def test_metrics_of_no_labelled_row_are_refused() -> None:
    config, rows = make_config(), windows_of([CONTEXT])
    labels = config.collate_labels(config.encode_labels([NO_ANSWER], SOURCE, rows), 13).numpy()
    with pytest.raises(InputError, match="no labelled row, so that answer_f1 cannot be computed"):
        config.compute_metrics(np.zeros((1, 3), int), labels, config.encode_gold([NO_ANSWER], SOURCE, rows))


# the whole way


def short_tokenizer(max_length: int = 16) -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = max_length
    return tokenizer


def make_rows(with_none: bool = False) -> Dataset:
    """By whom and where: the singer stands in the first window of 16 tokens, the city behind it."""
    rows = []
    for index, (place, asked) in enumerate(product(range(4), ("by", "in"))):
        singer, city = SINGERS[place], CITIES[place]
        context = f"the film by {singer} is great . the weather is fine and new . the song is old in {city} ."
        missing = with_none and index % 4 == 0
        # equal texts in one context would not tell which was found
        answer = singer if asked == "by" else city
        start = context.index(answer)
        found = NO_ANSWER if missing else {"text": [answer, f"{asked} {answer}"], "answer_start": [start, start - 3]}
        question = "the book" if missing else f"the {asked}"
        rows.append({"question": question, "context": context, "answers": found})
    features = Features({"question": Value("string"), "context": Value("string"), "answers": FEATURE})
    return Dataset.from_list(rows, features=features)


def make_task(rows: Dataset) -> Task:
    splits = DatasetDict({"train": rows, "validation": rows})
    return Task(dataset=splits, inputs={"question": "question", "context": "context"}, labels={"answer": "answers"})


def fields(**given: Any) -> dict[str, dict[str, Any]]:
    head = {"head_type": "question_answering", "stride": 2, "classifier_dropout": 0.0, "max_answer_length": 3, **given}
    return {"answer": head}


Trainers = Callable[..., MultiTaskTrainer]


@pytest.fixture
def make_trainer(tmp_path: Path) -> Trainers:
    def make(
        model: MultiTaskModel, tasks: dict[str, Task], mixture: Mixture | None = None, **given: Any
    ) -> MultiTaskTrainer:
        values: dict[str, Any] = {
            "output_dir": str(tmp_path / "out"),
            "use_cpu": True,
            "report_to": [],
            "disable_tqdm": True,
            "save_strategy": "no",
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 3,
            "learning_rate": 3e-3,
            "max_steps": 150,
            "max_length": 16,
            "logging_steps": 50,
        }
        arguments = MultiTaskTrainingArguments(**{**values, **given})
        return MultiTaskTrainer(model, arguments, tasks=tasks, mixture=mixture, processing_class=tiny_tokenizer())

    return make


def quiet_bert() -> Any:
    return tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.mark.parametrize("allow_no_answer", [False, True])
def test_training_evaluation_and_prediction(make_trainer: Trainers, tmp_path: Path, allow_no_answer: bool) -> None:
    rows = make_rows(with_none=allow_no_answer)
    model = tiny_model(fields(allow_no_answer=allow_no_answer), quiet_bert(), tasks={"qa": ["answer"]})
    trainer = make_trainer(model, {"qa": make_task(rows)})
    before = trainer.evaluate()
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_qa_answer_answer_f1"] == metrics["eval_qa_answer_exact_match"] == metrics["eval_score"] == 1.0
    assert metrics["eval_loss"] < before["eval_loss"] / 5

    model.save_pretrained(tmp_path / "saved")
    loaded = MultiTaskModel.from_pretrained(tmp_path / "saved")
    assert torch.equal(loaded(**tiny_inputs())["answer_logits"], model(**tiny_inputs())["answer_logits"])
    predictor = MultiTaskPredictor(loaded, short_tokenizer(), batch_size=3)
    asked = [{"question": row["question"], "context": row["context"]} for row in rows]
    found = [each["answer"] for each in predictor(asked)]
    for row, answer in zip(rows, found, strict=True):
        texts = row["answers"]["text"]
        assert answer["answer"] in texts[:1] or (not texts and answer["answer"] == "")
        if texts:
            assert answer["start"] == row["answers"]["answer_start"][0]
            assert row["context"][answer["start"] : answer["end"]] == answer["answer"]
        assert 0.3 < answer["score"] <= 1
    # half of the answers stand behind the first window
    assert sum(answer["start"] is not None and answer["start"] > 60 for answer in found) == 4
    # one by one, without the windows of others beside them
    alone = [predictor([each])[0]["answer"] for each in asked]
    assert [each["answer"] for each in alone] == [each["answer"] for each in found]
    assert [each["score"] for each in alone] == pytest.approx([each["score"] for each in found], abs=1e-5)


def test_metrics_agree_with_predicted_texts(make_trainer: Trainers) -> None:
    rows = make_rows(with_none=True)
    torch.manual_seed(3)
    model = tiny_model(fields(allow_no_answer=True), quiet_bert(), tasks={"qa": ["answer"]})
    metrics = make_trainer(model, {"qa": make_task(rows)}, max_steps=3).evaluate()
    asked = [{"question": row["question"], "context": row["context"]} for row in rows]
    found = [each["answer"]["answer"] for each in MultiTaskPredictor(model, short_tokenizer())(asked)]
    gold = [row["answers"]["text"] for row in rows]
    config = model.heads["answer"].config
    expected = config.compute_metrics(
        np.array([[0, 0, 0]] * len(rows)),
        np.zeros((len(rows), 1, 4)),
        [
            {"context": text, "offsets": [[(0, len(text))]], "answers": texts}
            for text, texts in zip(found, gold, strict=True)
        ],
    )
    assert {name: metrics[f"eval_qa_answer_{name}"] for name in expected} == pytest.approx(expected)


def test_training_reads_no_gold_and_predict_gives_places(make_trainer: Trainers) -> None:
    task = make_task(make_rows())
    model = tiny_model(fields(), quiet_bert(), tasks={"qa": ["answer"]})
    trainer = make_trainer(model, {"qa": task}, max_steps=1)
    assert "gold_answer" in trainer.splits["qa"]["train"].column_names
    assert not any(name.startswith("gold_") for name in trainer.train_dataset[0])
    output = trainer.predict(split="validation")["qa"]
    assert output.predictions["answer"].shape == (8, 3)
    assert output.label_ids["answer"].shape == (8, 3, 4)


def test_a_stream_trains_as_well(make_trainer: Trainers) -> None:
    rows = make_rows()
    task = make_task(rows)
    task.dataset["train"] = rows.to_iterable_dataset()
    model = tiny_model(fields(), quiet_bert(), tasks={"qa": ["answer"]})
    trainer = make_trainer(model, {"qa": task}, Mixture(sampling="uniform"), max_steps=2)
    row = next(iter(trainer.train_dataset))
    assert not any(name.startswith("gold_") for name in row)
    assert trainer.train().training_loss > 0


def test_beside_a_task_of_single_texts(make_trainer: Trainers) -> None:
    mood = Features({"text": Value("string"), "label": Value("float32")})
    texts = Dataset.from_list([{"text": "the film is great .", "label": 1.0}] * 8, features=mood)
    tasks = {
        "qa": make_task(make_rows()),
        "stars": Task(dataset={"train": texts}, inputs={"text": "text"}, labels={"stars": "label"}),
    }
    heads = {**fields(), "stars": {"head_type": "regression", "standardize": False}}
    model = tiny_model(heads, quiet_bert(), tasks={"qa": ["answer"], "stars": ["stars"]})
    trainer = make_trainer(model, tasks, max_steps=30, logging_steps=1)
    trainer.train()
    losses = [entry["loss_answer"] for entry in trainer.state.log_history if "loss_answer" in entry]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 2
    assert set(trainer.evaluate()) >= {"eval_qa_answer_answer_f1", "eval_qa_score"}


def test_the_stride_changes_nothing_where_one_window_is_enough() -> None:
    asked = [{"question": row["question"], "context": row["context"]} for row in make_rows()]
    model = tiny_model(fields(), quiet_bert())
    state, found = model.state_dict(), []
    for stride in (0, 1, 9):
        other = tiny_model(fields(stride=stride), quiet_bert())
        other.load_state_dict(state)
        found.append(MultiTaskPredictor(other, tiny_tokenizer())(asked))
    assert found[0] == found[1] == found[2]


def test_more_overlap_makes_more_windows(make_trainer: Trainers) -> None:
    counts = []
    for stride in (0, 4):
        trainer = make_trainer(tiny_model(fields(stride=stride)), {"qa": make_task(make_rows())})
        counts.append({len(label) for label in trainer.splits["qa"]["train"]["labels_answer"]})
    assert counts == [{2}, {3}]


def test_answers_of_sub_words_point_into_the_context() -> None:
    context = "the singers in newyork is unhappy"
    inputs = {"question": ["in"], "context": [context]}
    texts = encode_texts(inputs, sub_word_tokenizer(), None)
    rows = EncodedRows([0], inputs, (), [texts.context_offsets(0)])
    # [CLS] in [SEP] the sing ##er ##s in new ##york is un ##happy [SEP]
    assert make_config().encode_labels([answers("newyork", context=context)], SOURCE, rows) == [[[3, 13, 8, 9]]]
    head = make_head()
    logits = torch.zeros(1, 1, 14, 2, dtype=torch.float64)
    logits[0, 0, 4, 0] = logits[0, 0, 6, 1] = 5.0
    (found,) = head.decode(run(head, logits), [SourceRow((), context, rows.offsets[0])])
    assert (found["answer"], found["start"], found["end"]) == ("singers", 4, 11)


def test_outputs_for_people_have_no_answer_without_a_context() -> None:
    model = tiny_model(fields())
    outputs = model(**tiny_inputs())
    assert outputs["answer_logits"].shape == (4, 1, 6, 2)
    readable = model.make_output_human_readable(outputs, tiny_tokenizer())
    assert readable["answer_decoded"] == [{"answer": None, "score": None, "start": None, "end": None}] * 4
    assert model.make_output_human_readable(outputs)["answer_decoded"] == readable["answer_decoded"]


def test_the_task_needs_question_and_context(make_trainer: Trainers) -> None:
    rows = make_rows()
    task = Task(dataset={"train": rows}, inputs={"text": "context"}, labels={"answer": "answers"})
    message = "task 'qa', head 'answer': question_answering needs the inputs question, context, found text"
    with pytest.raises(InputError, match=message):
        make_trainer(tiny_model(fields()), {"qa": task})
