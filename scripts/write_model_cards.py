"""
Train the recipes of this folder, or the demo, and keep the cards of what they gave.

    python scripts/write_model_cards.py demo wnut17 --training.max_steps 100

writes model_cards/mt_transformers_demo.md and model_cards/wnut17.md, each under the name of its recipe's `output_dir`.
Any value of the recipes can be set, and is then in the cards. With `--folder FOLDER` nothing is trained, and the card
of a trained folder is kept. MT_TRANSFORMERS_DATA is the folder of the full datasets.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mt_transformers import demo
from mt_transformers.cli.exit_status import exit_status
from mt_transformers.cli.train import train
from mt_transformers.errors import InputError
from mt_transformers.training import read_recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "scripts" / "recipes"


def recipe_file(name: str) -> Path:
    """
    Find a recipe.

    Args:
        name (`str`): `demo`, or the name of a file in `scripts/recipes` without its ending.

    Returns:
        `Path`.

    Raises:
        InputError: If there is none.
    """
    found = Path(demo.__file__).with_name("recipe.yaml") if name == "demo" else RECIPES / f"{name}.yaml"
    if not found.is_file():
        known = ", ".join(["demo", *sorted(path.stem for path in RECIPES.glob("*.yaml"))])
        raise InputError(f"unknown recipe {name!r}, expected one of {known}.")
    return found


def keep_card(folder: Path, cards: Path) -> None:
    """
    Copy the card of a trained folder, under the folder's name.

    Args:
        folder (`Path`): The folder.
        cards (`Path`): Where the cards are.
    """
    card = folder / "README.md"
    if not card.is_file():
        raise InputError(f"{folder}: expected a trained folder, found no README.md in it.")
    cards.mkdir(exist_ok=True)
    shutil.copy(card, cards / f"{folder.resolve().name}.md")


def train_recipe(name: str, overrides: list[str], cards: Path) -> None:
    """
    Train a recipe in a temporary folder and keep its card.

    Args:
        name (`str`): See [`recipe_file`].
        overrides (`list[str]`): Pairs such as `--training.seed`, `1`.
        cards (`Path`): Where the cards are.
    """
    recipe = read_recipe(recipe_file(name), overrides)
    recipe.backbone = demo.find_backbone(recipe.backbone)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / Path(recipe.training["output_dir"]).name
        recipe.training["output_dir"] = str(folder)
        train(recipe)
        keep_card(folder, cards)


def main(arguments: list[str]) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="demo, or a file of scripts/recipes")
    parser.add_argument("--folder", action="append", default=[], help="a trained folder whose card is to be kept")
    parser.add_argument("--cards", default=str(ROOT / "model_cards"), help="default: model_cards")
    given, overrides = parser.parse_known_args(arguments)
    for name in given.recipes:
        recipe_file(name)
    for folder in given.folder:
        keep_card(Path(folder), Path(given.cards))
    for name in given.recipes:
        train_recipe(name, overrides, Path(given.cards))


if __name__ == "__main__":
    sys.exit(exit_status("write_model_cards", lambda: main(sys.argv[1:])))
