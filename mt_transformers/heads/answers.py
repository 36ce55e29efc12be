"""Answers for people, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["ranked_answers"]


def ranked_answers(scores: torch.Tensor, key: str, names: Sequence[Any], top_k: int | None = None) -> list[Any]:
    """
    Name the candidates with the highest scores.

    Args:
        scores (`torch.Tensor` of shape `(rows, candidates)`): Score of each candidate.
        key (`str`): What a candidate is called in the answer.
        names (`Sequence[Any]`): The candidates.
        top_k (`int`, *optional*): How many to name, at most. Defaults to the best alone.

    Returns:
        `list[Any]`: For each row `{key: name, "score": score}`; with `top_k` a list of these, the best first.

    Example:
        >>> scores = torch.tensor([[0.25, 0.75]])
        >>> ranked_answers(scores, "label", ["no", "yes"])
        [{'label': 'yes', 'score': 0.75}]
        >>> ranked_answers(scores, "label", ["no", "yes"], top_k=5)
        [[{'label': 'yes', 'score': 0.75}, {'label': 'no', 'score': 0.25}]]
    """
    best, places = scores.topk(min(top_k or 1, scores.shape[-1]), dim=-1)
    ranked = [
        [{key: names[place], "score": score} for place, score in zip(*each, strict=True)]
        for each in zip(places.tolist(), best.tolist(), strict=True)
    ]
    return [row[0] for row in ranked] if top_k is None else ranked
