"""Dependency trees: the best one under a model's scores, and whether given heads form one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["check_tree", "single_root_tree"]


def single_root_tree(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """
    Find the dependency tree with the highest sum of scores, among those in which one word hangs on the root.

    Where each word's best head already gives such a tree, that is all there is to do. Otherwise the tree is found by
    contracting cycles, in at most O(words^2) steps. Among trees of one sum the same one is found each time.

    Source: Chu and Liu (1965) and Edmonds (1967), https://doi.org/10.6028/jres.071B.032, for the contraction of
    cycles, along a growing path as in Gabow et al. (1986), https://doi.org/10.1007/BF02579168. One word on the root:
    Stanojevic and Cohen (2021), https://aclanthology.org/2021.emnlp-main.823, who lower all scores of the root by one
    constant, larger than any difference between trees. Here the constant counts as infinite, the root being chosen
    only where no other head is left, so that the scores lose no digits to it.

    Args:
        scores (`np.ndarray` of shape `(words, words + 1)`):
            Score of each head (column) for each word (row), the last column the root's. The higher the better; `-inf`
            forbids a head. The diagonal is not read: no word is its own head.

    Returns:
        `np.ndarray` of shape `(words,)`: Index of each word's head, -1 for the root.

    Raises:
        InputError: If the shape is another one, a score is NaN or `inf`, or what is not forbidden holds no tree.

    Example:
        >>> single_root_tree(np.array([[0.0, 5.0, 6.0], [1.0, 0.0, 4.0]]))
        array([ 1, -1])
    """
    weights = _edge_weights(scores)
    words = len(weights)
    if words == 0:
        return np.empty(0, dtype=np.int64)
    heads = weights.argmax(axis=1)
    allowed = np.isfinite(weights[np.arange(words), heads]).all()
    if not (allowed and _is_single_root_tree(heads)):
        heads = _Contraction(weights).best_tree()
    return np.where(heads == words, -1, heads)


def check_tree(heads: Sequence[int], where: str) -> None:
    """
    Refuse heads that do not form a tree with one root.

    Args:
        heads (`Sequence[int]`): The head of each word as CoNLL-U numbers them: 0 is the root, 1 the first word.
        where (`str`): Where the heads were given, as the message shall say it.

    Raises:
        InputError: If a head is not a number from 0 to the number of words, a word is its own head, no word or several
            hang on the root, or some hang on one another in a cycle; naming the words.

    Example:
        >>> check_tree([2, 0, 2], "row 7")
        >>> check_tree([2, 1, 0], "row 7")
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: row 7: expected heads that form a tree, found a cycle of the words 1, 2.
    """
    for word, head in enumerate(heads, start=1):
        if not isinstance(head, (int, np.integer)) or not 0 <= head <= len(heads):
            raise InputError(
                f"{where}: word {word}: expected a head from 0 (the root) to {len(heads)}, found {head!r}."
            )
        if head == word:
            raise InputError(f"{where}: word {word}: expected another word as its head, found the word itself.")
    roots = [str(word) for word, head in enumerate(heads, start=1) if head == 0]
    if len(roots) != 1:
        found = f"the words {', '.join(roots)}" if roots else "none"
        raise InputError(f"{where}: expected one word with the head 0 (the root), found {found}.")
    cycle = _find_cycle(heads)
    if cycle:
        words = ", ".join(str(word) for word in cycle)
        raise InputError(f"{where}: expected heads that form a tree, found a cycle of the words {words}.")


def _find_cycle(heads: Sequence[int]) -> list[int]:
    """Find a cycle among heads in CoNLL-U numbering and give its words in their order; empty if there is none."""
    # the word whose walk upwards came by first; the root has been reached from the start
    seen = [0, *[-1] * len(heads)]
    for start in range(1, len(heads) + 1):
        word = start
        while seen[word] == -1:
            seen[word] = start
            word = int(heads[word - 1])
        if seen[word] == start:
            cycle = [word]
            while (head := int(heads[cycle[-1] - 1])) != word:
                cycle.append(head)
            return sorted(cycle)
    return []


def _edge_weights(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Copy the scores as float64 with the diagonal forbidden, and refuse what cannot be scores."""
    shape = np.shape(scores)
    if len(shape) != 2 or shape[1] != shape[0] + 1:
        raise InputError(f"scores: expected shape (words, words + 1), found {shape}.")
    weights = np.array(scores, dtype=np.float64)
    np.fill_diagonal(weights, -np.inf)
    wrong = np.argwhere(np.isnan(weights) | (weights == np.inf))
    if len(wrong):
        word, head = wrong[0]
        raise InputError(
            f"scores: expected numbers, or -inf for a forbidden head, found {weights[word, head]} in row {word}, "
            f"column {head}."
        )
    return weights


def _is_single_root_tree(heads: npt.NDArray[np.intp]) -> bool:
    """Whether the heads lead each word to the root, which is the number of words, and one of them straight to it."""
    words = len(heads)
    if np.count_nonzero(heads == words) != 1:
        return False
    ancestors = np.append(heads, words)
    # each pass doubles the steps that are taken upwards
    for _ in range(words.bit_length()):
        ancestors = ancestors[ancestors]
    return bool((ancestors == words).all())


class _Contraction:
    """
    The graph of words while its cycles are contracted: first one node a word, then one more a cycle.

    Nodes have rows, all heads stay columns: entry (node, head) of `weights` is what the best edge from that head into
    the node is worth, beside the edges that the node's inner cycles give up for it; `ends` says which word it enters.
    """

    def __init__(self, weights: npt.NDArray[np.float64]) -> None:
        words = len(weights)
        self.words = words
        self.weights = np.full((2 * words - 1, words + 1), -np.inf)
        self.weights[:words] = weights
        self.ends = np.zeros((2 * words - 1, words + 1), dtype=np.int64)
        self.ends[:words] = np.arange(words)[:, None]
        # the outermost node around each word, and the words in each node
        self.node_of = np.arange(words)
        self.members = [[word] for word in range(words)]
        # for each node the one around it, and the edge that was chosen for it: a head and the word it enters
        self.outer = [-1] * words
        self.edges = [(-1, -1)] * words

    def best_tree(self) -> npt.NDArray[np.int64]:
        """Choose an edge for each node, then take the nodes apart again. The root is the number of words."""
        finished: set[int] = set()
        has_root = False
        for word in range(self.words):
            path: list[int] = []
            node = int(self.node_of[word])
            while node not in finished:
                if node in path:
                    start = path.index(node)
                    node = self._contract(path[start:])
                    del path[start:]
                path.append(node)
                head = self._choose_edge(node)
                if head == self.words:
                    if has_root:
                        raise _no_tree()
                    has_root = True
                    break
                node = int(self.node_of[head])
            finished.update(path)
        return self._expand()

    def _choose_edge(self, node: int) -> int:
        """Choose the node's best edge, the root's only if there is no other, and give its head."""
        row = self.weights[node]
        head = int(row[: self.words].argmax())
        if row[head] == -np.inf:
            head = self.words
        if row[head] == -np.inf:
            raise _no_tree()
        self.edges[node] = (head, int(self.ends[node, head]))
        return head

    def _contract(self, cycle: list[int]) -> int:
        """Make one node of the nodes of a cycle."""
        node = len(self.members)
        chosen = [self.edges[inner][0] for inner in cycle]
        # an edge into the cycle takes the place of the one that was chosen for the node it enters
        gains = self.weights[cycle] - self.weights[cycle, chosen][:, None]
        best = gains.argmax(axis=0)
        columns = np.arange(self.words + 1)
        members = [word for inner in cycle for word in self.members[inner]]
        self.weights[node] = gains[best, columns]
        self.weights[node, members] = -np.inf
        self.ends[node] = self.ends[cycle][best, columns]
        self.node_of[members] = node
        self.members.append(members)
        self.outer.append(-1)
        self.edges.append((-1, -1))
        for inner in cycle:
            self.outer[inner] = node
        return node

    def _expand(self) -> npt.NDArray[np.int64]:
        """Keep the edges of the outermost nodes, and within each all but that of the inner node that is entered."""
        heads = np.empty(self.words, dtype=np.int64)
        entered: set[int] = set()
        # outer nodes come after their inner ones
        for node in reversed(range(len(self.members))):
            if node in entered:
                continue
            head, word = self.edges[node]
            heads[word] = head
            inner = word
            while inner != node:
                entered.add(inner)
                inner = self.outer[inner]
        return heads


def _no_tree() -> InputError:
    return InputError(
        "scores: expected at least one tree with a single root among the heads that are not forbidden, found none."
    )
