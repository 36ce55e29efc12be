"""Learning to Prompt: a frozen backbone, and prompts that each row chooses by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from ...errors import InputError
from ...heads.base import full_precision
from ...modeling import MultiTaskModel
from ..learner import Batch, Learner
from .base import Aspect, Strategy
from .option_checks import check_seed, check_weight
from .prompt_pool import PromptPool, prompted
from .step_rows import is_row, rows_of_step

__all__ = ["LearningToPrompt"]

_FILE = "prompts.safetensors"


@dataclass(kw_only=True)
class LearningToPrompt(Strategy):
    """
    Learning to Prompt (L2P): the backbone stays as it was pretrained; a pool of prompts is trained, and the heads.

    Each row takes the prompts whose keys are nearest to it, in training as for an answer, so that nobody has to say
    which experience a row belongs to.

    The query, for the paper the [CLS] feature of a vision transformer, is the average token of the frozen backbone.
    Prompts stand before the first token, and heads read the tokens behind them; the paper reads the average of what
    comes out at the prompts, but what an encoder of text was pretrained to say stands in its tokens. Where a head
    grows only the classes of the experience compete in its loss, as in the authors' code. The optional penalty on
    prompts that are often chosen (eq. 4) is left out. Prompts begin as the embeddings of tokens drawn at random
    (Lester et al. 2021, section 3.2).

    The pool is the strategy's and no part of the model: the head of a model that is saved alone answers with it only
    within [`answering`].

    Source: Wang et al. (2022), "Learning to Prompt for Continual Learning", https://arxiv.org/abs/2112.08654, eq. 3
    and 5, and for the defaults section 5.

    Args:
        pool_size (`int`, *optional*, defaults to 10): Prompts in the pool.
        prompt_length (`int`, *optional*, defaults to 5): Length of a prompt (tokens).
        top_k (`int`, *optional*, defaults to 5): Prompts that a row takes.
        pull_weight (`float`, *optional*, defaults to 0.5):
            Weight of the distance of the keys that were chosen from the query, a sum over a row's keys and a mean over
            the rows of the step.
        seed (`int`, *optional*, defaults to 0): Seed of the first keys and prompts.

    Raises:
        InputError: If an option has a value that it cannot have.

    Example:
        >>> LearningToPrompt(pool_size=20).options()["pool_size"]
        20
    """

    name: ClassVar[str] = "l2p"
    decides: ClassVar[frozenset[Aspect]] = frozenset({"rows", "row_losses", "answers"})
    beside_model: ClassVar[bool] = True

    pool_size: int = 10
    prompt_length: int = 5
    top_k: int = 5
    pull_weight: float = 0.5
    seed: int = 0
    _pool: PromptPool | None = field(default=None, init=False, repr=False, compare=False)
    _distances: list[torch.Tensor] = field(default_factory=list, init=False, repr=False, compare=False)
    # those of the micro-batch of the experience's own rows
    _pulled: torch.Tensor | None = field(default=None, init=False, repr=False, compare=False)
    _rows: torch.Tensor | None = field(default=None, init=False, repr=False, compare=False)
    _training: ExitStack = field(default_factory=ExitStack, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("pool_size", "prompt_length", "top_k"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"{name}: expected a whole number above 0, found {value!r}.")
        if self.top_k > self.pool_size:
            raise InputError(f"top_k: expected no more than the {self.pool_size} of the pool, found {self.top_k}.")
        check_seed(self.seed)
        check_weight("pull_weight", self.pull_weight)

    @property
    def pool(self) -> PromptPool:
        """The prompts; there once the model is known."""
        if self._pool is None:
            raise RuntimeError("start() was not called yet")
        return self._pool

    def start(self, learner: Learner) -> None:
        self._check_backbone(learner)
        embeddings: nn.Embedding = learner.model.get_input_embeddings()  # type: ignore[assignment]
        generator = torch.Generator().manual_seed(self.seed)
        keys = torch.randn(self.pool_size, learner.model.backbone.hidden_size, generator=generator)
        tokens = torch.randint(embeddings.num_embeddings, (self.pool_size, self.prompt_length), generator=generator)
        prompts = embeddings.weight.detach()[tokens.to(embeddings.weight.device)]
        self._pool = PromptPool(keys, prompts.float().cpu(), self.top_k).to(learner.args.device)

    def _check_backbone(self, learner: Learner) -> None:
        backbone, longest = learner.model.backbone, 0
        info, where = backbone.info, f"strategy {self.name!r}: backbone {backbone.info.model_type!r}"
        if info.output_names != ("encoded_text",) or backbone.model.config.is_encoder_decoder:
            raise InputError(f"{where}: expected one of text alone, without a decoder.")
        for splits in learner.prepared.splits.values():
            longest = max([longest, *(max(rows["length"], default=0) for rows in splits.values())])
        limit, prompts = backbone.max_positions, self.top_k * self.prompt_length
        if limit is not None and longest + prompts > limit:
            raise InputError(
                f"{where}: {prompts} tokens of prompts do not fit before the {longest} of the longest row, for it has "
                f"{limit} positions: set max_length to {limit - prompts} at most."
            )

    def begin(self, learner: Learner) -> None:
        self._training.close()
        self._training.enter_context(_frozen_backbone(learner.model))
        self._training.enter_context(self.answering(learner))

    def modules(self) -> Sequence[nn.Module]:
        return () if self._pool is None else (self._pool,)

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        self._rows = rows_of_step(learner, batches)
        return []

    def observe(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> None:
        # other strategies may ask the model again before the loss of this micro-batch is made
        self._pulled = self._distances[0]

    def row_losses(
        self, learner: Learner, head: str, inputs: Batch, outputs: Mapping[str, torch.Tensor], *, rehearsed: bool
    ) -> torch.Tensor | None:
        new = len(learner.experience.labels.get(head, ()))
        if rehearsed or new == 0:
            return None
        config = learner.model.named_heads[head].config
        rows, labels = outputs.get(f"{head}_rows"), inputs["labels"][head]
        logits = full_precision(outputs[f"{head}_logits"])
        return own_class_losses(logits, labels if rows is None else labels[rows], new, config.label_smoothing)  # type: ignore[attr-defined]

    def added_loss(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        pulled, self._pulled = self._pulled, None
        if pulled is None or self._rows is None:
            return None
        counted = is_row(inputs, pulled)
        return self.pull_weight * (pulled[: len(counted)] * counted).sum() / self._rows

    def end(self, learner: Learner) -> None:
        self._training.close()

    def answering(self, learner: Learner) -> AbstractContextManager[None]:
        return prompted(learner.model.backbone, self.pool, self._distances)

    def memory(self) -> int:
        return sum(each.nbytes for each in self.pool.parameters())

    def save(self, folder: Path) -> None:
        save_model(self.pool, str(folder / _FILE))

    def load(self, folder: Path, learner: Learner) -> None:
        load_model(self.pool, str(folder / _FILE), device=str(learner.args.device))


def own_class_losses(logits: torch.Tensor, labels: torch.Tensor, new: int, label_smoothing: float) -> torch.Tensor:
    """
    Cross-entropy among the classes of one experience, which are a head's last ones.

    Args:
        logits (`torch.Tensor` of shape `(rows, num_labels)`): Logits over all classes so far.
        labels (`torch.Tensor` of shape `(rows,)`): The classes, each one of the last.
        new (`int`): Number of classes of the experience.
        label_smoothing (`float`): Szegedy et al. (2016), section 7 (fraction).

    Returns:
        `torch.Tensor` of shape `(rows,)`.

    Example:
        >>> own_class_losses(torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([2]), 2, 0.0)
        tensor([0.6931])
    """
    first = logits.shape[1] - new
    return nn.functional.cross_entropy(
        logits[:, first:], labels - first, reduction="none", label_smoothing=label_smoothing
    )


@contextmanager
def _frozen_backbone(model: MultiTaskModel) -> Iterator[None]:
    """While it lasts nothing of the backbone is trained."""
    trained = [each for each in model.backbone.parameters() if each.requires_grad]
    model.freeze_backbone()
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
