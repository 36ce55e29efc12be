"""The studies of continual learning at toy size."""

from __future__ import annotations

import importlib
import runpy
from argparse import Namespace
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from continual_streams import KINDS, kinds_of_words
from fixtures import SLOTS

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SETS = ("tweeteval_emotion", "tweeteval_offensive", "banking77", "subj")

Main = Callable[[list[str]], int]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Main:
    """The script's `main`; its modules are those of the checkout."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    function: Main = runpy.run_path(str(SCRIPTS / "study_continual.py"))["main"]
    return function


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of the studies."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return lambda name: importlib.import_module(f"studies.{name}")


def write_data(folder: Path) -> None:
    """Rows under the names of the real data sets."""
    tags = Features(
        {"tokens": List(Value("string")), "slots": List(ClassLabel(names=SLOTS)), "intent": ClassLabel(names=KINDS)}
    )
    for number, split in enumerate(("train", "validation", "test")):
        words = kinds_of_words(24, number)
        for name in SETS:
            (folder / name).mkdir(parents=True, exist_ok=True)
            words.rename_column("kind", "label").to_parquet(folder / name / f"{split}.parquet")
        (folder / "snips").mkdir(exist_ok=True)
        rows = [{"tokens": row["text"].split(), "slots": [0, 1, 2], "intent": row["kind"]} for row in words]
        Dataset.from_list(rows, features=tags).to_parquet(folder / "snips" / f"{split}.parquet")


def test_digits_class_by_class_and_head_by_head(main: Main, tmp_path: Path) -> None:
    given = [
        "digits",
        "--output",
        str(tmp_path),
        "--strategies",
        "naive,replay",
        "--epochs",
        "0.1",
        "--backbone",
        "vit",
    ]
    assert main(given) == 0
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    for words in ("## class_incremental", "## task_incremental", "| replay, 50 rows |", "digit_04", "digits --output"):
        assert words in report
    pictures = {
        f"{name}_{kind}.png"
        for name in ("average_accuracy", "best_matrix", "first_matrix")
        for kind in ("class", "task")
    }
    assert {each.name for each in tmp_path.glob("*.png")} == pictures
    # nothing is run again, and nothing but results is kept
    kept = {each.relative_to(tmp_path).as_posix() for each in tmp_path.glob("*/*")}
    assert all(each.endswith("continual_results.json") for each in kept)
    before = [each.stat().st_mtime_ns for each in sorted(tmp_path.glob("*/*"))]
    assert main(given) == 0
    assert [each.stat().st_mtime_ns for each in sorted(tmp_path.glob("*/*"))] == before


def test_every_run_of_the_digits_can_be_made(part: Callable[[str], Any], tmp_path: Path) -> None:
    study = part("digits").make_study(Namespace(backbone="vit", seeds="0"))
    assert len(study.runs) == 2 * 12 - 1
    for run in study.runs:
        trainer = study.build(run, tmp_path / run.folder_name)
        assert [each["name"] for each in trainer.strategy.options()] == [run.strategy["name"]]


def test_five_tasks(main: Main, tmp_path: Path, tiny_backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path / "data")
    monkeypatch.setenv("MT_TRANSFORMERS_DATA", str(tmp_path / "data"))
    out = tmp_path / "out"
    given = ["five_tasks", "--output", str(out), "--backbone", tiny_backbone, "--strategies", "naive,replay 10%"]
    assert main([*given, "--train-rows", "12", "--test-rows", "6"]) == 0
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "| strategy | emotion | offensive | banking | intent | slots | subjectivity |" in report
    assert "| replay 10% |" in report


def test_some_rows_of_each_class(part: Callable[[str], Any]) -> None:
    rows = kinds_of_words(60)
    found = part("data").some_of_each(rows, "kind", 4)
    assert Counter(found["kind"]) == dict.fromkeys(range(6), 4)
    assert Counter(part("data").some_of_each(rows, "kind", 100)["kind"]) == dict.fromkeys(range(6), 10)
    assert part("data").some_of_each(rows, "kind", 4, seed=1)["text"][:] != found["text"][:]


def test_strategies_with_a_buffer_are_run_with_each_size(part: Callable[[str], Any]) -> None:
    given = Namespace(strategies="naive,derpp,gem", buffers="2,3", seeds="0,1", epochs=2.0)
    settled = part("settings").settle(given, part("clinc150").SETTING)
    assert (settled.epochs, settled.train_rows) == (2.0, 30)
    runs = part("settings").runs_of(settled)
    labels = ["naive", "naive", *(f"{name}, {size} rows" for name in ("derpp", "gem") for size in (2, 2, 3, 3))]
    assert [run.label for run in runs] == labels
    assert runs[-1].strategy == {"name": "gem", "replay_batch_size": 2, "buffer_size": 3, "seed": 1}
    with pytest.raises(ValueError, match="--strategies: unknown strategy 'derp'"):
        part("settings").settle(Namespace(strategies="derp", seeds="0"), part("clinc150").SETTING)


def test_settings_of_single_strategies_are_taken_and_told(part: Callable[[str], Any], tmp_path: Path) -> None:
    settings = part("settings")
    settled = settings.settle(Namespace(strategies="naive,joint,ewc_online", seeds="0"), part("clinc150").SETTING)
    epochs = [
        settings.training_arguments(settled, run, tmp_path).num_train_epochs for run in settings.runs_of(settled)
    ]
    assert epochs == [1, 5, 1]
    assert settings.describe_training(settled).endswith(
        "heads 0.002; joint: num_train_epochs 5; ewc_online: fisher_rows 50."
    )


def test_without_the_folder_of_the_data_it_says_so(
    main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MT_TRANSFORMERS_DATA", raising=False)
    assert main(["clinc150", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("study_continual: MT_TRANSFORMERS_DATA is not set")
