"""The cards in `model_cards` are what the script made of the recipes, and can be read as the hub reads them."""

from __future__ import annotations

import math
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from huggingface_hub import ModelCard
from training.recipes import recipe_values, write_recipe

from mt_transformers import demo
from mt_transformers.errors import InputError
from mt_transformers.training import Recipe, read_recipe
from mt_transformers.training.model_card import may_write

ROOT = Path(__file__).resolve().parents[1]
CARDS = sorted((ROOT / "model_cards").glob("*.md"))
RECIPES = [
    Path(demo.__file__).with_name("recipe.yaml"),
    *(ROOT / "scripts" / "recipes").glob("*.yaml"),
    *(ROOT / "scripts" / "studies").glob("*.yaml"),
]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/write_model_cards.py."""
    spec = spec_from_file_location("write_model_cards", ROOT / "scripts" / "write_model_cards.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recipe_of(card: Path) -> Recipe:
    """The recipe whose output folder a card is named after."""
    [found] = [recipe for path in RECIPES if (recipe := read_recipe(path)).training["output_dir"] == card.stem]
    return found


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_says_what_its_metadata_say(path: Path) -> None:
    card = ModelCard.load(path)
    assert may_write(path)
    assert (card.data.library_name, card.data.model_name) == ("mt_transformers", path.stem)
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| \**([\w&#;]+)\** \| ([\d.]+) \|$", card.text, re.MULTILINE)
    results = card.data.eval_results
    assert [(task, f"{head} {metric}", value) for task, head, metric, value in rows] == [
        (each.dataset_name, each.metric_name, f"{each.metric_value:.4f}") for each in results
    ]
    # a study of few rows has no validation splits
    assert {"test"} <= {each.dataset_split for each in results} <= {"validation", "test"}
    assert all(math.isfinite(each.metric_value) for each in results)
    assert not re.search(r"/(tmp|home|work|root)/", card.content)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_is_of_its_recipe(path: Path) -> None:
    card, recipe = ModelCard.load(path), recipe_of(path)
    assert card.data.base_model == recipe.base_model
    heads = re.findall(r"^\| `(\w+)` \| `(\w+)` \| \d+: |^\| `(\w+)` \| `(\w+)` \|  \| \*\*", card.text, re.MULTILINE)
    assert {each[0] or each[2]: each[1] or each[3] for each in heads} == {
        name: head["head_type"] for name, head in recipe.heads.items()
    }
    assert {each.dataset_name for each in card.data.eval_results} == set(recipe.tasks)


def test_there_are_cards() -> None:
    assert "mt_transformers_demo" in [path.stem for path in CARDS]


def test_a_recipe_becomes_a_card(
    script: ModuleType, tmp_path: Path, tiny_backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = recipe_values(tiny_backbone, tmp_path)
    values["training"]["output_dir"] = "tiny"
    write_recipe(tmp_path, values).rename(tmp_path / "some.yaml")
    monkeypatch.setattr(script, "RECIPES", tmp_path)
    monkeypatch.chdir(tmp_path)
    script.main(["some", "--cards", str(tmp_path / "cards"), "--training.max_steps", "2"])
    card = ModelCard.load(tmp_path / "cards" / "tiny.md")
    assert card.data.model_name == "tiny"
    assert "| `max_steps` | 2 |" in card.text
    assert 'load_model("tiny")' in card.text
    # the folder itself was a temporary one
    assert not (tmp_path / "tiny").exists()


def test_a_folders_card_is_kept_under_its_name(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "run_3").mkdir()
    (tmp_path / "run_3" / "README.md").write_text("a card", encoding="utf-8")
    script.main(["--folder", str(tmp_path / "run_3"), "--cards", str(tmp_path / "cards")])
    assert (tmp_path / "cards" / "run_3.md").read_text(encoding="utf-8") == "a card"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "snips_banking78"], "unknown recipe 'snips_banking78', expected one of demo, banking77, "),
        (["--folder", "no_such_folder"], "no_such_folder: expected a trained folder"),
    ],
)
def test_what_is_not_there_is_refused_before_any_training(
    arguments: list[str], message: str, script: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        script.main([*arguments, "--cards", str(tmp_path / "cards")])
    assert not (tmp_path / "cards").exists()
