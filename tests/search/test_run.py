"""The search of a recipe: what its trials are, that it goes on where it ended, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from training.recipes import recipe_values, write_recipe

from mt_transformers import MultiTaskTrainer
from mt_transformers.errors import InputError
from mt_transformers.search import SearchRecord, TrialRecord, search_recipe
from mt_transformers.training import load_recipe, read_recipe, run_recipe

SEARCH: dict[str, Any] = {
    "loss_weights.slots": {"low": 0.25, "high": 4.0, "log": True},
    "training.learning_rates.heads": {"low": 1e-3, "high": 0.1, "log": True},
}


@pytest.fixture
def values(tiny_backbone: str, tmp_path: Path) -> dict[str, Any]:
    """A tiny recipe with something to search for."""
    values = recipe_values(tiny_backbone, tmp_path)
    values["training"]["max_steps"] = 3
    return values | {"search": dict(SEARCH)}


def search(folder: Path, values: dict[str, Any], trials: int, *overrides: str) -> SearchRecord:
    pytest.importorskip("optuna")
    return search_recipe(write_recipe(folder, values), overrides, trials)


def test_the_best_recipe_trains_to_the_score_of_its_trial(tmp_path: Path, values: dict[str, Any]) -> None:
    # relative to the recipe, not to this process or to best.yaml
    assert not Path(values["tasks"]["moods"]["dataset"]["data_files"]["train"]).is_absolute()
    record = search(tmp_path, values, 3)
    folder = tmp_path / "out" / "search"
    assert sorted(each.name for each in folder.iterdir() if each.name != "search.png") == ["best.yaml", "search.json"]
    assert len({json.dumps(each.values) for each in record.trials}) == 3
    assert all(list(each.values) == list(SEARCH) for each in record.trials)
    best = record.ranked()[0]
    scores = [each.eval_score for each in record.trials if each.eval_score is not None]
    assert best.eval_score == max(scores)
    written = read_recipe(record.best_file)
    assert written.search is None
    assert written.loss_weights == {"slots": best.values["loss_weights.slots"]}
    assert written.training["learning_rates"] == {"heads": best.values["training.learning_rates.heads"]}
    assert run_recipe(load_recipe(written))["eval_score"] == best.eval_score
    saved = json.loads((folder / "search.json").read_text())
    assert saved["best"]["number"] == best.number
    assert [TrialRecord(**each) for each in saved["trials"]] == record.trials


def test_an_interrupted_search_goes_on_to_the_same_trials(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(tmp_path, values, 3, "--training.output_dir", str(tmp_path / "whole"))
    trained: list[str] = []
    to_interrupt = {"run-1"}
    train = MultiTaskTrainer.train

    def interrupted(self: MultiTaskTrainer, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("trial") is None:
            trained.append(Path(str(self.args.output_dir)).name)
            (Path(str(self.args.output_dir)) / "half").mkdir(parents=True)
            if trained[-1] in to_interrupt:
                to_interrupt.clear()
                raise KeyboardInterrupt
        return train(self, *args, **kwargs)

    monkeypatch.setattr(MultiTaskTrainer, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, values, 3)
    assert trained == ["run-0", "run-1"]
    trained.clear()
    record = search(tmp_path, values, 3)
    assert trained == ["run-1", "run-2"]
    assert [(each.number, each.values, each.eval_score) for each in record.trials] == [
        (each.number, each.values, each.eval_score) for each in whole.trials
    ]
    # there is nothing left to do
    trained.clear()
    assert search(tmp_path, values, 3).trials == record.trials
    assert trained == []
    assert list((tmp_path / "out" / "search").glob("run-*")) == []


def test_another_search_is_not_gone_on_with(tmp_path: Path, values: dict[str, Any]) -> None:
    search(tmp_path, values, 1)
    with pytest.raises(InputError, match=r"another search: training.learning_rate was 0.001 and is 0.002. Go on"):
        search(tmp_path, values, 2, "--training.learning_rate", "0.002")
    values["search"]["loss_weights.slots"] = [1.0, 2.0]
    with pytest.raises(InputError, match=r"another search: .*'loss_weights.slots' was .*0.25.* and is \[1.0, 2.0\]"):
        search(tmp_path, values, 2)
    (tmp_path / "out" / "search" / "search.json").write_text("{")
    with pytest.raises(InputError, match=r"search.json cannot be read: .*Remove it to begin anew"):
        search(tmp_path, values, 2)


def test_values_that_cannot_be_trained_have_no_score(tmp_path: Path, values: dict[str, Any]) -> None:
    """A loss that is not finite ends its trial, not the search; and the search does not try it again."""
    values["search"] = {"training.learning_rate": [1e-3, 1e36], "heads.mood.classifier_dropout": [0.0, 0.5]}
    record = search(tmp_path, values, 6)
    by_rate = {1e-3: set(), 1e36: set()}  # type: dict[float, set[bool]]
    for each in record.trials:
        by_rate[each.values["training.learning_rate"]].add(each.eval_score is None)
    assert by_rate == {1e-3: {False}, 1e36: {True}}
    faults = {each.fault for each in record.trials if each.eval_score is None}
    assert all(fault is not None and "step" in fault for fault in faults)
    assert search(tmp_path, values, 6).trials == record.trials
    best = record.ranked()[0]
    written = yaml.safe_load(record.best_file.read_text())
    assert written["heads"]["mood"]["classifier_dropout"] == best.values["heads.mood.classifier_dropout"]


def test_fields_of_heads_reach_the_model(tmp_path: Path, values: dict[str, Any]) -> None:
    values["search"] = {"heads.mood.hidden_sizes": [[], [8]], "training.num_train_epochs": [1, 2]}
    del values["training"]["max_steps"]
    record = search(tmp_path, values, 4)
    best = record.ranked()[0]
    assert len({json.dumps(each.values["heads.mood.hidden_sizes"]) for each in record.trials}) == 2
    assert run_recipe(load_recipe(read_recipe(record.best_file)))["eval_score"] == best.eval_score


@pytest.mark.parametrize(
    ("key", "tried", "message"),
    [
        (
            "loss_weights.slots",
            [1.0, -1.0],
            "'loss_weights.slots': -1.0 cannot be tried: loss_weights: expected a fin",
        ),
        ("mixture.temperature", {"low": 1, "high": 3}, "temperature belongs to sampling 'temperature'"),
        ("training.num_train_epochs", ["one", "two"], "expected float, int for 'num_train_epochs', found 'one'"),
        ("training.max_steps", {"low": 1, "high": 3}, "expected int for 'max_steps', found 1.0"),
        ("training.balancing", [None, "uv"], "'training.balancing': 'uv' cannot be tried: .*'uv'"),
        ("training.learning_rates.mood", {"low": 0, "high": 1}, "expected a finite number above 0 for 'mood'"),
        ("heads.mood.poling", ["mean", "max"], "unknown key 'poling', did you mean 'pooling'"),
        ("heads.mood.pooling", ["mean", "meen"], "'meen' cannot be tried: .*meen"),
        ("training.learning_rate.mood", {"low": 0.1, "high": 1}, "'learning_rate' is no mapping in the recipe"),
    ],
)
def test_values_that_cannot_be_are_refused_before_the_first_trial(
    tmp_path: Path, values: dict[str, Any], key: str, tried: Any, message: str
) -> None:
    values["search"] = {key: tried}
    # the data are not even looked for
    values["tasks"]["moods"]["dataset"]["data_files"]["train"] = "no.parquet"
    with pytest.raises(InputError, match=f"recipe.yaml: search, .*{message}"):
        search(tmp_path, values, 1)
    assert not (tmp_path / "out").exists()


def test_what_a_search_needs(tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected at least 1 trial, found 0"):
        search(tmp_path, values, 0)
    with pytest.raises(InputError, match="expected a section 'search'"):
        search(tmp_path, {**values, "search": None}, 1)
    for task in values["tasks"].values():
        del task["dataset"]["data_files"]["validation"]
    with pytest.raises(InputError, match="search: expected a validation split"):
        search(tmp_path, values, 1)
    monkeypatch.setattr("mt_transformers.search.run.is_optuna_available", lambda: False)
    with pytest.raises(InputError, match=r'pip install "mt_transformers\[search\]"'):
        search_recipe(tmp_path / "recipe.yaml")


def test_whatever_stops_a_trial_is_told_and_the_search_goes_on(tmp_path: Path, values: dict[str, Any]) -> None:
    """The scheduler asks for an argument that the recipe does not give, with an error of its own."""
    values["search"] = {"training.lr_scheduler_type": ["linear", "cosine_with_min_lr"]}
    record = search(tmp_path, values, 6)
    faults = {each.values["training.lr_scheduler_type"]: each.fault for each in record.trials}
    assert faults["linear"] is None
    assert str(faults["cosine_with_min_lr"]).startswith("ValueError: ")


def test_the_best_model_may_be_searched_for(tmp_path: Path, values: dict[str, Any]) -> None:
    values["training"] |= {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    values["search"] = {"training.load_best_model_at_end": [True, False]}
    record = search(tmp_path, values, 4)
    assert [each.fault for each in record.trials] == [None] * 4
    assert {each.values["training.load_best_model_at_end"] for each in record.trials} == {True, False}


def test_what_is_not_ours_is_left_alone(tmp_path: Path, values: dict[str, Any]) -> None:
    other = tmp_path / "out" / "search" / "run-0"
    other.mkdir(parents=True)
    with pytest.raises(InputError, match=r"search: something else is there, in folders run-\*"):
        search(tmp_path, values, 1)
    assert other.is_dir()


def test_choices_that_are_mappings_outlive_an_interruption(tmp_path: Path, values: dict[str, Any]) -> None:
    names = [{0: "negative", 1: "positive"}, {0: "bad", 1: "good"}]
    values["tasks"]["moods"]["labels"] = {"mood": "label"}
    values["search"] = {"heads.mood.id2label": names, **SEARCH}
    search(tmp_path, values, 1)
    assert len(search(tmp_path, values, 2).trials) == 2
