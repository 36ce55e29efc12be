"""How the gradients of tasks agree in the course of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mt_transformers.balancing import ConflictReport, draw_conflicts
from mt_transformers.errors import InputError


def gramian(*rows: tuple[float, ...]) -> torch.Tensor:
    matrix = torch.tensor(rows, dtype=torch.float64)
    return matrix @ matrix.T


def some_report() -> ConflictReport:
    """Two records of three tasks; the third one is in one step only."""
    report = ConflictReport(["pos", "ner", "mood"])
    report.add(gramian((3.0, 4.0), (0.0, -2.0)), [0, 1])
    report.add(gramian((0.0, 1.0), (0.0, 1.0), (-1.0, 0.0)), [0, 1, 2])
    report.record(2)
    report.add(gramian((0.0, 2.0)), [1])
    report.record(4)
    return report


def test_means_are_over_the_steps_with_the_tasks() -> None:
    first, second = some_report().records
    assert (first.step, second.step) == (2, 4)
    # one of four pairs conflicts: those of the second step are equal or orthogonal
    assert (first.conflicts, second.conflicts) == (0.25, None)
    assert first.norms == [3.0, 1.5, 1.0]
    assert first.cosines[0] == [1.0, pytest.approx((-0.8 + 1.0) / 2), 0.0]
    assert second.norms == [None, 2.0, None]
    assert second.cosines == [[None] * 3, [None, 1.0, None], [None] * 3]


def test_nothing_added_is_no_record() -> None:
    report = some_report()
    assert report.record(5) is None
    assert len(report.records) == 2


def test_what_is_saved_is_json_and_comes_back(tmp_path: Path) -> None:
    report, file = some_report(), tmp_path / "conflicts.json"
    report.save(file)
    assert ConflictReport.load(file) == report
    assert json.loads(file.read_text(encoding="utf-8"))["records"][0]["step"] == 2


@pytest.mark.parametrize("text", ["", "{}", '{"names": ["a"], "records": [{"stepp": 1}]}', "[1]"])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "conflicts.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="expected a report of conflicts"):
        ConflictReport.load(file)


@given(st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), min_size=2, max_size=4))
@settings(max_examples=50, deadline=None)
def test_cosines_are_symmetric_and_bounded(rows: list[list[float]]) -> None:
    matrix = torch.tensor(rows, dtype=torch.float64)
    matrix = matrix[matrix.norm(dim=1) > 1e-3]
    report = ConflictReport([str(number) for number in range(len(rows))])
    report.add(matrix @ matrix.T, range(len(matrix)))
    record = report.record(1)
    if len(matrix) == 0:
        assert record is None
        return
    assert record is not None
    found = torch.tensor([row[: len(matrix)] for row in record.cosines[: len(matrix)]], dtype=torch.float64)
    torch.testing.assert_close(found, found.T)
    assert found.abs().max() <= 1 + 1e-9


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "conflicts.png"
    draw_conflicts(some_report(), file)
    assert file.read_bytes().startswith(b"\x89PNG")
    for nothing in (ConflictReport(["pos"], some_report().records), ConflictReport(["pos", "ner"])):
        with pytest.raises(InputError, match="expected records of two tasks at least"):
            draw_conflicts(nothing, file)
