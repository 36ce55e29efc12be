"""Which tag may follow which, and the best tag sequence under that rule."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch

from ..errors import InputError

__all__ = [
    "LabelScheme",
    "allowed_transitions",
    "best_sequence",
    "best_valid_sequence",
    "entity_spans",
    "find_scheme",
]

LabelScheme = Literal["auto", "bio", "bioes", "plain"]

_PREFIXES = {"bio": "BI", "bioes": "BIES"}
_OPEN = "BI"
_CONTINUES = "IE"


def find_scheme(names: Sequence[str]) -> Literal["bio", "bioes", "plain"]:
    """
    Tell from the label names how entities are written.

    Args:
        names (`Sequence[str]`): Names of the labels.

    Returns:
        `str`: `bio` or `bioes` if all names are `O` or a prefix, a hyphen and a type, else `plain`.

    Example:
        >>> find_scheme(["O", "B-city", "I-city"]), find_scheme(["NOUN", "VERB"])
        ('bio', 'plain')
    """
    tags = [name for name in names if name != "O"]
    schemes: tuple[Literal["bio", "bioes"], ...] = ("bio", "bioes")
    for scheme in schemes:
        if tags and all(len(tag) > 2 and tag[0] in _PREFIXES[scheme] and tag[1] == "-" for tag in tags):
            return scheme
    return "plain"


def check_scheme(names: Sequence[str], scheme: str) -> None:
    """Refuse label names that are not tags of the scheme, naming the first."""
    for name in names:
        if name != "O" and not (len(name) > 2 and name[0] in _PREFIXES[scheme] and name[1] == "-"):
            expected = ", ".join(f"{prefix}-type" for prefix in _PREFIXES[scheme])
            raise InputError(f"label_scheme is {scheme!r}: expected labels O, {expected}, found {name!r}.")


def _may_follow(last: str | None, tag: str | None, scheme: str) -> bool:
    """Whether `tag` (None: the end) may follow `last` (None: the start)."""
    inside = last is not None and last[0] in _OPEN and last[1:2] == "-"
    continues = tag is not None and tag[0] in _CONTINUES and tag[1:2] == "-"
    if inside and continues and last is not None and tag is not None:
        return last[2:] == tag[2:]
    if continues:
        return False
    # an entity under BIO may stop anywhere; under BIOES an open one has to be closed
    return not (inside and scheme == "bioes")


@lru_cache(maxsize=64)
def allowed_transitions(names: tuple[str, ...], scheme: str) -> torch.Tensor:
    """
    Table of the transitions that a tagging scheme allows.

    Source: Ramshaw and Marcus (1995) for BIO, in its IOB2 form; Ratinov and Roth (2009) for BIOES (there BILOU).

    Args:
        names (`tuple[str, ...]`): Names of the labels, in the order of their ids.
        scheme (`str`): `bio` or `bioes`.

    Returns:
        `torch.Tensor` of shape `(num_labels + 1, num_labels + 1)`: True where the column's label may follow the row's;
        the last row is the start of a sequence, the last column its end.

    Example:
        >>> allowed_transitions(("O", "B-x", "I-x"), "bio").int()
        tensor([[1, 1, 0, 1],
                [1, 1, 1, 1],
                [1, 1, 1, 1],
                [1, 1, 0, 1]], dtype=torch.int32)
    """
    states: list[str | None] = [*names, None]
    table = [[_may_follow(last, tag, scheme) for tag in states] for last in states]
    # the table is kept: on the CPU even where a model is being built without weights, and no inference tensor even
    # where a prediction asks first
    with torch.inference_mode(False):
        return torch.tensor(table, device="cpu")


def best_valid_sequence(logits: torch.Tensor, mask: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """
    Find for each row the label sequence with the highest sum of log probabilities among the allowed ones.

    [`best_sequence`] without learned transition scores: what turns logits into log probabilities is the same for all
    labels of a place, so that the sum of logits ranks the sequences alike.

    Args:
        logits (`torch.Tensor` of shape `(rows, sequence_length, num_labels)`): Scores of the labels.
        mask (`torch.Tensor` of shape `(rows, sequence_length)`): True where the sequence goes on; the rest is skipped.
        allowed (`torch.Tensor` of shape `(num_labels + 1, num_labels + 1)`): See [`allowed_transitions`].

    Returns:
        `torch.Tensor` of shape `(rows, sequence_length)`: Ids of the labels; 0 where `mask` is False.

    Example:
        >>> logits = torch.tensor([[[0.0, 2.0, 3.0], [0.0, 1.0, 2.0]]])
        >>> allowed = allowed_transitions(("O", "B-x", "I-x"), "bio")
        >>> best_valid_sequence(logits, torch.tensor([[True, True]]), allowed)
        tensor([[1, 2]])
    """
    allowed = allowed.to(logits.device)
    return best_sequence(logits, mask, torch.zeros_like(allowed, dtype=torch.float64), allowed)


def best_sequence(
    logits: torch.Tensor, mask: torch.Tensor, transitions: torch.Tensor, allowed: torch.Tensor | None = None
) -> torch.Tensor:
    """
    Find for each row the label sequence with the highest sum of logits and transition scores among the allowed ones.

    Source: Viterbi (1967), https://doi.org/10.1109/TIT.1967.1054010. A row whose labels allow no sequence at all keeps
    the best one with the fewest violations.

    Args:
        logits (`torch.Tensor` of shape `(rows, sequence_length, num_labels)`): Scores of the labels.
        mask (`torch.Tensor` of shape `(rows, sequence_length)`): True where the sequence goes on; the rest is skipped.
        transitions (`torch.Tensor` of shape `(num_labels + 1, num_labels + 1)`):
            Scores of the column's label after the row's; the last row is the start of a sequence, the last column its
            end.
        allowed (`torch.Tensor` of shape `(num_labels + 1, num_labels + 1)`, *optional*):
            See [`allowed_transitions`]. Without it everything is allowed.

    Returns:
        `torch.Tensor` of shape `(rows, sequence_length)`: Ids of the labels; 0 where `mask` is False.

    Example:
        >>> logits = torch.tensor([[[0.0, 2.0, 3.0], [0.0, 1.0, 2.0]]])
        >>> transitions = torch.zeros(4, 4)
        >>> transitions[2, 2] = -5.0
        >>> best_sequence(logits, torch.tensor([[True, True]]), transitions)
        tensor([[2, 1]])
    """
    rows, length, num_labels = logits.shape
    # in float64, so that the digits of the scores survive beside the cost of a violation
    logits, transitions = logits.double(), transitions.double().expand(rows, -1, -1)
    if allowed is not None:
        transitions = torch.where(allowed, transitions, transitions - _violation_cost(logits, mask, transitions))
    # (rows, num_labels + 1), the last state being the start
    best = torch.full((rows, num_labels + 1), -torch.inf, dtype=logits.dtype, device=logits.device)
    best[:, -1] = 0
    stay = torch.arange(num_labels + 1, device=logits.device).expand(rows, -1)
    pointers = []
    for step in range(length):
        # (rows, num_labels)
        reached, pointer = (best.unsqueeze(2) + transitions[:, :, :-1]).max(dim=1)
        reached = torch.cat([reached + logits[:, step], torch.full_like(best[:, -1:], -torch.inf)], dim=1)
        pointer = torch.cat([pointer, stay[:, -1:]], dim=1)
        active = mask[:, step, None]
        best = torch.where(active, reached, best)
        pointers.append(torch.where(active, pointer, stay))
    state = (best + transitions[:, :, -1]).argmax(dim=1)
    labels = torch.empty(rows, length, dtype=torch.long, device=logits.device)
    for step in reversed(range(length)):
        labels[:, step] = state
        state = pointers[step].gather(1, state.unsqueeze(1)).squeeze(1)
    return labels.masked_fill(~mask, 0)


def _violation_cost(logits: torch.Tensor, mask: torch.Tensor, transitions: torch.Tensor) -> torch.Tensor:
    """More than any two sequences of a row differ by, shape `(rows, 1, 1)`."""
    spread = (logits.amax(dim=2) - logits.amin(dim=2)).masked_fill(~mask, 0).sum(dim=1)
    steps = logits.shape[1] + 1
    return (1 + spread + steps * (transitions.amax(dim=(1, 2)) - transitions.amin(dim=(1, 2))))[:, None, None]


def entity_spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """
    Find the entities in a tag sequence of either scheme.

    Args:
        tags (`Sequence[str]`): One tag a word.

    Returns:
        `list[tuple[str, int, int]]`: Type, index of the first word, index behind the last word.

    Example:
        >>> entity_spans(["O", "B-city", "I-city", "S-year"])
        [('city', 1, 3), ('year', 3, 4)]
    """
    spans: list[tuple[str, int, int]] = []
    open_type: str | None = None
    for index, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-") if tag != "O" else ("O", "", "")
        if open_type is not None and prefix in ("I", "E") and kind == open_type:
            spans[-1] = (kind, spans[-1][1], index + 1)
        elif prefix != "O":
            spans.append((kind, index, index + 1))
        open_type = kind if prefix in ("B", "I") else None
    return spans
