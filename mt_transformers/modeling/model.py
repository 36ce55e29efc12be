"""The multi-task model: one backbone, named heads, one pass."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModel

from ..backbone import Backbone, FlatParametersMixin, Returnt
from ..configuration import LossReduction, MultiTaskConfig
from ..errors import InputError
from ..heads import HeadConfig, outputs_read
from ..routing import ArgumentRouter, Rows, route_rows, take_rows
from .adapted_heads import AdaptedHeadsMixin
from .embeddings import EmbeddingsMixin
from .head_building import build_head
from .head_dict import HeadDict
from .initializer import InitializerRule, begin_anew, initialize
from .labels import labels_by_head
from .loading import check_loaded
from .loss import LossMixin
from .output import MultiTaskModelOutput
from .reporting import ReportingMixin
from .returning import FeatureCapture, Returned, ReturningMixin, check_returned, choose_returned
from .sequences import per_sequence, read_features
from .surgery import SurgeryMixin
from .task_adapters import TaskAdaptersMixin

__all__ = ["MultiTaskModel"]


class MultiTaskModel(
    AdaptedHeadsMixin,
    TaskAdaptersMixin,
    ReportingMixin,
    SurgeryMixin,
    EmbeddingsMixin,
    LossMixin,
    ReturningMixin,
    FlatParametersMixin,
):
    """
    Any `AutoModel` behind named heads: a row is encoded once, and every head that has a label for it trains on it.

    Args:
        config ([`MultiTaskConfig`]): The config; weights are random.
        backbone ([`Backbone`], *optional*): A backbone to use instead of one built from the config.

    Raises:
        InputError: If a head's config is not complete, or routing names no parameter.

    Example:
        >>> from transformers import BertConfig
        >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
        >>> heads = {"intent": {"head_type": "sequence_classification", "num_labels": 3}}
        >>> model = MultiTaskModel(MultiTaskConfig(backbone_config=bert, heads=heads))
        >>> model(input_ids=torch.tensor([[1, 2], [3, 4]]))["intent_logits"].shape
        torch.Size([2, 3])
    """

    config_class = MultiTaskConfig
    config: MultiTaskConfig
    default_predictor = "multitask"
    accepts_loss_kwargs = True
    # whether the backbone supports an attention implementation is for the backbone to say, when it is built
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: MultiTaskConfig, backbone: Backbone | None = None) -> None:
        super().__init__(config)
        if config.backbone_config is None:
            raise InputError("config: no backbone_config, so that there is no backbone to build.")
        self.backbone = Backbone.from_config(config.backbone_config) if backbone is None else backbone
        self.heads = HeadDict({name: build_head(config, name, self.backbone.info) for name in config.heads or {}})
        self.main_input_name = self.backbone.model.main_input_name
        self.supports_gradient_checkpointing = self.backbone.model.supports_gradient_checkpointing
        self.add_model_tags(["multi-task", "mt_transformers"])
        self._freeze_unread()
        self._router = ArgumentRouter(config, {"backbone": self.backbone, **dict(self.heads.items())})
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if not begin_anew(module):
            super()._init_weights(module)

    @classmethod
    def from_backbone(
        cls,
        pretrained_model_name_or_path: str,
        heads: Mapping[str, HeadConfig | dict[str, Any]],
        *,
        loss_weights: Mapping[str, float] | None = None,
        loss_reduction: LossReduction = "per_head",
        tasks: Mapping[str, Sequence[str]] | None = None,
        arg_name_mapping: Mapping[str, Mapping[str, str]] | None = None,
        allowed_arguments: Mapping[str, Collection[str]] | None = None,
        initializer: Sequence[InitializerRule] = (),
        **kwargs: Any,
    ) -> MultiTaskModel:
        """
        Put new heads on a pretrained backbone: the one place that loads a backbone's weights.

        Args:
            pretrained_model_name_or_path (`str`): Name on the hub, or a folder.
            heads (`Mapping[str, HeadConfig | dict]`): For each head's name its config.
            loss_weights, loss_reduction, tasks, arg_name_mapping, allowed_arguments: See [`MultiTaskConfig`].
            initializer (`Sequence[InitializerRule]`, *optional*):
                Initial values of the new heads' parameters, see [`initialize`]; the backbone keeps its weights.
            kwargs (`Any`): For `AutoModel.from_pretrained`.

        Returns:
            [`MultiTaskModel`]: In evaluation mode, as `from_pretrained` gives it.

        Raises:
            InputError: If there is no such backbone, or the config is not valid.
        """
        backbone = Backbone.from_pretrained(pretrained_model_name_or_path, **kwargs)
        config = MultiTaskConfig(
            backbone_config=backbone.model.config,
            heads=dict(heads),
            loss_weights=dict(loss_weights or {}),
            loss_reduction=loss_reduction,
            tasks={name: list(task_heads) for name, task_heads in (tasks or {}).items()},
            arg_name_mapping={name: dict(mapping) for name, mapping in (arg_name_mapping or {}).items()},
            allowed_arguments={name: list(allowed) for name, allowed in (allowed_arguments or {}).items()},
            dtype=backbone.model.dtype,
        )
        model = cls(config, backbone=backbone)
        initialize(((f"heads.{name}", each) for name, each in model.heads.named_parameters()), initializer)
        model.heads.to(dtype=backbone.model.dtype, device=backbone.model.device)
        model.eval()
        return model

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *model_args: Any,
        init_missing_heads: bool = False,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """
        Load a model that was saved with `save_pretrained`. The backbone's original name is not touched.

        Args:
            pretrained_model_name_or_path (`str`): Name on the hub, or a folder.
            init_missing_heads (`bool`, *optional*, defaults to `False`):
                Whether heads that the checkpoint lacks, or has in other shapes, get new random weights.
            ignore_mismatched_sizes, output_loading_info, kwargs: As `PreTrainedModel.from_pretrained` takes them.

        Returns:
            [`MultiTaskModel`], and a dict with what was found if `output_loading_info` is True.

        Raises:
            InputError: If the checkpoint lacks weights or has them in other shapes, naming the head; or its file is
                broken.
        """
        try:
            loaded: Any = super().from_pretrained(
                pretrained_model_name_or_path,
                *model_args,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **kwargs,
            )
        except SafetensorError as error:
            raise InputError(f"{pretrained_model_name_or_path}: its weights cannot be read: {error}") from error
        model, info = loaded
        # loading has made new parameters
        model._freeze_unread()
        missing = set(info["missing_keys"])
        mismatched = set() if ignore_mismatched_sizes else {str(key[0]) for key in info["mismatched_keys"]}
        check_loaded(str(pretrained_model_name_or_path), missing, mismatched, init_missing_heads)
        return (model, info) if output_loading_info else model

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | Mapping[str, torch.Tensor] | None = None,
        heads: Collection[str] | None = None,
        task: Sequence[str] | torch.Tensor | None = None,
        rows: Mapping[str, torch.Tensor] | None = None,
        sequences: Mapping[str, torch.Tensor] | None = None,
        num_items_in_batch: Mapping[str, Any] | torch.Tensor | int | None = None,
        returnt: Returnt | None = None,
        **kwargs: Any,
    ) -> Returned:
        """
        Encode a batch once and run the heads on their rows.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds:
                Inputs of the backbone, of shape `(batch_size, sequence_length, ...)`.
            labels (`Mapping[str, torch.Tensor]` or `torch.Tensor`, *optional*):
                For each head labels over the whole batch, -100 (integers) or NaN (floats) where a row or word has
                none; such rows do not go to the head. One tensor if one head is in play, which then gets all rows.
                Labels of no head at all, `{}`, make a loss of 0.
            heads (`Collection[str]`, *optional*): The heads that may run.
            task (`Sequence[str]` or `torch.Tensor`, *optional*):
                Task of each row, by name or by index in `config.tasks`: the row goes to the heads of its task, through
                the task's adapter if it has one of its own.
            rows (`Mapping[str, torch.Tensor]`, *optional*):
                For each head that has labels the indices of its rows, where the caller knows them: spares the search
                (and, on a GPU, a wait for the device).
            sequences (`Mapping[str, torch.Tensor]`, *optional*):
                Where the inputs hold more sequences than there are rows, the rows' first ones in front: for each head
                that reads others the indices of each row's sequences, -1 where it has fewer.
            num_items_in_batch (`Mapping[str, torch.Tensor]` or a number, *optional*):
                What the sum of a head's item losses is divided by, see [`loss_divisor`]; a number if one head is in
                play. By default the items of this batch are counted.
            returnt (`str`, *optional*):
                What to return instead of all outputs: `out`, the logits; `features`, what the heads' classification
                layers read (see [`Head.last_layer`]; in training after dropout); `both`, the pair of them; `full`, the
                output of every layer of the backbone (see [`Backbone.forward`]), for which no head runs.
            kwargs (`Any`): Further arguments of the backbone or the heads.

        Returns:
            [`MultiTaskModelOutput`]; with `returnt` the tensor of the head in play, over its rows; where several are
            in play a dict head -> tensor of those that have rows; for `both` two of these.

        Raises:
            InputError: If labels, heads or tasks do not fit the model, or `returnt` asks for what there is not.
        """
        names = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds")
        given = zip(names, (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds), strict=True)
        inputs = {name: value for name, value in given if value is not None} | kwargs
        sequences = sequences or {}
        batch_size = next(
            each.shape[0]
            for each in (*sequences.values(), *inputs.values())
            if torch.is_tensor(each) and each.dim() > 0
        )
        in_question = list(self.heads if heads is None else heads)
        all_labels = labels_by_head(labels, in_question, inputs, self.config.arg_name_mapping, batch_size)
        routed = self._route(all_labels, isinstance(labels, torch.Tensor), rows, heads, task, batch_size)
        in_play = [name for name, head_rows in routed.items() if head_rows is None or len(head_rows) > 0]
        taken = {name: value for name, value in inputs.items() if self._router.takes("backbone", name)}
        if returnt is not None:
            check_returned(returnt, routed, in_play)
        with self._through_adapters(task, sequences, taken, batch_size):
            if returnt == "full":
                return self._layers(inputs)
            encoded = self._encode(inputs, in_play)
        read = per_sequence(taken, encoded) | encoded
        outputs = MultiTaskModelOutput(**{key: value for key, value in encoded.items() if torch.is_tensor(value)})
        capture = FeatureCapture(returnt)
        for name in in_play:
            head, head_rows, takes = self.named_heads[name], routed[name], partial(self._router.takes, name)
            features = read_features(head, read, sequences.get(name), head_rows, batch_size, takes)
            with capture.of(name, head):
                self._run_head(outputs, name, head_rows, inputs, features, all_labels.get(name), batch_size)
        if returnt is not None:
            return choose_returned(returnt, outputs, capture.features, in_play, alone=len(routed) == 1)
        # a process that only fills up a step has no labels, and takes part in it
        if all_labels or labels is not None:
            self._add_losses(outputs, routed, all_labels, num_items_in_batch, batch_size)
        return outputs

    def _route(
        self,
        labels: Mapping[str, torch.Tensor],
        all_rows: bool,
        rows: Mapping[str, torch.Tensor] | None,
        heads: Collection[str] | None,
        task: Sequence[str] | torch.Tensor | None,
        batch_size: int,
    ) -> Mapping[str, Rows]:
        """The heads in play and their rows: what [`route_rows`] says, unless the caller knows."""
        if all_rows:
            return dict.fromkeys(labels)
        if rows is not None:
            return {name: rows.get(name) for name in labels if heads is None or name in heads}
        tasks = self.config.tasks or {head: [head] for head in self.heads}
        return route_rows(self.named_heads, labels, tasks, batch_size, heads, task)

    def _encode(self, inputs: Mapping[str, Any], heads: Collection[str]) -> dict[str, Any]:
        """Run the backbone, for all that these heads read of it."""
        configs = [self.named_heads[name].config for name in heads]
        encoded: dict[str, Any] = self.backbone(
            layers=any(config.layer != -1 for config in configs),
            outputs={name for config in configs for name in outputs_read(config)} or None,
            **self._router.arguments("backbone", inputs),
        )
        return encoded

    def _layers(self, inputs: Mapping[str, Any]) -> list[torch.Tensor] | dict[str, list[torch.Tensor]]:
        """Run the backbone, for the output of each of its layers."""
        layers: list[torch.Tensor] | dict[str, list[torch.Tensor]] = self.backbone(
            returnt="full", **self._router.arguments("backbone", inputs)
        )
        return layers

    def _run_head(
        self,
        outputs: MultiTaskModelOutput,
        name: str,
        rows: Rows,
        inputs: Mapping[str, Any],
        features: Mapping[str, Any],
        labels: torch.Tensor | None,
        batch_size: int,
    ) -> None:
        """Run one head on its rows and add what it gives to the outputs, under its name."""
        mapped = self.config.arg_name_mapping.get(name, {})
        available = {key: value for key, value in inputs.items() if mapped.get(key) != "labels"}
        if labels is not None:
            available["labels"] = labels
        available = {key: value for key, value in available.items() if self._router.takes(name, key)}
        available = {key: take_rows(value, rows, batch_size) for key, value in available.items()}
        if self._router.takes(name, "token_embeddings"):
            available["token_embeddings"] = self.get_input_embeddings().weight
        arguments = self._router.arguments(name, {**available, **features})
        head_outputs = self.named_heads[name](**arguments)
        for key, value in head_outputs.items():
            outputs[f"{name}_{key}"] = value
        if "labels" in arguments:
            self._track(name, head_outputs, arguments["labels"])
        if rows is not None:
            outputs[f"{name}_rows"] = rows


AutoConfig.register(MultiTaskConfig.model_type, MultiTaskConfig, exist_ok=True)
AutoModel.register(MultiTaskConfig, MultiTaskModel, exist_ok=True)
