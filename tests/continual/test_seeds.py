"""Runs of one strategy are joined; what does not compare is refused."""

from __future__ import annotations

import pytest

from mt_transformers.continual.results import ContinualResults
from mt_transformers.continual.seeds import runs_by_strategy
from mt_transformers.errors import InputError


def run(strategy: str, experiences: str = "ab", scenario: str = "s") -> ContinualResults:
    return ContinualResults.begin(strategy=strategy, scenario=scenario, experiences=list(experiences))


def test_runs_keep_their_order() -> None:
    given_runs = [run("er"), run("naive"), run("er", "ba")]
    assert runs_by_strategy(given_runs) == {"er": [given_runs[0], given_runs[2]], "naive": [given_runs[1]]}


def test_what_does_not_compare_is_refused() -> None:
    with pytest.raises(InputError, match="expected at least one run"):
        runs_by_strategy([])
    with pytest.raises(InputError, match="expected one scenario, found 's' of 'er' and 't' of 'ewc'"):
        runs_by_strategy([run("er"), run("ewc", scenario="t")])
    with pytest.raises(InputError, match="found 'c' in only one of 'er' and 'ewc'"):
        runs_by_strategy([run("er"), run("ewc", "abc")])
