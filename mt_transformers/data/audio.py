"""Recordings as they come, arrays or what `datasets` makes of files, turned into samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np

from ..errors import InputError

__all__ = ["NO_DECODER", "read_samples"]

NO_DECODER = "audio files are decoded by torchcodec, which is not installed: pip install torchcodec, or give arrays."


def read_samples(clip: Any, sampling_rate: int) -> np.ndarray:
    """
    Read a recording.

    Args:
        clip (`Any`):
            An array of floats, lists among them, at that rate; a dict with such an `array` and its `sampling_rate`; a
            dict with `bytes` or `path`, as `datasets` keeps files, which are decoded at that rate; or a decoder.
        sampling_rate (`int`): Rate that is wanted (samples a second).

    Returns:
        `np.ndarray` of shape `(samples,)`, float32: one channel, the mean of several.

    Raises:
        InputError: If this is no recording, its rate is another, or a file cannot be decoded.

    Example:
        >>> read_samples([0.0, 0.5], 16_000)
        array([0. , 0.5], dtype=float32)
    """
    if isinstance(clip, Mapping) and "array" in clip:
        if clip.get("sampling_rate", sampling_rate) != sampling_rate:
            raise InputError(f"expected {sampling_rate} samples a second, found {clip['sampling_rate']}.")
        clip = clip["array"]
    elif isinstance(clip, Mapping) and not {"bytes", "path"}.isdisjoint(clip):
        clip = _decoded(clip, sampling_rate)
    if hasattr(clip, "get_all_samples"):
        # (channels, samples)
        clip = clip.get_all_samples().data.mean(dim=0).numpy()
    try:
        samples = np.asarray(clip)
    except (ValueError, TypeError) as error:
        raise InputError(f"expected a recording, found {type(clip).__name__} that is no array: {error}") from error
    if samples.dtype.kind != "f" or samples.ndim != 1:
        raise InputError(
            "expected a recording, one dimension of floats from -1 to 1, "
            f"found {type(clip).__name__} of {samples.dtype} with {samples.ndim} dimension(s)."
        )
    if samples.size == 0:
        raise InputError("expected a recording, found no samples.")
    if not np.isfinite(samples).all():
        raise InputError("expected samples that are finite numbers, found NaN or infinity.")
    return samples.astype(np.float32)


def _decoded(file: Mapping[str, Any], sampling_rate: int) -> Any:
    """What `datasets` decodes a file to."""
    stored = {"bytes": file.get("bytes"), "path": file.get("path")}
    try:
        return datasets.Audio(sampling_rate=sampling_rate).decode_example(stored)
    except ImportError as error:
        raise InputError(NO_DECODER) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"the recording {stored['path'] or ''} cannot be read: {error}") from error
