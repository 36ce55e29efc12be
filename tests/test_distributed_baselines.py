"""Baselines and affinities on two processes are those of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training.recipes import recipe_values, write_recipe
from transformers import AutoTokenizer, BertModel

from fixtures import tiny_bert_config
from launching import launch, load_script

pytestmark = pytest.mark.distributed

launched = load_script("launched_baselines")


@pytest.fixture(scope="module")
def results(tiny_backbone: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of one process and of two."""
    folder = tmp_path_factory.mktemp("baselines")
    quiet = folder / "backbone"
    BertModel(tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)).save_pretrained(quiet)
    AutoTokenizer.from_pretrained(tiny_backbone).save_pretrained(quiet)
    values = recipe_values(str(quiet), folder)
    for head in values["heads"].values():
        head["classifier_dropout"] = 0.0
    recipe = str(write_recipe(folder, values))
    launched.compare(recipe, folder / "one")
    done = launch("launched_baselines", recipe, str(folder / "two"))
    assert done.returncode == 0, done.stderr[-4000:]
    return [folder / "one", folder / "two"]


def read(results: list[Path], name: str) -> list[dict[str, Any]]:
    return [json.loads((folder / name).read_text(encoding="utf-8")) for folder in results]


def test_baselines(results: list[Path]) -> None:
    one, two = read(results, "report.json")
    assert one["rows_seen"] == two["rows_seen"] == {"requests": 32, "moods": 16}
    for own, other in zip(one["comparisons"], two["comparisons"], strict=True):
        assert (own["other"], own["multi"]) == (pytest.approx(other["other"]), pytest.approx(other["multi"]))
    name = "single-moods-seed42"
    losses = [
        json.loads((folder / "out" / name / "run.json").read_text())["metrics"]["eval_loss"] for folder in results
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_affinities(results: list[Path]) -> None:
    one, two = read(results, "affinity.json")
    assert one["looks"] == two["looks"] == 4
    for name in ("cosines", "lookahead", "conflicts"):
        for own, other in zip(one[name], two[name], strict=True):
            assert own == pytest.approx(other, rel=1e-3, abs=1e-6)
