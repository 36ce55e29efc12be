"""Regression: targets in standardised units inside, in their own unit outside."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import List, Value

from fixtures import tiny_inputs, tiny_model
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.heads import EncodedRows, LabelSource, RegressionHead, RegressionHeadConfig

NAN = math.nan
NUMBER = Value("float32")


def source(values: list[Any], feature: Any = NUMBER, task_name: str = "stsb") -> LabelSource:
    return LabelSource(task_name, "score", feature, lambda: values)


def make_head(**fields: Any) -> RegressionHead:
    """A head whose last layer gives its features, of which there are as many as targets."""
    config = RegressionHeadConfig(**{"pooling": "mean", **fields})
    head = RegressionHead(config, config.num_targets).double().eval()
    with torch.no_grad():
        head.regressor.weight.copy_(torch.eye(config.num_targets))
        head.regressor.bias.zero_()
    return head


def run(head: RegressionHead, features: list[list[float]], labels: Any = None) -> dict[str, torch.Tensor]:
    encoded = torch.tensor(features, dtype=torch.float64).unsqueeze(1)
    with torch.no_grad():
        return head(encoded, torch.ones(len(features), 1), None if labels is None else torch.tensor(labels))


def test_mean_and_standard_deviation_are_taken_from_all_training_rows() -> None:
    config = RegressionHeadConfig()
    config.complete([source([1.0, 3.0, None, NAN]), source([5.0, 7.0], task_name="other")])
    assert config.mean == [4.0]
    assert config.std == pytest.approx([math.sqrt(5)])


def test_of_several_targets_each_has_its_own() -> None:
    config = RegressionHeadConfig(num_targets=2)
    config.complete([source([[0.0, 10.0], [4.0, None], [2.0, 30.0]], List(NUMBER))])
    assert config.mean == [2.0, 20.0]
    assert config.std == pytest.approx([math.sqrt(8 / 3), 10.0])


def test_equal_targets_have_standard_deviation_one() -> None:
    config = RegressionHeadConfig()
    config.complete([source([3.0, 3.0])])
    assert (config.mean, config.std) == ([3.0], [1.0])


def test_what_was_given_stays() -> None:
    config = RegressionHeadConfig(mean=[0.5])
    config.complete([source([1.0, 3.0])])
    assert (config.mean, config.std) == ([0.5], [1.0])
    both = RegressionHeadConfig(mean=[0.5], std=[7.0])
    both.complete([source([1.0, 3.0])])
    assert (both.mean, both.std) == ([0.5], [7.0])


def test_standardising_can_be_left_out() -> None:
    config = RegressionHeadConfig(standardize=False)
    config.complete([source([1.0, 3.0])])
    assert (config.mean, config.std) == (None, None)
    head = make_head(standardize=False)
    assert run(head, [[7.0]], [[4.0]]) == {
        "logits": torch.tensor([[7.0]], dtype=torch.float64),
        "row_losses": torch.tensor([9.0], dtype=torch.float64),
    }


@pytest.mark.parametrize(("loss_type", "losses"), [("mse", [0.25, 9.0]), ("l1", [0.5, 3.0]), ("huber", [0.125, 2.5])])
def test_losses_are_of_standardised_targets(loss_type: str, losses: list[float]) -> None:
    head = make_head(mean=[10.0], std=[4.0], loss_type=loss_type)
    # predicted 0.5 and -2, the labels stand for 1 and 1
    outputs = run(head, [[0.5], [-2.0]], [[14.0], [14.0]])
    assert outputs["logits"].tolist() == [[12.0], [2.0]]
    assert outputs["row_losses"].tolist() == losses


def test_labels_of_one_target_may_have_one_dimension() -> None:
    head = make_head(mean=[10.0], std=[4.0])
    flat = run(head, [[0.5], [0.0]], [14.0, NAN])["row_losses"]
    assert flat.tolist() == run(head, [[0.5], [0.0]], [[14.0], [NAN]])["row_losses"].tolist() == [0.25, 0.0]


def test_a_missing_target_of_several_adds_nothing() -> None:
    head = make_head(num_targets=2, mean=[0.0, 0.0], std=[1.0, 2.0])
    assert run(head, [[3.0, 5.0]], [[1.0, NAN]])["row_losses"].tolist() == [4.0]
    assert run(head, [[3.0, 5.0]], [[1.0, 8.0]])["row_losses"].tolist() == [4.0 + 1.0]


def test_answers_are_in_the_targets_own_unit() -> None:
    head = make_head(mean=[10.0], std=[4.0])
    outputs = run(head, [[0.5], [-2.0]])
    assert head.predictions(outputs, torch.tensor([[1.0], [1.0]])).tolist() == [[12.0], [2.0]]
    assert head.decode(outputs, [[], []]) == [{"value": 12.0}, {"value": 2.0}]
    two = make_head(num_targets=2, mean=[10.0, 0.0], std=[4.0, 1.0])
    assert two.decode(run(two, [[0.5, 3.0]]), [[]]) == [{"values": [12.0, 3.0]}]


def test_the_unit_is_saved_with_the_model(tmp_path: Path) -> None:
    model = tiny_model({"stars": {"head_type": "regression", "mean": [40.0], "std": [0.25]}})
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    config = loaded.heads["stars"].config
    assert (config.mean, config.std) == ([40.0], [0.25])
    assert torch.equal(loaded(**tiny_inputs())["stars_logits"], model(**tiny_inputs())["stars_logits"])
    assert abs(loaded(**tiny_inputs())["stars_logits"].mean().item() - 40) < 1


def test_the_unit_keeps_its_digits_in_16_bits(tmp_path: Path) -> None:
    # bfloat16 has no number between 2000 and 2008: years would come out wrong by more than their deviation
    model = tiny_model({"year": {"head_type": "regression", "mean": [2003.0], "std": [2.0]}})
    expected = model(**tiny_inputs())["year_logits"]
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    torch.testing.assert_close(loaded(**tiny_inputs())["year_logits"], expected, rtol=0, atol=0.1)


def test_a_unit_that_data_gave_later_is_used() -> None:
    head = make_head()
    assert run(head, [[1.0]])["logits"].tolist() == [[1.0]]
    head.config.complete([source([6.0, 14.0])])
    assert run(head, [[1.0]])["logits"].tolist() == [[14.0]]


def test_encoding() -> None:
    config = RegressionHeadConfig()
    encoded = config.encode_labels([1, None, 2.5, NAN], source([]), EncodedRows(range(4)))
    labels = config.collate_labels([*encoded, None], 9)
    assert labels.dtype == torch.float32
    assert labels[[0, 2]].tolist() == [[1.0], [2.5]]
    assert labels.isnan().squeeze(1).tolist() == [False, True, False, True, True]
    assert config.count_items(labels).tolist() == [1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("fields", "feature", "value", "message"),
    [
        ({}, NUMBER, math.inf, "row 8: expected 1 finite number(s), found inf"),
        ({}, List(NUMBER), [1.0, 2.0], "row 8: expected 1 finite number(s), found [1.0, 2.0]"),
        ({"num_targets": 2}, List(NUMBER), [1.0], "row 8: expected 2 finite number(s), found [1.0]"),
    ],
)
def test_bad_values_name_task_column_row_and_value(
    fields: dict[str, Any], feature: Any, value: Any, message: str
) -> None:
    config = RegressionHeadConfig(**fields)
    with pytest.raises(InputError) as caught:
        config.encode_labels([None, value], source([], feature), EncodedRows([7, 8]))
    assert str(caught.value) == f"task 'stsb', column 'score', {message}."


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({}, Value("string")),
        ({}, Value("bool")),
        ({"num_targets": 2}, NUMBER),
        ({"num_targets": 2}, List(Value("string"))),
    ],
)
def test_columns_that_cannot_be_targets(fields: dict[str, Any], feature: Any) -> None:
    config = RegressionHeadConfig(**fields)
    for use in (
        lambda: config.complete([source([], feature)]),
        lambda: config.encode_labels([], source([], feature), EncodedRows([])),
    ):
        with pytest.raises(
            InputError, match=r"^task 'stsb', column 'score': expected a (number|list of 2 numbers) a row"
        ):
            use()


@pytest.mark.parametrize("dtype", ["int64", "float64", "uint8"])
def test_columns_that_can_be_targets(dtype: str) -> None:
    config = RegressionHeadConfig()
    config.complete([source([1, 3], Value(dtype))])
    assert config.mean == [2.0]


@pytest.mark.parametrize("values", [[None, None], [NAN], []])
def test_without_a_target_there_is_no_mean(values: list[Any]) -> None:
    with pytest.raises(InputError, match=r"^task 'stsb', column 'score': no training row has a target"):
        RegressionHeadConfig().complete([source(values)])


def test_metrics() -> None:
    config = RegressionHeadConfig()
    predictions, references = np.array([[1.0], [2.0], [3.0], [9.0]]), np.array([[2.0], [4.0], [6.0], [NAN]])
    assert config.compute_metrics(predictions, references) == pytest.approx(
        {"pearson": 1.0, "spearman": 1.0, "mse": (1 + 4 + 9) / 3}
    )
    assert config.score_sign == 1
    assert RegressionHeadConfig(metrics=["mse"]).score_sign == -1
    # a row with one of two targets counts for that one
    two = RegressionHeadConfig(num_targets=2, metrics=["mse"])
    found = two.compute_metrics(np.array([[1.0, 1.0], [5.0, 1.0]]), np.array([[1.0, 3.0], [7.0, NAN]]))
    assert found == {"mse": pytest.approx((2.0 + 4.0) / 2)}
