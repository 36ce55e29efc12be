"""Whether a backbone can read what the tasks give."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import InputError
from ..heads import BackboneInfo
from .inputs import MEDIA, text_inputs
from .mixture import Mixture
from .task import Task

__all__ = ["check_media"]


def check_media(tasks: Mapping[str, Task], backbone: BackboneInfo, mixture: Mixture) -> None:
    """
    Refuse tasks whose inputs the backbone does not read, or that cannot share a batch.

    Args:
        tasks (`Mapping[str, Task]`): The tasks.
        backbone ([`BackboneInfo`]): What is known of the backbone.
        mixture ([`Mixture`]): How rows are batched.

    Raises:
        InputError: If there is such a task, naming it.
    """
    kinds: dict[frozenset[str], str] = {}
    for task_name, task in tasks.items():
        needed = _outputs(task.inputs)
        for name, output in needed.items():
            if output not in backbone.output_names:
                raise InputError(
                    f"task {task_name!r} reads {name}, but a {backbone.model_type!r} backbone gives "
                    f"{', '.join(backbone.output_names)}."
                )
        if backbone.reads_together and len(needed) < len(backbone.output_names):
            raise InputError(
                f"task {task_name!r} reads {', '.join(task.inputs)}, "
                f"but a {backbone.model_type!r} backbone reads text and images together."
            )
        kinds.setdefault(frozenset(needed.values()), task_name)
    if len(kinds) > 1 and mixture.batches == "mixed":
        first, second = list(kinds.values())[:2]
        raise InputError(
            f"tasks {first!r} and {second!r} read different kinds of input: they need homogeneous batches "
            "(mixture: {batches: homogeneous})."
        )


def _outputs(inputs: Collection[str]) -> dict[str, str]:
    """For each input, text counting as one, the backbone's output that it becomes."""
    outputs = {name: output for name, output in MEDIA.items() if name in inputs}
    return outputs | ({"text": "encoded_text"} if text_inputs(inputs) else {})
