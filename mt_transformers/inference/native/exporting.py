"""One head of a multi-task model as a plain model of transformers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ...errors import InputError, check_known
from ...heads import Head, HeadConfig, PooledHeadConfig, RegressionHead
from ...modeling import MultiTaskModel
from .comparison import (
    TOLERANCE,
    double_config,
    double_weights,
    from_weights,
    largest_difference,
)
from .layouts import NativeLayout, OfConfig, find_layouts
from .parts import NativeParts, build_model
from .placement import Placement, build_skeleton, describe_difference, own_weights, place
from .tasks import NativeTask, find_task

__all__ = ["to_native"]


def to_native(model: MultiTaskModel, head: str) -> PreTrainedModel:
    """
    Turn one head into a plain model of transformers that gives the same logits.

    The result is what `AutoModelForSequenceClassification`, `...TokenClassification`, `...QuestionAnswering`,
    `...MultipleChoice`, `...MaskedLM`, `...CausalLM`, `...ImageClassification` or `...AudioClassification` builds for
    the backbone, with copies of the weights: once saved, transformers alone loads it. A regression head's mean and
    standard deviation become part of its last layer.

    Native models differ in what they put between backbone and logits, so not every head has a counterpart. BERT's
    classifier, for one, is `pooling: cls` with `hidden_sizes: [hidden_size]` and `hidden_act: tanh`. Before anything
    is handed out, both models are run in float64 on a small batch that is made up, with padding on the right, and
    their logits compared; that takes 8 bytes a weight on the CPU. Native decoders and encoder-decoders find a row's
    last token by the padding's or the end's id, and count positions from the first column: they want padding on the
    right, T5 and BART rows that end with the token of the end.

    Args:
        model ([`MultiTaskModel`]): The model; it is not changed.
        head (`str`): Name of the head.

    Returns:
        `PreTrainedModel`: In evaluation mode, with the dtype and on the device of the model.

    Raises:
        InputError: If there is no such head, no native model with its logits (saying why), or the model has adapters.

    Example:
        >>> from transformers import BertConfig
        >>> from mt_transformers import MultiTaskConfig
        >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
        >>> heads = {"ner": {"head_type": "token_classification", "id2label": ["O", "B-PER", "I-PER"]}}
        >>> native = to_native(MultiTaskModel(MultiTaskConfig(backbone_config=bert, heads=heads)), "ner")
        >>> type(native).__name__, native.config.id2label
        ('BertForTokenClassification', {0: 'O', 1: 'B-PER', 2: 'I-PER'})
    """
    check_known([head], model.named_heads, "to_native", "head")
    if hasattr(model, "peft_config"):
        raise InputError("to_native: the model has adapters, merge them into the backbone (merge_adapters) before.")
    try:
        return _Export(model, head).run()
    except InputError as error:
        raise InputError(f"head {head!r}: {error}") from error


class _Export:
    """The steps from a head to a native model."""

    def __init__(self, model: MultiTaskModel, name: str) -> None:
        self.model, self.name = model, name
        self.head: Head = model.named_heads[name]
        self.task: NativeTask = find_task(self.head.config)
        self.roles = self.task.heads[self.head.config.head_type]
        self.backbone = model.backbone.model
        self.model_class = self.task.model_class(self.backbone.config)
        if self.model_class is None:
            family = self.backbone.config.model_type
            raise InputError(f"transformers has no {self.task.auto_class} for a {family!r} backbone.")
        self.label = self.model_class.__name__

    def run(self) -> PreTrainedModel:
        """Try the layouts that the family may have, and give the first native model whose logits are the head's."""
        obstacles: list[str] = []
        differences: dict[float, str] = {}
        sharp: MultiTaskModel | None = None
        for layout in self._layouts():
            config = self._config(layout)
            skeleton = build_skeleton(self.model_class, config)
            placement = place(skeleton, layout, self.roles, self.backbone.state_dict())
            if placement is None:
                continue
            obstacle = self._obstacle(layout, config, placement, skeleton)
            if obstacle is not None:
                obstacles.append(obstacle)
                continue
            sharp = self._sharp() if sharp is None else sharp
            native = self._fill(config, placement, skeleton, sharp)
            difference = largest_difference(native, sharp)
            if difference <= TOLERANCE:
                return self._finish(native, placement)
            differences[difference] = describe_difference(self.label, placement, difference)
        if differences:
            raise InputError(differences[min(differences)])
        built = f"{self.label} is built in no way that is known of {self.task.auto_class}."
        raise InputError(obstacles[0] if obstacles else built)

    def _layouts(self) -> list[NativeLayout]:
        """The layouts that the family may have, those that read what the head reads if there are any."""
        layouts = find_layouts(self.task.name, self.backbone.config)
        return [layout for layout in layouts if self._input(layout) == self.head.config.input] or layouts

    def _input(self, layout: NativeLayout) -> str:
        """The backbone's output that a native model reads."""
        return layout.input or self.model.backbone.output_names[0]

    def _sharp(self) -> MultiTaskModel:
        """The head alone on its backbone, in float64 on the CPU."""
        parts = NativeParts(
            self.head.config.to_dict(),
            double_weights(self.head.state_dict()),
            double_config(self.backbone.config),
            double_weights(own_weights(self.backbone)),
        )
        return build_model(parts, {self.name: parts})

    def _config(self, layout: NativeLayout) -> PreTrainedConfig:
        """The backbone's config, with what the head and the layout add to it."""
        config, head = copy.deepcopy(self.backbone.config), self.head.config
        values: dict[str, Any] = dict(layout.settings)
        for name, expected in layout.fields.items():
            if isinstance(expected, OfConfig) and expected.own and hasattr(head, name):
                values[expected.name] = getattr(head, name)
        if layout.dense_size is not None:
            sizes = getattr(head, "hidden_sizes", None) or [self.head.hidden_size]
            values[layout.dense_size] = sizes[0]
        if self.task.name.endswith("language_modeling"):
            values["tie_word_embeddings"] = True
        if hasattr(config, "classifier_dropout") and hasattr(head, "classifier_dropout"):
            values["classifier_dropout"] = head.classifier_dropout
        values |= _labels(head)
        for name, value in values.items():
            setattr(config, name, value)
        config.architectures = [self.label]
        return config

    def _obstacle(
        self, layout: NativeLayout, config: PreTrainedConfig, placement: Placement, skeleton: PreTrainedModel
    ) -> str | None:
        """Why the head has no place in this layout, as far as it can be seen without running it."""
        head = self.head.config
        if head.input != self._input(layout):
            return f"{self.label} reads {self._input(layout)}, the head {head.input}."
        if layout.needs is not None and getattr(config, layout.needs, None) is None:
            return f"{self.label} finds a row's last token by {layout.needs}, which the backbone's config lacks."
        native_says, head_says = _describe(layout, config, head)
        if native_says != head_says:
            return f"{self.label} has {', '.join(native_says)}; the head has {', '.join(head_says)}."
        shapes = {name: tuple(value.shape) for name, value in own_weights(skeleton).items()}
        for native_name, name in placement.head.items():
            own = self.head.state_dict().get(name)
            if own is not None and tuple(own.shape) != _head_shape(native_name, shapes[native_name], layout):
                return f"its {name} has the shape {tuple(own.shape)}, that of {self.label} {shapes[native_name]}."
        for name, value in self.head.state_dict().items():
            if name not in placement.head.values() and bool(value.any()):
                hint = " Train it with classifier_bias: false." if hasattr(head, "classifier_bias") else ""
                return f"its {name} is not zero, and {self.label} has no place for it.{hint}"
        return self._rounded()

    def _rounded(self) -> str | None:
        """Targets' statistics cannot become part of weights of 16 bits."""
        head = self.head.config
        standardized = any(value != 0 for value in getattr(head, "mean", None) or ()) or any(
            value != 1 for value in getattr(head, "std", None) or ()
        )
        if standardized and self.backbone.dtype in (torch.float16, torch.bfloat16):
            return f"its mean and std would be rounded to {self.backbone.dtype}; call model.float() first."
        return None

    def _fill(
        self,
        config: PreTrainedConfig,
        placement: Placement,
        skeleton: PreTrainedModel,
        sharp: MultiTaskModel,
    ) -> PreTrainedModel:
        """A native model with copies of the weights, in float64 on the CPU."""
        shapes = {name: value.shape for name, value in own_weights(skeleton).items()}
        backbone, head = sharp.backbone.model.state_dict(), _weights(sharp.named_heads[self.name])
        weights = {name: backbone[source] for name, source in placement.backbone.items()}
        for name, source in placement.head.items():
            weights[name] = _widen(head[source], shapes[name]) if source in head else _neutral(shapes[name])
        return from_weights(self.model_class, double_config(config), weights)

    def _finish(self, native: Any, placement: Placement) -> PreTrainedModel:
        """The native model with the dtypes of the weights that it took over, on their device."""
        backbone, head = self.backbone.state_dict(), self.head.state_dict()
        for name, value in native.state_dict(keep_vars=True).items():
            if not value.is_floating_point():
                continue
            source = backbone.get(placement.backbone.get(name, ""), head.get(placement.head.get(name, "")))
            value.data = value.data.to(self.model.dtype if source is None else source.dtype)
        attention = self.backbone.config._attn_implementation
        if native.config._attn_implementation != attention:
            native.set_attn_implementation(attention)
        native.config.dtype = self.model.dtype
        finished: PreTrainedModel = native.to(self.model.device)
        return finished


def _labels(head: HeadConfig) -> dict[str, Any]:
    """Fields of a native config that say what its logits mean."""
    if head.head_type == "question_answering":
        return {"num_labels": 2}
    if head.head_type == "regression":
        return {"num_labels": head.num_targets, "problem_type": "regression"}  # type: ignore[attr-defined]
    if head.head_type == "preference":
        return {"num_labels": 1, "problem_type": "regression"}
    names = getattr(head, "id2label", None)
    if names is None:
        return {}
    labels = {"id2label": dict(names), "label2id": {name: index for index, name in names.items()}}
    problem_type = getattr(head, "problem_type", None)
    return labels if problem_type is None else {**labels, "problem_type": problem_type}


def _describe(layout: NativeLayout, config: PreTrainedConfig, head: HeadConfig) -> tuple[list[str], list[str]]:
    """What the native model and the head have, in the words of a head's config; equal if they fit."""
    native_says, head_says = [], []
    layers, passes = None, False
    if isinstance(head, PooledHeadConfig):
        layers = len(getattr(head, "hidden_sizes", ()))
        # a layer without an activation can be the identity
        passes = layers == 0 and layout.fields.get("hidden_act") == ("linear",)
        native_says.append(_hidden_layers(0 if passes else int("dense" in layout.modules)))
        head_says.append(_hidden_layers(layers))
    for name in layout.fields:
        values, own = layout.values(name, config), getattr(head, name, None)
        if name == "hidden_act" and layers == 0:
            native_says += [] if passes else [f"{name} {values[0]}"]
            continue
        native_says.append(f"{name} {own if own in values else values[0]}")
        head_says.append(f"{name} {own}")
    return native_says, head_says


def _hidden_layers(number: int) -> str:
    return "no hidden layer" if number == 0 else f"{number} hidden layer{'s' * (number > 1)}"


def _weights(head: Head) -> Mapping[str, torch.Tensor]:
    """The head's weights, those of a last layer that works in standardised units as they are in the targets' own."""
    weights = dict(head.state_dict())
    if isinstance(head, RegressionHead):
        like = weights["regressor.bias"]
        std = head.constant(head.config.std or [1.0] * len(like), like)
        mean = head.constant(head.config.mean or [0.0] * len(like), like)
        weights["regressor.weight"] = weights["regressor.weight"] * std.unsqueeze(1)
        weights["regressor.bias"] = weights["regressor.bias"] * std + mean
    return weights


def _head_shape(name: str, shape: tuple[int, ...], layout: NativeLayout) -> tuple[int, ...]:
    """Shape that a head's weight has for this one of a native model."""
    wide = layout.vectors > 1 and name.startswith(layout.modules["output"]) and len(shape) == 2
    return (shape[0], shape[1] // layout.vectors) if wide else shape


def _widen(weight: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A copy of a weight, with columns of zeros behind where the native layer reads more."""
    widened = weight.new_zeros(shape)
    widened[tuple(slice(size) for size in weight.shape)] = weight
    return widened


def _neutral(shape: torch.Size) -> torch.Tensor:
    """The weight of a layer that changes nothing: the identity, or a bias of 0."""
    dtype = torch.float64
    return torch.eye(*shape, dtype=dtype) if len(shape) == 2 else torch.zeros(shape, dtype=dtype)
