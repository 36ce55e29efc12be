"""Row classification: exact losses, class weights from data, labels of several classes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, List, Value

from fixtures import tiny_inputs, tiny_model
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.heads import (
    EncodedRows,
    LabelSource,
    SequenceClassificationHead,
    SequenceClassificationHeadConfig,
    SourceRow,
)

ABC = ["a", "b", "c"]
LOGITS = [[math.log(1), math.log(2), math.log(5)], [math.log(4), math.log(2), math.log(2)]]
"""Softmax: (1, 2, 5) / 8 and (4, 2, 2) / 8."""


def make_config(**fields: Any) -> SequenceClassificationHeadConfig:
    return SequenceClassificationHeadConfig(**{"id2label": ABC, "pooling": "mean", **fields})


def make_head(**fields: Any) -> SequenceClassificationHead:
    """A head over features of size 3, whose logits are its features."""
    config = make_config(**fields)
    config.check_complete()
    head = SequenceClassificationHead(config, 3).double().eval()
    with torch.no_grad():
        head.classifier.weight.copy_(torch.eye(3))
        head.classifier.bias.zero_()
    return head


def run(head: SequenceClassificationHead, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    encoded = torch.tensor(LOGITS, dtype=torch.float64).unsqueeze(1)
    with torch.no_grad():
        return head(encoded, torch.ones(2, 1), labels)


def source(feature: Any, values: list[Any] | None = None) -> LabelSource:
    return LabelSource("snips", "intent", feature, lambda: values or [])


def close(found: torch.Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), rtol=1e-6, atol=1e-9)


def test_loss() -> None:
    close(run(make_head(), torch.tensor([2, 0]))["row_losses"], [math.log(8 / 5), math.log(2)])


def test_class_weights() -> None:
    head = make_head(class_weights=[0.5, 2.0, 3.0])
    # weighted, and not divided by the weights
    close(run(head, torch.tensor([2, 0]))["row_losses"], [3 * math.log(8 / 5), 0.5 * math.log(2)])


def test_class_weights_by_name() -> None:
    assert make_config(class_weights={"c": 3, "a": 0.5, "b": 2}).class_weights == [0.5, 2.0, 3.0]


def test_label_smoothing() -> None:
    # 0.3 of the target is spread evenly over all three classes
    expected = 0.7 * math.log(8 / 5) + 0.1 * (math.log(8) + math.log(4) + math.log(8 / 5))
    close(run(make_head(label_smoothing=0.3), torch.tensor([2, -100]))["row_losses"], [expected, 0.0])


def several(**fields: Any) -> SequenceClassificationHead:
    return make_head(problem_type="multi_label_classification", **fields)


SEVERAL = torch.tensor([[1.0, 0.0, 1.0], [0.0, math.nan, 1.0]], dtype=torch.float64)


def test_loss_of_several_labels() -> None:
    # sigmoid(log x) = x / (1 + x); items of a row that have no label add nothing
    expected = [math.log(2) + math.log(3) + math.log(6 / 5), math.log(5) + math.log(3 / 2)]
    close(run(several(), SEVERAL)["row_losses"], expected)


def test_class_weights_of_several_labels_weigh_the_present_ones() -> None:
    expected = [3 * math.log(2) + math.log(3) + 7 * math.log(6 / 5), math.log(5) + 7 * math.log(3 / 2)]
    close(run(several(class_weights=[3.0, 5.0, 7.0]), SEVERAL)["row_losses"], expected)


def test_label_smoothing_of_several_labels() -> None:
    # targets 0.9 and 0.1
    first = [0.9 * math.log(2) + 0.1 * math.log(2), 0.1 * math.log(3 / 2) + 0.9 * math.log(3)]
    first.append(0.9 * math.log(6 / 5) + 0.1 * math.log(6))
    second = [0.1 * math.log(5 / 4) + 0.9 * math.log(5), 0.9 * math.log(3 / 2) + 0.1 * math.log(3)]
    close(run(several(label_smoothing=0.2), SEVERAL)["row_losses"], [sum(first), sum(second)])


def test_feed_forward_layers() -> None:
    config = make_config(hidden_sizes=[5, 2], hidden_act="relu", classifier_dropout=0.25)
    head = SequenceClassificationHead(config, 3)
    assert [tuple(value.shape) for name, value in head.named_parameters() if name.endswith("weight")] == [
        (5, 3),
        (2, 5),
        (3, 2),
    ]
    layers = [type(layer).__name__ for layer in head.feed_forward]
    assert layers == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout"]
    assert [layer.p for layer in head.modules() if isinstance(layer, torch.nn.Dropout)] == [0.25] * 3


def test_predictions_and_answers() -> None:
    head = make_head()
    outputs = run(head)
    assert head.predictions(outputs, torch.tensor([0, 0])).tolist() == [2, 0]
    answers = head.decode(outputs, [[], []])
    assert answers == [{"label": "c", "score": pytest.approx(5 / 8)}, {"label": "a", "score": pytest.approx(1 / 2)}]


@pytest.mark.parametrize(
    ("threshold", "present"),
    [(0.0, [[1, 1, 1], [1, 1, 1]]), (0.6, [[0, 1, 1], [1, 1, 1]]), (0.75, [[0, 0, 1], [1, 0, 0]])],
)
def test_several_labels_are_present_from_the_threshold_on(threshold: float, present: list[list[int]]) -> None:
    # probabilities (1/2, 2/3, 5/6) and (4/5, 2/3, 2/3)
    head = several(threshold=threshold)
    outputs = run(head)
    assert head.predictions(outputs, SEVERAL).tolist() == present
    answers = head.decode(outputs, [[], []])
    names = [[entry["label"] for entry in row] for row in answers]
    assert [sorted(row) for row in names] == [
        [name for name, chosen in zip(ABC, row, strict=True) if chosen] for row in present
    ]
    # the most probable one first
    assert all(row == sorted(row, key=lambda entry: -entry["score"]) for row in answers)


def test_balanced_weights_come_from_the_training_rows() -> None:
    config = make_config(class_weights="balanced")
    config.complete(
        [source(ClassLabel(names=["b", "a", "c"]), [0, 0, 0, 1, -1]), source(Value("string"), ["a", None])]
    )
    # rows: a 2, b 3, c 0 of 5
    assert config.class_weights == pytest.approx([5 / 6, 5 / 9, 0.0])


def test_balanced_weights_of_several_labels() -> None:
    config = make_config(class_weights="balanced", problem_type="multi_label_classification")
    rows = [["a"], ["a", "b"], ["a"], [], None]
    config.complete([source(List(Value("string")), rows)])
    # absent to present rows: a 1 to 3, b 3 to 1, c never present
    assert config.class_weights == pytest.approx([1 / 3, 3.0, 0.0])


def test_balanced_weights_need_data() -> None:
    with pytest.raises(InputError, match="class_weights is 'balanced', but no training data was read"):
        make_config(class_weights="balanced").check_complete()


def test_weights_by_name_wait_for_names_from_the_data() -> None:
    config = SequenceClassificationHeadConfig(class_weights={"x": 2.0, "y": 3.0})
    config.complete([source(ClassLabel(names=["y", "x"]))])
    assert config.class_weights == [3.0, 2.0]
    wrong = SequenceClassificationHeadConfig(class_weights={"x": 2.0})
    with pytest.raises(InputError, match="expected a weight for each of"):
        wrong.complete([source(ClassLabel(names=["y", "x"]))])


def test_weights_are_saved_and_loaded(tmp_path: Path) -> None:
    head = {"head_type": "sequence_classification", "id2label": ABC, "class_weights": [0.5, 2.0, 3.0]}
    model = tiny_model({"intent": head})
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.heads["intent"].config.class_weights == [0.5, 2.0, 3.0]
    labels = torch.tensor([0, 1, 2, 0])
    assert torch.equal(loaded(**tiny_inputs(), labels=labels)["loss"], model(**tiny_inputs(), labels=labels)["loss"])


def test_encoding() -> None:
    config = make_config()
    values = [0, -1, 1]
    encoded = config.encode_labels(values, source(ClassLabel(names=["b", "c"])), EncodedRows(range(3)))
    assert encoded == [1, -100, 2]
    assert config.collate_labels([*encoded, None], 9).tolist() == [1, -100, 2, -100]


def test_encoding_of_several_labels() -> None:
    config = make_config(problem_type="multi_label_classification")
    feature = List(ClassLabel(names=["c", "a"]))
    encoded = config.encode_labels([[0, 1], [], None, [1]], source(feature), EncodedRows(range(4)))
    labels = config.collate_labels([*encoded, None], 9)
    assert labels[[0, 1, 3]].tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert bool(labels[[2, 4]].isnan().all())


def test_encoding_of_several_labels_names_the_row() -> None:
    config = make_config(problem_type="multi_label_classification")
    with pytest.raises(InputError, match="task 'snips', column 'intent', row 8: label 'zebra' is not among"):
        config.encode_labels([["a"], [], ["b", "zebra"]], source(List(Value("string"))), EncodedRows([5, 7, 8]))
    with pytest.raises(InputError, match="expected a list of labels a row, found Value"):
        config.complete([source(Value("string"), ["a"])])


def test_metrics_leave_out_what_has_no_label() -> None:
    assert make_config().compute_metrics(np.array([0, 1, 2]), np.array([0, 2, -100]))["accuracy"] == 0.5
    config = make_config(problem_type="multi_label_classification", metrics=["f1_micro"])
    predictions = np.array([[1, 0, 1], [1, 1, 1]], dtype=np.int8)
    references = np.array([[1.0, 0.0, 0.0], [np.nan] * 3])
    # one hit, one false alarm
    assert config.compute_metrics(predictions, references) == {"f1_micro": pytest.approx(2 / 3)}


def test_metrics_are_those_that_were_asked_for() -> None:
    config = make_config(metrics=["matthews_correlation", "accuracy"])
    results = config.compute_metrics(np.array([0, 1, 2]), np.array([0, 1, 2]))
    assert results == {"matthews_correlation": pytest.approx(1.0), "accuracy": 1.0}


# several answers


def decoded(config: SequenceClassificationHeadConfig, logits: list[list[float]], **options: Any) -> list[Any]:
    head = SequenceClassificationHead(config, 4)
    return head.decode({"logits": torch.tensor(logits).log()}, [SourceRow()] * len(logits), **options)


@pytest.mark.parametrize(("labels", "expected"), [(["b"], 2 / 3), (["c", "b"], 1 / 3), (None, 7 / 18)])
def test_f1_is_taken_over_the_labels_that_are_named(labels: list[str] | None, expected: float) -> None:
    config = make_config(metrics=["f1_macro", "accuracy"], f1_labels=labels)
    # a: tp 1, fp 2, fn 0; b: tp 1, fp 0, fn 1; c: tp 0, fp 0, fn 1
    results = config.compute_metrics(np.array([0, 0, 1, 0]), np.array([0, 1, 1, 2]))
    assert results == {"f1_macro": pytest.approx(expected), "accuracy": 0.5}


def test_f1_of_several_labels_is_taken_over_those_that_are_named() -> None:
    config = make_config(problem_type="multi_label_classification", metrics=["f1_micro"], f1_labels=["a", "c"])
    predictions, labels = np.array([[1, 1, 0], [1, 1, 1]]), np.array([[1.0, 0, 0], [0, 0, 1]])
    assert config.compute_metrics(predictions, labels) == {"f1_micro": pytest.approx(0.8)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"f1_labels": ["x"]}, "f1_labels: unknown label 'x'. Known: a, b, c"),
        ({"f1_labels": []}, r"f1_labels: expected a list of labels, each once, found \[\]"),
        ({"f1_labels": ["a", "a"]}, "f1_labels: expected a list of labels, each once"),
        ({"f1_labels": "a"}, "f1_labels: expected a list of labels, each once, found 'a'"),
        ({"f1_labels": ["a"], "metrics": ["accuracy"]}, "f1_labels: expected an F1 among the metrics, found accuracy"),
    ],
)
def test_wrong_labels_of_f1(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(**fields)


def test_labels_of_f1_wait_for_names_from_the_data() -> None:
    config = SequenceClassificationHeadConfig(f1_labels=["y"])
    config.complete([source(Value("string"), ["x", "y"])])
    assert config.metric_options("f1_macro") == {"labels": [1]}
    with pytest.raises(InputError, match="f1_labels: unknown label 'z'"):
        SequenceClassificationHeadConfig(f1_labels=["z"]).complete([source(Value("string"), ["x", "y"])])


FROM_ELSEWHERE = """
import datasets
import evaluate


class FromElsewhere(evaluate.Metric):
    def _info(self):
        value = datasets.Value("int64")
        features = datasets.Features({"predictions": value, "references": value})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        return {NAME: sum(p == r for p, r in zip(predictions, references)) / 8, "rows": len(predictions)}
"""


def test_a_metric_from_elsewhere_comes_first(tmp_path: Path) -> None:
    (tmp_path / "hits.py").write_text(FROM_ELSEWHERE.replace("NAME", "'hits'"), encoding="utf-8")
    config = make_config(metrics=[f"evaluate/{tmp_path / 'hits.py'}", "accuracy"])
    results = config.compute_metrics(np.array([0, 1]), np.array([0, 1]))
    assert results == {"hits": 0.25, "rows": 2, "accuracy": 1.0}
    assert (config.primary_metric, config.score(results)) == ("hits", 0.25)


def test_a_metric_from_elsewhere_without_a_value_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "misses.py").write_text(FROM_ELSEWHERE.replace("NAME", "'found'"), encoding="utf-8")
    config = make_config(metrics=[f"evaluate/{tmp_path / 'misses.py'}"])
    results = config.compute_metrics(np.array([0, 1]), np.array([0, 1]))
    with pytest.raises(InputError, match=r"value named 'misses' of the primary .* found found, rows: name another"):
        config.score(results)


def test_top_k_names_the_best_classes() -> None:
    config = SequenceClassificationHeadConfig(id2label=["a", "b", "c"], pooling="mean")
    assert config.answer_options == ("top_k",)
    shares = [[0.2, 0.5, 0.3]]
    assert decoded(config, shares) == [{"label": "b", "score": pytest.approx(0.5)}]
    best = [{"label": name, "score": pytest.approx(share)} for name, share in (("b", 0.5), ("c", 0.3), ("a", 0.2))]
    assert decoded(config, shares, top_k=1) == [best[:1]]
    assert decoded(config, shares, top_k=2) == [best[:2]]
    assert decoded(config, shares, top_k=9) == [best]


def test_threshold_and_top_k_of_several_labels() -> None:
    config = SequenceClassificationHeadConfig(
        id2label=["a", "b", "c"], pooling="mean", problem_type="multi_label_classification", threshold=0.5
    )
    assert config.answer_options == ("top_k", "threshold")
    # odds of 3, 1 / 3 and 1: probabilities of 3 / 4, 1 / 4 and 1 / 2
    odds = [[3.0, 1 / 3, 1.0]]
    found = [{"label": name, "score": pytest.approx(share)} for name, share in (("a", 0.75), ("c", 0.5), ("b", 0.25))]
    assert decoded(config, odds) == [found[:2]]
    assert decoded(config, odds, threshold=0.2) == [found]
    assert decoded(config, odds, threshold=0.9) == [[]]
    assert decoded(config, odds, threshold=0) == [found]
    assert decoded(config, odds, threshold=0.2, top_k=1) == [found[:1]]
    assert decoded(config, odds, top_k=1) == [found[:1]]


def test_a_classifier_without_a_bias() -> None:
    config = SequenceClassificationHeadConfig(id2label=["a", "b"], pooling="mean", classifier_bias=False)
    assert [name for name, _ in SequenceClassificationHead(config, 4).named_parameters()] == ["classifier.weight"]
    with pytest.raises(InputError, match="classifier_bias: expected true or false, found 0"):
        SequenceClassificationHeadConfig(id2label=["a", "b"], classifier_bias=0)
