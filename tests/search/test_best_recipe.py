"""The recipe that a search ends with."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from training.recipes import recipe_values

from mt_transformers.errors import InputError
from mt_transformers.search.best_recipe import put_in, write_best
from mt_transformers.training import parse_recipe, read_recipe


def test_it_says_what_the_recipe_says_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROWS", "data")
    values = recipe_values("backbone", tmp_path / "recipes")
    files = values["tasks"]["moods"]["dataset"]["data_files"]
    files["train"] = [files["train"], "$ROWS/moods_test.parquet"]
    values["tasks"]["requests"]["dataset"]["data_dir"] = "data"
    (tmp_path / "recipes" / "backbone").mkdir()
    chosen = {"loss_weights.slots": 0.1 + 0.2, "training.learning_rate": 3e-5, "training.balancing": {"name": "dwa"}}
    before = deepcopy(values)
    write_best(tmp_path / "elsewhere" / "best.yaml", values | {"search": {}}, tmp_path / "recipes", chosen)
    assert values == before
    found = read_recipe(tmp_path / "elsewhere" / "best.yaml")
    expected = parse_recipe(put_in(values, chosen), tmp_path / "recipes")
    expected.base_model = found.base_model
    assert found == expected
    assert (found.loss_weights, found.training["learning_rate"]) == ({"slots": 0.1 + 0.2}, 3e-5)
    assert Path(found.backbone) == tmp_path / "recipes" / "backbone"


def test_what_is_put_in_is_not_shared() -> None:
    options = {"name": "dwa"}
    recipe = put_in({"training": {}}, {"training.balancing": options})
    recipe["training"]["balancing"]["period"] = 2
    assert options == {"name": "dwa"}
    with pytest.raises(InputError, match=r"search, 'training\.balancing\.period': 'balancing' is no mapping"):
        put_in({"training": {"balancing": "dwa"}}, {"training.balancing.period": 2})
