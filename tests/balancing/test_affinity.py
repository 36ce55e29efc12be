"""The meter of affinities: means over the steps that had both tasks; its picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from mt_transformers.balancing.affinity import AffinityMeter, AffinityReport
from mt_transformers.balancing.affinity_plot import draw_affinity
from mt_transformers.errors import InputError


@pytest.fixture
def report() -> AffinityReport:
    meter = AffinityMeter(["a", "b", "c"])
    meter.add(torch.tensor([[4.0, 2.0], [2.0, 4.0]]), [0, 1])
    meter.add(torch.tensor([[16.0, -4.0], [-4.0, 4.0]]), [0, 1])
    meter.add(torch.tensor([[1.0]]), [1])
    meter.add_lookahead(torch.tensor([[0.5, 0.1], [-0.2, 0.3]]), [0, 1])
    meter.add_lookahead(torch.tensor([[0.7]]), [1])
    return meter.report()


def test_means_are_over_the_steps_that_had_both(report: AffinityReport) -> None:
    assert report.looks == 3
    assert report.norms == [3.0, pytest.approx(5 / 3), None]
    assert report.cosines == [[1.0, 0.0, None], [0.0, 1.0, None], [None, None, None]]
    assert report.conflicts == [[0.0, 0.5, None], [0.5, 0.0, None], [None, None, None]]
    assert report.lookahead[0] == [pytest.approx(0.5), pytest.approx(0.1), None]
    assert report.lookahead[1] == [pytest.approx(-0.2), pytest.approx(0.5), None]


def test_the_file(report: AffinityReport, tmp_path: Path) -> None:
    report.save(tmp_path / "affinity.json")
    found = json.loads((tmp_path / "affinity.json").read_text(encoding="utf-8"))
    assert AffinityReport(**found) == report


def test_the_picture(report: AffinityReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    seen, save = [], figure.Figure.savefig

    def keep(self: object, *args: object, **kwargs: object) -> None:
        seen.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(figure.Figure, "savefig", keep)
    draw_affinity(report, tmp_path / "affinity.png")
    assert (tmp_path / "affinity.png").read_bytes().startswith(b"\x89PNG")
    left, right = seen[0].axes
    assert [each.get_text() for each in left.texts] == ["1.00", "0.00", "0.00", "1.00"]
    assert [each.get_text() for each in right.texts] == ["500.0", "100.0", "-200.0", "500.0"]
    assert [each.get_text() for each in left.get_yticklabels()] == ["a", "b", "c"]
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r'pip install "mt_transformers\[balancing\]"'):
        draw_affinity(report, tmp_path / "affinity.png")
