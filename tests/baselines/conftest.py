"""A tiny recipe of three tasks."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from training.recipes import recipe_values


@pytest.fixture
def values(tiny_backbone: str, tmp_path: Path) -> dict[str, Any]:
    """What the recipe says, to be changed by the test: 16 rows of `requests`, 8 of `moods` and 8 of `tempers`."""
    values = recipe_values(tiny_backbone, tmp_path)
    values["heads"]["temper"] = deepcopy(values["heads"]["mood"])
    values["tasks"]["tempers"] = {**deepcopy(values["tasks"]["moods"]), "labels": {"temper": "label"}}
    return values
