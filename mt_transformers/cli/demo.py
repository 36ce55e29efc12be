"""`mt-transformers demo`: the main job on data that comes with the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import shorten
from typing import Any

__all__ = ["SENTENCES", "add_parser"]

SENTENCES = (
    "Play some jazz by Miles Davis on Spotify",
    "Book a table for four at an Italian restaurant in Boston",
    "My card has not arrived yet, can I track it?",
)


_SLOTS_WIDTH = 84


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "demo", help="train three heads on SNIPS and BANKING77 samples and predict with them, offline"
    )
    parser.add_argument("--output_dir", default="mt_transformers_demo", help="default: mt_transformers_demo")
    parser.set_defaults(run=_run, takes_overrides=True)


def _run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from .. import demo
    from ..training import read_recipe
    from .train import train

    recipe_file = Path(demo.__file__).with_name("recipe.yaml")
    recipe = read_recipe(recipe_file, ["--training.output_dir", arguments.output_dir, *overrides])
    recipe.backbone = demo.find_backbone(recipe.backbone)
    train(recipe)
    _show_predictions(arguments.output_dir)


def _show_predictions(folder: str) -> None:
    from ..inference import MultiTaskPredictor, load_model
    from .table import format_table

    predictor = MultiTaskPredictor(*load_model(folder))
    rows = [
        [
            text,
            f"{answer['intent']['label']} {answer['intent']['score']:.2f}",
            shorten(_spans(text, answer["slots"]), _SLOTS_WIDTH, placeholder=" ..."),
            f"{answer['banking']['label']} {answer['banking']['score']:.2f}",
        ]
        for text, answer in zip(SENTENCES, predictor(list(SENTENCES)), strict=True)
    ]
    print("\nThree sentences, one pass each:\n")
    print(format_table(["text", "intent", "slots", "banking"], rows))


def _spans(text: str, spans: list[dict[str, Any]]) -> str:
    return "; ".join(f"{span['label']}: {text[span['start'] : span['end']]}" for span in spans) or "-"
