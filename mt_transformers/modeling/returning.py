"""Logits, features or layers instead of all outputs: the ways of asking that continual learning is written in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import nn

from ..backbone import Returnt, check_returnt
from ..errors import InputError
from ..heads import Head
from .output import MultiTaskModelOutput

__all__ = ["ByHead", "FeatureCapture", "Returned", "ReturningMixin", "check_returned", "choose_returned"]

ByHead = torch.Tensor | dict[str, torch.Tensor]
"""The tensor of the one head in play; of several heads a dict."""

Returned = MultiTaskModelOutput | ByHead | tuple[ByHead, ByHead] | list[torch.Tensor] | dict[str, list[torch.Tensor]]
"""What a call returns: all outputs, or what it asked for."""


class ReturningMixin(nn.Module):
    """Adds the short form of `returnt="features"` to a model whose `forward` takes it."""

    def features(self, **inputs: Any) -> ByHead:
        """
        What the heads' classification layers read: `forward(..., returnt="features")`.

        Args:
            inputs (`Any`): Arguments of `forward`.

        Returns:
            `torch.Tensor` of shape `(rows, ...)` with one head in play, else a dict head -> tensor.

        Raises:
            InputError: If labels, heads or tasks do not fit the model.

        Example:
            >>> from transformers import BertConfig
            >>> from mt_transformers import MultiTaskConfig, MultiTaskModel
            >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
            >>> heads = {"intent": {"head_type": "sequence_classification", "num_labels": 3}}
            >>> model = MultiTaskModel(MultiTaskConfig(backbone_config=bert, heads=heads)).eval()
            >>> ids = torch.tensor([[1, 2], [3, 4]])
            >>> logits, features = model(input_ids=ids, returnt="both")
            >>> features.shape, torch.equal(model.heads["intent"].classifier(features), logits)
            (torch.Size([2, 8]), True)
            >>> torch.equal(model.features(input_ids=ids), features), len(model(input_ids=ids, returnt="full"))
            (True, 2)
        """
        features: ByHead = self(**inputs, returnt="features")
        return features


class FeatureCapture:
    """
    Keeps what the classification layers of heads read, while the heads run.

    Args:
        returnt (`str`, *optional*): What the call was asked to return; anything is kept for features only.
    """

    def __init__(self, returnt: Returnt | None) -> None:
        self._asked = returnt in ("features", "both")
        self.features: dict[str, torch.Tensor] = {}

    @contextmanager
    def of(self, name: str, head: Head) -> Iterator[None]:
        """
        Keep the features of one head, which runs while this lasts.

        Args:
            name (`str`): The head's name.
            head ([`Head`]): The head.

        Raises:
            InputError: If the head has run and no features were seen.
        """
        if not self._asked:
            yield
            return
        layer, thread = head.last_layer, get_ident()

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            # other threads may run the same head
            if get_ident() == thread and name not in self.features:
                found = kwargs.get("encoded") if layer is None else next(iter((*args, *kwargs.values())), None)
                if isinstance(found, torch.Tensor):
                    self.features[name] = found

        handle = (head if layer is None else layer).register_forward_pre_hook(keep, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()
        if name not in self.features:
            raise InputError(
                f"head {name!r}: expected features to return, found none: its last_layer did not run, or it has none "
                "and does not take 'encoded'."
            )


def check_returned(returnt: Returnt, in_play: Collection[str], running: Collection[str]) -> None:
    """
    Refuse what cannot be returned, before anything is computed.

    Args:
        returnt (`str`): What the call was asked to return.
        in_play (`Collection[str]`): The heads in play.
        running (`Collection[str]`): Those of them that have rows.

    Raises:
        InputError: If there is no such thing, no head is in play, or the only one has no row.
    """
    check_returnt(returnt)
    if returnt == "full":
        return
    if not in_play:
        raise InputError(f"returnt: expected a head in play for {returnt!r}, found none.")
    if len(in_play) == 1 and not running:
        raise InputError(f"returnt: expected a row for head {next(iter(in_play))!r} in the batch, found none.")


def choose_returned(
    returnt: Returnt,
    outputs: MultiTaskModelOutput,
    features: Mapping[str, torch.Tensor],
    running: Sequence[str],
    alone: bool,
) -> ByHead | tuple[ByHead, ByHead]:
    """
    Choose of a model's outputs what the call was asked to return.

    Args:
        returnt (`str`): `out`, `features` or `both`.
        outputs ([`MultiTaskModelOutput`]): All outputs.
        features (`Mapping[str, torch.Tensor]`): For each head that ran what its classification layer has read.
        running (`Sequence[str]`): The heads that ran.
        alone (`bool`): Whether a single head was in play.

    Returns:
        `torch.Tensor` of the one head in play, else a dict head -> tensor of those that ran; for `both` the pair of
        logits and features.

    Raises:
        InputError: If a head that ran gave no logits.

    Example:
        >>> outputs = MultiTaskModelOutput(intent_logits=torch.zeros(1, 3))
        >>> choose_returned("both", outputs, {"intent": torch.ones(1, 2)}, ["intent"], alone=True)
        (tensor([[0., 0., 0.]]), tensor([[1., 1.]]))
    """
    if returnt == "features":
        return _one_or_all(features, alone)
    logits: dict[str, torch.Tensor] = {}
    for name in running:
        if f"{name}_logits" not in outputs:
            raise InputError(f"head {name!r}: expected logits to return, found none among what it gives.")
        logits[name] = outputs[f"{name}_logits"]
    if returnt == "out":
        return _one_or_all(logits, alone)
    return _one_or_all(logits, alone), _one_or_all(features, alone)


def _one_or_all(values: Mapping[str, torch.Tensor], alone: bool) -> ByHead:
    return next(iter(values.values())) if alone else dict(values)
