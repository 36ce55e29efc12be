"""A program of `torch.export` answers as the model does, for other shapes than those it was traced with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fixtures import tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers.errors import InputError
from mt_transformers.inference import load_model
from mt_transformers.inference.export import export_dynamo

pytest.importorskip("transformers", minversion="5.23")


# torch.export.load (2.13) asks its own classes in a way that it has deprecated
@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")
def test_equal_outputs(tmp_path: Path) -> None:
    model = tiny_model()
    export_dynamo(model, tiny_tokenizer(), tmp_path / "out", heads=["intent", "slots"])
    program = torch.export.load(str(tmp_path / "out" / "model.pt2")).module()
    for rows, length in [(5, 7), (2, 30), (3, 4), (1, 9), (1, 64)]:
        batch = tiny_inputs(rows, length)
        with torch.no_grad():
            found = program(**batch, token_type_ids=torch.zeros(rows, length, dtype=torch.long))
            expected = model(**batch)
        assert list(found) == ["intent_logits", "slots_logits"]
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="exported as 'dynamo'"):
        load_model(tmp_path / "out")
