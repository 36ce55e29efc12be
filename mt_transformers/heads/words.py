"""Words of a text, and where a row's sub-tokens put them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .rows import Word

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = ["find_words", "first_sub_tokens", "split_words", "words_of_ids"]

_MARK = "\u0301"
_JOINERS = "\u200c\u200d"
_LETTERS = rf"[^\W_](?:[^\W_]|{_MARK})*"
# a character of a script without spaces, or letters and digits with inner apostrophes and hyphens, or one other sign;
# each with its marks
_WORD = re.compile(
    rf"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]{_MARK}*"
    rf"|{_LETTERS}(?:['\u2019\-]{_LETTERS})*|[^\w\s]{_MARK}*|_+"
)


def split_words(text: str) -> list[tuple[int, int]]:
    """
    Find the words of a text: what datasets of tagged words take for words.

    Args:
        text (`str`): The text.

    Returns:
        `list[tuple[int, int]]`: Offsets of each word's first character and behind its last one (characters).

    Example:
        >>> text = "Don't play it, Sam."
        >>> [text[start:end] for start, end in split_words(text)]
        ["Don't", 'play', 'it', ',', 'Sam', '.']
    """
    return [match.span() for match in _WORD.finditer(_unify_marks(text))]


def _unify_marks(text: str) -> str:
    """The text with one mark for all that belongs to the character before: accents, vowel signs, joiners."""
    if text.isascii():
        return text
    return "".join(_MARK if unicodedata.category(each)[0] == "M" or each in _JOINERS else each for each in text)


def first_sub_tokens(word_ids: Sequence[int | None]) -> dict[int, int]:
    """
    Find each word's first sub-token in a row.

    Args:
        word_ids (`Sequence[int | None]`): The word that each sub-token belongs to, as fast tokenizers give it.

    Returns:
        `dict[int, int]`: Word -> position of its first sub-token; words without a sub-token are not there.

    Example:
        >>> first_sub_tokens([None, 0, 0, 1, None])
        {0: 1, 1: 3}
    """
    positions: dict[int, int] = {}
    for position, word in enumerate(word_ids):
        if word is not None:
            positions.setdefault(word, position)
    return positions


def find_words(encoding: BatchEncoding, row: int, text: str | Sequence[str]) -> list[Word]:
    """
    Find each word's first sub-token in an encoded row.

    Args:
        encoding (`BatchEncoding`): Of a fast tokenizer, with offsets.
        row (`int`): The row.
        text (`str` or `Sequence[str]`):
            The row's text, or its words; the latter count as joined by single spaces.

    Returns:
        `list[Word]`: The words that have a sub-token; those behind the maximum length have none.
    """
    if isinstance(text, str):
        return _words_of_text(encoding, row, text)
    starts = [0]
    for word in text:
        starts.append(starts[-1] + len(word) + 1)
    return [
        Word(position, text[index], starts[index], starts[index] + len(text[index]))
        for index, position in first_sub_tokens(encoding.word_ids(row)).items()
    ]


def _words_of_text(encoding: BatchEncoding, row: int, text: str) -> list[Word]:
    offsets = encoding["offset_mapping"][row]
    sequences = encoding.sequence_ids(row)
    spans = split_words(text)
    words, number = [], 0
    for position, (start, end) in enumerate(offsets):
        # only the first sequence of a pair is labelled, and a sub-token may begin with the space before its word
        if sequences[position] != 0 or end <= start:
            continue
        while number < len(spans) and spans[number][1] <= start:
            number += 1
        if number < len(spans) and end > spans[number][0]:
            first, last = spans[number]
            words.append(Word(position, text[first:last], first, last))
            number += 1
    return words


def words_of_ids(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[Word]]:
    """
    Find text and words behind the ids of a row whose text was not kept.

    Args:
        ids (`Sequence[int]`): Ids of the row without its padding.
        tokenizer (`PreTrainedTokenizerBase`): A fast tokenizer.

    Returns:
        `tuple[str, list[Word]]`: The text and its words. Where the text does not lead back to the same ids (pairs,
        rows that were cut), each token that is not special counts as a word, and the text is the tokens with spaces.
    """
    text = str(tokenizer.decode(list(ids), skip_special_tokens=True))
    encoding = tokenizer([text], return_offsets_mapping=True)
    if list(encoding["input_ids"][0]) == list(ids):
        return text, find_words(encoding, 0, text)
    tokens = tokenizer.convert_ids_to_tokens(list(ids))
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    words: list[Word] = []
    end = -1
    for position, (index, token) in enumerate(zip(ids, tokens, strict=True)):
        if index not in special:
            words.append(Word(position, token, end + 1, end + 1 + len(token)))
            end += 1 + len(token)
    return " ".join(word.text for word in words), words
