"""The commands, in this process: what they print and write, and one message for what cannot be used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from continual.recipes import continual_values
from datasets import ClassLabel, Dataset, Features, Value
from training.recipes import recipe_values, write_recipe

from continual_streams import KINDS
from fixtures import MOODS, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskTrainer
from mt_transformers.cli.main import main
from mt_transformers.inference import MultiTaskPredictor, load_model
from mt_transformers.version import __version__

Captured = pytest.CaptureFixture[str]
Values = dict[str, Any]


def refused(capsys: Captured, *argv: str) -> str:
    """The message of a command that cannot be run: status 2, one message, no traceback."""
    capsys.readouterr()
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("mt-transformers: ")
    assert captured.err.count("mt-transformers: ") == 1
    assert "Traceback" not in captured.err
    return captured.err.removeprefix("mt-transformers: ").strip()


# help


COMMANDS = ("demo", "plan", "train", "baselines", "affinity", "search", "evaluate", "predict", "export", "serve")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
def test_help_prints(capsys: Captured, command: list[str]) -> None:
    """Also where a help text holds a percent sign, which argparse would take for a format."""
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(" ".join(["usage: mt-transformers", *command]))
    assert "%(" not in text


def test_version_prints(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("argv", [[], ["no_such_command"], ["train"], ["predict", "x"], ["evaluate", "x"]])
def test_what_is_no_command_line_has_status_2(capsys: Captured, argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: mt-transformers" in capsys.readouterr().err


def test_an_interrupt_has_its_own_status(capsys: Captured, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MultiTaskTrainer, "train", stop)
    assert main(["train", recipe]) == 130
    assert capsys.readouterr().err.strip().endswith("mt-transformers: interrupted.")


# plan, train, evaluate


def test_plan_prints_the_counts(capsys: Captured, recipe: str, tmp_path: Path) -> None:
    assert main(["plan", recipe]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["requests", "16", "0.667", "16"] in [line[:4] for line in lines]
    assert ["moods", "8", "0.333", "8"] in [line[:4] for line in lines]
    assert ["6", "batches", "an", "epoch", "on", "one", "process"] in lines
    assert [line[0] for line in lines[-3:]] == ["intent", "slots", "mood"]
    # nothing is trained or written
    assert not (tmp_path / "out").exists()


def test_plan_takes_overrides(capsys: Captured, recipe: str) -> None:
    overrides = [
        "--mixture.sampling",
        "uniform",
        "--mixture.stop=first",
        "--training.per_device_train_batch_size",
        "8",
    ]
    assert main(["plan", recipe, *overrides]) == 0
    out = capsys.readouterr().out
    assert ["requests", "16", "0.500", "8"] in [line.split()[:4] for line in out.splitlines()]
    assert "2 batches an epoch" in out


def test_train_prints_plan_and_results_and_writes_the_folder(capsys: Captured, recipe: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert main(["train", recipe, "--training.output_dir", str(other), "--training.max_steps=2"]) == 0
    out = capsys.readouterr().out
    results = json.loads((other / "all_results.json").read_text(encoding="utf-8"))
    assert out.index("6 batches an epoch") < out.index("eval metrics") < out.index("test metrics")
    assert f"eval_score {results['eval_score']:.4f}" in out
    assert f"test_score {results['test_score']:.4f}, test_loss {results['test_loss']:.4f}" in out
    assert out.endswith(f"Saved to {other}\n")
    assert {"config.json", "model.safetensors", "README.md"} <= {path.name for path in other.iterdir()}
    assert not (tmp_path / "out").exists()


def test_evaluate_gives_the_results_of_the_training(
    capsys: Captured, trained_recipe: str, trained_folder: str, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in Path(trained_folder).iterdir() if path.is_file()}
    trained = json.loads(before["all_results.json"])
    output = tmp_path / "results.json"
    command = ["evaluate", trained_folder, "--recipe", trained_recipe, "--output", str(output)]
    assert main(command) == 0
    found = json.loads(output.read_text(encoding="utf-8"))
    wanted = {key: value for key, value in trained.items() if key.startswith("test_") and not key.endswith("second")}
    wanted.pop("test_runtime")
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, rel=1e-6)
    assert f"test_score {trained['test_score']:.4f}" in capsys.readouterr().out
    assert main([*command, "--split", "validation"]) == 0
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["validation_loss"] == pytest.approx(trained["eval_loss"], rel=1e-6)
    assert not [key for key in found if key.startswith("test_")]
    # the trained folder stays as it is
    assert {path.name: path.read_bytes() for path in Path(trained_folder).iterdir() if path.is_file()} == before


def test_a_recipe_with_experiences(capsys: Captured, tiny_backbone: str, tmp_path: Path) -> None:
    """The folder that it leaves is one like any other."""
    values = continual_values(tiny_backbone, tmp_path)
    values["experiences"] |= {"scenario": "task_incremental", "bounds": ["joint"]}
    path, out = str(write_recipe(tmp_path, values)), str(tmp_path / "out")
    assert main(["plan", path]) == 0
    plan = capsys.readouterr().out
    assert plan.startswith("task_incremental\n")
    lines = [line.split() for line in plan.splitlines()]
    assert ["2", "experience_01", "words_01", "16", "4", "8", "kind_01", "2:", "good,", "bad"] in lines
    assert not Path(out).exists()
    assert main(["train", path]) == 0
    printed = capsys.readouterr().out
    assert plan in printed
    parts = [
        "eval metrics",
        "test metrics",
        "3 experience_02",
        "strategy  accuracy",
        "\nreplay",
        "\njoint",
        "Saved to",
    ]
    assert [printed.rindex(part) for part in parts] == sorted(printed.rindex(part) for part in parts)
    results = json.loads((tmp_path / "out" / "all_results.json").read_text(encoding="utf-8"))
    assert main(["evaluate", out, "--recipe", path, "--output", str(tmp_path / "results.json")]) == 0
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    wanted = {key: value for key, value in results.items() if key.startswith("test_words") or key == "test_loss"}
    assert len(wanted) > 9
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, rel=1e-6)
    (tmp_path / "rows.jsonl").write_text('"adele cher dido"\n', encoding="utf-8")
    assert predict(out, tmp_path / "rows.jsonl", tmp_path / "answers.jsonl") == 0
    [line] = lines_of(tmp_path / "answers.jsonl")
    assert set(line["outputs"]) == {"kind_00", "kind_01", "kind_02"}
    # one message each
    resumed = ["train", path, "--training.resume_from_checkpoint", "true"]
    assert "has another scenario: " in refused(capsys, *resumed, "--experiences.order", str(list(reversed(KINDS))))
    assert "unknown name 'repaly', did you mean 'replay'" in refused(capsys, "train", path, "--strategy", "repaly")
    assert "'city' and 4 more are missing" in refused(capsys, "train", path, "--experiences.order", "[singer]")


def test_evaluate_of_some_of_the_tasks(capsys: Captured, trained_folder: str, tmp_path: Path, values: Values) -> None:
    """The folder has heads that this recipe does not feed, and the recipe no train split."""
    del values["tasks"]["requests"], values["heads"]["intent"], values["heads"]["slots"]
    values["tasks"]["moods"]["dataset"]["data_files"] = {"test": "data/moods_test.parquet"}
    recipe = str(write_recipe(tmp_path, values))
    assert main(["evaluate", trained_folder, "--recipe", recipe]) == 0
    out = capsys.readouterr().out
    assert "moods" in out
    assert "requests" not in out
    assert "no task has a split 'validation'" in refused(
        capsys, "evaluate", trained_folder, "--recipe", recipe, "--split", "validation"
    )


def test_evaluate_refuses_labels_that_the_model_does_not_have(
    capsys: Captured, trained_folder: str, tmp_path: Path, values: Values
) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=[*MOODS, "neutral"])})
    rows = Dataset.from_dict({"text": ["a film", "a book"], "label": [0, 2]}, features=features)
    rows.to_parquet(tmp_path / "data" / "moods_test.parquet")
    values["tasks"]["moods"]["dataset"]["data_files"] = {"test": "data/moods_test.parquet"}
    message = refused(capsys, "evaluate", trained_folder, "--recipe", str(write_recipe(tmp_path, values)))
    assert "task 'moods', column 'label', row 1: label 'neutral' is not among the head's 2 labels" in message


# input that cannot be used


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        pytest.fail("the training has begun")

    monkeypatch.setattr(MultiTaskTrainer, "train", fail)


def replace_rows(folder: Path, columns: dict[str, Any], features: dict[str, Any], split: str = "train") -> None:
    """Write other rows in the place of a split of `moods`."""
    Dataset.from_dict(columns, features=Features(features)).to_parquet(folder / "data" / f"moods_{split}.parquet")


TEXT, LABEL = Value("string"), ClassLabel(names=MOODS)


def add_head(values: Values, name: str, **head: Any) -> None:
    values["heads"][name] = {"head_type": "sequence_classification", **head}
    values["tasks"]["moods"]["labels"][name] = "label"


def rename_text(_: Values, folder: Path) -> None:
    for split in ("train", "validation", "test"):
        replace_rows(folder, {"sentence": ["a"], "label": [0]}, {"sentence": TEXT, "label": LABEL}, split)


BAD: dict[str, tuple[Callable[[Values, Path], Any], list[str]]] = {
    "unknown key": (lambda v, _: v.update(hedas={}), ["unknown key 'hedas'", "did you mean 'heads'"]),
    "unknown training key": (lambda v, _: v["training"].update(sed=1), ["training: unknown key 'sed'", "'seed'"]),
    "unknown head key": (lambda v, _: v["heads"]["mood"].update(poolng="cls"), ["'mood'", "'poolng'", "'pooling'"]),
    "head that no task feeds": (
        lambda v, _: v["heads"].update(topic={"head_type": "sequence_classification"}),
        ["head 'topic': no task has labels for it", "intent, slots, mood"],
    ),
    "unknown head": (
        lambda v, _: v["tasks"]["moods"]["labels"].update(nood="label"),
        ["task 'moods'", "unknown head 'nood'", "did you mean 'mood'", "Known: intent, mood, slots"],
    ),
    "missing label column": (
        lambda v, _: v["tasks"]["moods"]["labels"].update(mood="lable"),
        ["task 'moods', split 'train'", "unknown column 'lable'", "Known: label, text"],
    ),
    "missing input column": (rename_text, ["task 'moods'", "unknown column 'text'", "Known: label, sentence"]),
    "label column of numbers": (
        lambda _, f: replace_rows(f, {"text": ["a"], "label": [0.5]}, {"text": TEXT, "label": Value("float64")}),
        ["head 'mood'", "task 'moods', column 'label'", "float64"],
    ),
    "label column of the wrong kind": (
        lambda v, _: v["heads"]["mood"].update(head_type="token_classification"),
        ["head 'mood'", "task 'moods', column 'label'", "expected a list with a label for each word"],
    ),
    "word labels for a text": (
        lambda v, _: v["tasks"]["requests"].update(inputs={"text": "tokens"}),
        ["task 'requests'", "column 'tokens'", "expected texts"],
    ),
    "head that is no identifier": (lambda v, _: add_head(v, "a-b"), ["head 'a-b': expected an identifier"]),
    "head that would leave the folder": (lambda v, _: add_head(v, "../a"), ["head '../a': expected an identifier"]),
    "head of the backbone's name": (
        lambda v, _: add_head(v, "backbone"),
        ["head 'backbone'", "taken by the backbone"],
    ),
    "head that torch has": (lambda v, _: add_head(v, "keys"), ["head 'keys'", "collides"]),
    "task that is no identifier": (
        lambda v, _: v["tasks"].update({"a b": v["tasks"].pop("moods")}),
        ["task 'a b': expected an identifier"],
    ),
    "empty split": (
        lambda _, f: replace_rows(f, {"text": [], "label": []}, {"text": TEXT, "label": LABEL}, "validation"),
        ["task 'moods'", "validation", "no data"],
    ),
    "missing file": (
        lambda _, f: (f / "data" / "moods_test.parquet").unlink(),
        ["task 'moods'", "moods_test.parquet", "does not exist"],
    ),
    "missing dataset": (
        lambda v, _: v["tasks"]["moods"].update(dataset={"path": "no/such_dataset"}),
        ["task 'moods'", "'no/such_dataset' cannot be loaded"],
    ),
    "file that is no parquet": (
        lambda _, f: (f / "data" / "moods_train.parquet").write_bytes(b"no parquet"),
        ["task 'moods'", "cannot be loaded"],
    ),
    "text that is None": (
        lambda _, f: replace_rows(f, {"text": ["a", None], "label": [0, 1]}, {"text": TEXT, "label": LABEL}),
        ["task 'moods', split 'train', column 'text', row 1", "found None"],
    ),
    "label out of range": (
        lambda v, f: (
            v["heads"]["mood"].update(num_labels=2),
            [
                replace_rows(f, {"text": ["a", "b"], "label": [0, 7]}, {"text": TEXT, "label": Value("int64")}, split)
                for split in ("train", "validation", "test")
            ],
        ),
        ["task 'moods', column 'label', row 1", "label 7 is out of range"],
    ),
    "missing backbone": (lambda v, _: v.update(backbone="no/such_backbone"), ["no/such_backbone", "cannot be loaded"]),
    "negative loss weight": (lambda v, _: v.update(loss_weights={"mood": -1.0}), ["loss_weights", "'mood'", "-1.0"]),
    "unknown loss weight": (lambda v, _: v.update(loss_weights={"nood": 1.0}), ["loss_weights", "'nood'"]),
    "metric that does not fit": (
        lambda v, _: v["heads"]["mood"].update(metrics=["entity_f1"]),
        ["mood", "unknown metric 'entity_f1'"],
    ),
    "too long rows": (lambda v, _: v["training"].update(max_length=1000), ["max_length", "3 to 64", "1000"]),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_one_message_before_any_training(
    capsys: Captured, tmp_path: Path, values: Values, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    spoil, wanted = BAD[case]
    spoil(values, tmp_path)
    no_training(monkeypatch)
    message = refused(capsys, "train", str(write_recipe(tmp_path, values)))
    assert [each for each in wanted if each not in message] == []
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("- a\n- b\n", "expected a mapping, found list"), ("", "expected a mapping"), ("a: [1\n", "no valid YAML")],
)
@pytest.mark.parametrize("command", ["plan", "train"])
def test_a_recipe_that_is_no_mapping(capsys: Captured, tmp_path: Path, command: str, text: str, wanted: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    assert wanted in refused(capsys, command, str(tmp_path / "recipe.yaml"))


@pytest.mark.parametrize("command", ["plan", "train"])
def test_a_recipe_that_is_not_there(capsys: Captured, tmp_path: Path, command: str) -> None:
    assert "no such file" in refused(capsys, command, str(tmp_path / "none.yaml"))


def test_overrides_that_cannot_be(capsys: Captured, recipe: str) -> None:
    assert "unknown key 'sed'" in refused(capsys, "train", recipe, "--training.sed", "1")
    assert "expected --key value" in refused(capsys, "train", recipe, "--training.seed")
    assert "expected --key value" in refused(capsys, "plan", recipe, "stray")


@pytest.mark.parametrize("kind", ["missing", "empty", "backbone", "corrupt"])
def test_folders_that_are_no_checkpoint(
    capsys: Captured, tmp_path: Path, recipe: str, tiny_backbone: str, trained_folder: str, kind: str
) -> None:
    folder = tmp_path / "folder"
    if kind != "missing":
        folder.mkdir()
    if kind == "backbone":
        folder = Path(tiny_backbone)
    if kind == "corrupt":
        for path in Path(trained_folder).iterdir():
            if path.is_file():
                content = path.read_bytes()
                (folder / path.name).write_bytes(content[:500] if path.suffix == ".safetensors" else content)
    assert str(folder) in refused(capsys, "evaluate", str(folder), "--recipe", recipe)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('"play"\n', encoding="utf-8")
    out = tmp_path / "out.jsonl"
    assert str(folder) in refused(capsys, "predict", str(folder), "--input", str(rows), "--output", str(out))
    assert not out.exists()


# predict


def predict(folder: str, rows: Path, output: Path, *more: str) -> int:
    return main(["predict", folder, "--input", str(rows), "--output", str(output), *more])


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Four rows of every form, lengths up and down."""
    path = tmp_path / "rows.jsonl"
    given = [
        '"play some music by dido"',
        '{"text": "dull"}',
        '{"tokens": ["weather", "in", "rome"], "task": "requests"}',
        '{"text": "the film", "text_pair": "is \\u00e9 great \\ud83d\\ude00"}',
    ]
    path.write_text("\n".join(given) + "\n", encoding="utf-8")
    return path


def test_predict_writes_a_line_for_each_line(trained_folder: str, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert predict(trained_folder, rows, output) == 0
    found = lines_of(output)
    assert [line["line"] for line in found] == [1, 2, 3, 4]
    assert [set(line["outputs"]) for line in found] == [
        {"intent", "slots", "mood"},
        {"intent", "slots", "mood"},
        {"intent", "slots"},
        {"intent", "slots", "mood"},
    ]
    predictor = MultiTaskPredictor(*load_model(trained_folder), batch_size=1)
    for line, text in zip(found, rows.read_text(encoding="utf-8").splitlines(), strict=True):
        alone = predictor([json.loads(text)])[0]
        assert line["outputs"]["intent"]["label"] == alone["intent"]["label"]
        assert line["outputs"]["intent"]["score"] == pytest.approx(alone["intent"]["score"], abs=1e-5)


def test_predict_with_some_heads_and_another_batch_size(
    trained_folder: str, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"
    plain, sizes = MultiTaskPredictor.stream, []

    def spying(self: MultiTaskPredictor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(self.batch_size)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(MultiTaskPredictor, "stream", spying)
    assert predict(trained_folder, rows, output, "--heads", "mood,intent", "--batch_size", "3") == 0
    assert sizes == [3]
    assert [set(line["outputs"]) for line in lines_of(output)] == [
        {"mood", "intent"},
        {"mood", "intent"},
        {"intent"},
        {"mood", "intent"},
    ]


def test_predict_with_several_answers_a_head(trained_folder: str, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert predict(trained_folder, rows, output, "--top_k", "2", "--heads", "intent") == 0
    assert [len(line["outputs"]["intent"]) for line in lines_of(output)] == [2, 2, 2, 2]


def test_predict_with_a_threshold(tmp_path: Path, rows: Path) -> None:
    head = {"head_type": "sequence_classification", "num_labels": 3, "problem_type": "multi_label_classification"}
    tiny_model({"topics": head}).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    output = tmp_path / "out.jsonl"
    for threshold, number in (("0", 3), ("1", 0)):
        assert predict(str(tmp_path), rows, output, "--threshold", threshold, "--on-error", "skip") == 0
        assert [len(line["outputs"]["topics"]) for line in lines_of(output)[:2]] == [number] * 2


def test_predict_of_more_lines_than_it_holds_at_a_time(trained_folder: str, tmp_path: Path) -> None:
    path, output = tmp_path / "many.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(f'"play {"music " * (index % 5)}"\n' for index in range(2100)), encoding="utf-8")
    assert predict(trained_folder, path, output, "--heads", "intent", "--batch_size", "256") == 0
    found = lines_of(output)
    assert [line["line"] for line in found] == list(range(1, 2101))
    # equal rows have equal answers, wherever they stand
    assert found[2099]["outputs"]["intent"]["score"] == pytest.approx(found[4]["outputs"]["intent"]["score"], abs=1e-5)


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_line_ends(trained_folder: str, tmp_path: Path, end: str) -> None:
    path, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(f'"play"{end or chr(10)}"dull"{end}'.encode())
    assert predict(trained_folder, path, output) == 0
    assert [line["line"] for line in lines_of(output)] == [1, 2]


def test_a_file_without_lines_gives_one_without_lines(trained_folder: str, tmp_path: Path) -> None:
    path, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(b"")
    assert predict(trained_folder, path, output) == 0
    assert output.read_bytes() == b""


def test_lines_that_were_cut_are_counted(capsys: Captured, trained_folder: str, tmp_path: Path) -> None:
    path, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_text(f'"{"play " * 200}"\n"play"\n', encoding="utf-8")
    assert predict(trained_folder, path, output) == 0
    assert "1 line(s) were longer than the model reads" in capsys.readouterr().err


BAD_LINES: list[tuple[bytes, str]] = [
    (b'"\xff\xfe"', "no valid UTF-8 at byte 1"),
    (b'{"text": "a"', "no valid JSON"),
    (b"play music", "no valid JSON"),
    (b"", "no valid JSON"),
    (b"null", "found NoneType"),
    (b"5", "found int"),
    (b"NaN", "found float"),
    (b"true", "found bool"),
    (b'["a", 1]', "expected a list of words"),
    (b"{}", "inputs: expected one of [text; "),
    (b'{"txt": "a"}', "unknown key 'txt'"),
    (b'{"text": null}', "text: expected a text, found NoneType"),
    (b'{"tokens": [1]}', "tokens: expected a list of words"),
    (b'{"text": "a", "task": "mods"}', "unknown task 'mods'"),
    (b'{"text": "a", "task": ["moods"]}', "unknown task"),
    (b'"\\ud800"', "a surrogate without its pair"),
    (b'{"text": "a", "task": "\\ud800"}', "unknown task"),
    (b'{"\\ud800": "a"}', "unknown key"),
    (b"[" * 100_000, "nested too deeply"),
    (b"9" * 5000, ""),
]


@pytest.fixture
def bad_rows(tmp_path: Path) -> Path:
    """Good lines first and last, bad ones between them."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"\n".join([b'"play"', *(line for line, _ in BAD_LINES), b'"dull"']) + b"\n")
    return path


def test_bad_lines_are_all_named_and_nothing_is_written(
    capsys: Captured, trained_folder: str, bad_rows: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("old", encoding="utf-8")
    assert predict(trained_folder, bad_rows, output) == 2
    errors = capsys.readouterr().err.splitlines()
    for number, (_, message) in enumerate(BAD_LINES, start=2):
        named = [line for line in errors if line.startswith(f"{bad_rows}, line {number}: ")]
        assert len(named) == 1
        assert message in named[0]
    assert errors[-1].startswith("mt-transformers: ")
    assert f"{len(BAD_LINES)} line(s) cannot be used; --on-error skip" in errors[-1]
    assert not [line for line in errors if line.startswith((f"{bad_rows}, line 1: ", "Traceback"))]
    assert output.read_text(encoding="utf-8") == "old"


def test_bad_lines_are_left_out_when_asked(
    capsys: Captured, trained_folder: str, bad_rows: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    assert predict(trained_folder, bad_rows, output, "--on-error", "skip") == 0
    assert [line["line"] for line in lines_of(output)] == [1, len(BAD_LINES) + 2]
    assert f"{bad_rows}, line 2: " in capsys.readouterr().err


@pytest.mark.parametrize("line", [line for line, _ in BAD_LINES], ids=lambda line: repr(line[:24]))
def test_each_bad_line_alone(capsys: Captured, trained_folder: str, tmp_path: Path, line: bytes) -> None:
    path, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(line + b"\n")
    assert predict(trained_folder, path, output) == 2
    assert f"{path}, line 1: " in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("existing", [True, False])
def test_the_output_is_whole_or_absent(
    trained_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    """The predictor fails when some lines have been written."""
    path, output = tmp_path / "many.jsonl", tmp_path / "results" / "out.jsonl"
    output.parent.mkdir()
    path.write_text('"play"\n' * 2049, encoding="utf-8")
    if existing:
        output.write_text("old", encoding="utf-8")
    plain = MultiTaskPredictor.stream

    def failing(self: MultiTaskPredictor, *args: Any, **kwargs: Any) -> Any:
        yield from islice(plain(self, *args, **kwargs), 2048)
        raise RuntimeError("midway")

    monkeypatch.setattr(MultiTaskPredictor, "stream", failing)
    with pytest.raises(RuntimeError, match="midway"):
        predict(trained_folder, path, output, "--heads", "intent", "--batch_size", "512")
    assert os.listdir(output.parent) == (["out.jsonl"] if existing else [])
    if existing:
        assert output.read_text(encoding="utf-8") == "old"


def test_what_predict_cannot_use(capsys: Captured, trained_folder: str, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    command = ["predict", trained_folder, "--input", str(rows), "--output", str(output)]
    assert "unknown argument(s): --haeds mood" in refused(capsys, *command, "--haeds", "mood")
    assert "unknown head 'mod', did you mean 'mood'" in refused(capsys, *command, "--heads", "mod")
    assert "batch size of at least 1, found 0" in refused(capsys, *command, "--batch_size", "0")
    assert "top_k of at least 1, found 0" in refused(capsys, *command, "--top_k", "0")
    assert "threshold: no head that is asked has a use for it" in refused(capsys, *command, "--threshold", "0.5")
    assert "none.jsonl: no such file" in refused(
        capsys, "predict", trained_folder, "--input", str(tmp_path / "none.jsonl"), "--output", str(output)
    )
    assert "cannot be written" in refused(
        capsys, "predict", trained_folder, "--input", str(rows), "--output", str(tmp_path / "none" / "out.jsonl")
    )
    with pytest.raises(SystemExit) as caught:
        main([*command, "--on-error", "ignore"])
    assert caught.value.code == 2
    assert not output.exists()


def test_reading_and_writing_the_same_file(capsys: Captured, trained_folder: str, rows: Path) -> None:
    """The lines are read twice, and written when all were read."""
    assert predict(trained_folder, rows, rows) == 0
    assert [line["line"] for line in lines_of(rows)] == [1, 2, 3, 4]


def test_the_demo_is_the_bundled_recipe_with_its_predictions(
    capsys: Captured, tmp_path: Path, tiny_backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mt_transformers import demo
    from mt_transformers.cli.demo import SENTENCES

    monkeypatch.setattr(demo, "find_backbone", lambda _: tiny_backbone)
    folder = tmp_path / "demo"
    short = ["--training.max_steps", "2", "--training.use_cpu", "true", "--training.disable_tqdm", "true"]
    assert main(["demo", "--output_dir", str(folder), *short]) == 0
    out = capsys.readouterr().out
    assert "Saved to" in out
    assert all(sentence in out for sentence in SENTENCES)
    assert {"config.json", "README.md"} <= {path.name for path in folder.iterdir()}


def test_a_recipe_works_from_any_folder(
    capsys: Captured, tiny_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are beside it; the result goes where the command is run."""
    (tmp_path / "elsewhere").mkdir()
    values = recipe_values(tiny_backbone, tmp_path / "recipes")
    values["training"].update(output_dir="result", max_steps=1)
    write_recipe(tmp_path / "recipes", values)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["train", "../recipes/recipe.yaml"]) == 0
    assert (tmp_path / "elsewhere" / "result" / "config.json").is_file()
