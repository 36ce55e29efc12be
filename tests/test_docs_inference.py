"""The pages on using a trained model: their programs run as they stand, one after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from transformers import BertForTokenClassification

from fixtures import INTENTS, MOODS, SLOTS, tiny_inputs, tiny_model, tiny_tokenizer, two_tasks
from mt_transformers import MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments

DOCS = Path(__file__).resolve().parents[1] / "docs"
HEADS = {
    "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "banking": {"head_type": "sequence_classification", "id2label": MOODS},
}


def blocks(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def execute(code: str, names: dict[str, Any]) -> None:
    exec(compile(code, "docs", "exec", dont_inherit=True), names)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the folder `out` of a model."""
    tiny_model(HEADS).save_pretrained(tmp_path / "out")
    tiny_tokenizer().save_pretrained(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_on_inference(folder: Path) -> None:
    pipeline, predictor, surgery, native = blocks("inference.md")
    names: dict[str, Any] = {}
    execute(pipeline, names)
    assert set(names["one"]) == set(HEADS)
    assert [len(answer["intent"]) for answer in names["many"]] == [min(3, len(INTENTS))] * 2
    execute(predictor, names)
    assert names["answers"] == names["predictor"](["Play some jazz"])
    assert len(list(names["stream"])) == 2
    execute(surgery, names)
    assert list(names["model"].heads) == [*HEADS, "topic"]
    assert not any(parameter.requires_grad for parameter in names["model"].backbone.parameters())
    execute(native, names)
    assert isinstance(names["tagger"], BertForTokenClassification)
    assert list(names["joint"].heads) == ["slots"]


def test_the_page_on_adapters(folder: Path) -> None:
    pytest.importorskip("peft")
    shared, by_task = blocks("adapters.md")
    tiny_model(HEADS).backbone.model.save_pretrained("bert")
    heads = {"intent": HEADS["intent"], "slots": HEADS["slots"], "mood": HEADS["banking"]}
    args = MultiTaskTrainingArguments(
        "trained", max_steps=2, use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no"
    )
    names: dict[str, Any] = {
        "MultiTaskTrainer": MultiTaskTrainer,
        "MultiTaskModel": MultiTaskModel,
        "model": MultiTaskModel.from_backbone("bert", heads=heads),
        "args": args,
        "tasks": two_tasks(),
        "tokenizer": tiny_tokenizer(),
    }
    execute(shared, names)
    assert type(names["merged"]) is MultiTaskModel
    assert (folder / "adapter" / "README.md").is_file()
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert not (folder / "adapter" / "model.safetensors").exists()
    execute(by_task, names | {"backbone": "bert", "heads": HEADS, "inputs": tiny_inputs(2)})
