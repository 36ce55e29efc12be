"""What a recipe may search for, and what optuna draws from it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training.recipes import recipe_values, write_recipe

from mt_transformers.errors import InputError
from mt_transformers.training import parse_recipe, read_recipe
from mt_transformers.training.search_space import Choices, Interval, parse_search, suggest_values

RECIPE: dict[str, Any] = {"heads": {"intent": {}, "slots": {}}, "tasks": {"snips": {}, "moods": {}}}
NUMBERS = {"low": 0.5, "high": 2.0}


def parsed(key: str, tried: Any) -> Any:
    found = parse_search(RECIPE | {"search": {key: tried}})
    assert found is not None
    return found[key]


def test_a_recipe_without_the_section_searches_for_nothing() -> None:
    assert parse_search(RECIPE) is None
    assert parse_search(RECIPE | {"search": None}) is None


@pytest.mark.parametrize(
    "key",
    [
        "loss_weights.slots",
        "mixture.temperature",
        "mixture.weights.snips",
        "training.learning_rate",
        "training.learning_rates.heads",
        "training.weight_decays.intent",
        "training.learning_rates.backbone",
        "training.balancing",
        "training.balancing.alpha",
        "heads.slots.classifier_dropout",
    ],
)
def test_keys_are_those_of_overrides(key: str) -> None:
    assert parsed(key, NUMBERS) == Interval(low=0.5, high=2.0)


def test_what_is_tried() -> None:
    assert parsed("training.balancing", [None, "uw", {"name": "dwa"}]) == Choices(values=(None, "uw", {"name": "dwa"}))
    assert parsed("loss_weights.slots", {**NUMBERS, "log": True}) == Interval(low=0.5, high=2.0, log=True)
    whole = parsed("training.per_device_train_batch_size", {"low": 4, "high": 16, "step": 4})
    assert (whole.is_whole, whole.extremes) == (True, (4, 16))
    # without a step the numbers between 1 and 3 are meant, not three of them
    number = parsed("loss_weights.slots", {"low": 1, "high": 3})
    assert (number.is_whole, number.extremes) == (False, (1.0, 3.0))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("tasks.snips.path", "unknown section 'tasks'"),
        ("trainig.seed", "unknown section 'trainig', did you mean 'training'"),
        ("loss_weights", "'loss_weights': expected the key of a value"),
        ("loss_weights.", "expected the key of a value"),
        ("loss_weights.slot", "unknown head 'slot', did you mean 'slots'"),
        ("loss_weights.slots.more", "expected nothing behind 'slots', found 'more'"),
        ("heads.slot.pooling", "unknown head 'slot'"),
        ("heads.slots", "expected a field of the head"),
        ("mixture.temprature", "unknown field of the mixture 'temprature', did you mean 'temperature'"),
        ("mixture.weights.snip", "unknown task 'snip', did you mean 'snips'"),
        ("mixture.temperature.snips", "expected nothing behind 'temperature'"),
        ("training.learning_rat", "unknown training argument 'learning_rat', did you mean 'learning_rate'"),
        ("training.learning_rates.slot", "unknown component 'slot', did you mean 'slots'"),
        ("training.learning_rates.slots.more", "expected nothing behind 'slots'"),
        ("training.seed", "expected a value that training gets better or worse with, unlike seed"),
        ("training.output_dir", "unlike output_dir"),
        (7, "unknown section '7'"),
    ],
)
def test_keys_that_lead_nowhere_are_refused(key: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^search, .*{message}"):
        parsed(key, NUMBERS)


@pytest.mark.parametrize(
    ("tried", "message"),
    [
        (3, "expected a list of values, or a mapping with low and high, found 3"),
        (None, "expected a list of values"),
        ([], "expected at least two values, found"),
        ([1], "expected at least two values"),
        ([1, 2, 1.0], "the value 1.0 stands twice"),
        ({"low": 1}, "'high' is missing"),
        ({"low": 1, "hihg": 2}, "unknown key 'hihg', did you mean 'high'"),
        ({"low": 2, "high": 2}, "expected a low below high, found 2 and 2"),
        ({"low": "1", "high": 2}, "expected a finite number as low, found '1'"),
        ({"low": True, "high": 2}, "expected a finite number as low, found True"),
        ({"low": 1, "high": float("inf")}, "expected a finite number as high, found inf"),
        ({"low": 1, "high": 2, "log": 1}, "expected true or false as log, found 1"),
        ({"low": 0, "high": 2, "log": True}, "expected a low above 0 with log, found 0"),
        ({"low": 1, "high": 2, "log": True, "step": 1}, "expected either log or a step"),
        ({"low": 1, "high": 8, "step": 3}, "expected a step that leads from 1 to 8, found 3"),
        ({"low": 1, "high": 8, "step": 0}, "expected a step that leads from 1 to 8, found 0"),
        ({"low": 1, "high": 8, "step": -1}, "expected a step that leads from 1 to 8, found -1"),
        ({"low": 1, "high": 8, "step": "1"}, "expected a finite number as step, found '1'"),
    ],
)
def test_what_cannot_be_tried_is_refused(tried: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^search, 'loss_weights.slots': {message}"):
        parsed("loss_weights.slots", tried)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": []}, r"search: expected a mapping of keys to what is tried, found \[\]"),
        ({"search": {}}, "search: expected a mapping"),
        (
            {"search": {"loss_weights.slots": NUMBERS}, "experiences": {}},
            "expected no section 'experiences' beside it",
        ),
        (
            {"search": {"training.balancing": ["uw", None], "training.balancing.alpha": NUMBERS}},
            "'training.balancing.alpha' is a part of 'training.balancing'",
        ),
    ],
)
def test_sections_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_search(RECIPE | changes)


def test_the_recipe_reader_checks_the_section_at_once(tmp_path: Path) -> None:
    values = recipe_values("bert", tmp_path)
    plain = parse_recipe(deepcopy(values), tmp_path)
    values["search"] = {"loss_weights.slots": NUMBERS}
    found = read_recipe(write_recipe(tmp_path, values))
    assert found.search == {"loss_weights.slots": Interval(low=0.5, high=2.0)}
    # nothing else in the recipe is another one for it
    assert (found.loss_weights, found.training, found.mixture) == (plain.loss_weights, plain.training, plain.mixture)
    values["search"] = {"loss_weights.slot": NUMBERS}
    with pytest.raises(InputError, match=r"recipe .*recipe.yaml: search, 'loss_weights.slot': unknown head 'slot'"):
        read_recipe(write_recipe(tmp_path, values))


def test_values_are_drawn_as_they_are_meant() -> None:
    optuna = pytest.importorskip("optuna")
    space = {
        "a": Choices(values=(None, "uw", {"name": "dwa"})),
        "b": Interval(low=1, high=7, step=2),
        "c": Interval(low=1, high=4),
        "d": Interval(low=0.01, high=1.0, log=True),
        "e": Interval(low=0.0, high=0.3, step=0.1),
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [suggest_values(space, study.ask()) for _ in range(60)]
    assert [each in [row["a"] for row in drawn] for each in (None, "uw", {"name": "dwa"})] == [True] * 3
    assert {row["b"] for row in drawn} == {1, 3, 5, 7}
    assert all(type(row["b"]) is int and type(row["c"]) is float and 1 <= row["c"] <= 4 for row in drawn)
    # half of the draws of a logarithm are below its middle
    assert 15 < sum(row["d"] < 0.1 for row in drawn) < 45
    assert sorted({round(row["e"], 6) for row in drawn}) == [0.0, 0.1, 0.2, 0.3]


@given(low=st.floats(0.001, 10), width=st.floats(0.001, 10), part=st.floats(0, 1), log=st.booleans())
def test_what_was_drawn_stands_for_its_value(low: float, width: float, part: float, log: bool) -> None:
    """Else a search that goes on would tell optuna of other trials than there were."""
    optuna = pytest.importorskip("optuna")
    tried = Interval(low=low, high=low + width, log=log)
    value = min(low + part * width, tried.high)
    trial = optuna.trial.FixedTrial({"key": tried.drawn_for(value)})
    assert tried.suggest(trial, "key") == value
    assert tried.distribution._contains(value)
