"""A tiny model behind the page: as a service, and as a server in this process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from fixtures import tiny_model, tiny_tokenizer
from mt_transformers.inference import MultiTaskPredictor
from mt_transformers.inference.page import PredictionService, find_forms

HEADS: dict[str, dict[str, Any]] = {
    "intent": {"head_type": "sequence_classification", "id2label": ["PlayMusic", "GetWeather", "BookTable"]},
    "slots": {"head_type": "token_classification", "id2label": ["O", "B-singer", "I-singer", "B-city", "I-city"]},
    "banking": {"head_type": "sequence_classification", "id2label": ["card", "<img src=x onerror=document.title='hit'>"]},
}


@pytest.fixture(scope="session")
def predictor() -> MultiTaskPredictor:
    """Three heads as the demo has them, with random weights; a label of one is HTML."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MultiTaskPredictor(tiny_model(HEADS), tiny_tokenizer())


@pytest.fixture(scope="session")
def service(predictor: MultiTaskPredictor) -> PredictionService:
    return PredictionService(predictor, max_characters=1000)


@pytest.fixture(scope="session")
def page(service: PredictionService) -> Iterator[Any]:
    """The running page."""
    pytest.importorskip("gradio")
    from mt_transformers.inference.page import launch_page

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    forms = find_forms(service.predictor.model, service.heads)
    running = launch_page(service, forms, "tiny <b>model</b>", "bert", "127.0.0.1", port)
    yield running
    running.close(verbose=False)
