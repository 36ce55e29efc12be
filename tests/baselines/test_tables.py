"""The report as text, as a file and as a picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mt_transformers.baselines import draw_report
from mt_transformers.baselines.comparison import Comparison
from mt_transformers.baselines.costs import Cost
from mt_transformers.baselines.report import BaselineReport
from mt_transformers.baselines.tables import markdown_report, warnings_of
from mt_transformers.errors import InputError

INTENT = Comparison(task="a", head="intent", metric="accuracy", sign=1, other=(0.5, 0.5), multi=(0.6, 0.7))
SLOTS = Comparison(task="a", head="slots", metric="mse", sign=-1, other=(1.0, 2.0), multi=(2.0, 2.0))
MOOD = Comparison(task="b", head="mood", metric="f1_macro", sign=1, other=(0.0, 0.8), multi=(0.4, 0.8))
WITHOUT_B = [
    Comparison(task="a", head="intent", metric="accuracy", sign=1, other=(0.5,), multi=(0.6,), left_out="b"),
    Comparison(task="a", head="slots", metric="mse", sign=-1, other=(1.0,), multi=(2.0,), left_out="b"),
]


def report(left_out: list[Comparison], training: Cost | None = None) -> BaselineReport:
    return BaselineReport(
        setting="0f",
        split="test",
        seeds=[0, 1],
        comparisons=[INTENT, SLOTS, MOOD],
        left_out=left_out,
        rows_seen={"a": 1600, "b": 80},
        num_parameters=Cost(single=45e6, multi=22.5e6),
        training=training,
        inference=Cost(single=0.05, multi=0.02),
    )


def test_the_tables() -> None:
    assert (
        markdown_report(report(WITHOUT_B, Cost(single=100.4, multi=80.0)))
        == """\
Primary metric on the test split, 2 seeds; a task has the same number of rows alone and together.

| task |   head |   metric | rows seen |          single |           multi |       difference |   change (%) |
|------|-------:|---------:|----------:|----------------:|----------------:|-----------------:|-------------:|
| a    | intent | accuracy |      1600 | 0.5000 ± 0.0000 | 0.6500 ± 0.0707 | +0.1500 ± 0.0707 | +30.0 ± 14.1 |
| a    |  slots |      mse |      1600 | 1.5000 ± 0.7071 | 2.0000 ± 0.0000 | +0.5000 ± 0.7071 | -50.0 ± 70.7 |
| b    |   mood | f1_macro |        80 | 0.4000 ± 0.5657 | 0.6000 ± 0.2828 | +0.2000 ± 0.2828 |            - |

Mean relative change: -13.3 ± 37.7 %; median over heads: -10.0 %

| cost                       | a model each | one model | ratio |
|----------------------------|-------------:|----------:|------:|
| parameters (millions)      |         45.0 |      22.5 |  0.50 |
| training (s)               |          100 |        80 |  0.80 |
| all answers for a row (ms) |         50.0 |      20.0 |  0.40 |

Relative change of a task (row) through training with another one (column) among all (%):

| task | a |     b |
|------|--:|------:|
| a    | - | -40.0 |
| b    | - |     - |"""
    )


def test_one_seed_has_no_deviation() -> None:
    one = Comparison(task="a", head="x", metric="accuracy", sign=1, other=(0.5,), multi=(0.25,))
    alone = BaselineReport(**{**vars(report([])), "comparisons": [one], "seeds": [3]})
    text = markdown_report(alone)
    assert "1 seed;" in text
    assert "| 0.5000 | 0.2500 |    -0.2500 |      -50.0 |" in text
    assert "training (s)" not in text
    assert "Relative change of a task" not in text


def test_heads_that_end_worse_are_named() -> None:
    assert warnings_of(report([])) == [
        "task 'a', head 'slots': mse is 2.0000 ± 0.0000 with the other tasks and 1.5000 ± 0.7071 alone: no more than "
        "seeds differ, and more of them would tell."
    ]
    clear = Comparison(task="a", head="slots", metric="mse", sign=-1, other=(1.0, 1.0), multi=(2.0, 2.5))
    assert warnings_of(BaselineReport(**{**vars(report([])), "comparisons": [INTENT, clear]})) == [
        "task 'a', head 'slots': mse is 2.2500 ± 0.3536 with the other tasks and 1.0000 ± 0.0000 alone: train it "
        "alone, or see what balancing does."
    ]


def test_the_file(tmp_path: Path) -> None:
    report(WITHOUT_B).save(tmp_path / "baselines.json")
    found = json.loads((tmp_path / "baselines.json").read_text(encoding="utf-8"))
    assert found["mean_relative_changes"] == pytest.approx([-0.4, 0.4 / 3])
    assert found["comparisons"][0]["multi"] == [0.6, 0.7]
    assert found["median_relative_change"] == pytest.approx(-0.1)
    assert found["training"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["baselines.json"]


def test_what_was_not_measured_has_no_effect() -> None:
    assert report(WITHOUT_B).effect("a", "b") == pytest.approx((0.2 - 1.0) / 2)
    assert math.isnan(report(WITHOUT_B).effect("b", "a"))


@pytest.mark.parametrize(("left_out", "number"), [([], 1), (WITHOUT_B, 3)])
def test_the_picture(left_out: list[Comparison], number: int, tmp_path: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    seen = []
    save = figure.Figure.savefig

    def keep(self: object, *args: object, **kwargs: object) -> None:
        seen.append(self)
        save(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure.Figure, "savefig", keep)
        draw_report(report(left_out), tmp_path / "baselines.png")
    assert (tmp_path / "baselines.png").stat().st_size > 0
    axes = seen[0].axes
    # beside the heat map stands its scale
    assert len(axes) == number
    assert [each.get_text() for each in axes[0].get_yticklabels()] == [
        "a / intent (accuracy)",
        "a / slots (mse)",
        "b / mood (f1_macro)",
    ]
    widths = [bar.get_width() for bar in axes[0].patches]
    assert widths[:2] == pytest.approx([30.0, -50.0])
    assert axes[0].get_title() == "together against alone: mean -13.3 %, median -10.0 %"


def test_a_picture_needs_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r'pip install "mt_transformers\[balancing\]"'):
        draw_report(report([]), tmp_path / "baselines.png")
