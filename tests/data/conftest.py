"""What several tests of the data room share: samplers over any tasks, mixture and number of processes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from mt_transformers.data import Mixture, MultiTaskBatchSampler
from mt_transformers.data.schedule import ORDERS
from mt_transformers.data.shares import SAMPLINGS
from mt_transformers.errors import InputError


@st.composite
def _mixtures(draw: st.DrawFn, names: list[str]) -> Mixture:
    """Mixtures of every sampling, order, kind of batches and end of an epoch."""
    sampling = draw(st.sampled_from(SAMPLINGS))
    options: dict[str, Any] = {
        "temperature": {"temperature": draw(st.sampled_from([0.5, 2.0, 5.0]))},
        "capped": {"cap": draw(st.integers(1, 12))},
        "smoothing": {"alpha": draw(st.sampled_from([0.0, 0.5, 1.5]))},
        # the first task has a weight above 0, so that not all are 0
        "weighted": {
            "weights": {n: draw(st.sampled_from([1.0, 2.5] if n == "a" else [0.0, 0.5, 2.0])) for n in names}
        },
    }.get(sampling, {})
    end = draw(st.sampled_from(["default", "all", "first", "longest", "instances"]))
    if end == "instances":
        options["instances_per_epoch"] = draw(st.integers(8, 40))
    elif end != "default":
        options["stop"] = None if sampling == "dynamic" else end
    return Mixture(
        sampling=sampling,
        order=draw(st.sampled_from(list(ORDERS))),
        # homogeneous dynamic epochs are made of whole batches, see test_dynamic.py
        batches=draw(st.sampled_from(["mixed"] if sampling == "dynamic" else ["mixed", "homogeneous"])),
        **options,
    )


@st.composite
def _sampler_arguments(draw: st.DrawFn) -> dict[str, Any]:
    sizes = dict(zip("abc", draw(st.lists(st.integers(1, 15), min_size=1, max_size=3)), strict=False))
    return {
        "sizes": sizes,
        "mixture": draw(_mixtures(list(sizes))),
        "batch_size": draw(st.integers(1, 6)),
        "seed": draw(st.integers(0, 3)),
        "num_processes": draw(st.integers(1, 4)),
    }


def _has_rows(arguments: dict[str, Any]) -> bool:
    """Whether the epoch has rows of each task: what the package refuses otherwise."""
    try:
        return len(MultiTaskBatchSampler(**arguments)) > 0
    except InputError:
        return False


@pytest.fixture(scope="session")
def sampler_arguments() -> st.SearchStrategy[dict[str, Any]]:
    """Arguments of a [`MultiTaskBatchSampler`] over tasks `a`, `b`, `c` (or fewer); `drop_last` left out."""
    return _sampler_arguments().filter(_has_rows)
