"""What the model card says of a recipe whose tasks were also trained alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from .fingerprint import fingerprint
from .model_card import CardSection
from .recipe_loading import LoadedRecipe

__all__ = ["BASELINES_FILE", "BASELINES_TABLES", "baseline_sections"]

BASELINES_FILE = "baselines.json"
"""What `mt-transformers baselines` writes into a recipe's folder; its `setting` says of which recipe."""

BASELINES_TABLES = "baselines.md"
"""The same as tables."""


def baseline_sections(loaded: LoadedRecipe) -> list[CardSection]:
    """
    Look for a comparison of this very recipe in its folder.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.

    Returns:
        `list[CardSection]`: The tables; nothing if there are none, or those of another recipe.

    Raises:
        InputError: If the files cannot be read.
    """
    folder = Path(str(loaded.arguments.output_dir))
    file = folder / BASELINES_FILE
    if not file.is_file():
        return []
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        if found["setting"] != fingerprint(loaded):
            return []
        text = (folder / BASELINES_TABLES).read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: expected what `mt-transformers baselines` writes, found {error!r}.") from error
    return [CardSection(title="Against a model for each task", text=text.strip())]
