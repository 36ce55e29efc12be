"""What heads may know of the backbone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from mt_transformers.heads.backbone_info import BackboneInfo

INFO = BackboneInfo(
    model_type="clip",
    hidden_sizes={"encoded_text": 8, "encoded_text_pooled": 4, "encoded_image": 6, "encoded_image_pooled": 4},
    num_layers={"encoded_text": 3},
    default_pooling={"encoded_text": "pooled", "encoded_image": "pooled"},
    causal=True,
    vocab_size=9,
    embedding_size=8,
)


def test_output_names_are_those_with_positions_in_order() -> None:
    assert INFO.output_names == ("encoded_text", "encoded_image")


def test_it_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        INFO.causal = False  # type: ignore[misc]


def test_the_file_needs_no_torch() -> None:
    path = Path(sys.modules[BackboneInfo.__module__].__file__ or "")
    code = f"import runpy, sys; runpy.run_path({str(path)!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
