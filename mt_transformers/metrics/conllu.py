"""CoNLL-U: parsed sentences as text and back, and the scores of the CoNLL 2018 shared task over them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError

__all__ = ["ConlluWord", "read_conllu", "score_conllu", "universal_relation", "write_conllu"]

_COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_EMPTY = "_"
# multi-word tokens and empty nodes, which are no words
_NO_WORD = re.compile(r"[0-9]+[-.][0-9]+")
_NUMBER = re.compile(r"[0-9]+")
# what would end a column or a line
_BREAK = re.compile(r"[\t\n\r]")


@dataclass(frozen=True, kw_only=True)
class ConlluWord:
    """
    A word of a parsed sentence.

    Source: https://universaldependencies.org/format.html, whose columns ID, DEPS and MISC are left out.

    Args:
        form (`str`): The word as it is written.
        lemma (`str`, *optional*, defaults to `"_"`): Its lemma; here and below `"_"` stands for none.
        upos (`str`, *optional*, defaults to `"_"`): Its universal part of speech.
        xpos (`str`, *optional*, defaults to `"_"`): Its part of speech in the treebank's own tag set.
        feats (`str`, *optional*, defaults to `"_"`): Its features, such as `"Number=Sing|Person=3"`.
        head (`int`): Number of its head, counted from 1; 0 for the root.
        deprel (`str`): Its relation to the head.
    """

    form: str
    lemma: str = _EMPTY
    upos: str = _EMPTY
    xpos: str = _EMPTY
    feats: str = _EMPTY
    head: int
    deprel: str


def universal_relation(deprel: str) -> str:
    """
    Cut a relation down to its universal part.

    Source: Zeman et al. (2018), https://aclanthology.org/K18-2001: the shared task compares no subtypes.

    Args:
        deprel (`str`): The relation.

    Returns:
        `str`: What stands before the first colon.

    Example:
        >>> universal_relation("nsubj:pass"), universal_relation("root")
        ('nsubj', 'root')
    """
    return deprel.partition(":")[0]


def write_conllu(sentences: Sequence[Sequence[ConlluWord]]) -> str:
    """
    Write parsed sentences as CoNLL-U.

    Source: https://universaldependencies.org/format.html.

    Args:
        sentences (`Sequence[Sequence[ConlluWord]]`): The words of each sentence.

    Returns:
        `str`: A line of ten columns for each word, DEPS and MISC being `_`, and an empty line behind each sentence.

    Raises:
        InputError: If a sentence has no words, a column would be empty or hold a tab or the end of a line, or a head
            is outside the sentence; naming sentence and word.

    Example:
        >>> words = [ConlluWord(form="It", head=2, deprel="nsubj"), ConlluWord(form="rains", head=0, deprel="root")]
        >>> print(write_conllu([words]).replace("\\t", " "), end="")
        1 It _ _ _ _ 2 nsubj _ _
        2 rains _ _ _ _ 0 root _ _
        <BLANKLINE>
    """
    lines: list[str] = []
    for sentence_number, words in enumerate(sentences, start=1):
        if not words:
            raise InputError(f"sentence {sentence_number}: expected at least one word, found none.")
        for number, word in enumerate(words, start=1):
            where = f"sentence {sentence_number}, word {number}"
            tags = (word.form, word.lemma, word.upos, word.xpos, word.feats)
            columns = [str(number), *tags, str(word.head), word.deprel, _EMPTY, _EMPTY]
            _check_columns(columns, where)
            _check_head(word.head, len(words), where)
            lines.append("\t".join(columns))
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def read_conllu(text: str, where: str = "CoNLL-U") -> list[list[ConlluWord]]:
    """
    Read parsed sentences from CoNLL-U.

    Comments, multi-word tokens (`1-2`) and empty nodes (`1.1`) are left out. The heads need not form a tree.

    Source: https://universaldependencies.org/format.html.

    Args:
        text (`str`): The text of a CoNLL-U file.
        where (`str`, *optional*, defaults to `"CoNLL-U"`): Where the text is from, as messages shall say it.

    Returns:
        `list[list[ConlluWord]]`: The words of each sentence.

    Raises:
        InputError: If a line has not ten columns, a column is empty, the words are not numbered from 1, or a head is
            not a number within the sentence; naming the line.

    Example:
        >>> read_conllu("# text = Go\\n1\\tGo\\tgo\\tVERB\\tVB\\t_\\t0\\troot\\t_\\t_\\n")[0][0].lemma
        'go'
    """
    sentences: list[list[ConlluWord]] = []
    words: list[tuple[str, ConlluWord]] = []
    # not splitlines, which also splits where a form holds one of Unicode's own line breaks
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        line = line.removesuffix("\r")
        place = f"{where}, line {number}"
        if line and not line.startswith("#"):
            columns = line.split("\t")
            _check_columns(columns, place)
            if _NO_WORD.fullmatch(columns[0]) is None:
                words.append((place, _read_word(columns, len(words) + 1, place)))
        elif not line and words:
            for word_place, word in words:
                _check_head(word.head, len(words), word_place)
            sentences.append([word for _, word in words])
            words = []
    return sentences


def score_conllu(gold: Sequence[Sequence[ConlluWord]], system: Sequence[Sequence[ConlluWord]]) -> dict[str, float]:
    """
    Score a system's sentences by the definitions of the CoNLL 2018 shared task, on the gold segmentation.

    With the words given, precision, recall and F1 are one: the share of the words that are right. All words count,
    punctuation too. A relation is right if its universal part is; any lemma is right where the gold one is `_`. The
    official script refuses files whose heads form no tree; here they are scored.

    Source: Zeman et al. (2018), https://aclanthology.org/K18-2001, and the task's
    https://universaldependencies.org/conll18/evaluation.html; names as in the official script, conll18_ud_eval.py.

    Args:
        gold (`Sequence[Sequence[ConlluWord]]`): The words of each sentence as they are true.
        system (`Sequence[Sequence[ConlluWord]]`): The words of the same sentences as predicted.

    Returns:
        `dict[str, float]`: `UPOS`, `XPOS`, `Lemmas`, `UAS` and `LAS` (fractions), 0.0 where there are no words.

    Raises:
        InputError: If the two differ in their sentences, words or forms; naming sentence and word.

    Example:
        >>> gold = [ConlluWord(form="It", head=2, deprel="nsubj"), ConlluWord(form="rains", head=0, deprel="root")]
        >>> system = [ConlluWord(form="It", head=2, deprel="expl"), ConlluWord(form="rains", head=0, deprel="root")]
        >>> score_conllu([gold], [system])
        {'UPOS': 1.0, 'XPOS': 1.0, 'Lemmas': 1.0, 'UAS': 1.0, 'LAS': 0.5}
    """
    pairs = _aligned_words(gold, system)
    right = dict.fromkeys(("UPOS", "XPOS", "Lemmas", "UAS", "LAS"), 0)
    for true, predicted in pairs:
        same_head = predicted.head == true.head
        same_relation = universal_relation(predicted.deprel) == universal_relation(true.deprel)
        right["UPOS"] += predicted.upos == true.upos
        right["XPOS"] += predicted.xpos == true.xpos
        right["Lemmas"] += true.lemma in (_EMPTY, predicted.lemma)
        right["UAS"] += same_head
        right["LAS"] += same_head and same_relation
    return {name: count / len(pairs) if pairs else 0.0 for name, count in right.items()}


def _check_columns(columns: Sequence[str], where: str) -> None:
    """Refuse a line that has not ten columns with something in each."""
    if len(columns) != len(_COLUMNS):
        raise InputError(f"{where}: expected {len(_COLUMNS)} columns separated by tabs, found {len(columns)}.")
    for name, value in zip(_COLUMNS, columns, strict=True):
        if not value or _BREAK.search(value):
            raise InputError(f"{where}: column {name}: expected text without tabs and line breaks, found {value!r}.")


def _check_head(head: int, words: int, where: str) -> None:
    """Refuse a head outside the sentence."""
    if not 0 <= head <= words:
        raise InputError(f"{where}: column HEAD: expected a number from 0 (the root) to {words}, found {head}.")


def _read_word(columns: Sequence[str], number: int, where: str) -> ConlluWord:
    """Read the columns of the word that is to have this number."""
    identifier, form, lemma, upos, xpos, feats, head, deprel, _, _ = columns
    if identifier != str(number):
        raise InputError(f"{where}: column ID: expected word {number}, found {identifier!r}.")
    if _NUMBER.fullmatch(head) is None:
        raise InputError(f"{where}: column HEAD: expected a number, found {head!r}.")
    return ConlluWord(form=form, lemma=lemma, upos=upos, xpos=xpos, feats=feats, head=int(head), deprel=deprel)


def _aligned_words(
    gold: Sequence[Sequence[ConlluWord]], system: Sequence[Sequence[ConlluWord]]
) -> list[tuple[ConlluWord, ConlluWord]]:
    """Pair each gold word with the system's."""
    if len(system) != len(gold):
        raise InputError(f"system: expected {len(gold)} sentences, as many as gold, found {len(system)}.")
    pairs: list[tuple[ConlluWord, ConlluWord]] = []
    for sentence_number, (true_words, predicted_words) in enumerate(zip(gold, system, strict=True), start=1):
        where = f"system, sentence {sentence_number}"
        if len(predicted_words) != len(true_words):
            raise InputError(f"{where}: expected {len(true_words)} words, as in gold, found {len(predicted_words)}.")
        for number, (true, predicted) in enumerate(zip(true_words, predicted_words, strict=True), start=1):
            if predicted.form != true.form:
                raise InputError(
                    f"{where}, word {number}: expected the form {true.form!r}, as in gold, found {predicted.form!r}."
                )
            pairs.append((true, predicted))
    return pairs
