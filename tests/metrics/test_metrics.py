"""The room's door: names, directions, laziness, no network, no file, and what all metrics share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mt_transformers.metrics
from mt_transformers.metrics import METRIC_NAMES, higher_is_better, load_metric

TAGS = [["B-X", "I-X", "O"], ["O", "B-Y", "O"]]
ANSWERS = [(["The Rome.", ""], [["Rome", "Roma"], []]), (["in Oslo"], [["Oslo"]])]
TREES = [
    (
        [{"heads": [2, 0], "deprels": ["obl:agent", "root"]}, {"heads": [], "deprels": []}],
        [{"heads": [2, 0], "deprels": ["obl", "root"]}, {"heads": [], "deprels": []}],
    ),
    ([{"heads": [0, 2], "deprels": ["root", "punct"]}], [{"heads": [0, 1], "deprels": ["root", "punct"]}]),
]

# Name, constructor arguments, two batches of (predictions, references).
CASES = [
    ("accuracy", {}, [([0, 1], [0, 1]), ([1, 2], [1, 0])]),
    ("accuracy", {"multilabel": True}, [([[0, 1]], [[0, 1]]), ([[1, 1], [1, 0]], [[1, 0], [1, 0]])]),
    ("exact_match", {}, ANSWERS),
    ("answer_f1", {}, ANSWERS),
    ("f1_macro", {}, [([0, 1], [0, 1]), ([1, 2], [1, 0])]),
    ("f1_macro", {"multilabel": True}, [([[0, 1]], [[0, 1]]), ([[1, 1], [1, 0]], [[1, 0], [1, 0]])]),
    ("f1_micro", {}, [([0, 1], [0, 1]), ([1, 2], [1, 0])]),
    ("f1_weighted", {}, [([0, 1], [0, 1]), ([1, 2], [1, 0])]),
    ("matthews_correlation", {}, [([0, 1], [0, 1]), ([1, 2], [1, 0])]),
    ("pearson", {}, [([0.5, 1.0], [0.0, 1.0]), ([2.0], [1.5])]),
    ("spearman", {}, [([0.5, 1.0], [0.0, 1.0]), ([2.0], [1.5])]),
    ("mse", {}, [([0.5, 1.0], [0.0, 1.0]), ([2.0], [1.5])]),
    ("mse", {}, [([[0.5, 1.0]], [[0.0, float("nan")]]), ([[2.0, 3.0]], [[1.5, 3.5]])]),
    ("nll", {}, [([6.0, 1.5], [3, 1]), ([0.5], [2])]),
    ("perplexity", {}, [([6.0, 1.5], [3, 1]), ([0.5], [2])]),
    ("las", {}, TREES),
    ("las_universal", {}, TREES),
    ("uas", {}, TREES),
    ("entity_f1", {}, [(TAGS, TAGS), ([["O", "O"]], [["B-X", "O"]])]),
    ("entity_f1", {"scheme": "bioes"}, [([["S-X"]], [["S-X"]]), ([["B-X", "E-X"]], [["B-X", "I-X"]])]),
]


def run_python(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter, warnings as errors, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        cwd=Path(mt_transformers.metrics.__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_names() -> None:
    assert METRIC_NAMES == (
        "accuracy",
        "answer_f1",
        "entity_f1",
        "exact_match",
        "f1_macro",
        "f1_micro",
        "f1_weighted",
        "las",
        "las_universal",
        "matthews_correlation",
        "mse",
        "nll",
        "pearson",
        "perplexity",
        "spearman",
        "uas",
    )
    assert {name for name, _, _ in CASES} == set(METRIC_NAMES)


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_only_errors_and_losses_are_better_when_lower(name: str) -> None:
    assert higher_is_better(name) is (name not in ("mse", "nll", "perplexity"))


@pytest.mark.parametrize("name", mt_transformers.metrics.__all__)
def test_all_agrees_with_what_can_be_imported(name: str) -> None:
    assert name in dir(mt_transformers.metrics)
    assert getattr(mt_transformers.metrics, name) is not None


def test_a_misspelt_class_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Acuracy'"):
        mt_transformers.metrics.Acuracy  # noqa: B018


@pytest.mark.parametrize(("name", "kwargs", "batches"), CASES)
def test_compute_answers_under_the_own_name_with_floats(
    name: str, kwargs: dict[str, object], batches: list[tuple[list[object], list[object]]]
) -> None:
    metric = load_metric(name, **kwargs)
    predictions, references = batches[0]
    result = metric.compute(predictions=predictions, references=references)
    assert metric.name == name
    assert name in result
    assert {type(value) for value in result.values()} == {float}
    assert metric.compute(predictions=predictions, references=references) == result, "a metric can be used again"


@pytest.mark.parametrize(("name", "kwargs", "batches"), CASES)
def test_batches_added_equal_all_rows_at_once(
    name: str, kwargs: dict[str, object], batches: list[tuple[list[object], list[object]]]
) -> None:
    at_once = load_metric(name, **kwargs).compute(
        predictions=[row for predictions, _ in batches for row in predictions],
        references=[row for _, references in batches for row in references],
    )
    metric = load_metric(name, **kwargs)
    for predictions, references in batches:
        metric.add_batch(predictions=predictions, references=references)
    # up to numpy 1.26 a sum depends on where in memory its terms lie
    expected = pytest.approx(at_once, rel=1e-12, abs=0)
    assert metric.compute() == expected

    by_row = load_metric(name, **kwargs)
    for predictions, references in batches[:-1]:
        for prediction, reference in zip(predictions, references, strict=True):
            by_row.add(prediction=prediction, reference=reference)
    assert by_row.compute(predictions=batches[-1][0], references=batches[-1][1]) == expected


@pytest.mark.parametrize(
    "name", ["accuracy", "f1_macro", "matthews_correlation", "pearson", "spearman", "mse", "nll", "perplexity"]
)
def test_arrays_equal_lists(name: str) -> None:
    predictions, references = [0, 2, 1, 1], [0, 1, 1, 2]
    expected = load_metric(name).compute(predictions=predictions, references=references)
    assert load_metric(name).compute(predictions=np.array(predictions), references=np.array(references)) == expected


def test_nothing_to_compute_is_refused() -> None:
    with pytest.raises(ValueError, match="accuracy: expected predictions and references, or rows added before"):
        load_metric("accuracy").compute()
    with pytest.raises(ValueError, match="found predictions list and references NoneType"):
        load_metric("accuracy").compute(predictions=[1])


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown metric 'acuracy', did you mean 'accuracy'") as caught:
        load_metric("acuracy")
    assert all(name in str(caught.value) for name in METRIC_NAMES)
    with pytest.raises(ValueError, match="unknown metric 'rouge'"):
        higher_is_better("rouge")


def test_constructor_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="multilabel"):
        load_metric("matthews_correlation", multilabel=True)
    with pytest.raises(TypeError, match="average"):
        load_metric("f1_macro", average="micro")


def test_with_allow_download_a_foreign_name_goes_to_evaluate(monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    calls: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(evaluate, "load", lambda name, **kwargs: calls.append((name, kwargs)) or "loaded")
    assert load_metric("rouge", allow_download=True, config_name="x") == "loaded"
    assert load_metric("accuracy", allow_download=True).name == "accuracy"
    assert calls == [("rouge", {"config_name": "x"})]


def test_importing_the_room_imports_nothing_heavy() -> None:
    printed = run_python(
        "import sys, mt_transformers.metrics as m\n"
        "assert m.METRIC_NAMES and m.higher_is_better('accuracy') and m.__all__ and dir(m)\n"
        "heavy = {'evaluate', 'sklearn', 'seqeval', 'scipy', 'datasets', 'numpy', 'torch', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert printed == "[]\n"


def test_no_network_and_no_file(tmp_path: Path) -> None:
    printed = run_python(
        "import socket\n"
        "def refuse(*args, **kwargs): raise AssertionError('network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from mt_transformers.metrics import load_metric\n"
        "nan = float('nan')\n"
        f"for name, kwargs, batches in {CASES!r}:\n"
        "    metric = load_metric(name, **kwargs)\n"
        "    metric.compute(predictions=batches[0][0], references=batches[0][1])\n"
        "    metric.add_batch(predictions=batches[0][0], references=batches[0][1])\n"
        "    metric.compute()\n"
        "print('done')",
        HOME=str(tmp_path),
        HF_HOME=str(tmp_path / "huggingface"),
        HF_METRICS_CACHE=str(tmp_path / "metrics"),
        HF_MODULES_CACHE=str(tmp_path / "modules"),
        HF_DATASETS_CACHE=str(tmp_path / "datasets"),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    assert printed == "done\n"
    assert list(tmp_path.rglob("*")) == []
