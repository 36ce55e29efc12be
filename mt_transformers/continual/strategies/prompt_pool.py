"""A pool of prompts that each row chooses from, in front of a frozen backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from ...backbone import Backbone
from ...errors import InputError
from ...heads.masked_mean import masked_mean

__all__ = ["PromptPool", "prompted"]


class PromptPool(nn.Module):
    """
    Prompts with a key each, of which a row takes those whose keys are nearest to its query by cosine distance.

    Source: Wang et al. (2022), "Learning to Prompt for Continual Learning", https://arxiv.org/abs/2112.08654, eq. 3.

    Args:
        keys (`torch.Tensor` of shape `(pool_size, query_size)`): The keys at first.
        prompts (`torch.Tensor` of shape `(pool_size, prompt_length, embedding_size)`): The prompts at first.
        top_k (`int`): How many a row takes.

    Example:
        >>> keys, prompts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[[1.0]], [[2.0]]])
        >>> PromptPool(keys, prompts, top_k=1)(torch.tensor([[0.0, 3.0]]))[0]
        tensor([[[2.]]], grad_fn=<ViewBackward0>)
    """

    def __init__(self, keys: torch.Tensor, prompts: torch.Tensor, top_k: int) -> None:
        super().__init__()
        self.keys, self.prompts, self.top_k = nn.Parameter(keys), nn.Parameter(prompts), top_k

    @property
    def length(self) -> int:
        """Positions that a row's prompts take (tokens)."""
        return self.top_k * self.prompts.shape[1]

    def forward(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Choose prompts.

        Args:
            queries (`torch.Tensor` of shape `(rows, query_size)`): A query for each row.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: The prompts of each row, the nearest in front, of shape
            `(rows, length, embedding_size)`, and the sum of the distances of their keys, of shape `(rows,)`.
        """
        unit = nn.functional.normalize
        # (rows, pool_size)
        distances = 1 - unit(queries.to(self.keys), dim=1) @ unit(self.keys, dim=1).T
        nearest, chosen = distances.topk(self.top_k, dim=1, largest=False)
        return self.prompts[chosen].flatten(1, 2), nearest.sum(dim=1)


@contextmanager
def prompted(backbone: Backbone, pool: PromptPool, distances: list[torch.Tensor]) -> Iterator[None]:
    """
    While it lasts the backbone reads each row behind its prompts, and gives what it makes of the row.

    Args:
        backbone ([`Backbone`]): A backbone of text, frozen.
        pool ([`PromptPool`]): The prompts.
        distances (`list[torch.Tensor]`):
            After each pass its one entry has the summed distances of the keys of each row, of shape `(rows,)`.
    """

    ids: list[torch.Tensor] = []

    def add_prompts(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        if kwargs.get("input_ids") is None:
            raise InputError("strategy 'l2p': expected input_ids, before which prompts can be put.")
        prompts, summed = pool(_query(backbone, kwargs))
        distances[:], ids[:] = [summed], [kwargs["input_ids"]]
        return args, _with_prompts(backbone, kwargs, prompts)

    def leave_prompts_out(_: nn.Module, _inputs: Any, outputs: dict[str, Any]) -> dict[str, Any]:
        found = {**outputs, "token_ids": ids.pop()}
        for name in ("encoded_text", "encoded_text_mask"):
            found[name] = outputs[name][:, pool.length :]
        if "text_layers" in outputs:
            found["text_layers"] = tuple(layer[:, pool.length :] for layer in outputs["text_layers"])
        return found

    handles = [
        backbone.register_forward_pre_hook(add_prompts, with_kwargs=True),
        backbone.register_forward_hook(leave_prompts_out),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _query(backbone: Backbone, inputs: Mapping[str, Any]) -> torch.Tensor:
    """The average token of each row without a prompt, and without dropout."""
    was_training = backbone.training
    backbone.eval()
    # not through the hooks
    encoded = cast(dict[str, Any], backbone.forward(**inputs))
    backbone.train(was_training)
    return masked_mean(encoded["encoded_text"], encoded["encoded_text_mask"])


def _with_prompts(backbone: Backbone, inputs: Mapping[str, Any], prompts: torch.Tensor) -> dict[str, Any]:
    """The inputs of the backbone with prompts in front of the embedded ids."""
    ids = inputs["input_ids"]
    embedded = backbone.model.get_input_embeddings()(ids)
    changed = {name: value for name, value in inputs.items() if name != "input_ids"}
    changed["inputs_embeds"] = torch.cat([prompts.to(embedded), embedded], dim=1)
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    changed["attention_mask"] = torch.cat([mask.new_ones(prompts.shape[:2]), mask], dim=1)
    if inputs.get("token_type_ids") is not None:
        types = inputs["token_type_ids"]
        changed["token_type_ids"] = torch.cat([types.new_zeros(prompts.shape[:2]), types], dim=1)
    return changed
