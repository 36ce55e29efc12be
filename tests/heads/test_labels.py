"""Labels by name: how the values of a column become the ids of a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, LargeList, List, Value
from sklearn.utils.class_weight import compute_class_weight

from mt_transformers.errors import InputError
from mt_transformers.heads import ClassHeadConfig, LabelSource
from mt_transformers.heads.labels import balanced_weights, element_feature, label_ids

ABC = ["a", "b", "c"]


@dataclass(kw_only=True)
class NamesConfig(ClassHeadConfig):
    """Of what a config does with labels only the names."""

    def encode_labels(self, *args: Any) -> list[Any]:
        raise NotImplementedError

    def collate_labels(self, *args: Any) -> torch.Tensor:
        raise NotImplementedError

    def metric_inputs(self, *args: Any) -> tuple[Any, Any]:
        raise NotImplementedError


def source(feature: Any, values: list[Any] | None = None, task_name: str = "snips") -> LabelSource:
    return LabelSource(task_name, "intent", feature, lambda: values or [])


def config(**fields: Any) -> Any:
    return NamesConfig(**({"id2label": ABC} | fields))


def ids(values: list[Any], feature: Any, rows: list[int] | None = None, **fields: Any) -> list[int]:
    rows = list(range(10, 10 + len(values))) if rows is None else rows
    return label_ids(values, feature, source(feature), rows, config(**fields)).tolist()


def test_columns_of_one_kind_are_aligned_by_name_not_by_number() -> None:
    permuted = ClassLabel(names=["c", "a", "b"])
    assert ids([0, 1, 2, 1], permuted) == [2, 0, 1, 0]
    assert ids([0, 1, 2, 1], ClassLabel(names=ABC)) == [0, 1, 2, 1]


def test_a_column_may_have_fewer_names_than_the_head_and_others_that_do_not_occur() -> None:
    assert ids([0, 0], ClassLabel(names=["c", "zebra"])) == [2, 2]


@pytest.mark.parametrize("dtype", ["string", "large_string"])
def test_text_labels(dtype: str) -> None:
    assert ids(["b", "a", None, "c"], Value(dtype)) == [1, 0, -100, 2]


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8"])
def test_plain_integers(dtype: str) -> None:
    assert ids([2, 0, None, 1], Value(dtype)) == [2, 0, -100, 1]


def test_booleans() -> None:
    assert ids([True, False, None], Value("bool"), id2label=["no", "yes"]) == [1, 0, -100]


@pytest.mark.parametrize("feature", [ClassLabel(names=["c", "a", "b"]), Value("int64")])
def test_what_says_that_there_is_no_label(feature: Any) -> None:
    assert ids([-1, None, -100], feature) == [-100, -100, -100]


@pytest.mark.parametrize(
    ("values", "feature", "row", "value"),
    [
        ([0, 3], ClassLabel(names=ABC), 11, "3"),
        ([0, -2], ClassLabel(names=ABC), 11, "-2"),
        ([7, 0], Value("int64"), 10, "7"),
        ([0, 0, -3], Value("int64"), 12, "-3"),
    ],
)
def test_numbers_out_of_range_name_task_column_row_and_value(
    values: list[Any], feature: Any, row: int, value: str
) -> None:
    with pytest.raises(InputError) as caught:
        ids(values, feature)
    assert str(caught.value) == (
        f"task 'snips', column 'intent', row {row}: label {value} is out of range, expected 0 to 2 "
        "(or -1 for no label)."
    )


@pytest.mark.parametrize(
    ("values", "feature", "row"),
    [(["a", "zebra"], Value("string"), 11), ([1, 0, 2], ClassLabel(names=["a", "b", "zebra"]), 12)],
)
def test_unknown_names_name_task_column_row_and_value(values: list[Any], feature: Any, row: int) -> None:
    with pytest.raises(InputError) as caught:
        ids(values, feature)
    assert str(caught.value) == (
        f"task 'snips', column 'intent', row {row}: label 'zebra' is not among the head's 3 labels (a, b, c)."
    )


def test_of_many_labels_ten_are_listed() -> None:
    with pytest.raises(InputError, match=r"12 labels \(l0, l1, l2, l3, l4, l5, l6, l7, l8, l9, \.\.\.\)"):
        ids(["x"], Value("string"), id2label=[f"l{index}" for index in range(12)])


def test_no_values() -> None:
    assert ids([], Value("string")) == ids([], Value("int64")) == ids([], ClassLabel(names=ABC)) == []


# ------------------------------------------------------------------------------------------------------------------
# the config


@pytest.mark.parametrize("id2label", [ABC, {0: "a", 1: "b", 2: "c"}, {"2": "c", "0": "a", "1": "b"}])
def test_names_are_given_in_any_form(id2label: Any) -> None:
    built = NamesConfig(id2label=id2label)
    assert built.id2label == {0: "a", 1: "b", 2: "c"}
    assert built.label2id == {"a": 0, "b": 1, "c": 2}
    assert built.num_labels == 3
    assert built.names == ABC


def test_names_are_given_the_other_way_round() -> None:
    assert config(id2label=None, label2id={"b": 1, "a": 0}).id2label == {0: "a", 1: "b"}


def test_a_contradiction_of_id2label_and_label2id_is_refused() -> None:
    assert config(label2id={"c": 2, "a": 0, "b": 1}).names == ABC
    with pytest.raises(InputError, match="'a' is 1 in label2id and 0 in id2label"):
        config(label2id={"a": 1, "b": 0, "c": 2})
    with pytest.raises(InputError, match="'d' is 3 in label2id and None in id2label"):
        config(label2id={"a": 0, "b": 1, "c": 2, "d": 3})


def test_names_are_read_from_the_columns() -> None:
    open_config = config(id2label=None)
    open_config.complete([source(ClassLabel(names=["b", "a"])), source(ClassLabel(names=["a", "c"]))])
    assert open_config.names == ["b", "a", "c"]


def test_names_are_read_from_text_in_alphabetical_order() -> None:
    open_config = config(id2label=None)
    open_config.complete([source(Value("string"), ["b", None, "a", "b"])])
    assert open_config.names == ["a", "b"]


def test_names_that_were_given_stay() -> None:
    given = config()
    given.complete([source(ClassLabel(names=["c", "a"]))])
    assert given.names == ABC


def test_a_number_of_labels_is_enough_for_integers() -> None:
    open_config = config(id2label=None, num_labels=2)
    open_config.complete([source(Value("int64"))])
    assert open_config.names == ["LABEL_0", "LABEL_1"]


def test_integers_alone_are_not_enough() -> None:
    with pytest.raises(InputError, match=r"^task 'snips', column 'intent' has no label names \(its type is Value"):
        config(id2label=None).complete([source(Value("int64"))])


def test_names_and_number_have_to_agree() -> None:
    with pytest.raises(InputError, match="num_labels is 2, but id2label has 3 names"):
        config(id2label=None, num_labels=2).complete([source(ClassLabel(names=ABC))])


@pytest.mark.parametrize("feature", [Value("float32"), List(Value("int64"))])
def test_columns_that_cannot_be_class_labels(feature: Any) -> None:
    with pytest.raises(InputError, match=r"^task 'snips', column 'intent': expected class labels"):
        config().complete([source(feature)])


def test_the_column_that_does_not_fit_is_the_one_named() -> None:
    with pytest.raises(InputError, match=r"^task 'other'"):
        config().complete([source(ClassLabel(names=ABC)), source(Value("float64"), task_name="other")])


def test_element_feature() -> None:
    label = ClassLabel(names=ABC)
    assert element_feature(List(label)) == label
    assert element_feature(LargeList(label)) == label
    assert element_feature([label]) == label
    assert element_feature(label) is None


# ------------------------------------------------------------------------------------------------------------------
# weights


def test_balanced_weights() -> None:
    assert balanced_weights(np.array([1, 3])) == [2.0, 4 / 6]
    assert balanced_weights(np.array([5, 5])) == [1.0, 1.0]


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights(np.bincount(labels)) == pytest.approx(expected)


def test_a_class_without_a_row_weighs_nothing() -> None:
    assert balanced_weights(np.array([2, 0])) == [0.5, 0.0]


def test_a_config_without_its_methods_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="abstract"):
        ClassHeadConfig(id2label=ABC)
