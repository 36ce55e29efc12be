"""What prepares a model's inputs: a tokenizer, an image processor, a feature extractor, or several in one."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from datasets.fingerprint import Hasher
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    FeatureExtractionMixin,
    PreTrainedTokenizerBase,
)
from transformers.image_processing_base import ImageProcessingMixin

from ..errors import InputError
from .audio import read_samples
from .images import ImageReader
from .inputs import MEDIA, text_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Processing", "load_processing"]


@dataclass(frozen=True)
class Processing:
    """
    The parts of a `processing_class`.

    Args:
        tokenizer (`PreTrainedTokenizerBase`, *optional*): Reads text.
        image_processor (`ImageProcessingMixin`, *optional*): Reads images.
        feature_extractor (`FeatureExtractionMixin`, *optional*): Reads audio.
    """

    tokenizer: PreTrainedTokenizerBase | None = None
    image_processor: Any = None
    feature_extractor: Any = None

    @classmethod
    def of(cls, processing_class: Any) -> Processing:
        """
        Find the parts.

        Args:
            processing_class (`Any`): A tokenizer, an image processor, a feature extractor, or a processor of several.

        Returns:
            [`Processing`].

        Raises:
            InputError: If it is none of these.
        """
        if isinstance(processing_class, Processing):
            return processing_class
        parts = [
            processing_class,
            *(getattr(processing_class, name, None) for name in ("tokenizer", "image_processor", "feature_extractor")),
        ]
        kinds = (PreTrainedTokenizerBase, ImageProcessingMixin, FeatureExtractionMixin)
        found: list[Any] = [next((part for part in parts if isinstance(part, kind)), None) for kind in kinds]
        if not any(found):
            raise InputError(
                "processing_class: expected the backbone's tokenizer, image processor, feature extractor or "
                f"processor, found {type(processing_class).__name__}."
            )
        return cls(*found)

    @cached_property
    def tokenizer_hash(self) -> str:
        """
        Names the tokenizer by all that its answers depend on, and by nothing that changes from run to run.

        Worked out once: with a vocabulary of tens of thousands it takes as long as to tokenize hundreds of rows.
        """
        tokenizer = self.tokenizer
        if tokenizer is None:
            return ""
        # a call leaves its truncation and padding in the tokenizer: no part of what it is
        backend = {**json.loads(tokenizer.backend_tokenizer.to_str()), "truncation": None, "padding": None}
        state = [backend, tokenizer.truncation_side, tokenizer.model_input_names]
        return str(Hasher.hash(json.dumps(state, sort_keys=True)))

    def check(self, where: str, names: Collection[str]) -> None:
        """
        Make sure that there is a part for each input.

        Args:
            where (`str`): Whose inputs they are, for the message.
            names (`Collection[str]`): Names of the inputs.

        Raises:
            InputError: If a part is missing, or the tokenizer is not a fast one.
        """
        needed = {"images": "image_processor", "audio": "feature_extractor"}
        for name in MEDIA:
            if name in names and getattr(self, needed[name]) is None:
                raise InputError(f"{where} reads {name}, but the processing class has no {needed[name]}.")
        if not text_inputs(names):
            return
        if self.tokenizer is None:
            raise InputError(f"{where} reads text, but the processing class has no tokenizer.")
        if not self.tokenizer.is_fast:
            raise InputError(f"expected a fast tokenizer, found {type(self.tokenizer).__name__}.")
        if self.tokenizer.pad_token is None:
            raise InputError(
                "the tokenizer has no padding token: set tokenizer.pad_token, to tokenizer.eos_token for instance "
                "(padding is masked, whatever it is)."
            )

    def check_vocabulary(self, where: str) -> None:
        """
        Refuse the empty tokenizer that transformers makes where there is a model and no tokenizer.

        Args:
            where (`str`): Where it is from, for the message.

        Raises:
            InputError: If the tokenizer knows nothing but special tokens.
        """
        if self.tokenizer is not None and set(self.tokenizer.get_vocab()) <= set(self.tokenizer.all_special_tokens):
            raise InputError(f"the tokenizer of {where} cannot be loaded: no vocabulary is there.")

    @property
    def image_reader(self) -> ImageReader:
        """What reads images for the image processor."""
        return ImageReader.of(self.image_processor)

    def read(self, name: str, value: Any) -> Any:
        """
        Read an image or a recording.

        Args:
            name (`str`): The input, `images` or `audio`.
            value (`Any`): As [`ImageReader.read`] or [`read_samples`] takes it.

        Returns:
            `Any`: What [`pixels`] or [`samples`] take without further reading.

        Raises:
            InputError: If it cannot be used.
        """
        if name == "images":
            return self.image_reader.read(value)
        return read_samples(value, self.feature_extractor.sampling_rate)

    def check_value(self, name: str, value: Any) -> int:
        """
        Read an image or a recording, so that a broken one is found early.

        Args:
            name (`str`): The input, `images` or `audio`.
            value (`Any`): As [`read`] takes it.

        Returns:
            `int`: Samples of a recording. 1 for images, and for audio files, which take too long to be decoded here.

        Raises:
            InputError: If it cannot be used.
        """
        if name == "images":
            self.image_reader.read(value, quick=True)
            return 1
        is_file = isinstance(value, Mapping) and "array" not in value
        return 1 if is_file else len(self.read(name, value))

    def pixels(self, images: Sequence[Any]) -> dict[str, torch.Tensor]:
        """
        Prepare images.

        Args:
            images (`Sequence[Any]`): Images of any sizes, each as [`ImageReader.read`] takes it.

        Returns:
            `dict[str, torch.Tensor]`: `pixel_values` of shape `(images, channels, height, width)`.

        Raises:
            InputError: If one cannot be read, or they do not fit into one tensor.
        """
        read = [self.image_reader.read(image) for image in images]
        # of arrays the processor would guess which dimension the channels are
        options = {"input_data_format": "channels_last"} if any(hasattr(image, "ndim") for image in read) else {}
        try:
            prepared = dict(self.image_processor(read, return_tensors="pt", **options))
        except ValueError as error:
            raise InputError(f"the image processor cannot prepare these images: {error}") from error
        return {**prepared, "pixel_values": prepared["pixel_values"].float()}

    def samples(self, clips: Sequence[Any]) -> dict[str, torch.Tensor]:
        """
        Prepare audio.

        Args:
            clips (`Sequence[Any]`): Recordings, each as [`read_samples`] takes it.

        Returns:
            `dict[str, torch.Tensor]`: Inputs of the backbone, with an `attention_mask`.

        Raises:
            InputError: If one cannot be read.
        """
        rate = self.feature_extractor.sampling_rate
        # Whisper's reads clips of one length, which it pads to itself
        padding = "max_length" if hasattr(self.feature_extractor, "n_samples") else True
        return dict(
            self.feature_extractor(
                [read_samples(clip, rate) for clip in clips],
                sampling_rate=rate,
                padding=padding,
                return_attention_mask=True,
                return_tensors="pt",
            )
        )


def load_processing(name_or_path: str, output_names: Collection[str], words: bool = False) -> Any:
    """
    Load what prepares the inputs of a backbone.

    Args:
        name_or_path (`str`): Name on the hub, or a folder.
        output_names (`Collection[str]`): The backbone's outputs, which tell what it reads.
        words (`bool`, *optional*, defaults to `False`):
            Whether texts come as words: byte-level tokenizers put a space before each then.

    Returns:
        `Any`: A tokenizer, an image processor, a feature extractor, or a processor of several. A tokenizer without a
        padding token gets its end-of-sequence token for one.

    Raises:
        InputError: If it cannot be loaded.
    """
    loaders: dict[str, Any] = {
        "encoded_text": AutoTokenizer,
        "encoded_image": AutoImageProcessor,
        "encoded_audio": AutoFeatureExtractor,
    }
    found = [loader for name, loader in loaders.items() if name in output_names]
    loader = found[0] if len(found) == 1 else AutoProcessor
    options = {"add_prefix_space": True} if words and loader is AutoTokenizer else {}
    try:
        processing_class = loader.from_pretrained(name_or_path, **options)
    except (ImportError, OSError, ValueError) as error:
        without_pillow = isinstance(error, ImportError) and "encoded_image" in output_names
        hint = " (the extra 'vision' has what images need)" if without_pillow else ""
        raise InputError(f"the tokenizer or processor of {name_or_path!r} cannot be loaded: {error}{hint}") from error
    processing = Processing.of(processing_class)
    processing.check_vocabulary(repr(name_or_path))
    if processing.tokenizer is not None and processing.tokenizer.pad_token is None:
        processing.tokenizer.pad_token = processing.tokenizer.eos_token
    return processing_class
