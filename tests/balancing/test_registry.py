"""Methods of balancing by name."""

from __future__ import annotations

from typing import Any

import pytest

from mt_transformers.balancing import GradientAggregation, LossWeighting, make_balancing
from mt_transformers.balancing.aggregations import AGGREGATIONS, LEFT_OUT
from mt_transformers.balancing.weightings import WEIGHTINGS
from mt_transformers.errors import InputError

HEADS, TASKS = ["intent", "slots", "mood"], ["requests", "moods"]


def test_a_name_means_one_method() -> None:
    assert not WEIGHTINGS.keys() & AGGREGATIONS.keys()
    # what TorchJD has twice is a method that weighs losses
    assert WEIGHTINGS.keys() & LEFT_OUT.keys() == {"mean", "random"}


def test_losses_are_of_heads_and_gradients_of_tasks_or_heads() -> None:
    weighting = make_balancing("random", HEADS, TASKS)
    assert isinstance(weighting, LossWeighting)
    assert weighting.heads == HEADS
    for between, expected in (("tasks", TASKS), ("heads", HEADS)):
        aggregation = make_balancing({"name": "sum", "between": between}, HEADS, TASKS)
        assert isinstance(aggregation, GradientAggregation)
        assert (aggregation.tasks, aggregation.between, aggregation.at) == (expected, between, "parameters")
    aggregation = make_balancing({"name": "sum", "between": "heads", "at": "features"}, HEADS, TASKS)
    assert isinstance(aggregation, GradientAggregation)
    assert aggregation.at == "features"
    assert make_balancing(None, HEADS, TASKS) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("pcgard", "balancing: unknown method 'pcgard', did you mean 'pcgrad'"),
        (["uw"], r"balancing: expected a name, or a mapping with a 'name', found \['uw'\]"),
        ({"name": 1}, "balancing: expected a name, or a mapping with a 'name'"),
        ("modo", "balancing: 'modo' is not offered: it compares the gradients of two independent batches"),
        ({"name": "uw", "between": "heads"}, "balancing: uw: unknown option 'between'"),
        ({"name": "sum", "between": "rows"}, "balancing: sum: unknown between 'rows'"),
        ({"name": "sum", "between": "heads", "at": "layers"}, "balancing: sum: unknown at 'layers'"),
        ({"name": "sum", "at": "features"}, "balancing: sum: gradients at the features are compared between heads"),
    ],
)
def test_what_is_no_method_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_balancing(given, HEADS, TASKS)
