"""Which tokens of a row masked language modelling hides, and by what, settled by the row alone."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from ..errors import InputError

__all__ = ["mask_tokens", "row_generator"]


def mask_tokens(
    input_ids: np.ndarray,
    special: np.ndarray,
    mask_token_id: int,
    vocab_size: int,
    rng: np.random.Generator,
    probability: float = 0.15,
    replace: float = 0.8,
    random: float = 0.1,
) -> tuple[np.ndarray, np.ndarray]:
    """
    Choose tokens of a row for prediction and hide most of them.

    `probability` times the tokens that are not special are chosen, rounded up or down at random such that the mean is
    exact, but at least one where there is one: so a short row trains as well. Each chosen token then becomes
    [MASK], a token drawn from the whole vocabulary, or stays what it is.

    Source: Devlin et al. (2019), https://aclanthology.org/N19-1423, section 3.1, for the scheme and the defaults, and
    the code published with it for the minimum of one.

    Args:
        input_ids (`np.ndarray` of shape `(length,)`): Token ids of the row, without padding. Is not changed.
        special (`np.ndarray` of shape `(length,)`): True for the tokens that are never chosen, such as [CLS].
        mask_token_id (`int`): Id of [MASK].
        vocab_size (`int`): Number of ids; a random token is one of `0` to `vocab_size - 1`.
        rng (`np.random.Generator`): Where the random numbers come from, see [`row_generator`].
        probability (`float`, *optional*, defaults to 0.15): Share of the tokens that are chosen.
        replace (`float`, *optional*, defaults to 0.8): Share of the chosen tokens that become [MASK].
        random (`float`, *optional*, defaults to 0.1): Share of the chosen tokens that become a random one.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: The ids to feed, of shape `(length,)` and the dtype of `input_ids`, and the
        positions chosen, of shape `(chosen,)` and ascending; the ids to predict are `input_ids[positions]`.

    Raises:
        InputError: If the ids and `special` differ in shape, or a share is out of range.

    Example:
        >>> ids, special = np.array([2, 17, 9, 3]), np.array([True, False, False, True])
        >>> masked, positions = mask_tokens(ids, special, 4, 30, row_generator(0, 0, ids), 1.0, 1.0, 0.0)
        >>> masked.tolist(), positions.tolist(), ids[positions].tolist()
        ([2, 4, 4, 3], [1, 2], [17, 9])
    """
    _check(input_ids, special, probability, replace, random)
    maskable = np.flatnonzero(~np.asarray(special, dtype=bool))
    masked = input_ids.copy()
    if not len(maskable):
        return masked, maskable
    whole, rest = divmod(probability * len(maskable), 1)
    count = max(1, int(whole) + int(rng.random() < rest))
    positions = np.sort(rng.choice(maskable, size=count, replace=False))
    fate = rng.random(count)
    random_ids = rng.integers(vocab_size, size=count)
    masked[positions[fate < replace]] = mask_token_id
    becomes_random = (fate >= replace) & (fate < replace + random)
    masked[positions[becomes_random]] = random_ids[becomes_random]
    return masked, positions


def _check(input_ids: np.ndarray, special: np.ndarray, probability: float, replace: float, random: float) -> None:
    """Refuse what would be masked wrongly without a word."""
    if input_ids.ndim != 1 or input_ids.shape != np.shape(special):
        raise InputError(
            f"masking: expected input_ids and special of one shape (length,), "
            f"found {input_ids.shape} and {np.shape(special)}."
        )
    if not 0 < probability <= 1:
        raise InputError(f"masking: expected a probability above 0 and up to 1, found {probability}.")
    if replace < 0 or random < 0 or replace + random > 1:
        raise InputError(
            f"masking: expected shares replace and random from 0, together up to 1, found {replace} and {random}."
        )


def row_generator(seed: int, epoch: int, input_ids: np.ndarray | Sequence[int]) -> np.random.Generator:
    """
    Random numbers of a row that depend on seed, epoch and the row's ids alone.

    Neither the batch in which a row comes, the process that gets it nor an interruption changes them. Equal rows get
    equal numbers.

    Args:
        seed (`int`): Seed of the run, from 0.
        epoch (`int`): Epoch, from 0.
        input_ids (`np.ndarray` or `Sequence[int]`, of shape `(length,)`):
            Token ids of the row, without padding, which depends on the batch. Their integer type does not matter.

    Returns:
        `np.random.Generator`.

    Example:
        >>> first, again, later = (row_generator(0, epoch, [2, 17, 3]).random() for epoch in (0, 0, 1))
        >>> first == again, first == later
        (True, False)
    """
    # a checksum of fixed bytes: Python's own hash of bytes is another in every process
    checksum = zlib.crc32(np.asarray(input_ids, dtype="<i8").tobytes())
    return np.random.default_rng([seed, epoch, checksum])
