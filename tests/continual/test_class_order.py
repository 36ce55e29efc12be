"""Classes in groups: every class once, in the order that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.continual.class_order import check_permutation, choose_classes, class_groups
from mt_transformers.errors import InputError
from mt_transformers.heads import SequenceClassificationHeadConfig

NAMES = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ({"experiences": 2}, [["a", "b", "c"], ["d", "e"]]),
        ({"experiences": 3}, [["a", "b"], ["c", "d"], ["e"]]),
        ({"experiences": 5}, [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ({"experiences": 2, "order": ["e", "d", "c", "b", "a"]}, [["e", "d", "c"], ["b", "a"]]),
        ({"classes": [["d"], ["e", "a"], ["b", "c"]]}, [["d"], ["e", "a"], ["b", "c"]]),
    ],
)
def test_the_groups(options: dict[str, Any], groups: list[list[str]]) -> None:
    assert [list(group) for group in class_groups(NAMES, **options)] == groups


def test_the_seed_gives_the_customary_order() -> None:
    names = [str(number) for number in range(100)]
    groups = class_groups(names, experiences=10, seed=1993)
    # the first classes of CIFAR-100 in the experiments of iCaRL and of those that compare with it
    assert groups[0] == ("68", "56", "78", "8", "23", "84", "90", "65", "74", "76")


@given(st.integers(2, 40), st.integers(0, 3), st.data())
def test_the_sizes_differ_by_one_at_most(count: int, seed: int, data: st.DataObject) -> None:
    names = [f"class_{number}" for number in range(count)]
    experiences = data.draw(st.integers(2, count))
    groups = class_groups(names, experiences=experiences, seed=seed)
    sizes = [len(group) for group in groups]
    assert len(groups) == experiences
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1
    assert sorted(name for group in groups for name in group) == sorted(names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected the number of experiences, or the classes of each"),
        ({"experiences": 1}, "experiences: expected 2 to 5, as many as there are classes at most, found 1"),
        ({"experiences": 6}, "experiences: expected 2 to 5, as many as there are classes at most, found 6"),
        ({"experiences": True}, "experiences: .*found True"),
        ({"experiences": 2, "seed": -1}, "seed: expected a number from 0 .*found -1"),
        ({"experiences": 2, "seed": 0, "order": NAMES}, "order, seed: expected one of them, found both"),
        ({"experiences": 2, "order": ["a", "b", "c", "d"]}, "order: expected each class once, but 'e' is missing"),
        ({"experiences": 2, "order": ["a"]}, "order: expected each class once, but 'b' and 3 more are missing"),
        ({"experiences": 2, "order": [*NAMES, "b"]}, "order: expected each class once, but 'b' stands twice"),
        ({"experiences": 2, "order": [*NAMES, "f"]}, "order: unknown class 'f'"),
        ({"classes": [NAMES]}, "classes: expected at least two groups, found 1"),
        ({"classes": [NAMES, []]}, "classes: expected at least one class in each group"),
        ({"classes": ["abc", "de"]}, "classes: expected at least one class in each group"),
        ({"classes": "abcde"}, "classes: expected at least one class in each group"),
        ({"classes": [["a", "b"], ["c", "d"]]}, "classes: expected each class once, but 'e' is missing"),
        ({"classes": [["a", "b"], ["b", "c", "d", "e"]]}, "classes: expected each class once, but 'b' stands twice"),
        ({"classes": [["a", "b"], ["c", "d", "E"]]}, "classes: unknown class 'E'"),
        ({"classes": [["a"], ["b"]], "seed": 0, "experiences": 2}, "so that experiences, seed cannot be given too"),
    ],
)
def test_what_cannot_be_divided(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        class_groups(NAMES, **options)


def test_a_permutation_is_none_of_these() -> None:
    check_permutation(["b", "a"], ["a", "b"], "order", "task")


def test_a_chosen_class_keeps_its_weight_and_the_config_its_fields() -> None:
    config = SequenceClassificationHeadConfig(
        id2label=["a", "b", "c"], class_weights={"a": 1.0, "b": 2.0, "c": 3.0}, pooling="mean", metrics=["f1_micro"]
    )
    chosen = choose_classes(config, ["c", "b"])
    assert (chosen.num_labels, chosen.names, chosen.class_weights) == (2, ["c", "b"], [3.0, 2.0])
    assert chosen.label2id == {"c": 0, "b": 1}
    assert (chosen.pooling, chosen.metrics) == ("mean", ["f1_micro"])
    assert (config.names, config.class_weights) == (["a", "b", "c"], [1.0, 2.0, 3.0])


def test_the_shuffle_leaves_numpy_alone() -> None:
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    class_groups(NAMES, experiences=2, seed=0)
    assert np.random.random() == expected
