"""Multiple choice: a softmax over each row's own choices, labels as data sets write them, rows of other sizes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from heads.several_texts import POOLINGS, overfit, random_sequences, single_tokens
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from fixtures import BAD, CITIES, GOOD, SINGERS, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import Mixture, MultiTaskModel, MultiTaskPredictor, Task
from mt_transformers.data import DataCollatorForMultiTask, PreparedTasks
from mt_transformers.errors import InputError
from mt_transformers.heads import (
    BackboneInfo,
    EncodedRows,
    LabelSource,
    MultipleChoiceHead,
    MultipleChoiceHeadConfig,
    SourceRow,
)

LOWEST = torch.finfo(torch.float64).min
HEADS = {"answer": {"head_type": "multiple_choice"}}


def make_head(pooling: str = "mean", hidden_size: int = 1, **fields: Any) -> MultipleChoiceHead:
    """A head in evaluation mode; of one feature the score is that feature."""
    head = MultipleChoiceHead(MultipleChoiceHeadConfig(pooling=pooling, **fields), hidden_size).double().eval()
    if hidden_size == 1:
        torch.nn.init.ones_(head.classifier.weight)
    return head


def source(feature: Any) -> LabelSource:
    return LabelSource("quiz", "label", feature, list)


def rows_of(*counts: int) -> EncodedRows:
    """Rows 5, 6, ... with these numbers of choices."""
    return EncodedRows(range(5, 5 + len(counts)), {"choices": [["x"] * count for count in counts]})


def of_logs(*rows: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences whose scores are the logarithms of these numbers, so that the softmax divides them by their sum."""
    return single_tokens([[[math.log(number)] for number in row] for row in rows])


# the head


def test_losses() -> None:
    features = of_logs([1, 2, 5], [3, 1], [4, 4, 4], [1, 9])
    outputs = make_head()(*features, torch.tensor([2, 0, 1, -100]))
    expected = [math.log(8 / 5), math.log(4 / 3), math.log(3), 0.0]
    assert outputs["row_losses"].tolist() == pytest.approx(expected, rel=1e-12)
    assert outputs["row_losses"][3] == 0


def test_missing_choices_have_the_lowest_score_and_no_probability() -> None:
    logits = make_head()(*of_logs([1, 2, 5], [3, 1], [2]))["logits"]
    assert logits.shape == (3, 3)
    assert (logits == LOWEST).tolist() == [[False] * 3, [False, False, True], [False, True, True]]
    shares = logits.softmax(dim=-1)
    assert shares.flatten().tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8, 3 / 4, 1 / 4, 0, 1, 0, 0], rel=1e-12)
    assert (shares == 0).sum() == 3


@pytest.mark.parametrize("pooling", POOLINGS)
@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_row_in_a_batch_is_as_it_is_alone(pooling: str, counts: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    head = make_head(pooling, hidden_size=3)
    encoded, mask = random_sequences(counts, seed=seed)
    labels = torch.tensor([seed % count for count in counts])
    together = head(encoded, mask, labels)
    for row, count in enumerate(counts):
        length = int(mask[row].sum(-1).max())
        alone = head(
            encoded[row : row + 1, :count, :length], mask[row : row + 1, :count, :length], labels[row : row + 1]
        )
        torch.testing.assert_close(together["logits"][row, :count], alone["logits"][0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(together["row_losses"][row], alone["row_losses"][0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients(pooling: str) -> None:
    head = make_head(pooling, hidden_size=3)
    encoded, mask = random_sequences([2, 4, 1, 3])
    labels = torch.tensor([1, 3, -100, 0])
    parameters = dict(head.named_parameters())

    def run(encoded: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        losses: torch.Tensor = functional_call(
            head, dict(zip(parameters, values, strict=True)), (encoded, mask, labels)
        )["row_losses"]
        return losses

    values = [value.detach().clone().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(run, (encoded.requires_grad_(), *values))
    run(encoded, *values).sum().backward()
    assert encoded.grad is not None
    # neither padding, nor missing choices, nor a row without a label
    assert not encoded.grad[~mask].any()
    assert encoded.grad.reshape(4, -1).any(dim=1).tolist() == [True, True, False, True]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_16_bits_are_finite_and_in_32(pooling: str, dtype: torch.dtype) -> None:
    head = make_head(pooling, hidden_size=3).to(dtype)
    encoded, mask = random_sequences([4, 2, 1])
    encoded = encoded.to(dtype).requires_grad_()
    outputs = head(encoded, mask, torch.tensor([3, 0, -100]))
    assert outputs["row_losses"].dtype == torch.float32
    outputs["row_losses"].sum().backward()
    assert encoded.grad is not None
    assert bool(torch.cat([outputs["row_losses"].detach(), encoded.grad.flatten().float()]).isfinite().all())


def test_a_right_choice_that_became_no_token_trains_nothing() -> None:
    encoded, mask = of_logs([1, 2], [1, 2])
    mask[0, 1] = False
    encoded.requires_grad_()
    losses = make_head()(encoded, mask, torch.tensor([1, 1]))["row_losses"]
    assert losses.tolist() == pytest.approx([0.0, math.log(3 / 2)])
    losses.sum().backward()
    assert encoded.grad is not None
    assert bool(encoded.grad.isfinite().all())
    assert not encoded.grad[0].any()


def test_dropout_acts_in_training_only() -> None:
    features = random_sequences([3, 3], size=8)
    for share, changes in ((0.5, True), (0.0, False)):
        head = make_head(hidden_size=8, classifier_dropout=share)
        still = head(*features)["logits"]
        assert torch.equal(head(*features)["logits"], still)
        assert torch.equal(head.train()(*features)["logits"], still) is not changes


def test_predictions_answers_and_metrics() -> None:
    head = make_head()
    outputs = head(*of_logs([1, 2, 5], [3, 1], [4, 3, 1]))
    labels = torch.tensor([2, 1, -100])
    predictions = head.predictions(outputs, labels)
    assert predictions.tolist() == [2, 0, 0]
    assert head.config.compute_metrics(predictions.numpy(), labels.numpy()) == {"accuracy": 0.5}
    assert head.decode(outputs, [SourceRow()] * 3) == [
        {"choice": 2, "score": pytest.approx(5 / 8)},
        {"choice": 0, "score": pytest.approx(3 / 4)},
        {"choice": 0, "score": pytest.approx(1 / 2)},
    ]
    # a row names as many choices as it has
    assert head.config.answer_options == ("top_k",)
    ranked = head.decode(outputs, [SourceRow()] * 3, top_k=3)
    assert [[answer["choice"] for answer in row] for row in ranked] == [[2, 1, 0], [0, 1], [0, 1, 2]]
    assert [answer["score"] for answer in ranked[1]] == [pytest.approx(3 / 4), pytest.approx(1 / 4)]
    assert [[answer["choice"] for answer in row] for row in head.decode(outputs, [SourceRow()] * 3, top_k=1)] == [
        [2],
        [0],
        [0],
    ]
    with pytest.raises(InputError, match="no labelled row"):
        head.config.compute_metrics(np.array([0]), np.array([-100]))


# labels


@pytest.mark.parametrize(
    ("feature", "values", "expected"),
    [
        (Value("int64"), [0, 3, None, -1, -100], [0, 3, -100, -100, -100]),
        (Value("bool"), [False, True, None], [0, 1, -100]),
        # the id, whatever the name
        (ClassLabel(names=["B", "A"]), [0, 1, -1], [0, 1, -100]),
        (Value("string"), ["A", "D", "", None], [0, 3, -100, -100]),
        (Value("string"), ["0", "3", "01"], [0, 3, 1]),
    ],
)
def test_labels(feature: Any, values: list[Any], expected: list[int]) -> None:
    config = MultipleChoiceHeadConfig()
    encoded = config.encode_labels(values, source(feature), rows_of(*[4] * len(values)))
    assert encoded == expected
    labels = config.collate_labels([*encoded, None], 9)
    assert labels.tolist() == [*expected, -100]
    assert config.count_items(labels).tolist() == [int(label >= 0) for label in labels.tolist()]


@pytest.mark.parametrize(
    ("feature", "value", "choices", "message"),
    [
        (Value("int64"), 3, 3, "one of the row's 3 choices, a number from 0 to 2 or a letter from A to C, found 3"),
        (Value("int64"), -2, 3, "one of the row's 3 choices, a number from 0 to 2 or a letter from A to C, found -2"),
        (ClassLabel(names=["a", "b", "c"]), 2, 2, "one of the row's 2 choices, a number from 0 to 1 or .*, found 2"),
        (Value("string"), "C", 2, "one of the row's 2 choices, .* a letter from A to B, found 'C'"),
        # digits that count from 1
        (Value("string"), "4", 4, "one of the row's 4 choices, .*, found '4'"),
        (Value("string"), "a", 2, "one of the row's 2 choices, .*, found 'a'"),
        (Value("string"), "-1", 2, "one of the row's 2 choices, .*, found '-1'"),
        (Value("string"), "AB", 2, "one of the row's 2 choices, .*, found 'AB'"),
        (Value("string"), "²", 4, "one of the row's 4 choices, .*, found '²'"),
        (Value("string"), "Ä", 4, "one of the row's 4 choices, .*, found 'Ä'"),
        (Value("int64"), 30, 30, "one of the row's 30 choices, a number from 0 to 29, found 30"),
        (Value("int64"), 0, 1, "at least two choices in a row with a label, found 1"),
    ],
)
def test_bad_labels_name_task_column_row_and_value(feature: Any, value: Any, choices: int, message: str) -> None:
    with pytest.raises(InputError, match=rf"^task 'quiz', column 'label', row 6: expected {message}\.$"):
        MultipleChoiceHeadConfig().encode_labels([None, value], source(feature), rows_of(9, choices))


def test_a_row_without_a_label_may_have_a_single_choice() -> None:
    assert MultipleChoiceHeadConfig().encode_labels([None], source(Value("int64")), rows_of(1)) == [-100]


@pytest.mark.parametrize("feature", [Value("float32"), List(Value("int64")), None])
def test_columns_that_cannot_be_labels(feature: Any) -> None:
    config = MultipleChoiceHeadConfig()
    for use in (
        lambda: config.complete([source(feature)]),
        lambda: config.encode_labels([], source(feature), rows_of()),
    ):
        with pytest.raises(InputError, match=r"^task 'quiz', column 'label': expected class labels"):
            use()


def test_configs_that_make_no_sense() -> None:
    with pytest.raises(InputError, match=r"classifier_dropout: expected a fraction in \[0, 1\), found 1"):
        MultipleChoiceHeadConfig(classifier_dropout=1)
    with pytest.raises(InputError, match="unknown metric 'f1_macro'"):
        MultipleChoiceHeadConfig(metrics=["f1_macro"])
    images = BackboneInfo("vit", {"encoded_image": 8}, {}, {"encoded_image": "pooled"}, False, None, None)
    with pytest.raises(InputError, match="multiple_choice reads encoded_text or encoded_text_decoder, but"):
        MultipleChoiceHeadConfig().resolve(images)


# with the rest of the package


def quiz() -> Dataset:
    """Questions with two to four choices; which one is right depends on the question."""
    rows = []
    for index in range(24):
        wanted, other = (SINGERS, CITIES) if index % 2 else (CITIES, SINGERS)
        choices = [other[(index // 2 + place) % 4] for place in range(2 + index % 3)]
        right = index // 3 % len(choices)
        choices[right] = wanted[index // 4 % 4]
        text = "play music by" if index % 2 else "weather in"
        rows.append({"question": text, "options": choices, "answer": "ABCD"[right]})
    features = {"question": Value("string"), "options": List(Value("string")), "answer": Value("string")}
    return Dataset.from_list(rows, features=Features(features))


def quiz_task(**splits: Dataset) -> Task:
    return Task(dataset=splits, inputs={"text": "question", "choices": "options"}, labels={"answer": "answer"})


def test_training_evaluation_and_prediction(tmp_path: Path) -> None:
    rows = quiz()
    tasks = {"quiz": quiz_task(train=rows, validation=rows)}
    trainer = overfit(HEADS, tasks, tmp_path, num_train_epochs=40, per_device_eval_batch_size=2)
    metrics = trainer.evaluate()
    assert metrics["eval_quiz_answer_accuracy"] == 1.0
    assert metrics["eval_quiz_loss"] < 0.2
    found = trainer.predict(split="validation")["quiz"]
    right = ["ABCD".index(letter) for letter in rows["answer"]]
    assert found.label_ids["answer"].tolist() == right
    # batches of two rows have other numbers of choices
    logits = found.predictions["answer"]
    assert logits.shape == (24, 4)
    counts = [len(choices) for choices in rows["options"]]
    assert [int(np.argmax(row[:count])) for row, count in zip(logits, counts, strict=True)] == right
    filled = {float(row[place]) for row, count in zip(logits, counts, strict=True) for place in range(count, 4)}
    assert filled <= {float(torch.finfo(torch.float32).min), -100.0}
    predictor = MultiTaskPredictor(trainer.model, tiny_tokenizer(), batch_size=5)
    asked = [{"text": row["question"], "choices": row["options"]} for row in rows]
    answers = predictor([*asked, "weather in rome", {"sentences": ["rome", "oslo"]}])
    assert [answer["answer"]["choice"] for answer in answers[:24]] == right
    assert all(0.5 < answer["answer"]["score"] <= 1 for answer in answers[:24])
    # neither has choices
    assert answers[24:] == [{}, {}]


def test_choices_without_a_text_in_columns_of_their_own(tmp_path: Path) -> None:
    rows = [
        {
            "a": (GOOD if index % 2 else BAD)[index // 2 % 4],
            "b": (BAD if index % 2 else GOOD)[index % 4],
            "label": 1 - index % 2,
        }
        for index in range(8)
    ]
    data = Dataset.from_list(rows)
    task = Task(
        dataset={"train": data, "validation": data}, inputs={"choices": ["a", "b"]}, labels={"answer": "label"}
    )
    trainer = overfit(HEADS, {"words": task}, tmp_path)
    assert trainer.evaluate()["eval_words_answer_accuracy"] == 1.0


def test_a_batch_with_rows_of_other_tasks_adds_up() -> None:
    """Rows of 3 and 2 choices and a plain text in one batch: each head's loss is that over its own rows alone."""
    heads = {**HEADS, "mood": {"head_type": "sequence_classification", "id2label": ["bad", "good"]}}
    model = tiny_model(heads, tasks={"quiz": ["answer"], "moods": ["mood"]}).double()
    texts = Dataset.from_dict({"text": ["the film is great .", "the old book is awful ."], "label": [1, 0]})
    tasks = {
        "quiz": quiz_task(train=quiz().select([0, 1, 2])),
        "moods": Task(dataset={"train": texts}, inputs={"text": "text"}, labels={"mood": "label"}),
    }
    configs = {name: head.config for name, head in model.named_heads.items()}
    prepared = PreparedTasks(tasks, configs, tiny_tokenizer())
    prepared.prepare()
    rows = prepared.train_dataset(Mixture(), seed=0)
    collator = DataCollatorForMultiTask(tiny_tokenizer(), configs)

    def loss(numbers: list[int]) -> Any:
        batch = collator([rows[number] for number in numbers])
        batch.pop("task_index")
        return model(**batch)

    mixed = loss([3, 1, 0, 4, 2])
    assert mixed["answer_rows"].tolist() == [1, 2, 4]
    # the widest row has four choices
    assert mixed["answer_logits"].shape == (3, 4)
    for name, own in (("answer", [1, 0, 2]), ("mood", [3, 4])):
        torch.testing.assert_close(mixed[f"{name}_row_losses"], loss(own)[f"{name}_row_losses"], rtol=1e-9, atol=1e-9)
        alone = torch.cat([loss([number])[f"{name}_row_losses"] for number in own])
        torch.testing.assert_close(mixed[f"{name}_row_losses"], alone, rtol=1e-9, atol=1e-9)


def test_saving_and_loading(tmp_path: Path) -> None:
    model = tiny_model(HEADS)
    sequences = {"answer": torch.tensor([[0, 2, 3], [1, 4, -1]])}
    inputs = tiny_inputs(rows=5)
    logits = model(**inputs, sequences=sequences)["answer_logits"]
    assert logits.shape == (2, 3)
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.heads["answer"].config == model.heads["answer"].config
    assert torch.equal(loaded(**inputs, sequences=sequences)["answer_logits"], logits)


@pytest.mark.parametrize(
    ("inputs", "label", "message"),
    [
        ({"text": "question"}, "answer", "multiple_choice needs the inputs choices, found text"),
        ({"choices": "options"}, None, "multiple_choice needs a column with labels, found none"),
        ({"choices": "options"}, "wrong", "row 3: expected one of the row's 2 choices, .*, found 2"),
    ],
)
def test_tasks_that_cannot_train_the_head(inputs: dict[str, Any], label: str | None, message: str) -> None:
    rows = quiz().select([0, 3, 6, 9]).add_column("wrong", [0, 1, 0, 2])
    task = Task(dataset={"train": rows}, inputs=inputs, labels={"answer": label})
    model = tiny_model(HEADS)
    with pytest.raises(InputError, match=message):
        PreparedTasks({"quiz": task}, {"answer": model.heads["answer"].config}, tiny_tokenizer()).prepare()
