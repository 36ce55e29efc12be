"""Methods by name, their options, and what is said where something is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import torch

from mt_transformers.balancing.aggregations import AGGREGATIONS, GramianAggregation, make_aggregation
from mt_transformers.balancing.aggregations.registry import LEFT_OUT
from mt_transformers.errors import InputError

TASKS = ["pos", "ner", "parse"]


def skip_without_torchjd() -> None:
    """Skip a test where TorchJD or one of its optional parts is not installed."""
    for part in ("torchjd", "cvxpy", "clarabel", "ecos", "scipy", "qpsolvers", "quadprog"):
        pytest.importorskip(part)


def test_methods_are_there_in_their_order() -> None:
    skip_without_torchjd()
    assert [make_aggregation(name, TASKS).name for name in AGGREGATIONS] == list(AGGREGATIONS)
    assert not set(AGGREGATIONS) & set(LEFT_OUT)


def test_a_mapping_has_options() -> None:
    pytest.importorskip("torchjd")
    method = make_aggregation({"name": "krum", "n_selected": 3}, TASKS)
    assert isinstance(method, GramianAggregation)
    assert method.weigh(torch.eye(3, dtype=torch.float64), [0, 1, 2]).tolist() == pytest.approx([1 / 3] * 3)


BAD = [
    (None, "balancing: expected a name, or a mapping with a 'name', found None."),
    ({"c": 0.5}, "balancing: expected a name, or a mapping with a 'name', found {'c': 0.5}."),
    ("upgrd", "balancing: unknown method 'upgrd', did you mean 'upgrad'? Known: aligned_mtl, cagrad,"),
    ("modo", "balancing: 'modo' is not offered: it compares the gradients of two independent batches"),
    ({"name": "cagrad", "d": 1}, "balancing: cagrad: unknown option 'd'. Known: c, norm_eps."),
    ({"name": "sum", "tasks": 1}, "balancing: sum: unknown option 'tasks'. Known: none."),
    ({"name": "cagrad", "c": "half"}, "balancing: cagrad: c: expected a number, found 'half'."),
    ({"name": "cagrad", "c": True}, "balancing: cagrad: c: expected a number, found True."),
    ({"name": "cagrad", "c": float("nan")}, "balancing: cagrad: c: expected a number, found nan."),
    ({"name": "cagrad", "c": -1}, "balancing: cagrad: c must be non-negative, but got -1"),
    ({"name": "cagrad", "norm_eps": -1}, "balancing: cagrad: norm_eps must be non-negative, but got -1"),
    ({"name": "mgda", "epsilon": 0}, "balancing: mgda: epsilon must be positive, but got 0"),
    ({"name": "mgda", "max_iters": 2.5}, "mgda: max_iters: expected a whole number of at least 1, found 2.5."),
    ({"name": "upgrad", "reg_eps": -1}, "balancing: upgrad: reg_eps must be non-negative, but got -1"),
    ({"name": "upgrad", "preferences": 1}, "upgrad: preferences: expected a mapping from tasks to numbers, found 1."),
    (
        {"name": "dualproj", "preferences": {"pos": 1}},
        "dualproj: preferences: expected a number for each task, found none for ner, parse.",
    ),
    (
        {"name": "config", "preferences": {"pos": 1, "ner": 0, "parse": 1}},
        "config: preferences: ner: expected a number above 0, found 0.",
    ),
    (
        {"name": "aligned_mtl", "preferences": {"pos": 1, "nerr": 0, "parse": 1}},
        "aligned_mtl: preferences: unknown task 'nerr', did you mean 'ner'?",
    ),
    ({"name": "aligned_mtl", "scale_mode": "max"}, "aligned_mtl: scale_mode: unknown value 'max'"),
    ({"name": "nash_mtl", "max_norm": -1}, "nash_mtl: max_norm: expected a number of at least 0, found -1."),
    ({"name": "nash_mtl", "update_weights_every": 0}, "update_weights_every: expected a whole number of at least 1"),
    ({"name": "nash_mtl", "optim_niter": 0}, "nash_mtl: optim_niter: expected a whole number of at least 1, found 0."),
    ({"name": "gradvac", "beta": 2}, "balancing: gradvac: Attribute `beta` must be in [0, 1]"),
    ({"name": "gradvac", "seed": -1}, "gradvac: seed: expected a whole number of at least 0, found -1."),
    ({"name": "pcgrad", "seed": 1.0}, "pcgrad: seed: expected a whole number of at least 0, found 1.0."),
    ({"name": "pcgrad", "seed": "0"}, "pcgrad: seed: expected a whole number of at least 0, found '0'."),
    ({"name": "fairgrad", "alpha": -1}, "fairgrad: alpha: expected a number of at least 0, found -1."),
    ({"name": "fairgrad", "max_iters": 0}, "fairgrad: max_iters: expected a whole number of at least 1, found 0."),
    (
        {"name": "krum", "n_byzantine": 1},
        "krum: expected at least 4 tasks (n_byzantine + 3, and n_selected), found 3.",
    ),
    ({"name": "krum", "n_selected": 4}, "krum: expected at least 4 tasks"),
    ({"name": "krum", "n_byzantine": -1}, "krum: n_byzantine: expected a whole number of at least 0, found -1."),
    ({"name": "pcd", "primary": "per"}, "pcd: primary: unknown task 'per'"),
    ({"name": "pcd", "tau": 2}, "balancing: pcd: Attribute `tau` must be in [0, 1]"),
    ({"name": "pcd", "beta": 1}, "balancing: pcd: Attribute `beta` must be in [0, 1)"),
    (
        {"name": "graddrop", "leak": {"pos": 0, "ner": 2, "parse": 0}},
        "leak: ner: expected a number from 0 to 1, found 2.",
    ),
    (
        {"name": "trimmed_mean", "trim_number": 2},
        "trimmed_mean: expected at least 5 tasks (2 * trim_number + 1), found 3.",
    ),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[str(given) for given, _ in BAD])
def test_what_is_wrong_is_said(given: Any, message: str) -> None:
    skip_without_torchjd()
    with pytest.raises(InputError, match=re.escape(message)) as found:
        make_aggregation(given, TASKS)
    assert str(found.value).startswith("balancing: ")


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_says_why(name: str) -> None:
    with pytest.raises(InputError, match=re.escape(LEFT_OUT[name])):
        make_aggregation(name, TASKS)


def test_what_is_left_out_and_what_is_there_are_all_of_torchjd() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    classes = {
        name.removesuffix("Weighting")
        for name in aggregation.__all__
        if name not in ("Aggregator", "GramianWeightedAggregator", "WeightedAggregator", "Weighting")
    }
    ours = {name.replace("_", "") for name in [*AGGREGATIONS, *LEFT_OUT]}
    assert {name.lower() for name in classes} == ours


PARTS = [
    *((name, "torchjd") for name in AGGREGATIONS if name != "sum"),
    ("upgrad", "qpsolvers"),
    ("upgrad", "quadprog"),
    ("dualproj", "quadprog"),
    ("cagrad", "cvxpy"),
    ("cagrad", "clarabel"),
    ("nash_mtl", "cvxpy"),
    ("nash_mtl", "ecos"),
    ("fairgrad", "scipy"),
]


@pytest.mark.parametrize(("name", "missing"), PARTS)
def test_what_is_not_installed_is_said_before_training(
    name: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_torchjd()
    for module in (missing, "torchjd.aggregation", "torchjd.linalg") if missing == "torchjd" else (missing,):
        monkeypatch.setitem(sys.modules, module, None)
    if missing == "scipy":
        monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(InputError, match=re.escape('pip install "mt_transformers[balancing]"')) as found:
        make_aggregation(name, TASKS)
    assert str(found.value).startswith(f"balancing: {name} needs TorchJD")
    assert missing in str(found.value)


def test_the_sum_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    assert make_aggregation("sum", TASKS).name == "sum"


def test_torchjd_is_imported_where_a_method_is_made() -> None:
    code = (
        "import sys\n"
        "from mt_transformers.balancing.aggregations import AGGREGATIONS, make_aggregation\n"
        "from importlib import import_module\n"
        "for each in AGGREGATIONS.values():\n"
        "    import_module('mt_transformers.balancing.aggregations.' + each.split('.')[0])\n"
        "make_aggregation('sum', ['pos', 'ner'])\n"
        "print(sorted(sys.modules.keys() & {'torchjd', 'cvxpy', 'qpsolvers', 'ecos'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
