"""One multi-task model from fine-tuned models of transformers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from ...backbone import describe_backbone
from ...configuration import check_name
from ...data import Processing, load_processing
from ...errors import InputError, check_known
from ...modeling import MultiTaskModel
from .backbones import describe_differences
from .loading import load_native, read_config
from .parts import NativeParts, build_model, take_apart

__all__ = ["from_native"]


def from_native(
    folders: Mapping[str, str | PreTrainedModel],
    backbone: str | None = None,
    *,
    heads: Mapping[str, Mapping[str, Any]] | None = None,
) -> MultiTaskModel:
    """
    Build a multi-task model from models that were fine-tuned one by one.

    What a model was fine-tuned for, its config says (`architectures`). Its last layers become a head, with label
    names, pooling and hidden layers. On its own backbone, that head is run against the original in float64 on a small
    batch that is made up: it has the original's logits, or is refused. Of several backbones one is kept. Heads that
    come with another one then read features that they were not trained on: a warning names them, and says how far
    their backbones are from the one that is kept. They are a start for training, no finished heads.

    A classifier with one output that does not say its `problem_type` becomes a `regression` head, as transformers
    trains it; `heads={"reward": {"head_type": "preference"}}` says otherwise. Scores of multiple choice keep their
    differences.

    Args:
        folders (`Mapping[str, str]`):
            For each head's name a folder, a name on the hub, or a model in memory, which is not changed.
        backbone (`str`, *optional*): The head whose backbone is kept; may be left out if there is only one.
        heads (`Mapping[str, Mapping[str, Any]]`, *optional*): For heads further fields of their configs.

    Returns:
        [`MultiTaskModel`]: In evaluation mode.

    Raises:
        InputError: If a model cannot be loaded, has no counterpart among the heads, or is of another family or size
            than the backbone.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9, num_labels=3)
        >>> model = from_native({"emotion": BertForSequenceClassification(bert)})
        >>> model.config.heads["emotion"]["pooling"], model.config.heads["emotion"]["hidden_sizes"]
        ('cls', [8])
    """
    kept_name = _check_names(folders, backbone, heads or {})
    configs = {name: _read(name, read_config, source) for name, source in folders.items()}
    for name, config in configs.items():
        _check_family(name, config, kept_name, configs[kept_name])
    kept = _take(kept_name, folders[kept_name], (heads or {}).get(kept_name, {}))
    parts, differences = {kept_name: kept}, {}
    for name, source in folders.items():
        if name == kept_name:
            continue
        found = _take(name, source, (heads or {}).get(name, {}))
        # so that of all backbones no more than two are in memory
        parts[name] = replace(found, backbone_weights={})
        vocabularies = (_vocabulary(each) for each in (folders[kept_name], source))
        difference = describe_differences(kept.backbone_weights, found.backbone_weights, *vocabularies)
        if difference is not None:
            differences[name] = difference
    copies = {name: value.detach().clone() for name, value in kept.backbone_weights.items()}
    model = build_model(replace(kept, backbone_weights=copies), {name: parts[name] for name in folders})
    if differences:
        listed = "; ".join(f"{name!r} (differs in {difference})" for name, difference in differences.items())
        warnings.warn(
            f"All heads read the backbone of {kept_name!r} now. These were trained on another one, so that they read "
            f"features that they do not know: {listed}.",
            stacklevel=2,
        )
    return model


def _check_names(folders: Mapping[str, Any], backbone: str | None, heads: Mapping[str, Any]) -> str:
    """The head whose backbone is kept."""
    if not folders:
        raise InputError("from_native: expected a model for one head at least, found none.")
    for name in folders:
        check_name(name, "head")
    if backbone is None and len(folders) > 1:
        raise InputError(f"from_native: expected the head whose backbone is kept, one of {', '.join(folders)}.")
    check_known([] if backbone is None else [backbone], folders, "from_native: backbone", "head")
    check_known(heads, folders, "from_native: heads", "head")
    return next(iter(folders)) if backbone is None else backbone


def _take(name: str, source: str | PreTrainedModel, fields: Mapping[str, Any]) -> NativeParts:
    native = source if isinstance(source, PreTrainedModel) else _read(name, load_native, source)
    parts: NativeParts = _read(name, lambda model: take_apart(name, model, fields), native)
    return parts


def _read(name: str, function: Any, source: Any) -> Any:
    """What a function makes of a model; what it cannot use is reported with the head's name."""
    try:
        return function(source)
    except InputError as error:
        raise InputError(f"head {name!r}: {str(error).removeprefix(f'head {name!r}: ')}") from error


def _check_family(name: str, config: PreTrainedConfig, kept_name: str, kept_config: PreTrainedConfig) -> None:
    """Refuse a head that cannot stand on the backbone that is kept."""
    sizes, kept_sizes = (dict(describe_backbone(each).hidden_sizes) for each in (config, kept_config))
    if (config.model_type, sizes) != (kept_config.model_type, kept_sizes):
        raise InputError(
            f"head {name!r}: its backbone is a {config.model_type!r} that gives {sizes}, that of {kept_name!r} is a "
            f"{kept_config.model_type!r} that gives {kept_sizes}."
        )


def _vocabulary(source: str | PreTrainedModel) -> Mapping[str, int] | None:
    """Tokens and ids of the tokenizer that lies beside a model, if any does."""
    if isinstance(source, PreTrainedModel):
        return None
    try:
        tokenizer = Processing.of(load_processing(source, ["encoded_text"])).tokenizer
    except InputError:
        return None
    vocabulary: Mapping[str, int] | None = None if tokenizer is None else tokenizer.get_vocab()
    return vocabulary
