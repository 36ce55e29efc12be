"""The metrics of an export are those of the trainer's evaluation, and a worse one shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fixtures import two_tasks
from mt_transformers import MultiTaskTrainer, MultiTaskTrainingArguments
from mt_transformers.errors import InputError
from mt_transformers.inference import load_trained_model
from mt_transformers.inference.export import ExportedMultiTaskModel, OnnxExport, load_exported
from mt_transformers.inference.export.comparison import ExportEvaluation
from mt_transformers.modeling import MultiTaskModelOutput

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def arguments(folder: Path) -> MultiTaskTrainingArguments:
    """Of an evaluation in batches that do not hold all rows."""
    return MultiTaskTrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True, per_device_eval_batch_size=3
    )


class Worse(ExportedMultiTaskModel):
    """An export that always answers the first label."""

    def __init__(self, other: ExportedMultiTaskModel) -> None:
        vars(self).update(vars(other))

    def __call__(self, *args: object, **kwargs: object) -> MultiTaskModelOutput:
        outputs = super().__call__(*args, **kwargs)  # type: ignore[arg-type]
        falling = {name: -torch.arange(float(value.numel())).view_as(value) for name, value in outputs.items()}
        return MultiTaskModelOutput(**falling)


def test_metrics_of_all_variants(
    trained_folder: Path, trained_export: OnnxExport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = load_trained_model(trained_folder)
    trainer = MultiTaskTrainer(model, arguments(tmp_path), tasks=two_tasks(), processing_class=tokenizer)
    expected = trainer.evaluate(split="test", metric_key_prefix="test")
    trained_export.save(tmp_path / "out")
    exported, _ = load_exported(tmp_path / "out")
    capsys.readouterr()
    evaluation = ExportEvaluation(model, tokenizer, two_tasks(), "test", arguments(tmp_path), list(model.heads))
    for name, each in {"torch": None, "onnx": exported, "worse": Worse(exported)}.items():
        evaluation.run(name, each)
    found = evaluation.comparisons
    assert [(each.task, each.head, each.metric) for each in found] == [
        ("requests", "intent", "accuracy"),
        ("requests", "intent", "f1_macro"),
        ("requests", "slots", "entity_f1"),
        ("requests", "slots", "accuracy"),
        ("moods", "mood", "accuracy"),
        ("moods", "mood", "f1_macro"),
    ]
    for each in found:
        assert each.values["torch"] == each.values["onnx"] == expected[f"test_{each.task}_{each.head}_{each.metric}"]
        assert each.difference == each.values["worse"] - each.values["torch"]
    assert found[0].values["torch"] == 1.0
    assert found[0].difference == -0.5
    # the losses of a graph, which are NaN, are for nobody
    assert "nan" not in capsys.readouterr().out


def test_no_rows_for_the_heads(trained_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = load_trained_model(trained_folder)
    tasks = {"moods": two_tasks()["moods"]}
    with pytest.raises(InputError, match="no task has a split 'test' with labels of intent"):
        ExportEvaluation(model, tokenizer, tasks, "test", arguments(tmp_path), ["intent"])
