"""The backbone: any `AutoModel` behind one contract."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from ..errors import InputError
from ..heads import words_of_ids
from ..heads.backbone_info import BackboneInfo
from .audio import AudioReader
from .encoder_decoder import EncoderDecoderReader
from .flat_parameters import FlatParametersMixin
from .flattening import find_first_position
from .image import ImageReader
from .info import describe_backbone, find_vocab_size
from .kind import Arguments, Kind, find_kind, find_model_class
from .reader import Reader
from .returnt import Returnt, check_returnt
from .single_stream import SingleStreamReader
from .text import TextReader
from .two_tower import TwoTowerReader

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Backbone"]

_READERS: dict[Kind, type[Reader]] = {
    "text": TextReader,
    "encoder_decoder": EncoderDecoderReader,
    "image": ImageReader,
    "audio": AudioReader,
    "two_tower": TwoTowerReader,
    "single_stream": SingleStreamReader,
}

_UNUSED_LAYERS = {"add_pooling_layer": False}
"""Layers that no head reads. They would get no gradient, which distributed training has to be told of."""

_FOR_THE_WHOLE = (
    "_no_split_modules",
    "_keep_in_fp32_modules",
    "_keep_in_fp32_modules_strict",
    "_skip_keys_device_placement",
)
"""What the `PreTrainedModel` around the backbone collects from its parts: where it may be cut, what stays float32."""


class Backbone(FlatParametersMixin):
    """
    Any `AutoModel` behind one contract: an input `text` comes back as `encoded_text` with `encoded_text_mask`.

    The contract is AllenNLP's (`allennlp/modules/backbones/backbone.py`): every output is called `encoded_<input>`
    and has a mask `encoded_<input>_mask`. Inputs are `text`, `image` and `audio`.

    Args:
        model (`PreTrainedModel`): The model that encodes.

    Raises:
        InputError: If the model reads neither text nor images nor audio, or its config has no size.

    Example:
        >>> import torch
        >>> from transformers import BertConfig
        >>> sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
        >>> outputs = Backbone.from_config(BertConfig(**sizes))(input_ids=torch.tensor([[1, 2, 3]]))
        >>> outputs["encoded_text"].shape, outputs["encoded_text_mask"].tolist()
        (torch.Size([1, 3, 8]), [[True, True, True]])
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self._info = describe_backbone(model.config, type(model))
        self._reader = _READERS[find_kind(model.config, type(model))](model, self._info)
        self._frozen_unread: set[str] = set()
        for name in _FOR_THE_WHOLE:
            setattr(self, name, getattr(model, name, None))

    @property
    def info(self) -> BackboneInfo:
        """What heads may know of the backbone. Its vocabulary may have been resized since it was built."""
        if self._info.vocab_size is None:
            return self._info
        return replace(self._info, vocab_size=find_vocab_size(self.model.config))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs that have positions, the main one first."""
        return self._info.output_names

    @property
    def hidden_size(self) -> int:
        """Size of the main output."""
        return self._info.hidden_sizes[self.output_names[0]]

    @property
    def all_tied_weights_keys(self) -> dict[str, str]:
        """
        Which parameters are one and the same, as the `PreTrainedModel` around the backbone collects it from its parts;
        without it the weights that an encoder shares with its decoder would count as missing when they are loaded.
        """
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        return {f"model.{target}": f"model.{source}" for target, source in tied.items()}

    @property
    def max_positions(self) -> int | None:
        """Length of the longest text that the backbone reads (tokens); None if it says none."""
        positions: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        # XLNet's -1 stands for any number
        if positions is None or positions < 0:
            return None
        return positions - find_first_position(self.model)

    @classmethod
    def from_config(cls, config: PreTrainedConfig) -> Backbone:
        """Build a backbone with random weights."""
        return cls(AutoModel.from_config(config, **_unused_layers(config, find_model_class(config))))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, **kwargs: Any) -> Backbone:
        """
        Load a backbone with its weights.

        Args:
            pretrained_model_name_or_path (`str`): Name on the hub, or a folder.
            kwargs (`Any`): For `AutoModel.from_pretrained`.

        Raises:
            InputError: If there is no such model.
        """
        try:
            model = AutoModel.from_pretrained(pretrained_model_name_or_path, **kwargs)
        except (OSError, ValueError) as error:
            raise InputError(f"backbone {pretrained_model_name_or_path!r} cannot be loaded: {error}") from error
        if _unused_layers(model.config, type(model)):
            model.pooler = None
        return cls(model)

    def forward(
        self,
        *,
        layers: bool = False,
        outputs: Collection[str] | None = None,
        returnt: Returnt | None = None,
        **inputs: Any,
    ) -> dict[str, Any] | torch.Tensor | list[torch.Tensor]:
        """
        Encode a batch.

        Args:
            layers (`bool`, *optional*, defaults to `False`): Whether all hidden states are asked for, too.
            outputs (`Collection[str]`, *optional*):
                Names of the outputs that somebody reads; by default all but `encoded_text_decoder`, which is only
                computed where it is named.
            returnt (`str`, *optional*):
                What to return instead of the dict of all outputs. `features`: the main output alone, of the inputs
                that are there. `full`: a list with the output of the embeddings and of every layer, as the model gives
                its hidden states: each in its own shape, feature maps as maps, those of an encoder-decoder the
                encoder's. Where both text and image are read it is a dict of such lists, under `text` and `image`.
            inputs (`Any`): Inputs of the model, such as `input_ids` of shape `(batch_size, sequence_length)`.

        Returns:
            `dict[str, Any]`: For each of `text`, `image` and `audio` that is among the inputs

            - `encoded_<input>` of shape `(batch_size, positions, hidden_size)`,
            - `encoded_<input>_mask` of shape `(batch_size, positions)`, False for padding,
            - `encoded_<input>_pooled` of shape `(batch_size, pooled_size)`, where the backbone has such,
            - `<input>_layers`, a tuple of as many tensors of the output's shape as `info.num_layers` says, where they
              were asked for and can be read;

            and, where the input was ids, `token_ids` as they were given, for [`make_output_human_readable`].

        Raises:
            InputError: If an input is missing, the model answers with other sizes than its config says, or `returnt`
                asks for what it does not give.
        """
        if returnt is not None:
            _check_returnt(returnt)
        read = self._reader.read(self.model, inputs, "full" if returnt == "full" else layers, outputs)
        for name, size in self._info.hidden_sizes.items():
            if name in read and read[name].shape[-1] != size:
                raise InputError(
                    f"backbone {self._info.model_type!r}: its config says that {name} has size {size}, "
                    f"found {read[name].shape[-1]}."
                )
        if returnt == "features":
            main: torch.Tensor = next(read[name] for name in self.output_names if name in read)
            return main
        return _layers_by_input(read) if returnt == "full" else read

    @property
    def is_frozen(self) -> bool:
        """Whether nothing in it is trained."""
        return not any(parameter.requires_grad for parameter in self.model.parameters())

    def unread(self, read: Collection[str]) -> set[str]:
        """
        Find the parameters that no output in `read` depends on.

        Args:
            read (`Collection[str]`): See [`freeze_unread`].

        Returns:
            `set[str]`: Their names in the model; none where `read` names no output, since nothing is known of the
            heads to come.
        """
        known = {name for name in read if name in self._info.hidden_sizes}
        found = {id(parameter) for parameter in (self._reader.unread(self.model, known) if known else ())}
        return {name for name, parameter in self.model.named_parameters() if id(parameter) in found}

    def freeze_unread(self, read: Collection[str]) -> None:
        """
        Freeze the parameters that no output in `read` depends on, so that every other one gets a gradient.

        What an earlier call has frozen and is read now is trained again, unless all of the backbone is frozen.

        Args:
            read (`Collection[str]`):
                Names of the outputs that heads read, such as `encoded_text` or `encoded_image_pooled`; names of
                outputs that the backbone lacks do not matter. Without any name nothing is frozen, since nothing is
                known of the heads to come.
        """
        unread, is_frozen = self.unread(read), self.is_frozen
        for name, parameter in self.model.named_parameters():
            if name in unread and parameter.requires_grad:
                parameter.requires_grad_(False)
                self._frozen_unread.add(name)
            elif name not in unread and name in self._frozen_unread:
                parameter.requires_grad_(not is_frozen)
                self._frozen_unread.discard(name)

    def freeze(self) -> None:
        """Train nothing in it, whatever heads read."""
        self.model.requires_grad_(False)

    def unfreeze(self, read: Collection[str]) -> None:
        """
        Train all of it that is read, whatever was frozen before.

        Args:
            read (`Collection[str]`): See [`freeze_unread`].
        """
        for parameter in self.model.parameters():
            # weights that are quantized to integers are never trained
            if parameter.is_floating_point():
                parameter.requires_grad_(True)
        self.freeze_unread(read)

    def leave_padding_out(self) -> None:
        """
        Run all batches from now on as one sequence without padding, on attention that takes variable lengths.

        Outputs have the shape that they always have, with zeros where there is padding.

        Raises:
            InputError: If the backbone does not read text alone, its attention does not take variable lengths, or its
                rows, put in one sequence, do not come out as they do alone.
        """
        if not isinstance(self._reader, TextReader):
            raise InputError(f"padding_free: a {self._info.model_type!r} backbone does not read text alone.")
        self._reader.leave_padding_out(self.model)

    def make_output_human_readable(
        self, output_dict: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase | None
    ) -> dict[str, Any]:
        """
        Turn the ids that were kept into tokens and text.

        Args:
            output_dict (`Mapping[str, Any]`): What the model answered; it is not changed.
            tokenizer (`PreTrainedTokenizerBase`, *optional*): The tokenizer, or a processor that has one.

        Returns:
            `dict[str, Any]`: For each row `tokens`, `text` and `words`; nothing without ids or without a tokenizer.
        """
        if tokenizer is None or "token_ids" not in output_dict:
            return {}
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        tokens, texts, words = [], [], []
        for ids, mask in zip(
            output_dict["token_ids"].tolist(), output_dict["encoded_text_mask"].tolist(), strict=True
        ):
            kept = [index for index, is_token in zip(ids, mask, strict=True) if is_token]
            text, found = words_of_ids(kept, tokenizer)
            first = mask.index(True) if kept else 0
            tokens.append(tokenizer.convert_ids_to_tokens(kept))
            texts.append(text)
            words.append([word._replace(position=word.position + first) for word in found])
        return {"tokens": tokens, "text": texts, "words": words}


def _check_returnt(returnt: Returnt) -> None:
    check_returnt(returnt)
    if returnt in ("out", "both"):
        raise InputError(f"returnt: a backbone has no logits: expected 'features' or 'full', found {returnt!r}.")


def _layers_by_input(read: Mapping[str, Any]) -> dict[str, Any] | list[torch.Tensor]:
    """The layers of the one input that was read, or those of each."""
    found = {name.removesuffix("_layers"): list(read[name]) for name in read if name.endswith("_layers")}
    return found if len(found) > 1 else next(iter(found.values()))


def _unused_layers(config: PreTrainedConfig, model_class: Any) -> dict[str, bool]:
    """Arguments that leave out of a model of this class what no head reads."""
    # BEiT with this setting was trained through its pooler, which averages and has no dense layer
    if not isinstance(model_class, type) or getattr(config, "use_mean_pooling", False):
        return {}
    taken = Arguments.of(model_class).names
    return {name: value for name, value in _UNUSED_LAYERS.items() if name in taken}
