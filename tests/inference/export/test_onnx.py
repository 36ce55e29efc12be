"""What ONNX Runtime answers is what torch answers, for every head, any number of rows and any length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backbones import IMAGE_SIZE, IMAGES, TEXT_DECODERS, TEXT_ENCODERS
from fixtures import tiny_inputs, tiny_model, tiny_tokenizer
from head_tasks import head_config, processing_for
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.inference import MultiTaskPredictor, load_model
from mt_transformers.inference.export import ExportedMultiTaskModel, OnnxExport, export_onnx, load_exported, trace_onnx

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SHAPES = [(4, 6), (1, 5), (1, 2), (1, 1), (7, 13), (5, 7), (2, 64)]
ROWS: list[Any] = [
    "play music by dido",
    {"text": "the film is great", "text_pair": "is the film"},
    {"tokens": ["the", "book", "is", "dull"]},
    {"question": "is the film", "context": "the film is great . " * 30},
    {"question": "is the book", "context": "the book is dull"},
    {"text": "the song is", "choices": ["great", "poor", "dull"]},
    {"text": "the play is", "choices": ["fine", "boring"]},
    {"sentences": ["the film is great", "is the film"]},
    {"chosen": "the film is great", "rejected": "the film is"},
]


def token_batch(rows: int, length: int, side: str = "right") -> dict[str, torch.Tensor]:
    """Ids with padding on one side, where there is room for it."""
    if length < 4:
        ids = torch.arange(rows * length).view(rows, length) + 5
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    else:
        batch = tiny_inputs(rows, length)
    batch["token_type_ids"] = (torch.arange(length) >= length // 2).long().expand(rows, length)
    return batch if side == "right" else {name: value.flip(1) for name, value in batch.items()}


@torch.inference_mode()
def assert_same(model: MultiTaskModel, exported: ExportedMultiTaskModel, **inputs: Any) -> None:
    """Both put out the same, within rounding, where there is no padding."""
    expected, found = model(**inputs), exported(**inputs)
    mask = inputs["attention_mask"].bool()
    names = [f"{head}_{key}" for head in exported.heads for key in model.named_heads[head].config.output_names]
    names = [name for name in names if name in expected]
    assert set(found) == set(names)
    for name in names:
        one, other = expected[name], found[name]
        if "sequences" not in inputs and one.dim() > 1 and one.shape[1] != other.shape[1]:
            # the graph takes two sequences a row at least
            one, other = one[:, 0], other[:, 0]
        if one.shape[:2] == mask.shape:
            one, other = one[mask], other[mask]
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)


def close(one: Any, other: Any) -> bool:
    """Equal answers, up to rounding of numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == pytest.approx(other, abs=1e-4) if isinstance(one, float) else bool(one == other)


@pytest.fixture(scope="module")
def exported(many_heads_folder: Path) -> ExportedMultiTaskModel:
    """Heads of nine types, loaded."""
    return load_exported(many_heads_folder)[0]


@pytest.mark.parametrize(("rows", "length"), SHAPES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_outputs_equal_for_shapes_other_than_the_traced(
    many_heads: MultiTaskModel, exported: ExportedMultiTaskModel, rows: int, length: int, side: str
) -> None:
    assert_same(many_heads, exported, **token_batch(rows, length, side))


@pytest.mark.parametrize(
    "table", [[[0, 2], [1, 3]], [[0, -1]], [[0, 3, 4, 5], [1, -1, -1, -1], [2, 6, -1, -1]], [[0], [1]]]
)
def test_heads_that_read_several_sequences_get_them(
    many_heads: MultiTaskModel, exported: ExportedMultiTaskModel, table: list[list[int]]
) -> None:
    number = 1 + max(map(max, table))
    sequences = dict.fromkeys(("question_answering", "multiple_choice", "preference"), torch.tensor(table))
    batch = token_batch(number, 9)
    with torch.inference_mode():
        expected = many_heads(**batch, sequences=sequences, heads=[*sequences, "regression"])
        found = exported(**batch, sequences=sequences, heads=[*sequences, "regression"])
    assert len(found) == 4
    for name, value in found.items():
        columns = expected[name].shape[1]
        torch.testing.assert_close(value[:, :columns], expected[name], atol=1e-5, rtol=1e-4)


def test_predictions_equal(many_heads: MultiTaskModel, exported: ExportedMultiTaskModel) -> None:
    tokenizer = tiny_tokenizer()
    expected = MultiTaskPredictor(many_heads, tokenizer, batch_size=4)(ROWS)
    found = MultiTaskPredictor(exported, tokenizer, batch_size=4)(ROWS)
    assert [list(each) for each in found] == [list(each) for each in expected]
    for one, other in zip(expected, found, strict=True):
        for head in one:
            assert close(one[head], other[head]), head
    assert {head for each in expected for head in each} == set(many_heads.heads)


def test_only_the_outputs_of_the_named_heads_are_computed(exported: ExportedMultiTaskModel) -> None:
    found = exported(**token_batch(2, 5), heads=["regression", "dependency_parsing"])
    names = {"logits", "relation_heads", "relation_dependents"}
    assert set(found) == {"regression_logits", *(f"dependency_parsing_{name}" for name in names)}
    with pytest.raises(InputError, match="unknown head 'regresion', did you mean 'regression'"):
        exported(**token_batch(2, 5), heads=["regresion"])


def test_the_folder_says_what_it_is(many_heads_folder: Path, many_heads: MultiTaskModel) -> None:
    manifest = json.loads((many_heads_folder / "multi_task_export.json").read_text())
    assert (manifest["export_format"], manifest["quantized"], manifest["max_positions"]) == ("onnx", False, 64)
    assert {"torch", "transformers", "mt_transformers"} <= set(manifest["versions"])
    files = {each.name for each in many_heads_folder.iterdir()}
    assert files == {*manifest["files"], "multi_task_export.json"}
    assert {"model.onnx", "model.onnx.data", "config.json", "heads.safetensors", "tokenizer.json"} <= files
    # the heads' weights are there, the backbone's only in the graph
    heads = sum(value.numel() for value in many_heads.heads.parameters())
    assert (many_heads_folder / "heads.safetensors").stat().st_size < 4 * heads + 8192


@pytest.mark.slow
@pytest.mark.parametrize("family", ["distilbert", "modernbert", "deberta-v2"])
def test_other_encoders(family: str, tmp_path: Path) -> None:
    heads = {"mood": {"head_type": "sequence_classification", "num_labels": 3, "pooling": "cls", "layer": 1}}
    model = tiny_model(heads, TEXT_ENCODERS[family]())
    export_onnx(model, tiny_tokenizer(), tmp_path / "out")
    found, _ = load_exported(tmp_path / "out")
    assert_same(model, found, **token_batch(3, 9, "left"))
    assert_same(model, found, **token_batch(1, 38))


def test_a_decoder_with_a_language_model_and_some_heads_left_out(tmp_path: Path) -> None:
    heads = {
        "next": {"head_type": "causal_language_modeling"},
        "tags": head_config("token_classification"),
        "mood": {"head_type": "sequence_classification", "num_labels": 2},
    }
    tasks = {"both": ["tags", "mood"], "moods": ["mood"]}
    model = tiny_model(heads, TEXT_DECODERS["gpt2"](), tasks=tasks, loss_weights={"mood": 0.5, "tags": 2.0})
    export_onnx(model, tiny_tokenizer(), tmp_path / "out", heads=["tags", "next"])
    found, _ = load_exported(tmp_path / "out")
    assert list(found.heads) == ["next", "tags"]
    assert (found.config.tasks, found.config.loss_weights) == ({"both": ["tags"]}, {"tags": 2.0})
    assert list(model.config.heads) == list(heads)
    for side in ("left", "right"):
        assert_same(model, found, **token_batch(3, 8, side))


def test_images(tmp_path: Path) -> None:
    heads = {"mood": {"head_type": "image_classification", "id2label": ["bad", "good"]}}
    model, processing = tiny_model(heads, IMAGES["vit"]()), processing_for("vit")
    export_onnx(model, processing, tmp_path / "out")
    found, image_processor = load_model(tmp_path / "out")
    images = [np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 40 * number, dtype=np.uint8) for number in range(5)]
    rows = [{"images": image} for image in images]
    expected = MultiTaskPredictor(model, processing)(rows)
    assert close(MultiTaskPredictor(found, image_processor, batch_size=2)(rows), expected)
    assert close(MultiTaskPredictor(found, image_processor)(rows[:1]), expected[:1])


def test_int8_weights_answer_nearly_the_same(trained_export: OnnxExport, trained_folder: Path, tmp_path: Path) -> None:
    int8 = trained_export.quantize()
    assert (int8.quantized, trained_export.quantized) == (True, False)
    trained_export.save(tmp_path / "onnx")
    int8.save(tmp_path / "int8")
    assert json.loads((tmp_path / "int8" / "multi_task_export.json").read_text())["quantized"] is True
    model, tokenizer = load_model(trained_folder)
    plain, small = (load_exported(tmp_path / name)[0] for name in ("onnx", "int8"))
    batch = token_batch(4, 6)
    with torch.inference_mode():
        expected = model(**batch)["intent_logits"]
    torch.testing.assert_close(plain(**batch)["intent_logits"], expected, atol=1e-5, rtol=1e-4)
    found = small(**batch)["intent_logits"]
    error = float((found - expected).norm() / expected.norm())
    assert 1e-6 < error < 0.1
    rows = ["play music by dido", "weather in rome"]
    answers = [
        [each["intent"]["label"] for each in MultiTaskPredictor(one, tokenizer)(rows)] for one in (model, small)
    ]
    assert answers[0] == answers[1] == ["PlayMusic", "GetWeather"]
    graph = (tmp_path / "int8" / "model.onnx").read_bytes()
    assert b"MatMulInteger" in graph
    assert b"MatMulInteger" not in (tmp_path / "onnx" / "model.onnx").read_bytes()


def test_the_model_keeps_its_mode(trained_export: OnnxExport) -> None:
    assert not trained_export.model.training
    trained_export.model.train()
    with pytest.raises(InputError, match="unknown head 'x'"):
        trace_onnx(trained_export.model, trained_export.processing_class, heads=["x"])
    assert trained_export.model.training
    trained_export.model.eval()


def test_export_refuses_before_any_work(many_heads: MultiTaskModel, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(InputError, match="holds files and is no earlier export"):
        export_onnx(many_heads, tiny_tokenizer(), tmp_path / "mine")
    with pytest.raises(InputError, match="quantize: expected True or False, found 'int8'"):
        export_onnx(many_heads, tiny_tokenizer(), tmp_path / "out", quantize="int8")  # type: ignore[arg-type]
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]
