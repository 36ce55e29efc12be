"""How much of an epoch each task gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

__all__ = ["SAMPLINGS", "shares_of"]


def _proportional(sizes: np.ndarray, **_: float) -> np.ndarray:
    return sizes


def _uniform(sizes: np.ndarray, **_: float) -> np.ndarray:
    return np.ones_like(sizes)


def _temperature(sizes: np.ndarray, temperature: float, **_: float) -> np.ndarray:
    return np.asarray((sizes / sizes.max()) ** (1 / temperature))


def _capped(sizes: np.ndarray, cap: float, **_: float) -> np.ndarray:
    return np.asarray(np.minimum(sizes, cap))


def _smoothing(sizes: np.ndarray, alpha: float, **_: float) -> np.ndarray:
    return np.asarray((sizes / sizes.max()) ** alpha)


_RULES: dict[str, Callable[..., np.ndarray]] = {
    "proportional": _proportional,
    "uniform": _uniform,
    "temperature": _temperature,
    "capped": _capped,
    "smoothing": _smoothing,
}

SAMPLINGS = (*_RULES, "weighted", "dynamic")


def shares_of(
    sampling: str,
    sizes: Mapping[str, int],
    weights: Mapping[str, float] | None = None,
    temperature: float = 1.0,
    cap: int = 1,
    alpha: float = 1.0,
) -> dict[str, float]:
    """
    Share of each task by a rule.

    Sources: AllenNLP's epoch samplers for `uniform`, `weighted` and `proportional`; Raffel et al. (2020), section
    3.5.2, for `temperature` (n ** (1 / T)) and `capped` (min(n, K), there "examples-proportional mixing"); Conneau
    and Lample (2019), section 3.1, for `smoothing` (n ** alpha, there with alpha 0.5).

    Args:
        sampling (`str`): `proportional`, `uniform`, `temperature`, `capped`, `smoothing`, or `weighted`, `dynamic`.
        sizes (`Mapping[str, int]`): Training rows of each task.
        weights (`Mapping[str, float]`, *optional*): Weight of each task, for `weighted` and `dynamic`.
        temperature (`float`, *optional*, defaults to 1.0): T.
        cap (`int`, *optional*, defaults to 1): K (rows).
        alpha (`float`, *optional*, defaults to 1.0): The exponent.

    Returns:
        `dict[str, float]`: Shares that add up to 1.

    Example:
        >>> shares_of("temperature", {"a": 100, "b": 400}, temperature=2.0)
        {'a': 0.3333333333333333, 'b': 0.6666666666666666}
    """
    counts: Sequence[int] = list(sizes.values())
    if sampling not in _RULES:
        raw = np.array([(weights or {})[name] for name in sizes], dtype=np.float64)
    else:
        raw = _RULES[sampling](np.array(counts, dtype=np.float64), temperature=temperature, cap=cap, alpha=alpha)
    return dict(zip(sizes, (raw / raw.sum()).tolist(), strict=True))
