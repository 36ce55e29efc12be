"""`mt-transformers export`: what it writes is predicted with, and what it costs is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mt_transformers.cli.main import main

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

Captured = pytest.CaptureFixture[str]


def refused(capsys: Captured, *argv: str) -> str:
    """The message of a command that cannot be run."""
    capsys.readouterr()
    assert main(argv) == 2
    return capsys.readouterr().err.removeprefix("mt-transformers: ").strip()


def answers(folder: str, source: Path, target: Path, *options: str) -> list[dict[str, object]]:
    """What `predict` writes."""
    assert main(["predict", folder, "--input", str(source), "--output", str(target), *options]) == 0
    return [json.loads(line)["outputs"] for line in target.read_text().splitlines()]


def test_export_compare_and_predict(
    trained_recipe: str, trained_folder: str, tmp_path: Path, capsys: Captured
) -> None:
    output = str(tmp_path / "int8")
    command = ["export", trained_folder, "--output", output, "--quantize", "--recipe", trained_recipe]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Saved to {output} (")
    header = next(line for line in printed.splitlines() if line.startswith("task"))
    assert header.split() == ["task", "head", "metric", "torch", "onnx", "int8", "difference"]
    saved = json.loads((tmp_path / "int8" / "comparison.json").read_text())
    assert saved
    for each in saved:
        assert each["onnx"] == pytest.approx(each["torch"], abs=1e-6)
        assert f"{each['int8']:.4f}" in printed
    results = json.loads((Path(trained_folder) / "all_results.json").read_text())
    first = saved[0]
    assert first["torch"] == pytest.approx(results[f"eval_{first['task']}_{first['head']}_{first['metric']}"])
    rows = tmp_path / "rows.jsonl"
    rows.write_text('"play music by dido"\n{"tokens": ["the", "film", "is", "great"]}\n')
    expected = answers(trained_folder, rows, tmp_path / "torch.jsonl")
    found = answers(output, rows, tmp_path / "int8.jsonl")
    assert [list(each) for each in found] == [list(each) for each in expected]
    name = next(iter(expected[0]))
    assert answers(output, rows, tmp_path / "one.jsonl", "--heads", name) == [{name: each[name]} for each in found]
    message = refused(capsys, "evaluate", output, "--recipe", trained_recipe)
    assert "an exported model, which only predicts" in message


def test_without_a_recipe_nothing_was_measured(trained_folder: str, tmp_path: Path, capsys: Captured) -> None:
    assert main(["export", trained_folder, "--output", str(tmp_path / "out"), "--heads", "intent", "--quantize"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"Saved to {tmp_path}/out (")
    assert printed[1].startswith("What int8 costs in accuracy was not measured")
    assert not (tmp_path / "out" / "comparison.json").exists()


def test_torch_export_beside_the_folder(trained_folder: str, tmp_path: Path, capsys: Captured) -> None:
    folder = shutil.copytree(trained_folder, tmp_path / "model")
    assert main(["export", f"{folder}/", "--format", "dynamo"]) == 0
    assert capsys.readouterr().out == f"Saved to {tmp_path}/model_dynamo\n"
    assert (tmp_path / "model_dynamo" / "model.pt2").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "dynamo", "--quantize"], "--quantize: only goes with --format onnx, found dynamo."),
        (["--format", "dynamo", "--recipe", "x"], "--recipe: only goes with --format onnx, found dynamo."),
        (["--heads", "intend"], "heads: unknown head 'intend'"),
        (["--training.seed", "1"], "unknown argument(s): --training.seed 1."),
        (["--recipe", "missing.yaml"], "missing.yaml"),
        (["--output", "."], ".: not overwritten: it holds files and is no earlier export."),
    ],
)
def test_what_cannot_be_exported_is_found_before_the_export(
    options: list[str],
    message: str,
    trained_folder: str,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    target = [] if "--output" in options else ["--output", "out"]
    assert message in refused(capsys, "export", trained_folder, *target, *options)
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]
