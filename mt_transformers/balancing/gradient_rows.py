"""The gradients of several tasks in the same parameters: collected, compared and made one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

__all__ = ["GradientRows"]


class GradientRows:
    """
    A row for each task with its gradient in shared parameters, kept as the tensors that the backward passes made.

    Gradients of embeddings may be sparse; then only the entries that some task has reached are kept and compared.

    Args:
        parameters (`Sequence[nn.Parameter]`): The shared parameters.

    Example:
        >>> weight = nn.Parameter(torch.zeros(2))
        >>> rows = GradientRows([weight])
        >>> for task, direction in enumerate([[1.0, 0.0], [1.0, 2.0]]):
        ...     (weight @ torch.tensor(direction)).backward()
        ...     rows.take(task)
        >>> rows.gramian([0, 1])
        tensor([[1., 1.],
                [1., 5.]], dtype=torch.float64)
        >>> rows.combine({0: 0.5, 1: 1.0})
        >>> weight.grad
        tensor([1.5000, 2.0000])
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        # for each parameter task -> gradient
        self._grads: list[dict[int, torch.Tensor]] = [{} for _ in self.parameters]
        # place of a parameter -> rows of it that the gradients stand for, where they are not whole
        self._indices: dict[int, torch.Tensor] = {}

    @property
    def tasks(self) -> list[int]:
        """The tasks that have a gradient, in ascending order."""
        return sorted({task for grads in self._grads for task in grads})

    def take(self, task: int) -> None:
        """
        Take the parameters' gradients away and add them to a task's row.

        Args:
            task (`int`): The task that they are of.
        """
        found = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        self.add(task, found)

    def add(self, task: int, gradients: Sequence[torch.Tensor | None]) -> None:
        """
        Add gradients to a task's row.

        Args:
            task (`int`): The task that they are of.
            gradients (`Sequence[torch.Tensor | None]`): One for each parameter, None where it has none.
        """
        for grad, grads in zip(gradients, self._grads, strict=True):
            if grad is not None:
                grads[task] = grads[task] + grad if task in grads else grad

    def gradients(self, task: int) -> list[torch.Tensor | None]:
        """
        Give back a task's row, where no gradient is sparse.

        Args:
            task (`int`): The task.

        Returns:
            `list[torch.Tensor | None]`: One for each parameter, None where it has none.
        """
        return [grads.get(task) for grads in self._grads]

    def average(self, reduce: Callable[[torch.Tensor], torch.Tensor], num_processes: int, num_tasks: int) -> None:
        """
        Average the rows over several processes; a process without a gradient counts as zeros.

        Args:
            reduce (`Callable`): Sums a tensor over all processes.
            num_processes (`int`): Their number.
            num_tasks (`int`): Number of all tasks.
        """
        device = self.parameters[0].device
        has = torch.zeros(num_tasks, len(self.parameters), dtype=torch.int32, device=device)
        for place, grads in enumerate(self._grads):
            for task in grads:
                has[task, place] = 1
        for task, reached in enumerate(reduce(has).tolist()):
            places = [place for place, count in enumerate(reached) if count]
            for dtype in {self.parameters[place].dtype: None for place in places}:
                alike = [place for place in places if self.parameters[place].dtype == dtype]
                self._average(task, alike, reduce, num_processes)

    def _average(
        self, task: int, places: Sequence[int], reduce: Callable[[torch.Tensor], torch.Tensor], num_processes: int
    ) -> None:
        parameters = [self.parameters[place] for place in places]
        found = [self._grads[place].get(task) for place in places]
        grads = [torch.zeros_like(p) if g is None else g.to_dense() for p, g in zip(parameters, found, strict=True)]
        # one exchange for all parameters: (elements,)
        flat = reduce(torch.cat([grad.reshape(-1) for grad in grads])) / num_processes
        parts = flat.split([each.numel() for each in parameters])
        for place, parameter, part in zip(places, parameters, parts, strict=True):
            self._grads[place][task] = part.view_as(parameter)

    def gramian(self, tasks: Sequence[int]) -> torch.Tensor:
        """
        Compute the inner products of the rows.

        Args:
            tasks (`Sequence[int]`): The tasks.

        Returns:
            `torch.Tensor` of shape `(len(tasks), len(tasks))`: float64, on the CPU.
        """
        total = torch.zeros(len(tasks), len(tasks), dtype=torch.float64, device=self.parameters[0].device)
        for place in range(len(self.parameters)):
            self._compact(place)
            grads = self._grads[place]
            own = [number for number, task in enumerate(tasks) if task in grads]
            if own:
                rows = torch.stack([grads[tasks[number]].reshape(-1) for number in own])
                # float64 stays what it is, bfloat16 would lose what differs
                rows = rows if rows.dtype == torch.float64 else rows.float()
                chosen = torch.tensor(own, device=total.device)
                total[chosen[:, None], chosen] += rows @ rows.T
        return total.cpu()

    def compare(self) -> tuple[torch.Tensor, list[int]]:
        """
        Compute the inner products of the rows that are not zero; a row with a NaN is none of these.

        Returns:
            `tuple[torch.Tensor, list[int]]`: The Gramian, as [`gramian`] has it, and the tasks of its rows.
        """
        tasks = self.tasks
        gramian = self.gramian(tasks)
        kept = (gramian.diagonal() != 0).nonzero().flatten()
        return gramian[kept[:, None], kept], [tasks[place] for place in kept.tolist()]

    def combine(self, weights: Mapping[int, float]) -> None:
        """
        Make the weighted sum of the rows the gradient of the parameters; the rows are gone then.

        Args:
            weights (`Mapping[int, float]`): For each task its weight; those without one do not count.
        """
        for place, parameter in enumerate(self.parameters):
            grads = self._grads[place]
            total: torch.Tensor | None = None
            for task in sorted(grads.keys() & weights.keys()):
                grad = grads.pop(task)
                total = grad * weights[task] if total is None else total.add_(grad, alpha=weights[task])
            parameter.grad = None if total is None else self._whole(place, total)
        self._clear()

    def combine_by(self, method: Callable[[torch.Tensor], torch.Tensor], tasks: Sequence[int]) -> None:
        """
        Make one gradient of the rows, parameter by parameter; the rows are gone then.

        Args:
            method (`Callable`): Of a matrix `(len(tasks), size)` it makes a vector `(size,)`.
            tasks (`Sequence[int]`): The tasks, in the order of the matrix's rows.
        """
        for place, parameter in enumerate(self.parameters):
            self._compact(place)
            grads = self._grads[place]
            if grads:
                like = next(iter(grads.values()))
                rows = [grads[task] if task in grads else torch.zeros_like(like) for task in tasks]
                combined = method(torch.stack([each.reshape(-1) for each in rows]))
                parameter.grad = self._whole(place, combined.view_as(like))
                grads.clear()
        self._clear()

    def _compact(self, place: int) -> None:
        """Bring sparse gradients of a parameter to the same rows of it, those that any of them has reached."""
        grads = self._grads[place]
        if not any(each.is_sparse for each in grads.values()):
            return
        if not all(each.is_sparse for each in grads.values()):
            for task, grad in grads.items():
                grads[task] = grad.to_dense()
            return
        found = {task: (grad._indices()[0], grad._values()) for task, grad in grads.items()}
        indices = torch.cat([own for own, _ in found.values()]).unique()
        for task, (own, values) in found.items():
            small = values.new_zeros(len(indices), *values.shape[1:])
            grads[task] = small.index_add_(0, torch.searchsorted(indices, own), values)
        self._indices[place] = indices

    def _whole(self, place: int, grad: torch.Tensor) -> torch.Tensor:
        if place in self._indices:
            return torch.zeros_like(self.parameters[place]).index_copy_(0, self._indices[place], grad)
        # sparse rows that were not compared
        return grad.to_dense()

    def _clear(self) -> None:
        for grads in self._grads:
            grads.clear()
        self._indices.clear()
