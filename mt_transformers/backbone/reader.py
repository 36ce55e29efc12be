"""What all ways of running a model have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import InputError
from ..heads.backbone_info import BackboneInfo
from .kind import Arguments
from .padding import rotate

__all__ = ["Layers", "Reader"]

Layers = bool | Literal["full"]
"""Whether hidden states are read: True for those of one shape, as heads read them, `full` for each in its own."""


class Reader(ABC):
    """
    Runs one kind of model and names what comes out.

    It keeps no weights and no model, so that the model may be wrapped, moved or compiled.

    Args:
        model (`PreTrainedModel`): The model that will be run.
        info ([`BackboneInfo`]): Its outputs.
    """

    def __init__(self, model: PreTrainedModel, info: BackboneInfo) -> None:
        self.info = info
        self.arguments = Arguments.of(type(model).forward)

    @abstractmethod
    def read(
        self, model: PreTrainedModel, inputs: Mapping[str, Any], layers: Layers, outputs: Collection[str] | None
    ) -> dict[str, Any]:
        """Run the model; arguments and result are those of [`Backbone.forward`], and [`Layers`]."""

    def unread(self, model: PreTrainedModel, read: Collection[str]) -> Iterable[nn.Parameter]:
        """The parameters that none of the outputs in `read` depends on: by default those of a pooler."""
        yield from parameters_of(model, "pooler")

    def run(
        self, function: Callable[..., Any], arguments: Arguments, inputs: Mapping[str, Any], layers: Layers = False
    ) -> Any:
        """
        Call a model, or a part of one.

        Args:
            function (`Callable`): The model, or the part.
            arguments ([`Arguments`]): What it takes.
            inputs (`Mapping[str, Any]`): What it is called with. A mask that it does not take is left out.
            layers (`bool` or `"full"`, *optional*, defaults to `False`): Whether hidden states are asked for.

        Returns:
            `ModelOutput`: What it answered.

        Raises:
            InputError: If there is no `last_hidden_state` in it.
        """
        given = {name: value for name, value in inputs.items() if name != "attention_mask" or arguments.take(name)}
        given.pop("use_cache", None)
        if arguments.take("return_dict"):
            given["return_dict"] = True
        if layers:
            given["output_hidden_states"] = True
        # a key-value cache would be built, kept for the backward pass, and never read
        if "use_cache" in arguments.names:
            given["use_cache"] = False
        output = function(**given)
        if not isinstance(getattr(output, "last_hidden_state", None), torch.Tensor):
            raise InputError(f"backbone {self.info.model_type!r}: it answers without a last_hidden_state.")
        return output

    def wanted(self, name: str, layers: Layers) -> Layers:
        """Whether layers of an output are read: those of one shape only if the config says that they have one."""
        return layers if layers == "full" else layers and name in self.info.num_layers

    def layers(
        self,
        name: str,
        hidden_states: Any,
        like: torch.Tensor,
        steps: torch.Tensor | None = None,
        layers: Layers = True,
    ) -> dict[str, tuple[torch.Tensor, ...]]:
        """
        The layers of an output under their name, such as `text_layers`.

        Args:
            name (`str`): Name of the output.
            hidden_states (`tuple[torch.Tensor, ...]`): What the model gave.
            like (`torch.Tensor`): The output itself, whose shape layers have that heads read.
            steps (`torch.Tensor` of shape `(rows,)`, *optional*): By how many steps each row was rotated.
            layers (`bool` or `"full"`, *optional*, defaults to `True`): See [`Layers`].

        Returns:
            `dict[str, tuple[torch.Tensor, ...]]`: Empty if the layers of this output cannot be read.

        Raises:
            InputError: If their number or their shape is not what the config says, or there are none.
        """
        expected = self.info.num_layers.get(name)
        if not self.wanted(name, layers):
            return {}
        found = tuple(hidden_states or ())
        if expected is not None and len(found) != expected:
            raise InputError(
                f"layers of {name}: expected {expected}, found {len(found)}. Layers cannot be read while some are "
                "dropped at random: set layerdrop to 0 in the backbone's config."
            )
        if not found or not all(isinstance(layer, torch.Tensor) for layer in found):
            raise InputError(f"backbone {self.info.model_type!r}: it answers without hidden states of {name}.")
        if layers != "full" and any(layer.shape != like.shape for layer in found):
            raise InputError(f"layers of {name}: those of a {self.info.model_type!r} backbone differ in shape.")
        if steps is not None:
            # a layer that has another length has no position for each token to move back
            found = tuple(rotate(each, -steps) if each.shape[1] == like.shape[1] else each for each in found)
        return {f"{name.removeprefix('encoded_')}_layers": found}


def parameters_of(model: nn.Module, path: str) -> Iterable[nn.Parameter]:
    """The parameters under a dotted path, if there is a module (or a parameter) there."""
    found: Any = model
    for name in path.split("."):
        found = getattr(found, name, None)
    if isinstance(found, nn.Parameter):
        return [found]
    return found.parameters() if isinstance(found, nn.Module) else []


def token_ids(inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The ids as they were given, if they were."""
    return {} if inputs.get("input_ids") is None else {"token_ids": inputs["input_ids"]}


def in_dtype_of(model: PreTrainedModel, inputs: Mapping[str, Any], name: str) -> dict[str, Any]:
    """
    The inputs with the named one in the model's dtype, as processors give pixels and samples in float32.

    Raises:
        InputError: If the named input is missing.
    """
    if inputs.get(name) is None:
        raise InputError(
            f"backbone {model.config.model_type!r}: expected {name}, found {', '.join(inputs) or 'none'}."
        )
    value = inputs[name]
    return {**inputs, name: value.to(model.dtype) if value.is_floating_point() else value}
