"""The diagram of a tree: an arc for each word but the root, none of which cuts through a shorter one."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.inference.page.tree_view import arrange_arcs, show_tree


def words_of(heads: list[int]) -> list[dict[str, Any]]:
    return [
        {"text": f"w{number}", "head": head, "deprel": f"r{number}", "score": 0.5} for number, head in enumerate(heads)
    ]


HEADS = st.integers(1, 12).flatmap(lambda size: st.lists(st.integers(0, size), min_size=size, max_size=size))


@given(HEADS)
def test_arcs_over_a_common_gap_have_levels_of_their_own(heads: list[int]) -> None:
    arcs = arrange_arcs(words_of(heads))
    assert sorted((arc.head, arc.dependent) for arc in arcs) == sorted(
        (head - 1, number) for number, head in enumerate(heads) if head
    )
    for one, other in combinations(arcs, 2):
        if max(one.ends[0], other.ends[0]) < min(one.ends[1], other.ends[1]):
            assert one.level != other.level
            shorter, longer = sorted((one, other), key=lambda arc: arc.ends[1] - arc.ends[0])
            lengths = [arc.ends[1] - arc.ends[0] for arc in (shorter, longer)]
            assert lengths[0] == lengths[1] or shorter.level < longer.level


@given(HEADS)
def test_a_diagram_shows_every_word_and_relation_within_its_frame(heads: list[int]) -> None:
    words = words_of(heads)
    found = re.search(r"<svg.*</svg>", str(show_tree(words)))
    assert found is not None
    drawing = ElementTree.fromstring(found.group())
    shown = {name: [] for name in ("mt-word", "mt-relation", "mt-arc", "mt-arrow")}
    for element in drawing:
        shown[element.get("class")].append(element)
    assert [element.text for element in shown["mt-word"]] == [word["text"] for word in words]
    assert sorted(element.text for element in shown["mt-relation"]) == sorted(word["deprel"] for word in words)
    assert len(shown["mt-arc"]) == len(shown["mt-arrow"]) == len(words)
    width, height = float(drawing.get("width")), float(drawing.get("height"))
    for element in (*shown["mt-word"], *shown["mt-relation"]):
        assert 0 < float(element.get("x")) < width
        assert 0 < float(element.get("y")) < height
    centers = [float(element.get("x")) for element in shown["mt-word"]]
    assert centers == sorted(centers)


def test_wide_signs_take_two_places() -> None:
    narrow, wide = (
        float(re.search(r'width="(\d+)"', str(show_tree([{**words_of([0])[0], "text": text}]))).group(1))
        for text in ("abcdefgh", "日本語の木です。")
    )
    assert wide > narrow + 8 * 8


def test_long_sentences_are_a_table_only() -> None:
    markup = str(show_tree(words_of([0, *[1] * 120])))
    assert "<svg" not in markup
    assert "121 words: too many for a diagram." in markup
    assert markup.count("<tr>") == 122
    assert '<details class="mt-details" open="">' in markup


def test_the_table_names_heads() -> None:
    markup = str(show_tree(words_of([2, 0])))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", markup)
    assert cells == ["1", "w0", "r0", "2", "w1", "0.500", "2", "w1", "r1", "0", "root", "0.500"]
