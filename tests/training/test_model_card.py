"""The model card: its metadata can be read back, and says what the results say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from training.recipes import recipe_values, write_recipe

from mt_transformers.training import LoadedRecipe, build_trainer, load_recipe, plan_recipe, read_recipe, run_recipe
from mt_transformers.training.model_card import write_model_card


@pytest.fixture
def values(tiny_backbone: str, tmp_path: Path) -> dict[str, Any]:
    return recipe_values(tiny_backbone, tmp_path)


def loaded(folder: Path, values: dict[str, Any], *overrides: str) -> LoadedRecipe:
    return load_recipe(read_recipe(write_recipe(folder, values), overrides))


RESULTS = {
    "train_loss": 1.0,
    "eval_requests_intent_accuracy": 0.125,
    "eval_moods_mood_accuracy": 0.5,
    "eval_score": 0.25,
    "eval_loss": 2.0,
}
TEST_RESULTS = {
    "test_moods_mood_accuracy": 0.75,
    "test_moods_mood_f1_macro": 0.625,
    "test_score": 0.7,
    "test_loss": 1.0,
}


def card_of(folder: Path, values: dict[str, Any], results: dict[str, float], backbone: str | None = None) -> ModelCard:
    """The card of a run with these results."""
    found = loaded(folder, values)
    trainer, plan = build_trainer(found), plan_recipe(found)
    if backbone is not None:
        found.recipe.base_model = backbone
    write_model_card(folder / "README.md", found.recipe, plan, trainer, results)
    return ModelCard.load(folder / "README.md")


def test_the_card_of_a_run_says_its_results(tmp_path: Path, values: dict[str, Any], tiny_backbone: str) -> None:
    run_recipe(loaded(tmp_path, values))
    results = json.loads((tmp_path / "out" / "all_results.json").read_text(encoding="utf-8"))
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.library_name == "transformers"
    assert {"multi-task", "mt_transformers"} <= set(card.data.tags)
    assert card.data.model_name == "out"
    found = {
        f"test_{each.dataset_name}_{each.metric_name.replace(' ', '_')}": each.metric_value
        for each in card.data.eval_results
    }
    wanted = {
        key: value
        for key, value in results.items()
        if key.startswith("test_") and key.endswith(("_accuracy", "_f1_macro", "_entity_f1"))
    }
    assert found == wanted
    assert len(found) == 6
    assert {each.dataset_split for each in card.data.eval_results} == {"test"}
    # nothing of this machine
    assert "base_model" not in card.data.to_dict()
    for path in (tiny_backbone, str(tmp_path)):
        assert path not in card.content


def test_test_results_come_before_those_of_validation(tmp_path: Path, values: dict[str, Any]) -> None:
    card = card_of(tmp_path, values, RESULTS | TEST_RESULTS)
    assert [(each.metric_name, each.metric_value, each.dataset_split) for each in card.data.eval_results] == [
        ("mood accuracy", 0.75, "test"),
        ("mood f1_macro", 0.625, "test"),
    ]
    assert "| moods | mood | accuracy | 0.7500 |" in card.text


def test_without_test_splits_the_validation_results_stand_there(tmp_path: Path, values: dict[str, Any]) -> None:
    card = card_of(tmp_path, values, RESULTS)
    assert [(each.dataset_name, each.task_type, each.dataset_split) for each in card.data.eval_results] == [
        ("requests", "sequence-classification", "validation"),
        ("moods", "sequence-classification", "validation"),
    ]
    assert "Results on the validation splits" in card.text


def test_a_run_without_any_result_has_a_card_all_the_same(tmp_path: Path, values: dict[str, Any]) -> None:
    card = card_of(tmp_path, values, {"train_loss": 1.0})
    assert card.data.library_name == "transformers"
    assert not card.data.eval_results


def test_the_card_lists_heads_and_tasks(tmp_path: Path, values: dict[str, Any]) -> None:
    text = card_of(tmp_path, values, RESULTS).text
    assert "| slots | `token_classification` | entity_f1, accuracy |" in text
    assert "| requests | 16 | 66.7% | intent, slots |" in text
    assert "| moods | 8 | 33.3% | mood |" in text


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("google-bert/bert-base-uncased", "google-bert/bert-base-uncased"),
        # models of the hub's first days have no owner
        ("bert-base-uncased", "bert-base-uncased"),
        ("{folder}", None),
    ],
)
def test_only_a_name_on_the_hub_is_the_base_model(
    tmp_path: Path, values: dict[str, Any], backbone: str, expected: str | None
) -> None:
    card = card_of(tmp_path, values, RESULTS, backbone.format(folder=tmp_path))
    assert card.data.base_model == expected
    if expected is None:
        assert str(tmp_path) not in card.content
