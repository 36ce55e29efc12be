"""Tables, line by line."""

from __future__ import annotations

import pytest

from mt_transformers.continual.results import ContinualResults
from mt_transformers.continual.tables import format_comparison, format_matrix, markdown_comparison
from mt_transformers.errors import InputError


def run(strategy: str, first: float, last: float, *, seconds: float = 1.0) -> ContinualResults:
    """A run over two experiences, the first of which falls from `first` to `last`."""
    results = ContinualResults.begin(strategy=strategy, scenario="s", experiences=["a", "b"])
    results.initial[:] = [0.0, 0.25]
    results.record(0, {0: first, 1: 0.5})
    results.record(1, {0: last, 1: 1.0})
    results.seconds, results.buffer_bytes = [seconds, seconds], 2_500_000
    return results


def joint(score: float) -> ContinualResults:
    results = ContinualResults.begin(strategy="joint", scenario="s", experiences=["a", "b"])
    results.record(1, {0: score, 1: score})
    results.seconds = [10.0]
    return results


def test_the_matrix_is_a_triangle() -> None:
    results = ContinualResults.begin(strategy="er", scenario="s", experiences=["x", "long name", "z"])
    results.record(0, {0: 1.0, 1: 0.5, 2: 0.5})
    results.record(1, {0: 0.0625})
    assert format_matrix(results).splitlines() == [
        "after            1  2  3  average",
        "-----------  -----  -  -  -------",
        "1 x          100.0          100.0",
        "2 long name    6.2  -           -",
        "3 z              -  -  -        -",
    ]


def test_seeds_are_joined_and_what_is_not_defined_is_a_hyphen() -> None:
    runs = [run("er", 1.0, 0.75), joint(0.9), run("er", 1.0, 0.25, seconds=8.0), run("ewc", 0.5, 0.5)]
    assert format_comparison(runs).splitlines() == [
        "strategy  accuracy (%)  forgetting (%)       BWT (%)     FWT (%)     seconds  buffer (MB)  runs",
        "--------  ------------  --------------  ------------  ----------  ----------  -----------  ----",
        "er         75.0 ± 17.7     50.0 ± 35.4  -50.0 ± 35.4  25.0 ± 0.0   9.0 ± 9.9          2.5     2",
        "joint      90.0               -             -            -        10.0                0.0     1",
        "ewc        75.0             0.0           0.0         25.0         2.0                2.5     1",
    ]


def test_markdown_has_the_same_cells() -> None:
    runs = [run("er", 1.0, 0.75), run("er", 1.0, 0.25, seconds=8.0), joint(0.9), run("a|b", 0.5, 0.5)]
    assert markdown_comparison(runs).splitlines() == [
        "| strategy | accuracy (%) | forgetting (%) | BWT (%) | FWT (%) | seconds | buffer (MB) | runs |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
        "| er | 75.0 ± 17.7 | 50.0 ± 35.4 | -50.0 ± 35.4 | 25.0 ± 0.0 | 9.0 ± 9.9 | 2.5 | 2 |",
        "| joint | 90.0 | - | - | - | 10.0 | 0.0 | 1 |",
        "| a&#124;b | 75.0 | 0.0 | 0.0 | 25.0 | 2.0 | 2.5 | 1 |",
    ]


def test_an_unfinished_run_has_nothing_that_compares() -> None:
    results = ContinualResults.begin(strategy="er", scenario="s", experiences=["a", "b"])
    results.record(0, {0: 1.0})
    assert markdown_comparison([results]).splitlines()[-1] == "| er | - | - | - | - | 0.0 | 0.0 | 1 |"


def test_what_rounds_to_zero_has_no_sign() -> None:
    line = markdown_comparison([run("er", 0.5, 0.4999)]).splitlines()[-1]
    assert line.split(" | ")[2:4] == ["0.0", "0.0"]


def test_what_does_not_compare_is_refused() -> None:
    for table in (format_comparison, markdown_comparison):
        with pytest.raises(InputError, match="at least one run"):
            table([])
