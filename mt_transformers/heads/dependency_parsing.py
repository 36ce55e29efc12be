"""Dependency trees: for each word its head and its relation to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers.activations import ACT2FN

from ..errors import InputError
from ..metrics.conllu import ConlluWord, write_conllu
from .base import IGNORED, EncodedRows, Head, HeadConfig, LabelSource, SourceRow, Word, full_precision
from .biaffine import BiaffineAttention, BiaffineClassifier
from .feed_forward import feed_forward
from .labels import ClassHeadConfig, check_label_feature, element_feature, label_ids
from .registry import register_head
from .spanning_tree import check_tree, single_root_tree
from .words import first_sub_tokens

__all__ = ["DependencyParsingHead", "DependencyParsingHeadConfig", "tree_to_conllu"]

_HEAD_TYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@dataclass(kw_only=True)
class DependencyParsingHeadConfig(ClassHeadConfig):
    """
    Config of [`DependencyParsingHead`]. Its classes are the relations.

    A label has two parts: `heads`, for each word the number of its head as CoNLL-U counts (0 is the root, 1 the first
    word), and `deprels`, for each word the relation to its head. The heads of a row form a tree with one root.

    In a label tensor of shape `(rows, sequence_length, 2)` the first sub-token of each word has the offset of its
    head's first sub-token from it (tokens, 0 for the root) and its relation. A word is ignored if its relation is
    missing or its head has no sub-token, as behind the maximum length: it has 0 and -100. What begins no word has -100
    twice.

    Source: for the defaults Dozat and Manning (2017), https://openreview.net/forum?id=Hk95PK9le, section 3.2.

    Args:
        arc_size (`int`, *optional*, defaults to 500): Size of the vectors that heads are chosen by.
        relation_size (`int`, *optional*, defaults to 100): Size of the vectors that relations are chosen by.
        hidden_act (`str`, *optional*, defaults to `"relu"`): Activation of these vectors.
        classifier_dropout (`float`, *optional*, defaults to 0.33): Dropout of these vectors (fraction).
    """

    word_level: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("encoded_text", "encoded_text_decoder")
    task_inputs: ClassVar[tuple[str, ...]] = ("tokens",)
    label_parts: ClassVar[tuple[str, ...]] = ("heads", "deprels")
    output_names: ClassVar[tuple[str, ...]] = (*HeadConfig.output_names, "relation_heads", "relation_dependents")
    returns_logits: ClassVar[bool] = False

    arc_size: int = 500
    relation_size: int = 100
    hidden_act: str = "relu"
    classifier_dropout: float = 0.33

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("arc_size", "relation_size"):
            size = getattr(self, name)
            if type(size) is not int or size < 1:
                raise InputError(f"{name}: expected at least 1, found {size!r}.")
        if self.hidden_act not in ACT2FN:
            raise InputError(f"hidden_act: expected one of {', '.join(ACT2FN)}, found {self.hidden_act!r}.")
        if not 0 <= self.classifier_dropout < 1:
            raise InputError(f"classifier_dropout: expected a fraction in [0, 1), found {self.classifier_dropout!r}.")

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("las", "uas")

    @property
    def known_metrics(self) -> tuple[str, ...]:
        return (*self.default_metrics, "las_universal")

    def class_feature(self, source: LabelSource) -> Any:
        inner = element_feature(source.feature)
        if inner is None:
            raise InputError(f"{source.where}: expected a list with a relation for each word, found {source.feature}.")
        return inner

    def complete(self, sources: Sequence[LabelSource]) -> None:
        super().complete([_relations_of(source) for source in sources])

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        relations = _relations_of(source)
        feature = self.class_feature(relations)
        check_label_feature(feature, relations)
        trees = [
            _tree_of(value, f"{source.where}, row {row}") for row, value in zip(rows.numbers, values, strict=True)
        ]
        flat = [deprel for _, deprels in trees for deprel in deprels]
        owner = [row for row, (_, deprels) in zip(rows.numbers, trees, strict=True) for _ in deprels]
        ids = label_ids(flat, feature, relations, owner, self)
        ends = np.cumsum([len(deprels) for _, deprels in trees])
        return [
            _on_first_sub_tokens(heads, ids[end - len(heads) : end], word_ids)
            for (heads, _), end, word_ids in zip(trees, ends, rows.word_ids, strict=True)
        ]

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        collated = np.full((len(labels), sequence_length, 2), IGNORED, dtype=np.int64)
        for row, label in enumerate(labels):
            if label is not None:
                collated[row, : len(label[0])] = np.array(label, dtype=np.int64).T
        return torch.from_numpy(collated)

    def count_items(self, labels: torch.Tensor) -> torch.Tensor:
        # the offset of a head may be -100 too
        return (labels[..., 1] != IGNORED).sum(dim=1)

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        kept = labels[..., 1] != IGNORED
        rows = np.flatnonzero(kept.any(axis=1))
        names = np.array(self.names, dtype=object)
        predicted, true = (
            [
                {"heads": each[row, kept[row], 0].tolist(), "deprels": names[each[row, kept[row], 1]].tolist()}
                for row in rows
            ]
            for each in (predictions, labels)
        )
        return predicted, true


def _relations_of(source: LabelSource) -> LabelSource:
    """The part of a label source that holds the relations; the other one is checked."""
    import datasets

    parts = DependencyParsingHeadConfig.label_parts
    if not isinstance(source.feature, Mapping) or set(source.feature) != set(parts):
        raise InputError(f"{source.where}: expected a column for each of {', '.join(parts)}, found {source.feature}.")
    heads = element_feature(source.feature["heads"])
    if not isinstance(heads, datasets.Value) or heads.dtype not in _HEAD_TYPES:
        found = source.feature["heads"]
        raise InputError(f"{source.where}: expected a list with the number of each word's head, found {found}.")
    return replace(
        source, feature=source.feature["deprels"], read=lambda: [value["deprels"] for value in source.read()]
    )


def _tree_of(value: Mapping[str, Any], where: str) -> tuple[list[int], list[Any]]:
    """Heads and relations of a row, none where it has no label or no words."""
    heads, deprels = value["heads"], value["deprels"]
    if (heads is None) != (deprels is None):
        missing = "heads" if heads is None else "deprels"
        raise InputError(f"{where}: expected both heads and deprels, or neither, found no {missing}.")
    if not heads:
        return [], []
    check_tree(heads, where)
    return heads, deprels


def _on_first_sub_tokens(heads: Sequence[int], ids: np.ndarray, word_ids: Sequence[int | None]) -> list[list[int]]:
    """Offsets of the heads and relations, each on the first sub-token of its word."""
    offsets, relations = ([IGNORED] * len(word_ids) for _ in range(2))
    positions = first_sub_tokens(word_ids)
    for word, position in positions.items():
        if word >= len(heads):
            continue
        head = heads[word]
        # 0 tells a word that is ignored from what begins no word
        offsets[position] = 0
        if ids[word] != IGNORED and (head == 0 or head - 1 in positions):
            offsets[position] = 0 if head == 0 else positions[head - 1] - position
            relations[position] = int(ids[word])
    return [offsets, relations]


@register_head("dependency_parsing")
class DependencyParsingHead(Head):
    """
    Choose for each word its head and its relation to it, by biaffine scores of the words' first sub-tokens; the heads
    of a row form the best tree with one root.

    `logits` has shape `(rows, sequence_length, sequence_length + 1)`: the score of each head (column, the last one is
    the root) for each word (row). No word is its own head, and no padding is a head. Which tokens are words is
    for the labels to say, or for the rows that are decoded. Relations are only scored for one head a word, the right
    one in training and the chosen one afterwards; their vectors are among the outputs, `relation_heads` of shape
    `(rows, sequence_length + 1, relation_size)` and `relation_dependents` without the root.

    Source: Dozat and Manning (2017), https://openreview.net/forum?id=Hk95PK9le, section 3.1; equations 4 to 6 for
    heads, and 3 on such vectors for relations. The root is a learned vector beside the encoded tokens.

    Args:
        config ([`DependencyParsingHeadConfig`]): The head's config.
        hidden_size (`int`): Size of the encoded features.
    """

    config_class = DependencyParsingHeadConfig
    config: DependencyParsingHeadConfig

    def __init__(self, config: DependencyParsingHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        # an embedding, since transformers knows what those begin with
        self.root = nn.Embedding(1, hidden_size)
        self.arc_dependents, self.arc_heads, self.relation_dependents, self.relation_heads = (
            feed_forward([hidden_size, size], config.hidden_act, config.classifier_dropout)
            for size in (config.arc_size, config.arc_size, config.relation_size, config.relation_size)
        )
        self.arcs = BiaffineAttention(config.arc_size)
        self.relations = BiaffineClassifier(config.relation_size, cast(int, config.num_labels))

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        # (rows, sequence_length + 1, hidden_size)
        candidates = torch.cat([encoded, self.root.weight.expand(encoded.shape[0], 1, -1)], dim=1)
        logits = self.arcs(self.arc_dependents(encoded), self.arc_heads(candidates))
        length = encoded.shape[1]
        own = torch.eye(length, length + 1, dtype=torch.bool, device=encoded.device)
        outputs = {
            "logits": _mask_out(logits, own | ~_with_root(encoded_mask.bool()).unsqueeze(1)),
            "relation_heads": self.relation_heads(candidates),
            "relation_dependents": self.relation_dependents(encoded),
        }
        if labels is not None:
            outputs["row_losses"] = self._row_losses(outputs, labels)
        return outputs

    def _row_losses(self, outputs: Mapping[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        # every position is computed: to pick the words out would wait for the device
        relations = labels[..., 1]
        ignored = relations == IGNORED
        # (rows, sequence_length)
        heads = _head_positions(labels[..., 0]).masked_fill(ignored, 0)
        candidates = ~_with_root(_word_mask(labels)).unsqueeze(1)
        # (rows, sequence_length, sequence_length + 1)
        arc_logits = _mask_out(full_precision(outputs["logits"]), candidates)
        arc_losses = functional.cross_entropy(
            arc_logits.transpose(1, 2), heads.masked_fill(ignored, IGNORED), ignore_index=IGNORED, reduction="none"
        )
        size = outputs["relation_heads"].shape[-1]
        chosen = outputs["relation_heads"].gather(1, heads.unsqueeze(2).expand(-1, -1, size))
        # (rows * sequence_length, num_labels)
        relation_logits = self.relations(outputs["relation_dependents"].flatten(0, 1), chosen.flatten(0, 1))
        relation_losses = functional.cross_entropy(
            full_precision(relation_logits), relations.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return (arc_losses + relation_losses.view_as(arc_losses)).sum(dim=1)

    def _relation_logits(
        self, outputs: Mapping[str, torch.Tensor], words: tuple[torch.Tensor, ...], heads: torch.Tensor
    ) -> torch.Tensor:
        """Scores of the relations between words and their heads, shape `(words, num_labels)`."""
        dependents = outputs["relation_dependents"][words]
        return full_precision(self.relations(dependents, outputs["relation_heads"][words[0], heads]))

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        mask = _word_mask(labels)
        words = mask.nonzero(as_tuple=True)
        heads = _best_heads(outputs["logits"], mask)[words]
        found = torch.full_like(labels, IGNORED)
        offsets = torch.where(heads == labels.shape[1], 0, heads - words[1])
        found[words] = torch.stack([offsets, self._relation_logits(outputs, words, heads).argmax(dim=1)], dim=1)
        return found

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        """
        Build the tree of each row.

        Args:
            outputs (`dict[str, torch.Tensor]`): What [`forward`] gave.
            rows (`Sequence[SourceRow]`): What the tokens of each row stand for.

        Returns:
            `list[Any]`: For each row a list of its words, each with `text`, `start` and `end` (characters), `head`
            (its number in this list, counted from 1; 0 for the root), `deprel`, and `score`: the probability of the
            head times that of the relation to it. Words without a sub-token are not in the list.
        """
        logits = outputs["logits"]
        mask = torch.zeros(logits.shape[:2], dtype=torch.bool)
        for number, row in enumerate(rows):
            mask[number, [word.position for word in row.words]] = True
        mask = mask.to(logits.device)
        words = mask.nonzero(as_tuple=True)
        heads = _best_heads(logits, mask)
        chosen = heads[words].unsqueeze(1)
        head_scores = _arc_logits(outputs, words, mask).softmax(dim=1).gather(1, chosen).squeeze(1)
        relation_scores, best = self._relation_logits(outputs, words, chosen.squeeze(1)).softmax(dim=1).max(dim=1)
        relations = torch.zeros_like(heads).index_put(words, best).tolist()
        scores = head_scores.new_zeros(heads.shape).index_put(words, head_scores * relation_scores).tolist()
        return [
            self._tree(row.words, *each) for row, *each in zip(rows, heads.tolist(), relations, scores, strict=True)
        ]

    def _tree(
        self, words: Sequence[Word], heads: list[int], relations: list[int], scores: list[float]
    ) -> list[dict[str, Any]]:
        # the root's position belongs to no word
        numbers = {word.position: number for number, word in enumerate(words, start=1)}
        return [
            {
                "text": word.text,
                "start": word.start,
                "end": word.end,
                "head": numbers.get(heads[word.position], 0),
                "deprel": self.config.names[relations[word.position]],
                "score": scores[word.position],
            }
            for word in words
        ]


def tree_to_conllu(words: Sequence[Mapping[str, Any]]) -> str:
    """
    Write a row's answer as CoNLL-U.

    Args:
        words (`Sequence[Mapping[str, Any]]`): What [`DependencyParsingHead.decode`] gives for a row.

    Returns:
        `str`: A line for each word and an empty one, see [`write_conllu`]; the texts of several rows can be joined.

    Raises:
        InputError: If there are no words, or one holds a tab or the end of a line.

    Example:
        >>> words = [{"text": "It", "head": 2, "deprel": "nsubj"}, {"text": "rains", "head": 0, "deprel": "root"}]
        >>> print(tree_to_conllu(words).replace("\\t", " "), end="")
        1 It _ _ _ _ 2 nsubj _ _
        2 rains _ _ _ _ 0 root _ _
        <BLANKLINE>
    """
    return write_conllu([[ConlluWord(form=word["text"], head=word["head"], deprel=word["deprel"]) for word in words]])


def _word_mask(labels: torch.Tensor) -> torch.Tensor:
    """Where words begin, ignored ones too, shape `(rows, sequence_length)`."""
    offsets, relations = labels.unbind(dim=2)
    return (relations != IGNORED) | (offsets == 0)


def _head_positions(offsets: torch.Tensor) -> torch.Tensor:
    """Positions of the heads, the root behind the last token, shape `(rows, sequence_length)`."""
    length = offsets.shape[1]
    return torch.where(offsets == 0, length, offsets + torch.arange(length, device=offsets.device))


def _with_root(mask: torch.Tensor) -> torch.Tensor:
    """A mask of tokens with the root, which is never left out, as its last column."""
    return functional.pad(mask, (0, 1), value=True)


def _mask_out(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Scores with the lowest number where `mask` is True: finite, so that differences stay numbers."""
    return scores.masked_fill(mask, torch.finfo(scores.dtype).min)


def _arc_logits(
    outputs: Mapping[str, torch.Tensor], words: tuple[torch.Tensor, ...], mask: torch.Tensor
) -> torch.Tensor:
    """Scores of words' heads among the words of their rows and the root, shape `(words, sequence_length + 1)`."""
    return _mask_out(full_precision(outputs["logits"][words]), ~_with_root(mask)[words[0]])


def _best_heads(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Positions of the words' heads in the best tree of each row, shape `(rows, sequence_length)`."""
    scores, is_word = full_precision(logits.detach()).cpu().numpy(), mask.cpu().numpy()
    root = is_word.shape[1]
    heads = np.full(is_word.shape, root)
    for row, (row_scores, row_words) in enumerate(zip(scores, is_word, strict=True)):
        places = np.append(np.flatnonzero(row_words), root)
        # -1, the root, takes the last place
        heads[row, places[:-1]] = places[single_root_tree(row_scores[np.ix_(places[:-1], places)])]
    return torch.from_numpy(heads).to(logits.device)
