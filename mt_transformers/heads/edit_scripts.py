"""Lemmas as labels: how a word becomes its lemma, written such that many words share it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

from ..errors import InputError

__all__ = ["apply_edit_script", "edit_script_counts", "find_edit_script"]

# where several serve a word equally well, the first is taken
_CASINGS = ("lower", "keep", "title", "upper")
_WHOLE = "whole:"
_STEP = re.compile(r"=|-|\+.", re.DOTALL)
_SCRIPT = re.compile(
    rf"(?P<casing>{'|'.join(_CASINGS)}):(?P<start>(?:{_STEP.pattern})*)\*(?P<end>(?:{_STEP.pattern})*)", re.DOTALL
)


class _Script(NamedTuple):
    """A parsed script that is no replacement."""

    casing: str
    start: list[str]
    end: list[str]


@lru_cache(maxsize=65536)
def find_edit_script(word: str, lemma: str) -> str:
    """
    Write down how a word becomes its lemma, leaving out what only this word has.

    `<casing>:<start>*<end>` edits both ends of the word; `*` is what lies between them, one character or more. The
    steps of an end: `-` drops a character, `=` keeps one, `+` adds the character behind it. The casing is one of

    - `lower`: edit the word in lower case;
    - `keep`: edit the word as it is;
    - `title`: edit the word in lower case, then put the first character in upper case;
    - `upper`: edit the word in lower case, then put all of it in upper case.

    Taken is the casing with the fewest characters to add, the first in this order if there are several.

    `whole:<lemma>` replaces a word that has no character in common with its lemma, or one and the lemma more: one is
    often chance, and a replacement can be shared (`are`, `is` and `was` all become `be`).

    Source: the edit trees of Chrupala (2008, PhD thesis, Dublin City University), which keep the longest common
    substring, then those on its left and right, and so on; as rules for both ends of the word beside a casing and with
    replacements, Straka (2018), https://aclanthology.org/K18-2020. A casing relative to the word (`keep`), the order
    of the casings and when to replace were chosen to have few scripts on the training set of the English Web Treebank.

    Args:
        word (`str`): The word as it stands in the text.
        lemma (`str`): Its lemma.

    Returns:
        `str`: The script with which [`apply_edit_script`] makes exactly this lemma of the word.

    Example:
        >>> find_edit_script("walking", "walk"), find_edit_script("Talking", "talk")
        ('lower:*---', 'lower:*---')
        >>> find_edit_script("Paris", "Paris"), find_edit_script("sang", "sing"), find_edit_script("went", "go")
        ('keep:*', 'lower:=-+i*', 'whole:go')
    """
    best, fewest = _WHOLE + lemma, len(lemma) + 1
    for casing in _CASINGS:
        target = lemma.lower() if casing in ("title", "upper") else lemma
        steps = _find_steps(_before_edit(word, casing), target)
        if steps is None or _after_edit(target, casing) != lemma:
            continue
        added = sum(step[0] == "+" for step in steps)
        if added < fewest:
            best, fewest = f"{casing}:{''.join(steps)}", added
    return best


def apply_edit_script(word: str, script: str) -> str:
    """
    Make a lemma of a word.

    Args:
        word (`str`): The word as it stands in the text.
        script (`str`): See [`find_edit_script`].

    Returns:
        `str`: The lemma; the word itself if it has too few characters for the script.

    Raises:
        InputError: If this is no script.

    Example:
        >>> apply_edit_script("Jumping", "lower:*---"), apply_edit_script("in", "lower:*---")
        ('jump', 'in')
    """
    if script.startswith(_WHOLE):
        return script.removeprefix(_WHOLE)
    casing, start, end = _parse(script)
    text = _before_edit(word, casing)
    first, last = _taken(start), len(text) - _taken(end)
    if first >= last:
        return word
    return _after_edit(_edit(text[:first], start) + text[first:last] + _edit(text[last:], end), casing)


def edit_script_counts(pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    """
    Count the scripts of a data set.

    Args:
        pairs (`Iterable[tuple[str, str]]`): Words and their lemmas.

    Returns:
        `dict[str, int]`: How often each script occurs, the most frequent first, then by their text.

    Example:
        >>> edit_script_counts([("an", "a"), ("the", "the"), ("cats", "cat")])
        {'lower:*-': 2, 'lower:*': 1}
    """
    counts = Counter(find_edit_script(word, lemma) for word, lemma in pairs)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _find_steps(word: str, lemma: str) -> list[str] | None:
    """Steps at the start, `*`, steps at the end; None if too little of the word is in the lemma."""
    # the last block is empty and lies behind both
    blocks = SequenceMatcher(None, word, lemma, autojunk=False).get_matching_blocks()
    kept = sum(block.size for block in blocks)
    if kept == 0 or (kept == 1 and len(lemma) > 1):
        return None
    middle = max(blocks, key=lambda block: block.size)
    steps: list[str] = []
    place, lemma_place = 0, 0
    for block in blocks:
        steps += ["-"] * (block.a - place)
        steps += [f"+{character}" for character in lemma[lemma_place : block.b]]
        steps += ["*"] if block is middle else ["="] * block.size
        place, lemma_place = block.a + block.size, block.b + block.size
    return steps


@lru_cache(maxsize=65536)
def _parse(script: str) -> _Script:
    match = _SCRIPT.fullmatch(script)
    if match is None:
        casings = ", ".join(_CASINGS)
        raise InputError(
            f"script: expected '<casing>:<start>*<end>' with a casing of {casings}, or '{_WHOLE}<lemma>', "
            f"found {script!r}."
        )
    return _Script(match["casing"], _STEP.findall(match["start"]), _STEP.findall(match["end"]))


def _taken(steps: Sequence[str]) -> int:
    """How many characters of the word the steps go over."""
    return sum(step[0] != "+" for step in steps)


def _edit(text: str, steps: Sequence[str]) -> str:
    characters = iter(text)
    edited = []
    for step in steps:
        character = step[1] if step[0] == "+" else next(characters)
        if step != "-":
            edited.append(character)
    return "".join(edited)


def _before_edit(word: str, casing: str) -> str:
    return word if casing == "keep" else word.lower()


def _after_edit(text: str, casing: str) -> str:
    if casing == "title":
        return text[:1].upper() + text[1:]
    return text.upper() if casing == "upper" else text
