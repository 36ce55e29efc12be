"""The registry of head types, and a head of one's own from outside the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from fixtures import HEADS, tiny_inputs, tiny_model
from mt_transformers import Head, HeadConfig, MultiTaskModel, get_head_config, register_head
from mt_transformers.errors import InputError
from mt_transformers.heads import (
    EncodedRows,
    LabelSource,
    SequenceClassificationHead,
    SequenceClassificationHeadConfig,
    SourceRow,
    get_head_class,
    head_types,
)


@dataclass(kw_only=True)
class WordCountHeadConfig(HeadConfig):
    """Its one field is no field of any other head."""

    output_names: ClassVar[tuple[str, ...]] = (*HeadConfig.output_names, "first_ids")

    scale: float = 1.0

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("mse",)

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return [float(value) for value in values]

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return torch.tensor([float("nan") if label is None else label for label in labels])

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        kept = ~np.isnan(labels)
        return predictions[kept], labels[kept]


@register_head("word_count_for_test_registry")
class WordCountHead(Head):
    """Predicts how many words a row has; reads the token ids beside the encoded text, and puts out one key more."""

    config_class = WordCountHeadConfig
    config: WordCountHeadConfig

    def __init__(self, config: WordCountHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.layer = nn.Linear(hidden_size, 1)

    def forward(  # type: ignore[override]
        self,
        encoded: torch.Tensor,
        encoded_mask: torch.Tensor,
        input_ids: torch.Tensor,
        labels: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        logits = self.layer(encoded).squeeze(-1).masked_fill(~encoded_mask, 0.0).sum(dim=1) * self.config.scale
        outputs = {"logits": logits, "first_ids": input_ids[:, 0]}
        if labels is not None:
            outputs["row_losses"] = torch.where(labels.isnan(), 0.0, (logits - labels.nan_to_num()).square())
        return outputs

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return outputs["logits"]

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        return outputs["logits"].tolist()


OWN = {"head_type": "word_count_for_test_registry", "scale": 0.5}


def test_a_head_of_ones_own_trains_saves_and_loads(tmp_path: Path) -> None:
    model = tiny_model({"count": OWN, "intent": HEADS["intent"]})
    head = model.heads["count"]
    assert isinstance(head, WordCountHead)
    assert head.config == WordCountHeadConfig(input="encoded_text", scale=0.5)
    inputs = tiny_inputs()
    labels = {
        "count": torch.tensor([6.0, float("nan"), 4.0, float("nan")]),
        "intent": torch.tensor([0, 1, -100, -100]),
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = head.layer.weight.clone()
    first = model(**inputs, labels=labels)
    # what it reads of the batch are its own rows
    assert first["count_first_ids"].tolist() == inputs["input_ids"][[0, 2], 0].tolist()
    first["loss"].backward()
    optimizer.step()
    assert not torch.equal(head.layer.weight, before)
    assert model(**inputs, labels=labels)["count_loss"] < first["count_loss"]
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert type(loaded.heads["count"]) is WordCountHead
    assert loaded.heads["count"].config.scale == 0.5
    assert torch.equal(loaded(**inputs)["count_logits"], model(**inputs)["count_logits"])


def test_its_metrics() -> None:
    config = WordCountHeadConfig()
    assert config.compute_metrics(np.array([1.0, 5.0]), np.array([3.0, np.nan])) == {"mse": 4.0}
    # lower is better
    assert config.score_sign == -1


def test_registering_gives_the_class_back_and_the_config_its_type() -> None:
    assert register_head("word_count_for_test_registry")(WordCountHead) is WordCountHead
    assert WordCountHeadConfig.head_type == "word_count_for_test_registry"
    assert get_head_class("word_count_for_test_registry") is WordCountHead
    assert list(head_types()) == sorted(head_types())
    assert {"regression", "sequence_classification", "token_classification"} <= set(head_types())


def test_a_taken_name_says_whose_it_is() -> None:
    class Other(Head):
        config_class = WordCountHeadConfig

    with pytest.raises(
        ValueError, match=r"'regression' belongs to mt_transformers.heads.regression.RegressionHead: "
    ) as caught:
        register_head("regression")(Other)
    assert f"{Other.__module__}.{Other.__qualname__} needs another name" in str(caught.value)
    # and nothing was changed on the way
    assert get_head_class("regression").__name__ == "RegressionHead"
    assert WordCountHeadConfig.head_type == "word_count_for_test_registry"


@pytest.mark.parametrize("name", ["", "word-count", "a.b", "1a"])
def test_a_head_type_is_an_identifier(name: str) -> None:
    with pytest.raises(ValueError, match="identifier"):
        register_head(name)


def test_unknown_head_types_and_fields() -> None:
    with pytest.raises(InputError, match="unknown head_type 'regresion', did you mean 'regression'"):
        get_head_class("regresion")
    with pytest.raises(
        InputError, match=r"^head 'h' \(regression\): unknown key 'num_target', did you mean 'num_targets'"
    ):
        get_head_config("h", {"head_type": "regression", "num_target": 2})
    with pytest.raises(InputError, match=r"^head 'h': no 'head_type' given. Known head types: "):
        get_head_config("h", {})
    with pytest.raises(InputError, match=r"^head 'h' \(regression\): num_targets: expected at least 1"):
        get_head_config("h", {"head_type": "regression", "num_targets": 0})


def test_get_head_config_copies() -> None:
    given = SequenceClassificationHeadConfig(num_labels=2, hidden_sizes=[3])
    copied = get_head_config("h", given)
    assert copied == given
    assert isinstance(copied, SequenceClassificationHeadConfig)
    copied.hidden_sizes.append(4)
    assert given.hidden_sizes == [3]
    assert get_head_class(given.head_type) is SequenceClassificationHead
