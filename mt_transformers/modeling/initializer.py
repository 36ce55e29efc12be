"""Initial values of new parameters, chosen by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from ..errors import InputError, check_known

__all__ = ["InitializerRule", "begin_anew", "initialize"]

InitializerRule = Sequence[Any]
"""A pattern, and `{"type": name of a torch.nn.init function, further arguments}` or `"prevent"`."""

_TYPES = tuple(name[:-1] for name in dir(nn.init) if name.endswith("_") and not name.startswith("_"))


def initialize(parameters: Iterable[tuple[str, nn.Parameter]], rules: Sequence[InitializerRule]) -> None:
    """
    Give parameters initial values by the first rule whose pattern is found in their name.

    A parameter whose name a `"prevent"` rule is found in keeps what it has, whatever else fits.

    Source: AllenNLP's `InitializerApplicator`.

    Args:
        parameters (`Iterable[tuple[str, nn.Parameter]]`): Names and parameters that are newly made.
        rules (`Sequence[InitializerRule]`): Pairs of a regular expression and what to do.

    Raises:
        InputError: If a rule is malformed, its pattern fits no parameter, or its function cannot fill one.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> initialize(layer.named_parameters(), [["weight", {"type": "constant", "val": 3.0}], ["bias", "prevent"]])
        >>> layer.weight.tolist()
        [[3.0, 3.0]]
    """
    named = list(parameters)
    prevented = [_compile(rule) for rule in rules if _action(rule) == "prevent"]
    applied = [(_compile(rule), _action(rule)) for rule in rules if _action(rule) != "prevent"]
    used: set[str] = set()
    for name, parameter in named:
        fitting = [(pattern, action) for pattern, action in applied if pattern.search(name)]
        stopping = [pattern for pattern in prevented if pattern.search(name)]
        used |= {pattern.pattern for pattern, _ in fitting} | {pattern.pattern for pattern in stopping}
        if fitting and not stopping:
            _fill(name, parameter, fitting[0][1])
    for pattern in [*prevented, *(pattern for pattern, _ in applied)]:
        if pattern.pattern not in used:
            names = ", ".join(name for name, _ in named[:10])
            raise InputError(
                f"initializer: the pattern {pattern.pattern!r} fits no new parameter. There are: {names}."
            )


def _action(rule: InitializerRule) -> Any:
    if isinstance(rule, str) or not isinstance(rule, Sequence) or len(rule) != 2:
        raise InputError(f"initializer: expected pairs of a pattern and what to do, found {rule!r}.")
    action = rule[1]
    if action != "prevent" and (not isinstance(action, Mapping) or "type" not in action):
        raise InputError(f"initializer: expected {{'type': ...}} or 'prevent' for {rule[0]!r}, found {action!r}.")
    if action != "prevent":
        check_known([action["type"]], _TYPES, "initializer", "type")
    return action


def _compile(rule: InitializerRule) -> re.Pattern[str]:
    try:
        return re.compile(rule[0])
    except (re.error, TypeError) as error:
        raise InputError(f"initializer: {rule[0]!r} is no regular expression: {error}.") from error


def _fill(name: str, parameter: nn.Parameter, action: Mapping[str, Any]) -> None:
    arguments = {key: value for key, value in action.items() if key != "type"}
    try:
        getattr(nn.init, f"{action['type']}_")(parameter, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"initializer: {action['type']} cannot fill {name} {tuple(parameter.shape)}: {error}"
        ) from error


_KNOWN = (
    nn.Linear,
    nn.Embedding,
    nn.LSTM,
    nn.MultiheadAttention,
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
)
"""Modules that `PreTrainedModel._init_weights` (transformers 5.23) gives values to; others it leaves as memory was."""


def begin_anew(module: nn.Module) -> bool:
    """
    Let a module that transformers does not know give its parameters their first values.

    Args:
        module (`nn.Module`): Any module.

    Returns:
        `bool`: Whether it did: it is none that transformers knows, has a `reset_parameters`, and lacks a parameter
        that was loaded.
    """
    reset: Any = getattr(module, "reset_parameters", None)
    own = list(module.parameters(recurse=False))
    loaded = all(getattr(parameter, "_is_hf_initialized", False) for parameter in own)
    if isinstance(module, _KNOWN) or reset is None or loaded:
        return False
    reset()
    return True
