"""Which label has which color, the same one for every text."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

__all__ = ["NUMBER_OF_COLORS", "color_labels"]

NUMBER_OF_COLORS = 12


def color_labels(labels: Iterable[str]) -> dict[str, int]:
    """
    Give each label a color by its name; where two names ask for one, the later gets the next that is free.

    Args:
        labels (`Iterable[str]`): The labels of one answer.

    Returns:
        `dict[str, int]`: For each label the number of its color, in the order in which they first appear.

    Example:
        >>> color_labels(["artist", "city", "artist"])
        {'artist': 3, 'city': 4}
    """
    colors: dict[str, int] = {}
    for label in labels:
        if label not in colors:
            wanted = crc32(label.encode("utf-8", "surrogatepass")) % NUMBER_OF_COLORS
            nearest = ((wanted + step) % NUMBER_OF_COLORS for step in range(NUMBER_OF_COLORS))
            colors[label] = next((color for color in nearest if color not in colors.values()), wanted)
    return colors
