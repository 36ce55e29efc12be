"""Exports of tiny models, each made once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from fixtures import tiny_model, tiny_tokenizer
from head_tasks import head_config
from mt_transformers import MultiTaskModel

if TYPE_CHECKING:
    from mt_transformers.inference.export import OnnxExport

TEXT_HEADS = (
    "sequence_classification",
    "regression",
    "token_classification",
    "dependency_parsing",
    "lemmatization",
    "question_answering",
    "multiple_choice",
    "sentence_similarity",
    "preference",
)


@pytest.fixture(scope="session")
def many_heads() -> MultiTaskModel:
    """A tiny BERT with a head of each type that reads text both ways, named after its type."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return tiny_model({name: head_config(name) for name in TEXT_HEADS})


@pytest.fixture(scope="session")
def many_heads_folder(many_heads: MultiTaskModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export; tests leave it as it is."""
    _skip_without_packages()
    from mt_transformers.inference.export import export_onnx

    folder = tmp_path_factory.mktemp("exports") / "many_heads"
    export_onnx(many_heads, tiny_tokenizer(), folder)
    return folder


@pytest.fixture(scope="session")
def trained_export(trained_folder: Path) -> OnnxExport:
    """A model that has learned two tasks, traced."""
    _skip_without_packages()
    from mt_transformers.inference import load_trained_model
    from mt_transformers.inference.export import trace_onnx

    return trace_onnx(*load_trained_model(trained_folder))


def _skip_without_packages() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
