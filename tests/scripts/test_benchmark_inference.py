"""The benchmark of inference at toy size: what is measured is what is said."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL = ["--repeats", "1", "--rows", "24", "--batch_size", "8", "--max_length", "16"]

Main = Callable[[list[str]], int]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Main:
    """The script's `main`; its modules are those of the checkout."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    function: Main = runpy.run_path(str(SCRIPTS / "benchmark_inference.py"))["main"]
    return function


def test_both_sections_at_toy_size(main: Main, data: Path, quiet_backbone: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = tmp_path / "out"
    assert main(["--output_dir", str(out), "--data", str(data), "--backbone", quiet_backbone, *SMALL]) == 0
    report = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))
    assert report["arguments"]["rows"] == 24
    found = {each["name"]: each for each in report["measures"]}
    assert all(each["min"] > 0 for each in found.values())
    one = found["24 texts, one multi-task pipeline"]["values"][0]
    four = found["24 texts, four pipelines"]["values"][0]
    assert found["four pipelines / one multi-task pipeline"]["values"] == [pytest.approx(four / one)]
    assert found["four pipelines / one multi-task pipeline"]["at_least"] == 4.5
    assert found["one multi-task pipeline / backbone alone"]["at_most"] == 1.05
    for what in ("batch of 8", "one text"):
        for part in ("pass", "texts to answers"):
            times = {name: found[f"{what}, {part}, {name}"]["values"][0] for name in ("torch", "onnx", "int8")}
            ratio = found[f"{what}, {part}, int8 / torch"]["values"]
            assert ratio == [pytest.approx(times["int8"] / times["torch"])]
    assert (out / "benchmark.md").read_text(encoding="utf-8").count("\n| ") == 1 + len(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sections", "latncy"], "unknown section 'latncy', did you mean 'latency'"),
        (["--rows", "0"], "--rows: expected 1 or more, found 0"),
        (["--data", "nowhere"], "--data: expected the folder of the data sets, found nowhere"),
        (["--backbone", "nowhere", "--sections", "pipelines"], "backbone 'nowhere' cannot be loaded"),
    ],
)
def test_what_cannot_be_used_is_one_message(
    main: Main,
    data: Path,
    quiet_backbone: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    given = ["--output_dir", str(tmp_path / "out"), "--data", str(data), "--backbone", quiet_backbone]
    assert main([*given, *SMALL, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("benchmark_inference: ")
    assert not (tmp_path / "out").exists()
