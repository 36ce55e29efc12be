"""A tiny recipe, and the folder that training it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training.recipes import recipe_values, write_recipe

from mt_transformers.cli.main import main


@pytest.fixture
def values(tiny_backbone: str, tmp_path: Path) -> dict[str, Any]:
    """What a tiny recipe says, to be changed by the test."""
    return recipe_values(tiny_backbone, tmp_path)


@pytest.fixture
def recipe(values: dict[str, Any], tmp_path: Path) -> str:
    """A tiny recipe file, as it is."""
    return str(write_recipe(tmp_path, values))


@pytest.fixture(scope="session")
def trained_recipe(tiny_backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recipe that `mt-transformers train` has been through; its folder is `out` beside it. Tests leave both."""
    folder = tmp_path_factory.mktemp("trained_recipe")
    path = write_recipe(folder, recipe_values(tiny_backbone, folder))
    assert main(["train", str(path)]) == 0
    return str(path)


@pytest.fixture
def trained_folder(trained_recipe: str) -> str:
    """The folder of a trained model."""
    return str(Path(trained_recipe).with_name("out"))
