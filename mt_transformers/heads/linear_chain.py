"""A linear-chain conditional random field: labels of words that know the label before them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from ..errors import InputError
from .base import full_precision
from .transitions import best_sequence

__all__ = ["LinearChainCrf"]


class LinearChainCrf(nn.Module):
    """
    Score label sequences by logits and by learned scores of one label after another.

    The score of a sequence is the sum of its logits and of `transition_scores` along it, from the start to the end;
    its probability is the softmax over all sequences of that length. The sequence runs over the places where a mask is
    True, in their order, whatever lies between them.

    Scores are the weights times `scale`. An optimizer such as Adam moves each weight by about the learning rate a
    step, and a rate that suits a pretrained backbone would leave scores, which have to match logits, near 0: after 180
    steps on WNUT17 at 3e-4 the largest was 0.03 without a scale. The factor stands for a learning rate of their own.

    Constraints act on [`best_sequence`] alone. Training goes over all sequences, forbidden ones among them: a gold
    sequence that breaks the constraints, as data often holds them, keeps a finite loss and a proper probability.

    Source: Lafferty, McCallum and Pereira (2001), section 3; the scores of Lample et al. (2016),
    https://aclanthology.org/N16-1030, section 2.2.

    Args:
        num_labels (`int`): Number of labels.
        allowed (`torch.Tensor` of shape `(num_labels + 1, num_labels + 1)`, *optional*):
            See [`allowed_transitions`]. Without it every label may follow every other. It is no weight and stays out
            of the state dict: the names of the labels say it.

    Raises:
        InputError: If `allowed` has another shape.

    Example:
        >>> crf = LinearChainCrf(2)
        >>> logits = torch.tensor([[[3.0, 0.0], [0.0, 0.0], [1.0, 0.0]]])
        >>> mask = torch.tensor([[True, False, True]])
        >>> crf.negative_log_likelihood(logits, torch.tensor([[0, -100, 1]]), mask).detach()
        tensor([1.3618])
        >>> crf.best_sequence(logits, mask)
        tensor([[0, 0, 0]])
    """

    scale: ClassVar[float] = 32.0
    """Scores for each unit of weight; a power of two, so that scaling rounds nothing."""

    def __init__(self, num_labels: int, allowed: torch.Tensor | None = None) -> None:
        super().__init__()
        expected = (num_labels + 1, num_labels + 1)
        if allowed is not None and allowed.shape != expected:
            raise InputError(
                f"allowed: expected a table of shape {expected} for {num_labels} labels and the start or end, "
                f"found shape {tuple(allowed.shape)}."
            )
        # laid out as `allowed`: the last row is the start, the last column the end
        self.transition_weights = nn.Parameter(torch.empty(expected))
        self.reset_parameters()
        # a dict hides the tables from `state_dict` and keeps one for each device
        self._allowed = {} if allowed is None else {allowed.device: allowed}

    def reset_parameters(self) -> None:
        """Set all transition scores to 0, where the labels of a row do not depend on one another."""
        nn.init.zeros_(self.transition_weights)

    @property
    def transition_scores(self) -> torch.Tensor:
        """Scores of the column's label after the row's, shape `(num_labels + 1, num_labels + 1)`."""
        return self.transition_weights * self.scale

    def negative_log_likelihood(self, logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """
        Compute what each row's labels cost: minus the log of their probability.

        Args:
            logits (`torch.Tensor` of shape `(rows, sequence_length, num_labels)`): Scores of the labels.
            labels (`torch.Tensor` of shape `(rows, sequence_length)`): Ids of the labels; any number outside the mask.
            mask (`torch.Tensor` of shape `(rows, sequence_length)`): True at the places that have a label.

        Returns:
            `torch.Tensor` of shape `(rows,)`, in at least float32: The sum over a row's sequence; 0 if it is empty.
        """
        # the places of the mask to the front, in their order
        order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
        mask = mask.gather(1, order)
        labels = labels.gather(1, order).masked_fill(~mask, 0)
        logits = full_precision(logits).gather(1, order.unsqueeze(2).expand_as(logits))
        # what stands outside the mask, be it NaN, has no part in gradients either
        logits = logits.masked_fill(~mask.unsqueeze(2), 0)
        losses = self._log_partition(logits, mask) - self._score(logits, labels, mask)
        return losses.masked_fill(~mask[:, 0], 0)

    @torch.no_grad()
    def best_sequence(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """
        Find the most probable sequence of each row among those that the constraints allow.

        Where they allow none, it is that with the fewest violations.

        Args:
            logits (`torch.Tensor` of shape `(rows, sequence_length, num_labels)`): Scores of the labels.
            mask (`torch.Tensor` of shape `(rows, sequence_length)`): True at the places that get a label.

        Returns:
            `torch.Tensor` of shape `(rows, sequence_length)`: Ids of the labels; 0 where `mask` is False.
        """
        return best_sequence(logits, mask, self.transition_scores, self._allowed_on(logits.device))

    def _log_partition(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Log of the sum over all sequences, by the forward algorithm; the mask has no holes."""
        scores = self.transition_scores
        # (rows, num_labels): log of the sum over the sequences that end in each label
        ending = scores[-1, :-1] + logits[:, 0]
        for step in range(1, logits.shape[1]):
            longer = torch.logsumexp(ending.unsqueeze(2) + scores[:-1, :-1], dim=1) + logits[:, step]
            ending = torch.where(mask[:, step, None], longer, ending)
        return torch.logsumexp(ending + scores[:-1, -1], dim=1)

    def _score(self, logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Sum of the logits and transition scores along the labels; the mask has no holes."""
        scores = self.transition_scores
        before = torch.cat([torch.full_like(labels[:, :1], len(scores) - 1), labels[:, :-1]], dim=1)
        steps = logits.gather(2, labels.unsqueeze(2)).squeeze(2) + scores[before, labels]
        last = labels.gather(1, (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)).squeeze(1)
        return steps.masked_fill(~mask, 0).sum(dim=1) + scores[last, -1]

    def _allowed_on(self, device: torch.device) -> torch.Tensor | None:
        """The table of the constraints, brought to each device once."""
        if self._allowed and device not in self._allowed:
            self._allowed[device] = next(iter(self._allowed.values())).to(device)
        return self._allowed.get(device)
