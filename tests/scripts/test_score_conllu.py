"""The script that scores a folder by the CoNLL 2018 shared task."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from fixtures import sub_word_tokenizer, tiny_model
from mt_transformers.metrics.conllu import read_conllu

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "score_conllu.py"


def test_it_scores_and_writes_trees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = {
        "parse": {"head_type": "dependency_parsing", "id2label": ["root", "det"], "arc_size": 4, "relation_size": 4},
        "lemma": {"head_type": "lemmatization", "id2label": ["lower:*"]},
        "genre": {"head_type": "sequence_classification", "id2label": ["web"]},
        "upos": {"head_type": "token_classification", "id2label": ["NOUN"]},
    }
    tiny_model(heads).save_pretrained(tmp_path / "model")
    sub_word_tokenizer().save_pretrained(tmp_path / "model")
    # the middle word has no sub-token
    row = {"tokens": ["The", "\u3000", "film"], "lemma": ["the", "x", "films"], "upos": [0, 0, 0], "xpos": ["_"] * 3}
    labels = {"upos": List(ClassLabel(names=["NOUN"])), "deprel": List(ClassLabel(names=["root", "det"]))}
    texts = {name: List(Value("string")) for name in ("tokens", "lemma", "xpos")}
    features = Features({**texts, **labels, "head": List(Value("int32"))})
    rows = Dataset.from_list([{**row, "head": [3, 1, 0], "deprel": [1, 1, 0]}], features=features)
    rows.to_parquet(tmp_path / "test.parquet")
    arguments = [str(tmp_path / "model"), str(tmp_path / "test.parquet"), "--output", str(tmp_path / "out.conllu")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    scores = json.loads(capsys.readouterr().out)
    assert set(scores) == {"UPOS", "XPOS", "Lemmas", "UAS", "LAS"}
    assert scores["UPOS"] == pytest.approx(2 / 3)
    assert scores["Lemmas"] == pytest.approx(1 / 3)
    words = read_conllu((tmp_path / "out.conllu").read_text(encoding="utf-8"))[0]
    assert [word.form for word in words] == row["tokens"]
    # the word that was not seen hangs on the first one, the others on each other
    assert words[1].head == 1
    assert sorted([words[0].head, words[2].head]) in ([0, 1], [0, 3])
