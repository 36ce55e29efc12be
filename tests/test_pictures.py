"""Pictures: they appear whole or not at all, and matplotlib is asked for by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from mt_transformers.errors import InputError
from mt_transformers.pictures import literal, picture


def draw(file: Path, name: str = "a") -> None:
    """A line with a title."""
    with picture(file, (2, 1), "search") as figure:
        figure.subplots().set_title(literal(name))


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml")])
def test_the_ending_tells_the_format(name: str, start: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.gif", "a"])
def test_another_ending_is_refused(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match=r"unknown ending .*Known: pdf, png, svg"):
        draw(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    # between dollar signs an underscore at the end is a mistake in a formula
    draw(tmp_path / "a.svg", "$a_$")
    assert "<!-- $a_$ -->" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_nothing_is_left_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    draw(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def break_off(figure: object, file: Path, **kwargs: Any) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(figures.Figure, "savefig", break_off)
    with pytest.raises(InputError, match=r"a.png: cannot be written: no space left"):
        draw(tmp_path / "a.png", "b")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_nothing_is_written_where_drawing_fails(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ZeroDivisionError), picture(tmp_path / "a.png", (2, 1), "search"):
        _ = 1 / 0
    assert not list(tmp_path.iterdir())


def test_no_figure_becomes_the_current_one(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pyplot = sys.modules.get("matplotlib.pyplot")
    draw(tmp_path / "a.png")
    assert sys.modules.get("matplotlib.pyplot") is pyplot


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r'a.png is drawn with matplotlib.*pip install "mt_transformers\[search\]"'):
        draw(tmp_path / "a.png")
