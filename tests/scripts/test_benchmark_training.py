"""The benchmark of training at toy size: what is measured is what is said, and the reference trains the same."""

from __future__ import annotations

import importlib
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL = ["--repeats", "1", "--rows", "32", "--batch_size", "8", "--max_length", "16", "--head_counts", "4"]
SMALL += ["--many_heads", "6", "--head_steps", "3", "--sampler_rows", "4000", "--seeds", "2", "--accuracy_rows", "32"]

Main = Callable[[list[str]], int]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Main:
    """The script's `main`; its modules are those of the checkout."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    function: Main = runpy.run_path(str(SCRIPTS / "benchmark_training.py"))["main"]
    return function


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of the benchmark."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def measures(report: dict[str, Any], section: str) -> dict[str, dict[str, Any]]:
    """The measures of a section by name."""
    return {each["name"]: each for each in report["measures"] if each["section"] == section}


def test_every_section_at_toy_size(
    main: Main, data: Path, quiet_backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sections = "overhead,throughput,padding,heads,sampler,evaluation,cuda,accuracy"
    given = ["--output_dir", str(out), "--data", str(data), "--backbone", quiet_backbone, "--sections", sections]
    assert main([*given, *SMALL]) == 0
    assert "needs --device cuda" in capsys.readouterr().err
    report = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))
    assert report["skipped"] == {"cuda": "needs --device cuda"}
    assert report["arguments"]["rows"] == 32
    assert report["versions"]["torch"] == torch.__version__
    for each in report["measures"]:
        assert len(each["values"]) == (2 if each["section"] == "accuracy" else 1)
        assert each["min"] <= each["median"] <= each["max"]
        assert each["unit"] in ("MiB", "macro-F1") or each["min"] > 0
    overhead = measures(report, "overhead")
    step = overhead["MultiTaskTrainer"]["values"][0] / overhead["plain loop"]["values"][0]
    assert overhead["MultiTaskTrainer / plain loop"]["values"][0] == pytest.approx(step)
    assert overhead["MultiTaskTrainer / plain loop"]["at_most"] == 1.03
    assert len(measures(report, "throughput")) == 4
    assert {"2 heads", "4 heads", "4 heads / 2 heads", "6 heads: loaded"} <= set(measures(report, "heads"))
    assert set(measures(report, "accuracy")) == {
        f"{name}, {task}"
        for name in ("plain loop", "MultiTaskTrainer, group_by_length")
        for task in ("emotion", "irony", "offensive", "hate")
    }
    table = (out / "benchmark.md").read_text(encoding="utf-8")
    assert table.count("\n| ") == 1 + len(report["measures"])
    assert "Not run: cuda, needs --device cuda." in table
    assert not list(out.glob(".*"))
    assert (out / "heads.png").exists() == (importlib.util.find_spec("matplotlib") is not None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sections", "overhed"], "unknown section 'overhed', did you mean 'overhead'"),
        (["--repeats", "0"], "--repeats: expected 1 or more, found 0"),
        (["--head_counts", "4,x"], "--head_counts: expected numbers"),
        (["--rows", "7"], "--rows: expected at least one batch of 8, found 7"),
        (["--device", "tpu"], "--device: unknown device 'tpu'"),
        (["--data", "nowhere"], "--data: expected the folder of the data sets, found nowhere"),
        (["--backbone", "nowhere", "--sections", "overhead"], "backbone 'nowhere' cannot be loaded"),
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
    assert error.startswith("benchmark_training: ")
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_missing_data_set_is_named(
    main: Main, quiet_backbone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--output_dir", str(tmp_path / "out"), "--data", str(tmp_path), "--backbone", quiet_backbone]
    assert main([*given, *SMALL, "--sections", "overhead"]) == 2
    file = tmp_path / "tweeteval_emotion" / "train.parquet"
    assert f"--data: expected the file {file}, found none" in capsys.readouterr().err


def test_the_plain_loop_trains_to_the_trainers_weights(
    part: Callable[[str], Any], data: Path, quiet_backbone: str
) -> None:
    """The same sums from the same weights over the same batches: the reference is no easier task."""
    settings = part("settings").Settings(
        backbone=quiet_backbone, data=data, rows=60, batch_size=8, max_length=16, learning_rate=0.01
    )
    runs = part("tweets").tweet_runs(settings, settings.rows)
    for head in runs.model.named_heads.values():
        head.dropout.p = head.config.classifier_dropout = 0.0
    rows, batches = runs.batches()
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    trainer, watch = runs.trainer()
    trainer.train()
    assert trainer.state.global_step == len(batches)
    assert watch.seconds > 0
    plain = part("plain_loop").PlainModel(runs.model)
    assert runs.plain_loop(rows).train(plain, batches) > 0
    trained = trainer.model.state_dict()
    start = {name: value.clone() for name, value in runs.model.state_dict().items()}
    part("plain_loop").copy_into(plain, runs.model)
    for name, value in runs.model.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=1e-3, atol=1e-4)
    moved = [name for name, value in trained.items() if (value - start[name]).abs().max() > 1e-2]
    assert len(moved) > len(trained) // 2


def test_steps_before_the_time_begins_are_left_out(
    part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = part("training_runs").Stopwatch("cpu", after=2)
    times = iter([1.0, 10.0, 40.0])
    monkeypatch.setitem(type(watch).on_step_end.__globals__, "clock", lambda _: next(times))
    watch.on_epoch_begin(None, SimpleNamespace(global_step=0), None)
    for step in range(1, 5):
        watch.on_step_end(None, SimpleNamespace(global_step=step, max_steps=4), None)
    assert watch.seconds == 30.0


def test_padding_counts_the_tokens_that_collated_batches_hold(
    part: Callable[[str], Any], data: Path, quiet_backbone: str
) -> None:
    settings = part("settings").Settings(backbone=quiet_backbone, data=data, rows=60, batch_size=8, max_length=16)
    trainer, _ = part("tweets").tweet_runs(settings, 0).trainer()
    loader = trainer.get_train_dataloader()
    masks = [batch["attention_mask"] for batch in loader]
    by_hand = sum(mask.numel() for mask in masks) / sum(int(mask.sum()) for mask in masks)
    lengths = np.concatenate([np.asarray(splits["train"]["length"]) for splits in trainer.splits.values()])
    assert part("padding").computed_per_real(lengths, loader.batch_sampler) == by_hand
    assert by_hand > 1


def test_sizes_of_the_sampler_add_up(part: Callable[[str], Any]) -> None:
    sizes = list(part("sampler").task_sizes(20, 20_000_000).values())
    assert sum(sizes) == 20_000_000
    assert len(sizes) == 20
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] > 0


def test_targets(part: Callable[[str], Any]) -> None:
    measure = part("measure").Measure
    assert measure("s", "n", [1.0, 3.0, 2.0], "x", at_most=2.0).reached is True
    assert measure("s", "n", [1.0, 3.0, 2.0], "x", at_most=1.9).reached is False
    assert measure("s", "n", [1.0, 3.0, 2.0], "x", at_least=2.0).reached is True
    assert measure("s", "n", [1.0, 3.0, 2.0], "x", at_least=2.1).reached is False
    assert measure("s", "n", [1.0], "x").reached is None


def test_variants_take_turns(part: Callable[[str], Any]) -> None:
    order: list[str] = []

    def run(name: str) -> float:
        order.append(name)
        return float(len(order))

    numbers = part("measure").alternate({name: lambda name=name: run(name) for name in "abc"}, 3, "turns")
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert numbers == {"a": [4.0, 9.0, 11.0], "b": [5.0, 7.0, 12.0], "c": [6.0, 8.0, 10.0]}


def test_flops_of_bert_base(part: Callable[[str], Any]) -> None:
    """85,054,464 parameters of the layers: 6 times that, and 12 x 12 x 768 x 128 for attention."""
    assert part("cuda").training_flops(85_054_464, 12, 768, 128) == 510_326_784 + 14_155_776


def test_help_says_what_the_sections_are(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "accuracy    macro-F1" in capsys.readouterr().out
