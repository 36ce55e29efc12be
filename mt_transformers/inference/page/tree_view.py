"""A dependency tree as arcs above its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any
from unicodedata import east_asian_width

from markupsafe import Markup

from .markup import join, note, table

__all__ = ["Arc", "arrange_arcs", "show_tree"]

_MOST_WORDS = 120
"""Words of a diagram; of more words there is only the table (nobody scrolls that far)."""

# pixels
_CHARACTER, _GAP, _LEVEL, _TOP, _BELOW, _RADIUS, _SHIFT = 8.4, 26, 30, 34, 34, 12, 7


@dataclass(frozen=True)
class Arc:
    """
    From a word to one that depends on it.

    Args:
        head (`int`): Number of the word that governs, from 0.
        dependent (`int`): Number of the word that depends on it, from 0.
        label (`str`): The relation.
        level (`int`, *optional*, defaults to 0): How high it is drawn: above all arcs that it spans.
    """

    head: int
    dependent: int
    label: str
    level: int = 0

    @property
    def ends(self) -> tuple[int, int]:
        """The two words from left to right."""
        return min(self.head, self.dependent), max(self.head, self.dependent)


def arrange_arcs(words: Sequence[Mapping[str, Any]]) -> list[Arc]:
    """
    Give each arc a level, such that it is above the arcs that share a gap between words with it and are shorter.

    Args:
        words (`Sequence[Mapping[str, Any]]`): Each with `head` (counted from 1, 0 for the root) and `deprel`.

    Returns:
        `list[Arc]`: The arcs between words, the shortest first; the root has none.

    Example:
        >>> words = [{"head": 3, "deprel": "det"}, {"head": 3, "deprel": "amod"}, {"head": 0, "deprel": "root"}]
        >>> [(arc.label, arc.level) for arc in arrange_arcs(words)]
        [('amod', 1), ('det', 2)]
    """
    heights = [0] * len(words)
    arcs = [Arc(word["head"] - 1, number, word["deprel"]) for number, word in enumerate(words) if word["head"] > 0]
    arranged = []
    for arc in sorted(arcs, key=lambda each: (each.ends[1] - each.ends[0], each.ends)):
        left, right = arc.ends
        level = 1 + max(heights[left:right], default=0)
        heights[left:right] = [level] * (right - left)
        arranged.append(Arc(arc.head, arc.dependent, arc.label, level))
    return arranged


def show_tree(words: Sequence[Mapping[str, Any]]) -> Markup:
    """
    Draw a dependency tree.

    Args:
        words (`Sequence[Mapping[str, Any]]`):
            Each with `text`, `head` (counted from 1, 0 for the root), `deprel` and `score`.

    Returns:
        `Markup`: A diagram, and a table that can be opened.

    Example:
        >>> words = [{"text": "It", "head": 2, "deprel": "nsubj", "score": 0.9},
        ...     {"text": "rains", "head": 0, "deprel": "root", "score": 0.9}]
        >>> show_tree(words).count("<path")
        4
    """
    texts = {number: word["text"] for number, word in enumerate(words, start=1)}
    rows = [
        (number, word["text"], word["deprel"], word["head"], texts.get(word["head"], "root"), word["score"])
        for number, word in enumerate(words, start=1)
    ]
    listed = Markup('<details class="mt-details"{}><summary>Table</summary>{}</details>')
    cells = table(["#", "word", "relation", "head", "of", "score"], rows)
    if len(words) > _MOST_WORDS:
        return join([note(f"{len(words)} words: too many for a diagram."), listed.format(Markup(' open=""'), cells)])
    return join([Markup('<div class="mt-tree">{}</div>').format(_diagram(words)), listed.format("", cells)])


def _diagram(words: Sequence[Mapping[str, Any]]) -> Markup:
    arcs = arrange_arcs(words)
    widths = [max(_width(word["text"]), _width(word["deprel"]) * 0.8) + _GAP for word in words]
    rights = list(accumulate(widths))
    centers = [right - width / 2 for right, width in zip(rights, widths, strict=True)]
    base = _TOP + _LEVEL * max((arc.level for arc in arcs), default=1)
    pieces = [_arc(arc, centers, base) for arc in arcs]
    for word, center in zip(words, centers, strict=True):
        if word["head"] == 0:
            pieces.append(_root(center, base, word["deprel"]))
        label = Markup('<text class="mt-word" x="{}" y="{}">{}</text>')
        pieces.append(label.format(f"{center:.1f}", base + 20, word["text"]))
    frame = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{}" height="{}" viewBox="0 0 {} {}">{}</svg>'
    )
    width, height = round(rights[-1]), base + _BELOW
    return frame.format(width, height, width, height, join(pieces))


def _width(text: str) -> float:
    """About how wide a text is drawn (pixels); signs of East Asia take two places."""
    return _CHARACTER * sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def _arc(arc: Arc, centers: Sequence[float], base: int) -> Markup:
    """A line with round corners from the head, a little beside its middle, to an arrow on the dependent."""
    towards = 1 if arc.dependent > arc.head else -1
    start, end = centers[arc.head] + towards * _SHIFT, centers[arc.dependent] - towards * _SHIFT / 2
    top = base - _LEVEL * arc.level
    turn = towards * min(_RADIUS, abs(end - start) / 2)
    line = (
        f"M{start:.1f},{base} V{top + _RADIUS} Q{start:.1f},{top} {start + turn:.1f},{top} "
        f"H{end - turn:.1f} Q{end:.1f},{top} {end:.1f},{top + _RADIUS} V{base - 4}"
    )
    drawn = Markup('<path class="mt-arc" d="{}"/>{}<text class="mt-relation" x="{}" y="{}">{}</text>')
    return drawn.format(line, _arrow(end, base), f"{(start + end) / 2:.1f}", top + 4, arc.label)


def _root(center: float, base: int, label: str) -> Markup:
    drawn = Markup('<path class="mt-arc" d="M{},{} V{}"/>{}<text class="mt-relation" x="{}" y="{}">{}</text>')
    x = f"{center:.1f}"
    return drawn.format(x, _TOP - 14, base - 4, _arrow(center, base), x, _TOP - 18, label)


def _arrow(x: float, base: int) -> Markup:
    return Markup('<path class="mt-arrow" d="M{},{} l-3.5,-7 h7 z"/>').format(f"{x:.1f}", base)
