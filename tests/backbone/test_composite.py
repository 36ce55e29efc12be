"""What a model takes over from the backbone inside it: where it may be cut, and what stays in float32."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import T5Config

from fixtures import tiny_model
from mt_transformers import MultiTaskModel

HEADS = {"intent": {"head_type": "sequence_classification", "num_labels": 2}}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 50}


def test_blocks_are_not_cut() -> None:
    assert "BertLayer" in (tiny_model()._no_split_modules or ())
    assert "T5Block" in (tiny_model(HEADS, T5Config(**T5))._no_split_modules or ())


def test_what_overflows_in_float16_stays_float32(tmp_path: Path) -> None:
    tiny_model(HEADS, T5Config(**T5)).save_pretrained(tmp_path)
    model = MultiTaskModel.from_pretrained(tmp_path, dtype=torch.float16)
    kept = {name.split(".")[-2] for name, each in model.named_parameters() if each.dtype == torch.float32}
    assert kept == {"wo"}
    assert {each.dtype for each in MultiTaskModel.from_pretrained(tmp_path, dtype=torch.bfloat16).parameters()} == {
        torch.bfloat16
    }
