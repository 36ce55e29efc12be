"""Images as they come, files, PIL images or arrays, turned into what an image processor takes."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError

__all__ = ["NO_PILLOW", "ImageReader"]

NO_PILLOW = "images are read with pillow, which is not installed: pip install 'mt_transformers[vision]'."

_SHAPES = "(height, width), (height, width, channels) or (channels, height, width) with 1, 3 or 4 channels"

_CHANNELS = (3, 1, 4)
"""Numbers of channels that an image may have. Of an image that is so many pixels high or wide the first one counts."""


@dataclass(frozen=True)
class ImageReader:
    """
    Turns any image into what one image processor takes.

    Args:
        mode (`str`, *optional*, defaults to `"RGB"`): `RGB`, or `L` for processors of images with one channel.
        resizes (`bool`, *optional*, defaults to `True`): Whether the processor resizes, which it does in 8 bits.
        rescales (`bool`, *optional*, defaults to `True`): Whether the processor expects pixels from 0 to 255.

    Example:
        >>> image = ImageReader().read(np.array([[0, 16, 8], [8, 16, 0]]))
        >>> image.mode, image.size, image.getpixel((1, 0))
        ('RGB', (3, 2), (16, 16, 16))
    """

    mode: Literal["RGB", "L"] = "RGB"
    resizes: bool = True
    rescales: bool = True

    @classmethod
    def of(cls, image_processor: Any) -> ImageReader:
        """
        What suits an image processor.

        Args:
            image_processor (`Any`): The image processor; a mean for one channel says that it wants one.

        Returns:
            [`ImageReader`].
        """
        mean = getattr(image_processor, "image_mean", None)
        return cls(
            mode="L" if isinstance(mean, list | tuple) and len(mean) == 1 else "RGB",
            resizes=bool(getattr(image_processor, "do_resize", True)),
            rescales=bool(getattr(image_processor, "do_rescale", True)),
        )

    def read(self, image: Any, quick: bool = False) -> Any:
        """
        Read an image, turned upright.

        Transparent parts become white, as in transformers' `convert_to_rgb`; of 16 bits the upper 8 are kept.

        Args:
            image (`Any`):
                Name of a file; a dict with `bytes` or `path`, as `datasets` keeps files; a PIL image; or an array,
                nested lists among them, of shape `(height, width)`, `(height, width, channels)` or `(channels, height,
                width)` with 1, 3 or 4 channels.
            quick (`bool`, *optional*, defaults to `False`):
                Whether an eighth of a file's resolution is enough. All of it is read and parsed all the same, for JPEG
                in half of the time.

        Returns:
            `PIL.Image.Image` or `np.ndarray`: A PIL image of the reader's mode; an array of shape
            `(height, width, channels)` where 8 bits do not hold the pixels.

        Raises:
            InputError: If there is no such file or it is broken, if this is no image, if its pixels are not what the
                processor expects, or if pillow is not installed.
        """
        if isinstance(image, str | os.PathLike):
            image = {"path": image}
        is_file = isinstance(image, Mapping) and not {"bytes", "path"}.isdisjoint(image)
        name = "the image" if not is_file or image.get("path") is None else f"the image {image['path']}"
        if not is_file and not hasattr(image, "convert"):
            return self._read_array(image)
        pillow = _import_pillow()
        from PIL import ImageOps

        try:
            if is_file:
                image = pillow.open(io.BytesIO(_content(image)))
                if quick:
                    image.draft("RGB", (1, 1))
            return self._convert(ImageOps.exif_transpose(image))
        except InputError:
            raise
        except pillow.UnidentifiedImageError as error:
            raise InputError(f"{name} cannot be read: it is of no kind that pillow knows.") from error
        except (OSError, ValueError, SyntaxError, EOFError, pillow.DecompressionBombError) as error:
            raise InputError(f"{name} cannot be read: {error}") from error

    def _convert(self, image: Any) -> Any:
        """A PIL image in the reader's mode."""
        pillow = _import_pillow()
        if image.mode.startswith("I;16"):
            # convert() would clip: all that is brighter than 255 of 65535 would be white
            image = pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ("I", "F"):
            return self._read_array(np.asarray(image))
        if "A" in image.getbands() or image.info.get("transparency") is not None:
            image = image.convert("RGBA")
            image = pillow.alpha_composite(pillow.new("RGBA", image.size, (255, 255, 255, 255)), image)
        return image if image.mode == self.mode else image.convert(self.mode)

    def _read_array(self, image: Any) -> Any:
        """An array as a PIL image, if 8 bits hold it."""
        values = _channels_last(_numbers(image))
        lowest, highest = float(values.min()), float(values.max())
        whole = values.dtype.kind in "ui" or np.array_equal(values, np.rint(values))
        if whole and lowest >= 0 and highest <= 255:
            pixels = np.ascontiguousarray(values.astype(np.uint8))
            return self._convert(_import_pillow().fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
        self._check_range(lowest, highest)
        channels = len(self.mode)
        if values.shape[2] not in (1, channels):
            raise InputError(f"expected 1 or {channels} channels, found {values.shape[2]}.")
        return np.repeat(values, channels // values.shape[2], axis=2).astype(np.float32)

    def _check_range(self, lowest: float, highest: float) -> None:
        """Refuse pixels of an array that the processor would bend without a word, or stumble over."""
        if self.rescales and lowest >= 0 and highest <= 1:
            raise InputError(
                f"found pixels from {lowest:g} to {highest:g}, which the image processor would scale down once more: "
                "give whole numbers from 0 to 255, or a processor with do_rescale=False."
            )
        limit = 255 if self.rescales else 1
        fits = lowest >= 0 and highest <= limit
        if (self.resizes and self.rescales) or (not fits and (self.resizes or self.rescales)):
            kind = "whole numbers" if self.resizes and self.rescales else "numbers"
            raise InputError(f"expected pixels that are {kind} from 0 to {limit}, found {lowest:g} to {highest:g}.")


def _import_pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError(NO_PILLOW) from error
    return Image


def _content(file: Mapping[str, Any]) -> bytes:
    """What a file holds; read here, since pillow keeps files open that may hold several images."""
    content: bytes | None = file.get("bytes")
    return Path(file.get("path") or "").read_bytes() if content is None else content


def _numbers(image: Any) -> np.ndarray:
    """The array that an image is."""
    try:
        values = np.asarray(image)
    except (ValueError, TypeError) as error:
        raise InputError(f"expected an image, found {type(image).__name__} that is no array: {error}") from error
    if values.dtype.kind not in "uif":
        raise InputError(f"expected an image, found {type(image).__name__} of {values.dtype}.")
    if values.size == 0:
        raise InputError(f"expected an image, found no pixels (shape {values.shape}).")
    if not np.isfinite(values).all():
        raise InputError("expected pixels that are finite numbers, found NaN or infinity.")
    return values


def _channels_last(values: np.ndarray) -> np.ndarray:
    """An image with its channels in the last of three dimensions."""
    if values.ndim == 2:
        return values[:, :, None]
    if values.ndim != 3 or not {values.shape[0], values.shape[-1]} & set(_CHANNELS):
        raise InputError(f"expected an image of shape {_SHAPES}, found {values.shape}.")
    ends = [(*_CHANNELS, size).index(size) for size in (values.shape[0], values.shape[-1])]
    if ends[0] == ends[1]:
        raise InputError(
            f"found an image of shape {values.shape}: either end could be its channels; give a PIL image."
        )
    return np.moveaxis(values, 0, -1) if ends[0] < ends[1] else values
