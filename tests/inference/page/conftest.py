"""A tiny model behind the page: as a service, and as a server, which is a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from inference.page.serving import serve

from fixtures import tiny_model, tiny_tokenizer
from mt_transformers.inference import MultiTaskPredictor
from mt_transformers.inference.page import PredictionService

HEADS: dict[str, dict[str, Any]] = {
    "intent": {"head_type": "sequence_classification", "id2label": ["PlayMusic", "GetWeather", "BookTable"]},
    "slots": {"head_type": "token_classification", "id2label": ["B-singer", "I-singer", "B-city"]},
    "banking": {
        "head_type": "sequence_classification",
        "id2label": ["<script>title</script>", "<img onerror=alert(1)>"],
    },
    "parse": {"head_type": "dependency_parsing", "id2label": ["root", "nsubj", "<b>obj"]},
    "answer": {"head_type": "question_answering"},
}


@pytest.fixture(scope="session")
def predictor() -> MultiTaskPredictor:
    """Three heads as the demo has them, a parser and one for questions, with random weights; some labels are HTML."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MultiTaskPredictor(tiny_model(HEADS), tiny_tokenizer())


@pytest.fixture(scope="session")
def service(predictor: MultiTaskPredictor) -> PredictionService:
    return PredictionService(predictor, max_characters=1000)


@pytest.fixture(scope="session")
def page(predictor: MultiTaskPredictor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the running page of the same model."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("served") / "tiny <b>model"
    predictor.model.save_pretrained(folder)
    predictor.processing_class.save_pretrained(folder)
    with serve(folder, "--max_characters", "1000") as server:
        yield server.address
