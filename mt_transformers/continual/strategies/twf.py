"""Transfer without Forgetting: a frozen pretrained sibling tells, layer by layer, what to keep."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from ...backbone import Backbone
from ...errors import InputError
from ..learner import Batch, Learner
from .derpp import DerPP
from .feature_attention import FeatureAttention, consistency_errors, propagation_errors
from .option_checks import check_weight
from .step_rows import is_row, rows_of_step

__all__ = ["TransferWithoutForgetting"]

_FILE = "attention.safetensors"
Scores = list[tuple[torch.Tensor, torch.Tensor]]
"""For each layer what its attention gave."""


@dataclass(kw_only=True)
class TransferWithoutForgetting(DerPP):
    """
    Transfer without Forgetting (TwF): [`DerPP`], and beside it every layer of the backbone is drawn towards the same
    layer of its pretrained self, a sibling that stays frozen, where an attention map over the sibling's features is
    open. The maps depend on the experience, and are trained along; for rows out of the buffer they shall stay as they
    were at the end of the row's experience.

    From feature maps of images to tokens: an attention map is one of channels and positions, see
    [`FeatureAttention`]. Features are compared as they are, without the ReLU of a ResNet. Three pieces of the paper
    would let a step depend on how it is cut into micro-batches, and are replaced: batch normalisation within the
    attention is left out; maps are cut off at 1/2 instead of drawn (Gumbel-softmax), with the same gradient; and where
    the paper contrasts the maps of a batch's rows, so that they do not all close, each row's map is drawn towards
    being half open. Features of rows out of the buffer are not drawn to the sibling's.

    Source: Boschini et al. (2022), "Transfer without Forgetting", https://arxiv.org/abs/2206.00388, section 3. The
    paper searches the weights for each benchmark; these are no result of a search.

    Args:
        propagation_weight (`float`, *optional*, defaults to 0.1):
            Weight of the distance of features from the sibling's: a sum over layers of a mean over channels, tokens
            and rows of the step.
        openness_weight (`float`, *optional*, defaults to 0.1): Weight of how far maps are from being half open.
        consistency_weight (`float`, *optional*, defaults to 0.1): Weight of how far maps are from what they were.
        alpha, beta (`float`, *optional*, defaults to 0.5): See [`DerPP`].
        buffer_size, ratio, sampling, replay_batch_size, seed: See [`Rehearsal`].

    Raises:
        InputError: If a weight is below 0.

    Example:
        >>> TransferWithoutForgetting(propagation_weight=0.3).options()["propagation_weight"]
        0.3
    """

    name: ClassVar[str] = "twf"

    propagation_weight: float = 0.1
    openness_weight: float = 0.1
    consistency_weight: float = 0.1
    _sibling: Backbone | None = field(default=None, init=False, repr=False, compare=False)
    _attention: nn.ModuleList = field(default_factory=nn.ModuleList, init=False, repr=False, compare=False)
    _rows_in_step: torch.Tensor | None = field(default=None, init=False, repr=False, compare=False)
    # for each micro-batch rows of the buffer that have attention maps; of all processes their number
    _mapped: list[list[int]] = field(default_factory=list, init=False, repr=False, compare=False)
    _num_mapped: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("propagation_weight", "openness_weight", "consistency_weight"):
            check_weight(name, getattr(self, name))

    @property
    def sibling(self) -> Backbone:
        """The backbone as it was pretrained; there once the model is known."""
        if self._sibling is None:
            raise RuntimeError("start() was not called yet")
        return self._sibling

    def start(self, learner: Learner) -> None:
        super().start(learner)
        backbone = learner.model.backbone
        name, layers = backbone.output_names[0], backbone.info.num_layers
        if backbone.output_names != ("encoded_text",) or name not in layers:
            raise InputError(
                f"strategy {self.name!r}: backbone {backbone.info.model_type!r}: expected one of text alone, with "
                "layers of one shape."
            )
        self._sibling = copy.deepcopy(backbone).eval().requires_grad_(False)
        number = len(learner.scenario.experiences)
        # the output of the embeddings is none of a layer
        modules = [FeatureAttention(backbone.hidden_size, number) for _ in range(layers[name] - 1)]
        self._attention = nn.ModuleList(modules).to(learner.args.device)

    def begin(self, learner: Learner) -> None:
        super().begin(learner)
        self.sibling.to(learner.args.device)

    def modules(self) -> Sequence[nn.Module]:
        return (*super().modules(), self._attention)

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        rehearsed = super().rehearse(learner, batches)
        self._rows_in_step = rows_of_step(learner, batches)
        drawn = self.draw(learner, batches)
        # those of this experience have none yet
        has_map = {slot for slot in drawn.slots if self.buffer[slot].features}
        self._mapped = [[slot for slot in own if slot in has_map] for own in drawn.own]
        self._num_mapped = len(has_map)
        return rehearsed

    def added_loss(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        losses = [super().added_loss(learner, inputs, outputs), self._propagation_loss(learner, inputs)]
        slots = self._mapped.pop(0)
        if slots:
            losses.append(self._consistency_loss(learner, slots))
        return torch.stack([loss for loss in losses if loss is not None]).sum()

    def _propagation_loss(self, learner: Learner, inputs: Batch) -> torch.Tensor:
        if self._rows_in_step is None:
            raise RuntimeError("rehearse() was not called yet")
        learnt = _layers(learner, inputs, learner.model.backbone)
        kept = _layers(learner, inputs, self.sibling)
        mask, counted = _mask(inputs, kept[0]), is_row(inputs, kept[0])
        experience = torch.full(mask.shape[:1], learner.number, device=mask.device)
        total = torch.zeros_like(counted)
        for own, other, scores in zip(learnt, kept, self._scores(kept, mask, experience), strict=True):
            distances, openness = propagation_errors(own, other, mask, scores)
            errors = self.propagation_weight * distances + self.openness_weight * openness
            total = total + errors[: len(counted)]
        return (total * counted).sum() / self._rows_in_step

    def _consistency_loss(self, learner: Learner, slots: Sequence[int]) -> torch.Tensor:
        found, mask = self._scores_of(learner, slots)
        total = torch.zeros_like(mask[:, 0])
        for layer, scores in enumerate(found):
            channels = [self.buffer[slot].features[f"channels_{layer}"] for slot in slots]
            positions = [self.buffer[slot].features[f"positions_{layer}"] for slot in slots]
            padded = nn.utils.rnn.pad_sequence([*positions, mask.new_zeros(mask.shape[1]).cpu()], batch_first=True)
            stored = torch.stack(channels).to(mask), padded[:-1].to(mask)
            total = total + consistency_errors(scores, stored, mask)
        return self.consistency_weight * total.sum() / self._num_mapped

    def _scores(self, kept: Sequence[torch.Tensor], mask: torch.Tensor, experience: torch.Tensor) -> Scores:
        return [attention(layer, mask, experience) for attention, layer in zip(self._attention, kept, strict=True)]

    def _scores_of(self, learner: Learner, slots: Sequence[int]) -> tuple[Scores, torch.Tensor]:
        """The attention of rows of the buffer, each as in its experience, and their mask."""
        batch = self.collate(learner, slots)
        kept = [layer[: len(slots)] for layer in _layers(learner, batch, self.sibling)]
        mask = _mask(batch, kept[0])[: len(slots)]
        experience = torch.tensor([self.buffer[slot].experience for slot in slots], device=mask.device)
        return self._scores(kept, mask, experience), mask

    @torch.no_grad()
    def end(self, learner: Learner) -> None:
        super().end(learner)
        new = [number for number, slot in enumerate(self.buffer.slots) if slot.experience == learner.number]
        size = int(learner.args.per_device_eval_batch_size)
        for first in range(0, len(new), size):
            slots = new[first : first + size]
            found, mask = self._scores_of(learner, slots)
            lengths = mask.sum(dim=1).int().tolist()
            for layer, (channels, positions) in enumerate(found):
                for slot, own, places, length in zip(slots, channels.cpu(), positions.cpu(), lengths, strict=True):
                    self.buffer[slot].features[f"channels_{layer}"] = own.clone()
                    self.buffer[slot].features[f"positions_{layer}"] = places[:length].clone()

    def save(self, folder: Path) -> None:
        super().save(folder)
        save_model(self._attention, str(folder / _FILE))

    def load(self, folder: Path, learner: Learner) -> None:
        super().load(folder, learner)
        load_model(self._attention, str(folder / _FILE), device=str(learner.args.device))


def _layers(learner: Learner, batch: Batch, backbone: Backbone) -> list[torch.Tensor]:
    """The output of each layer of a backbone, in full precision."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: batch[name] for name in names if name in batch}
    with learner.accelerator.autocast():
        # not through the hooks, which on several processes leave out what no head reads
        layers = cast(dict[str, Any], backbone.forward(layers=True, **inputs))["text_layers"]
    return [layer.float() if layer.dtype in (torch.float16, torch.bfloat16) else layer for layer in layers[1:]]


def _mask(batch: Batch, like: torch.Tensor) -> torch.Tensor:
    mask = batch.get("attention_mask")
    return like.new_ones(like.shape[:2]) if mask is None else mask.to(like)
