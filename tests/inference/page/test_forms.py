"""The page shows the boxes that its heads need, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from backbones import tiny_backbone_config
from fixtures import tiny_model, tiny_tokenizer
from head_tasks import processing_for
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.inference import MultiTaskPredictor, check_row
from mt_transformers.inference.page import InputForm, PredictionService, find_forms
from mt_transformers.inference.page.forms import InputBox

HEADS: dict[str, dict[str, Any]] = {
    "mood": {"head_type": "sequence_classification", "num_labels": 2},
    "slots": {"head_type": "token_classification", "id2label": ["O", "B-x"]},
    "answer": {"head_type": "question_answering"},
    "best": {"head_type": "multiple_choice"},
    "same": {"head_type": "sentence_similarity"},
    "reward": {"head_type": "preference"},
    "parse": {"head_type": "dependency_parsing", "id2label": ["root"]},
}


@pytest.fixture(scope="module")
def model() -> MultiTaskModel:
    return tiny_model(HEADS)


NEEDED = [
    (["mood"], {"Text": ["text", "text_pair"]}),
    (["slots"], {"Text": ["text", "tokens"]}),
    (["parse", "mood"], {"Text": ["text", "text_pair", "tokens"]}),
    (["answer"], {"Question": ["question", "context"]}),
    (["mood", "answer"], {"Text": ["text", "text_pair"], "Question": ["question", "context"]}),
    (["best"], {"Choices": ["text", "choices"]}),
    (["same"], {"Sentences": ["sentences"]}),
    (["reward"], {"Answers": ["text", "chosen", "rejected"]}),
]


@pytest.mark.parametrize(("heads", "forms"), NEEDED, ids=[" ".join(heads) for heads, _ in NEEDED])
def test_heads_have_the_boxes_they_need(model: MultiTaskModel, heads: list[str], forms: dict[str, list[str]]) -> None:
    assert {form.title: [box.name for box in form.boxes] for form in find_forms(model, heads)} == forms


@pytest.mark.parametrize("heads", [heads for heads, _ in NEEDED], ids=[" ".join(heads) for heads, _ in NEEDED])
def test_every_example_is_answered_by_a_head_of_its_form(model: MultiTaskModel, heads: list[str]) -> None:
    service = PredictionService(MultiTaskPredictor(model, tiny_tokenizer()), heads)
    answered = set()
    for form in find_forms(model, heads):
        assert form.examples
        for example in form.examples:
            row = form.row(example)
            assert check_row(row, {}) == row
            answered |= set(service(row).answers)
    assert answered == set(heads)


@pytest.mark.parametrize("family", ["vit", "vilt", "clip"])
def test_images_have_a_box_and_are_answered(family: str) -> None:
    from PIL import Image

    head = {"head_type": "sequence_classification", "num_labels": 2}
    model = (
        tiny_model({"mood": head}, tiny_backbone_config(family))
        if family != "clip"
        else tiny_model({"mood": {**head, "input": "encoded_image"}}, tiny_backbone_config(family))
    )
    (form,) = find_forms(model, ["mood"])
    assert [box.kind for box in form.boxes] == (["text", "image"] if family == "vilt" else ["image"])
    image = Image.new("RGB", (20, 30), "red")
    row = form.row([image] if len(form.boxes) == 1 else ["a film", image])
    service = PredictionService(MultiTaskPredictor(model, processing_for(family)))
    assert set(service(row).answers) == {"mood"}


def test_audio_has_no_box() -> None:
    model = tiny_model(
        {"mood": {"head_type": "audio_classification", "num_labels": 2}}, tiny_backbone_config("hubert")
    )
    with pytest.raises(InputError, match="boxes for texts and images, but the heads read encoded_audio"):
        find_forms(model, ["mood"])


def test_rows_leave_out_what_is_empty_and_may_be() -> None:
    text, pair, words, lines = (
        InputBox("text", "Text"),
        InputBox("text_pair", "Second", optional=True),
        InputBox("tokens", "Words", "words", optional=True),
        InputBox("choices", "Choices", "lines"),
    )
    form = InputForm("All", (text, pair, words))
    assert form.row(["a b", "", False]) == {"text": "a b"}
    assert form.row(["a b", "c", False]) == {"text": "a b", "text_pair": "c"}
    assert form.row([" a  b\nc ", None, True]) == {"tokens": ["a", "b", "c"]}
    assert InputForm("Choices", (lines,)).row([" a \n\n b c\n"]) == {"choices": ["a", "b c"]}
    for empty in ("", "  \n", None):
        with pytest.raises(InputError, match="Text: nothing is there yet"):
            form.row([empty, "", False])
    with pytest.raises(InputError, match="expected one text, found two"):
        form.row(["a", "b", True])
