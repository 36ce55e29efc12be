"""The nearest class mean of frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ...errors import InputError
from ...heads import SequenceClassificationHead, SequenceClassificationHeadConfig
from ..learner import Learner
from .closed_form import ClosedForm, Sums, add_sums, write_classifier

__all__ = ["NearestClassMean", "nearest_mean_classifier"]


@dataclass(kw_only=True)
class NearestClassMean(ClosedForm):
    """
    Nearest class mean (NCM): a row is of the class whose mean is nearest to its features. The backbone stays as it
    was pretrained, and one pass over the rows of each experience gives what all rows at once would give.

    The head's classifier becomes the one that answers so: a linear layer. Of earlier experiences the sums of features
    and the numbers of rows of each class are kept, no rows.

    Source: Mensink et al. (2013), "Distance-Based Image Classification: Generalizing to New Classes at Near-Zero
    Cost", https://doi.org/10.1109/TPAMI.2013.83, section 3, with the plain Euclidean distance; Rebuffi et al. (2017),
    "iCaRL: Incremental Classifier and Representation Learning", https://arxiv.org/abs/1611.07725, section 2, for
    features and means of length 1.

    Args:
        normalize (`bool`, *optional*, defaults to `True`):
            Whether features, and then the means of each class, are brought to length 1, as iCaRL does.

    Raises:
        InputError: If it is neither true nor false.

    Example:
        >>> NearestClassMean(normalize=False).options()
        {'name': 'ncm', 'normalize': False}
    """

    name: ClassVar[str] = "ncm"

    normalize: bool = True

    def __post_init__(self) -> None:
        if type(self.normalize) is not bool:
            raise InputError(f"normalize: expected true or false, found {self.normalize!r}.")

    def check_head(self, where: str, config: SequenceClassificationHeadConfig) -> None:
        if config.hidden_sizes:
            raise InputError(
                f"{where}: expected no hidden_sizes, for layers that are not trained tell classes no better, found "
                f"{config.hidden_sizes}."
            )

    def sum_up(self, features: torch.Tensor, classes: torch.Tensor) -> Sums:
        return super().sum_up(_unit(features) if self.normalize else features, classes)

    def learn_head(self, name: str, head: SequenceClassificationHead, learner: Learner) -> None:
        sums = self.sums_of(name)
        add_sums(sums, self.sum_rows(name, learner, learner.rows_of(learner.number)))
        weight, bias = nearest_mean_classifier(sums["features"], sums["rows"], self.normalize)
        write_classifier(head.classifier, weight, bias, sums["rows"])


def nearest_mean_classifier(
    sums: torch.Tensor, rows: torch.Tensor, normalize: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Compute the linear classifier whose best class is that of the nearest mean.

    `|x - m|^2 = |x|^2 - (2 m x - |m|^2)`, and for means of length 1 it is the cosine that counts.

    Args:
        sums (`torch.Tensor` of shape `(num_labels, size)`): Sum of the features of each class.
        rows (`torch.Tensor` of shape `(num_labels,)`): Rows of each class.
        normalize (`bool`): Whether means are brought to length 1.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Weight of shape `(num_labels, size)` and bias of shape `(num_labels,)`.

    Example:
        >>> sums, rows = torch.tensor([[6.0, 8.0], [0.0, 1.0]]), torch.tensor([2, 1])
        >>> nearest_mean_classifier(sums, rows, normalize=False)
        (tensor([[6., 8.],
                [0., 2.]]), tensor([-25.,  -1.]))
        >>> nearest_mean_classifier(sums, rows, normalize=True)[0]
        tensor([[0.6000, 0.8000],
                [0.0000, 1.0000]])
    """
    means = sums / rows.clamp(min=1).unsqueeze(1)
    if normalize:
        return _unit(means), torch.zeros_like(means[:, 0])
    return 2 * means, -means.square().sum(dim=1)


def _unit(values: torch.Tensor) -> torch.Tensor:
    """Each row with length 1."""
    return torch.nn.functional.normalize(values, dim=1)
