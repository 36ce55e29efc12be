"""What a model card is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...data import Mixture, MixturePlan, Task
from ...heads import HeadConfig
from ...modeling import MultiTaskModel
from ..arguments import MultiTaskTrainingArguments
from .scores import Evaluation

__all__ = ["CardContents", "CardSection"]


@dataclass(frozen=True, kw_only=True)
class CardSection:
    """
    What a model card says besides, of a training that is more than one run of a trainer.

    Args:
        title (`str`): The heading, Markdown of one line.
        text (`str`): Markdown.
    """

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class CardContents:
    """
    All that a model card says, as the trainer knows it.

    Args:
        model ([`MultiTaskModel`]): The model.
        tasks (`Mapping[str, Task]`): The tasks.
        rows (`Mapping[str, Mapping[str, int]]`): For each task the rows of its splits; streams are not among them.
        mixture ([`Mixture`]): How the tasks' rows were interleaved.
        args ([`MultiTaskTrainingArguments`]): The training arguments.
        model_name (`str`): What the model is called.
        repo_id (`str`): Where it is loaded from.
        plan ([`MixturePlan`], *optional*): Rows and shares of an epoch; None for streams and without training.
        evaluations (`Sequence[Evaluation]`, *optional*): The results, one for each split.
        step (`int`, *optional*, defaults to 0): Optimizer steps that led to the weights; 0 without training.
        epochs (`float`, *optional*, defaults to 0.0): Epochs that the run has seen.
        base_model (`str`, *optional*): Name of the backbone on the hub.
        language (`str` or `list[str]`, *optional*): Codes of the languages.
        license (`str`, *optional*): Its identifier on the hub.
        tags (`Sequence[str]`, *optional*): Further tags.
        datasets (`Mapping[str, str]`, *optional*): For tasks whose dataset is on the hub its name there.
        dataset_tags (`Sequence[str]`, *optional*): Names of further datasets on the hub.
        sections (`Sequence[CardSection]`, *optional*): What the card says besides, behind the results.
    """

    model: MultiTaskModel
    tasks: Mapping[str, Task]
    rows: Mapping[str, Mapping[str, int]]
    mixture: Mixture
    args: MultiTaskTrainingArguments
    model_name: str
    repo_id: str
    plan: MixturePlan | None = None
    evaluations: Sequence[Evaluation] = ()
    step: int = 0
    epochs: float = 0.0
    base_model: str | None = None
    language: str | list[str] | None = None
    license: str | None = None
    tags: Sequence[str] = ()
    datasets: Mapping[str, str] = field(default_factory=dict)
    dataset_tags: Sequence[str] = ()
    sections: Sequence[CardSection] = ()

    @property
    def heads(self) -> dict[str, HeadConfig]:
        """The heads' configs."""
        return {name: head.config for name, head in self.model.named_heads.items()}
