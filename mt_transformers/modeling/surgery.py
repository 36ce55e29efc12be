"""Heads that come and go, and what of a model is trained."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..backbone import Backbone
from ..configuration import MultiTaskConfig
from ..errors import InputError, check_known
from ..heads import GrowingHead, Head, HeadConfig, get_head_class, head_types, outputs_read
from ..heads.growing import new_rows
from ..routing import ArgumentRouter
from .backbone_difference import find_difference
from .head_building import build_head
from .initializer import InitializerRule, initialize
from .running_metrics import RunningMetrics

__all__ = ["SurgeryMixin"]

_BY_COMPONENT = ("loss_weights", "arg_name_mapping", "allowed_arguments")
"""Fields of the config that have an entry for a head; `tasks` lists heads, and `heads` are they themselves."""


class SurgeryMixin(PreTrainedModel):
    """
    Adds to a model with a `backbone` and `named_heads` what changes its heads and says which parts are trained.

    Every other head keeps its weights, its place and its logits, to the bit, and what fails changes nothing. Parts of
    the backbone that only a removed head has read are frozen, and those that a new head is the first to read are
    trained again, unless all of the backbone is frozen. A trainer knows the heads that there were when it was made.
    """

    backbone: Backbone
    config: MultiTaskConfig
    heads: nn.ModuleDict
    _router: ArgumentRouter
    _running_metrics: RunningMetrics | None

    @property
    def named_heads(self) -> Mapping[str, Head]:
        """The heads by name."""
        raise NotImplementedError

    def add_head(
        self,
        name: str,
        config: HeadConfig | dict[str, Any],
        *,
        task: str | None = None,
        loss_weight: float | None = None,
        initializer: Sequence[InitializerRule] = (),
    ) -> None:
        """
        Add a head with new weights, behind those that there are.

        Args:
            name (`str`): Its name.
            config ([`HeadConfig`] or `dict`): Its fields, `head_type` among them.
            task (`str`, *optional*):
                A task whose rows go to the head, see [`MultiTaskConfig`]; one that is not there yet is added. By
                default no task that the config names leads to it.
            loss_weight (`float`, *optional*): Weight of its loss, 1 by default.
            initializer (`Sequence[InitializerRule]`, *optional*):
                Initial values of its parameters, see [`initialize`].

        Raises:
            InputError: If the name is taken, the config is not complete or does not fit the backbone.

        Example:
            >>> from transformers import BertConfig
            >>> from mt_transformers import MultiTaskConfig, MultiTaskModel
            >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
            >>> heads = {"intent": {"head_type": "sequence_classification", "num_labels": 3}}
            >>> model = MultiTaskModel(MultiTaskConfig(backbone_config=bert, heads=heads))
            >>> model.add_head("topic", {"head_type": "sequence_classification", "num_labels": 2})
            >>> list(model.named_heads), model(input_ids=torch.tensor([[1, 2]]))["topic_logits"].shape
            (['intent', 'topic'], torch.Size([1, 2]))
        """
        _check_free([name], self.named_heads, "add_head")
        changed = self._changed_config(
            heads={**self._head_fields(), name: config},
            loss_weights=self.config.loss_weights | ({} if loss_weight is None else {name: loss_weight}),
            tasks=self.config.tasks if task is None else _join_tasks(_tasks(self.config), {task: [name]}),
        )
        head = self._new_head(changed, name)
        initialize(((f"heads.{name}.{each}", parameter) for each, parameter in head.named_parameters()), initializer)
        self._change(changed, {**self.named_heads, name: self._like_backbone(head)})

    def extend_head(self, name: str, labels: Sequence[str], *, initializer: Sequence[InitializerRule] = ()) -> None:
        """
        Add classes to a head, behind those that it has.

        Every weight that there is stays as it is, to the bit; logits of the other classes change by no more than the
        rounding of a larger matrix product. The last layer gets rows with the first weights that a new head has, as
        parameters that an optimizer made before does not know. Metrics that are kept of the head begin anew.

        Args:
            name (`str`): The head: one that classifies rows, images, recordings, or words without a `crf`.
            labels (`Sequence[str]`): Names of the new classes, in the order of the ids that they get.
            initializer (`Sequence[InitializerRule]`, *optional*):
                Initial values of the new rows of `heads.<name>.classifier`, see [`initialize`].

        Raises:
            InputError: If there is no such head, it is of a type that cannot grow, a label is there already, or what
                the config says of the classes (`class_weights`, the entities' `label_scheme`) does not carry over.

        Example:
            >>> from transformers import BertConfig
            >>> from mt_transformers import MultiTaskConfig, MultiTaskModel
            >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
            >>> heads = {"intent": {"head_type": "sequence_classification", "id2label": ["music", "food"]}}
            >>> model = MultiTaskModel(MultiTaskConfig(backbone_config=bert, heads=heads))
            >>> model.extend_head("intent", ["travel"])
            >>> model.config.heads["intent"]["label2id"], model(input_ids=torch.tensor([[1]]))["intent_logits"].shape
            ({'music': 0, 'food': 1, 'travel': 2}, torch.Size([1, 3]))
        """
        check_known([name], self.named_heads, "extend_head", "head")
        head = _check_growing(name, self.named_heads[name])
        try:
            grown, rows = head.config.grown(labels), new_rows(head.classifier, len(labels))
        except InputError as error:
            raise InputError(f"extend_head: head {name!r}: {error}") from error
        changed = self._changed_config(heads={**self._head_fields(), name: grown}, tasks=self.config.tasks)
        with torch.no_grad():
            rows.apply(self._initialize_weights)
        named = {f"heads.{name}.classifier.{each}": parameter for each, parameter in rows.named_parameters()}
        initialize(named.items(), initializer)
        self._change(changed, dict(self.named_heads))
        head.grow(grown, rows)
        if self._running_metrics is not None:
            self._running_metrics.forget(name)

    def remove_head(self, name: str) -> None:
        """
        Remove a head, and what the config says of it; a task that has led to it alone goes with it.

        Args:
            name (`str`): The head.

        Raises:
            InputError: If there is no such head.
        """
        check_known([name], self.named_heads, "remove_head", "head")
        tasks = {task: [head for head in heads if head != name] for task, heads in self.config.tasks.items()}
        fields = {field: getattr(self.config, field) for field in _BY_COMPONENT} | {"heads": self._head_fields()}
        changed = self._changed_config(
            tasks={task: heads for task, heads in tasks.items() if heads or not self.config.tasks[task]},
            **{field: {key: value for key, value in each.items() if key != name} for field, each in fields.items()},
        )
        self._change(changed, {key: head for key, head in self.named_heads.items() if key != name})
        if self._running_metrics is not None:
            self._running_metrics.forget(name)

    def merge_heads(self, other: SurgeryMixin, heads: Collection[str] | None = None) -> None:
        """
        Copy heads of another model, with their weights and with what its config says of them.

        A `UserWarning` says where and how much the backbones' weights differ: what has been trained with one backbone
        knows nothing of the features of another.

        Args:
            other ([`MultiTaskModel`]): A model over a backbone of the same kind; it is not changed.
            heads (`Collection[str]`, *optional*): The heads, all of them by default.

        Raises:
            InputError: If a name is taken or there is no such head, or the backbone does not give what a head reads.
        """
        if not isinstance(other, SurgeryMixin):
            raise InputError(f"merge_heads: expected a MultiTaskModel, found {type(other).__name__}.")
        check_known(heads or (), other.named_heads, "merge_heads", "head")
        names = [name for name in other.named_heads if heads is None or name in heads]
        _check_free(names, self.named_heads, "merge_heads")
        kinds = [model.backbone.info.model_type for model in (self, other)]
        if kinds[0] != kinds[1]:
            raise InputError(f"merge_heads: expected a {kinds[0]!r} backbone, as this model's, found {kinds[1]!r}.")
        changed = self._merged_config(other, names)
        new = {name: self._like_backbone(self._new_head(changed, name)) for name in names}
        for name, head in new.items():
            _copy_weights(name, other.named_heads[name], head)
        read = {each for head in new.values() for each in outputs_read(head.config)}
        difference = find_difference(self.backbone, other.backbone, read)
        if difference is not None:
            warnings.warn(
                f"merge_heads: the backbones differ, most of all {difference}. The heads {', '.join(names)} now read "
                "features that they were not trained on.",
                stacklevel=2,
            )
        self._change(changed, {**self.named_heads, **new})

    def freeze_head(self, name: str) -> None:
        """
        Stop training a head. That it is frozen is no part of what is saved.

        Its answers still change where the backbone is trained; its loss trains the backbone as ever.

        Args:
            name (`str`): The head.

        Raises:
            InputError: If there is no such head.
        """
        check_known([name], self.named_heads, "freeze_head", "head")
        self.heads[name].requires_grad_(False)

    def unfreeze_head(self, name: str) -> None:
        """
        Train a head again.

        Args:
            name (`str`): The head.

        Raises:
            InputError: If there is no such head.
        """
        check_known([name], self.named_heads, "unfreeze_head", "head")
        self.heads[name].requires_grad_(True)

    def freeze_backbone(self) -> None:
        """Stop training the backbone, what heads to come read of it included. It is no part of what is saved."""
        self.backbone.freeze()

    def unfreeze_backbone(self) -> None:
        """Train all of the backbone that some head reads."""
        self.backbone.unfreeze(self._outputs_read())

    def _outputs_read(self) -> set[str]:
        return {name for head in self.named_heads.values() for name in outputs_read(head.config)}

    def _freeze_unread(self) -> None:
        """Parts of the backbone that no head reads get no gradient, and are none that training has to wait for."""
        self.backbone.freeze_unread(self._outputs_read())

    def _head_fields(self) -> dict[str, Any]:
        """The fields of all heads, with what training has told them."""
        return {name: head.config.to_dict() for name, head in self.named_heads.items()}

    def _changed_config(self, **fields: Any) -> MultiTaskConfig:
        """This model's config with other fields, checked as every config is; the model's own stays as it is."""
        if hasattr(self, "peft_config"):
            raise InputError("heads belong to the model's adapters: merge these (merge_adapters) before heads change.")
        kept = {name: getattr(self.config, name) for name in (*_BY_COMPONENT, "loss_reduction")}
        # a config says something to the one that is within it
        return MultiTaskConfig(backbone_config=copy.deepcopy(self.config.backbone_config), **{**kept, **fields})

    def _merged_config(self, other: SurgeryMixin, names: Collection[str]) -> MultiTaskConfig:
        fields: dict[str, Any] = {"heads": {**self._head_fields(), **_only(other._head_fields(), names)}}
        for field in _BY_COMPONENT:
            fields[field] = {**getattr(self.config, field), **_only(getattr(other.config, field), names)}
        if self.config.tasks or other.config.tasks:
            tasks = {task: [head for head in heads if head in names] for task, heads in _tasks(other.config).items()}
            fields["tasks"] = _join_tasks(_tasks(self.config), tasks)
        return self._changed_config(**fields)

    @torch.no_grad()
    def _new_head(self, config: MultiTaskConfig, name: str) -> Head:
        """A head with the first weights that one gets where a model is built."""
        head = build_head(config, name, self.backbone.info)
        head.apply(self._initialize_weights)
        return head

    def _like_backbone(self, head: Head) -> Head:
        model = self.backbone.model
        return head.to(dtype=model.dtype, device=model.device).train(self.training)

    def _change(self, config: MultiTaskConfig, heads: Mapping[str, Head]) -> None:
        """Take over a config and heads that were checked."""
        self._router = ArgumentRouter(config, {"backbone": self.backbone, **heads})
        for field in ("heads", "tasks", *_BY_COMPONENT):
            setattr(self.config, field, getattr(config, field))
        for name in [name for name in self.heads if name not in heads]:
            del self.heads[name]
        for name, head in heads.items():
            self.heads[name] = head
        self._freeze_unread()


def _check_free(names: Collection[str], taken: Collection[str], where: str) -> None:
    for name in names:
        if name in taken:
            raise InputError(f"{where}: there is a head {name!r} already, remove it first or choose another name.")


def _check_growing(name: str, head: Head) -> GrowingHead:
    if isinstance(head, GrowingHead):
        return head
    growing = ", ".join(each for each in head_types() if issubclass(get_head_class(each), GrowingHead))
    raise InputError(
        f"extend_head: head {name!r} is of type {head.config.head_type!r}, to which no classes can be added. "
        f"Types that can grow: {growing}."
    )


def _only(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def _tasks(config: MultiTaskConfig) -> dict[str, list[str]]:
    """The tasks; where a config names none each head is one."""
    return config.tasks or {name: [name] for name in config.heads}


def _join_tasks(tasks: Mapping[str, list[str]], added: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The tasks with further heads, new ones behind the others, so that the indices of these still hold."""
    joined = {task: list(heads) for task, heads in tasks.items()}
    for task, heads in added.items():
        if heads:
            joined[task] = [*joined.get(task, []), *heads]
    return joined


def _copy_weights(name: str, source: Head, target: Head) -> None:
    given, own = source.state_dict(), target.state_dict()
    for key in given.keys() | own.keys():
        shapes = [tuple(each[key].shape) if key in each else None for each in (own, given)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"merge_heads: head {name!r} on this backbone has {key} of shape {shapes[0]}, found {shapes[1]}."
            )
    target.load_state_dict(given)
