"""Methods of loss weighting by name, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from mt_transformers.balancing.weightings import WEIGHTINGS, make_weighting
from mt_transformers.errors import InputError

HEADS = ["intent", "slots"]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_name_is_enough(name: str) -> None:
    for given in (name, {"name": name}):
        method = make_weighting(given, HEADS)
        assert method.name == name
        assert method.heads == HEADS


def test_options_reach_the_method() -> None:
    assert make_weighting({"name": "dwa", "temperature": 3, "period": 5}, HEADS).period == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("dwaa", "balancing: unknown name 'dwaa', did you mean 'dwa'"),
        ({"temperature": 3}, "balancing: expected a name, or a mapping with a 'name', found {'temperature': 3}."),
        (7, "balancing: expected a name, or a mapping with a 'name', found 7."),
        ({"name": ["dwa"]}, "balancing: expected a name, or a mapping with a 'name', found {'name': ['dwa']}."),
        ({"name": "dwa", "temperatur": 3}, "balancing: dwa: unknown option 'temperatur', did you mean 'temperature'"),
        ({"name": "dwa", "heads": ["a"]}, "balancing: dwa: unknown option 'heads'"),
        ({"name": "mean", "decay": 0.5}, "balancing: mean: unknown option 'decay'. Known: none."),
        ({"name": "dwa", 3: 4}, "balancing: dwa: unknown option 3"),
    ],
)
def test_what_is_no_method_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_weighting(given, HEADS)
    assert str(caught.value).startswith(message)


POSITIVE, FROM_ZERO = "expected a number above 0", "expected a number from 0 up"
PERIOD = "expected a whole number of optimizer steps above 0, or null for an epoch"
MAPPING = "expected a mapping from a head to a number above 0"
NO_NUMBERS: tuple[Any, ...] = ("1e-3", True, None, float("nan"), float("inf"), 10**400, [1.0])


@pytest.mark.parametrize(
    ("name", "option", "expected", "wrong"),
    [
        ("uw", "learning_rate", POSITIVE, (0, -0.1, *NO_NUMBERS)),
        ("imtl_l", "learning_rate", POSITIVE, (0, -0.1, *NO_NUMBERS)),
        ("famo", "learning_rate", POSITIVE, (0, -0.1, *NO_NUMBERS)),
        ("famo", "weight_decay", FROM_ZERO, (-0.1, *NO_NUMBERS)),
        ("dwa", "temperature", POSITIVE, (0, -2, *NO_NUMBERS)),
        ("dwa", "period", PERIOD, (0, -1, 2.0, True, "epoch", [1])),
        ("running_mean", "decay", "expected a number from 0 to below 1", (-0.1, 1, 1.5, *NO_NUMBERS)),
        ("stch", "mu", POSITIVE, (0, -1, *NO_NUMBERS)),
        ("pbi", "theta", FROM_ZERO, (-0.1, *NO_NUMBERS)),
        ("cosmos", "penalty", FROM_ZERO, (-0.1, *NO_NUMBERS)),
        ("random", "seed", "expected a whole number from 0 up", (-1, 0.5, True, "0", None)),
        ("pbi", "preferences", MAPPING, (3, "slots", [1, 2], 0, False)),
        ("cosmos", "preferences", MAPPING, (3, "slots", [1, 2], 0, False)),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(
    name: str, option: str, expected: str, wrong: tuple[Any, ...]
) -> None:
    for value in wrong:
        with pytest.raises(InputError) as caught:
            make_weighting({"name": name, option: value}, HEADS)
        assert str(caught.value) == f"balancing: {name}: {option}: {expected}, found {value!r}."


@pytest.mark.parametrize("name", ["pbi", "cosmos"])
def test_a_wrong_preference_is_named_with_its_head(name: str) -> None:
    for value in (0, -1.0, *NO_NUMBERS):
        with pytest.raises(InputError) as caught:
            make_weighting({"name": name, "preferences": {"slots": value}}, HEADS)
        message = f"balancing: {name}: preferences of head 'slots': {POSITIVE}, found {value!r}."
        assert str(caught.value) == message
    with pytest.raises(InputError, match="preferences: unknown head 'slot', did you mean 'slots'"):
        make_weighting({"name": name, "preferences": {"slot": 1}}, HEADS)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("famo", {"weight_decay": 0, "learning_rate": 1}),
        ("running_mean", {"decay": 0}),
        ("pbi", {"theta": 0, "preferences": None}),
        ("cosmos", {"penalty": 0, "preferences": {}}),
        ("dwa", {"period": None, "temperature": 1}),
    ],
)
def test_the_least_of_what_is_allowed(name: str, values: dict[str, Any]) -> None:
    assert make_weighting({"name": name, **values}, HEADS).name == name
