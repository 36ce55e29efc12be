"""AllenNLP's example of a multi-task model, and the routing that it rests on: arguments by name, rows by task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from fixtures import tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import Backbone, Head, HeadConfig, MultiTaskConfig, MultiTaskModel, register_head
from mt_transformers.errors import InputError
from mt_transformers.heads import head_types
from mt_transformers.inference import MultiTaskPredictor, load_model
from mt_transformers.routing import get_forward_arguments

HEADS: dict[str, dict[str, Any]] = {
    "classifier1": {"head_type": "sequence_classification", "num_labels": 2},
    "classifier2": {"head_type": "sequence_classification", "num_labels": 4},
}
MAPPING = {
    "backbone": {"question": "input_ids", "review": "input_ids"},
    "classifier1": {"sentiment": "labels"},
    "classifier2": {"topic": "labels"},
}
SENTIMENT = torch.tensor([0, 1, 1, 0])
TOPIC = torch.tensor([3, 0, 2, 1])
TASK = ["classifier1", "classifier2", "classifier1", "classifier1"]


def example(**config: Any) -> MultiTaskModel:
    """The model of the example, in float64."""
    return tiny_model(HEADS, **{"arg_name_mapping": MAPPING, **config}).double()


def batch() -> dict[str, torch.Tensor]:
    """Four rows, the ids under the example's name."""
    inputs = tiny_inputs()
    return {"question": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}


def logits_by_hand(model: MultiTaskModel, name: str) -> torch.Tensor:
    """Logits of a head for all rows: transformers' encoder, the mean over the tokens, a linear layer."""
    inputs = tiny_inputs()
    encoded = model.backbone.model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(2)
    pooled = (encoded * mask).sum(1) / mask.sum(1)
    classifier = model.heads[name].classifier
    return functional.linear(pooled, classifier.weight, classifier.bias)


# ------------------------------------------------------------------------------------------------------------------
# the example


@pytest.mark.parametrize(
    "task", [TASK, tuple(TASK), [0, 1, 0, 0], torch.tensor([0, 1, 0, 0])], ids=["names", "tuple", "ids", "tensor"]
)
def test_each_head_gets_the_rows_of_its_task(task: Any) -> None:
    model = example(loss_weights={"classifier2": 3.0})
    output = model(**batch(), sentiment=SENTIMENT, topic=TOPIC, task=task)
    first, second = (logits_by_hand(model, name) for name in HEADS)
    assert output["classifier1_rows"].tolist() == [0, 2, 3]
    assert output["classifier2_rows"].tolist() == [1]
    torch.testing.assert_close(output["classifier1_logits"], first[[0, 2, 3]], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(output["classifier2_logits"], second[[1]], rtol=1e-12, atol=1e-14)
    loss1 = functional.cross_entropy(first[[0, 2, 3]], torch.tensor([0, 1, 0]))
    loss2 = functional.cross_entropy(second[[1]], torch.tensor([0]))
    torch.testing.assert_close(output["classifier1_loss"], loss1, rtol=1e-12, atol=0)
    torch.testing.assert_close(output["classifier2_loss"], loss2, rtol=1e-12, atol=0)
    torch.testing.assert_close(output["loss"], loss1 + 3 * loss2, rtol=1e-12, atol=0)


def test_the_other_name_of_the_input() -> None:
    model, inputs = example(), batch()
    review = model(review=inputs["question"], attention_mask=inputs["attention_mask"], sentiment=SENTIMENT)
    torch.testing.assert_close(
        review["loss"], functional.cross_entropy(logits_by_hand(model, "classifier1"), SENTIMENT), rtol=1e-12, atol=0
    )
    # a head without labels has nothing to do beside one that has some
    assert "classifier2_logits" not in review


def test_two_inputs_under_one_name() -> None:
    inputs = batch()
    with pytest.raises(InputError) as caught:
        example()(**inputs, review=inputs["question"])
    assert str(caught.value) == "component 'backbone': the arguments 'question' and 'review' both become 'input_ids'."


def test_a_task_whose_labels_are_missing_is_answered_and_trains_nothing() -> None:
    model = example()
    output = model(**batch(), sentiment=SENTIMENT, task=TASK)
    expected = functional.cross_entropy(logits_by_hand(model, "classifier1")[[0, 2, 3]], torch.tensor([0, 1, 0]))
    torch.testing.assert_close(output["loss"], expected, rtol=1e-12, atol=0)
    assert output["classifier2_logits"].shape == (1, 4)
    assert "classifier2_loss" not in output


def test_rows_of_a_task_without_a_label_train_nothing() -> None:
    model = example()
    labels = torch.tensor([0, -100, -100, 0])
    output = model(**batch(), sentiment=labels, topic=TOPIC, task=TASK)
    assert output["classifier1_rows"].tolist() == [0, 3]
    expected = functional.cross_entropy(logits_by_hand(model, "classifier1")[[0, 3]], torch.tensor([0, 0]))
    torch.testing.assert_close(output["classifier1_loss"], expected, rtol=1e-12, atol=0)


def test_without_labels_and_task_every_head_answers_every_row() -> None:
    model = example()
    output = model(**batch())
    for name in HEADS:
        torch.testing.assert_close(output[f"{name}_logits"], logits_by_hand(model, name), rtol=1e-12, atol=1e-14)
    assert output.loss is None
    assert not [key for key in output if key.endswith(("_rows", "_loss"))]


def test_the_callers_batch_is_not_changed() -> None:
    given: dict[str, Any] = {**batch(), "sentiment": SENTIMENT.clone(), "topic": TOPIC.clone(), "task": list(TASK)}
    before = dict(given)
    example()(**given)
    assert list(given) == list(before)
    assert all(given[name] is value for name, value in before.items())
    assert (given["sentiment"].tolist(), given["task"]) == (SENTIMENT.tolist(), TASK)


# ------------------------------------------------------------------------------------------------------------------
# tasks


def test_one_task_feeds_two_heads() -> None:
    model = example(tasks={"reviews": ["classifier1", "classifier2"], "questions": ["classifier2"]})
    output = model(**batch(), sentiment=SENTIMENT, topic=TOPIC, task=["reviews", "questions", "questions", "reviews"])
    assert output["classifier1_rows"].tolist() == [0, 3]
    assert "classifier2_rows" not in output
    first, second = (logits_by_hand(model, name) for name in HEADS)
    expected = functional.cross_entropy(first[[0, 3]], SENTIMENT[[0, 3]]) + functional.cross_entropy(second, TOPIC)
    torch.testing.assert_close(output["loss"], expected, rtol=1e-12, atol=0)
    # indices count the tasks, not the heads
    by_index = model(**batch(), sentiment=SENTIMENT, topic=TOPIC, task=torch.tensor([0, 1, 1, 0]))
    assert torch.equal(by_index["loss"], output["loss"])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            ["classifier1", "classifier2", "classifer1", "classifier1"],
            "task of row 2: unknown task 'classifer1'. Known: classifier1, classifier2.",
        ),
        ([0, 1, 0, 2], "task of row 3: unknown task 2. Known: classifier1, classifier2."),
        (torch.tensor([0, -1, 0, 0]), "task of row 1: unknown task -1. Known: classifier1, classifier2."),
        ([None, "classifier1", "classifier1", "classifier1"], "task of row 0: unknown task None."),
        (["classifier1"], "task: expected one task for each of the 4 rows, found 1."),
    ],
    ids=str,
)
def test_an_unknown_task_names_its_row(task: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        example()(**batch(), task=task)
    assert str(caught.value).startswith(message)


def test_heads_are_no_tasks_where_tasks_have_names_of_their_own() -> None:
    with pytest.raises(InputError, match=r"task of row 0: unknown task 'classifier1'\. Known: reviews\."):
        example(tasks={"reviews": ["classifier1"]})(**batch(), task=TASK)


# ------------------------------------------------------------------------------------------------------------------
# a head that asks for more


@dataclass(kw_only=True)
class _ProbeConfig(HeadConfig):
    """Config of `_Probe`: it has no labels that data could tell."""

    def encode_labels(self, values: Any, source: Any, rows: Any, word_ids: Any) -> list[Any]:
        return list(values)

    def collate_labels(self, labels: Any, sequence_length: int) -> torch.Tensor:
        return torch.tensor(labels)

    def metric_inputs(self, metric: str, predictions: Any, references: Any) -> tuple[Any, Any]:
        return predictions, references


@register_head("test_probe")
class _Probe(Head):
    """Hands back what it got: ids of the backbone's output, and two arguments of the user's."""

    config_class = _ProbeConfig

    def forward(
        self,
        encoded: torch.Tensor,
        encoded_mask: torch.Tensor,
        token_ids: torch.Tensor | None = None,
        age: torch.Tensor | None = None,
        scale: float = 1.0,
        labels: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        first = encoded[:, 0, :1]
        outputs = {"logits": scale * (first if age is None else age.unsqueeze(1).to(first.dtype))}
        if token_ids is not None:
            outputs["seen"] = token_ids
        if labels is not None:
            outputs["row_losses"] = labels.to(first.dtype)
        return outputs

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return outputs["logits"]

    def decode(self, outputs: dict[str, torch.Tensor], words: Any) -> list[Any]:
        return outputs["logits"].tolist()


AGES = torch.tensor([10, 20, 30, 40])
WITH_PROBE = {**HEADS, "probe": {"head_type": "test_probe"}}


def probing(**config: Any) -> MultiTaskModel:
    """A model with two classifiers and a probe."""
    return tiny_model(WITH_PROBE, **config)


def test_a_head_gets_its_rows_of_what_it_asks_for() -> None:
    inputs = tiny_inputs()
    output = probing()(**inputs, age=AGES, scale=0.5, task=["probe", "classifier1", "probe", "classifier2"])
    assert output["probe_rows"].tolist() == [0, 2]
    assert output["probe_logits"].tolist() == [[5.0], [15.0]]
    assert torch.equal(output["probe_seen"], inputs["input_ids"][[0, 2]])


def test_a_head_gets_all_rows_of_what_it_asks_for() -> None:
    inputs = tiny_inputs()
    output = probing()(**inputs, age=AGES)
    assert output["probe_logits"].tolist() == [[10.0], [20.0], [30.0], [40.0]]
    assert torch.equal(output["probe_seen"], inputs["input_ids"])
    assert torch.equal(output["token_ids"], inputs["input_ids"])


def test_an_argument_of_ones_own_can_have_another_name_for_each_head() -> None:
    model = tiny_model(
        {"old": {"head_type": "test_probe"}, "young": {"head_type": "test_probe"}},
        arg_name_mapping={"old": {"grandmother": "age"}, "young": {"child": "age"}},
    )
    output = model(**tiny_inputs(), grandmother=AGES + 50, child=AGES - 10)
    assert output["old_logits"].flatten().tolist() == [60.0, 70.0, 80.0, 90.0]
    assert output["young_logits"].flatten().tolist() == [0.0, 10.0, 20.0, 30.0]


def test_the_outputs_of_a_backbone_go_by_mapped_names_too() -> None:
    model = tiny_model(
        {"probe": {"head_type": "test_probe"}},
        arg_name_mapping={"backbone": {"question": "input_ids"}, "probe": {"token_ids": "age"}},
        allowed_arguments={"probe": ["encoded", "encoded_mask", "age"]},
    )
    output = model(question=torch.tensor([[5], [6]]))
    assert output["probe_logits"].flatten(1).tolist() == [[5.0], [6.0]]


def test_allowed_arguments_hide_the_others() -> None:
    inputs = tiny_inputs()
    shown = probing(allowed_arguments={"probe": ["encoded", "encoded_mask", "age"]})
    output = shown(**inputs, age=AGES, scale=0.5)
    assert output["probe_logits"].flatten().tolist() == [10.0, 20.0, 30.0, 40.0]
    assert "probe_seen" not in output
    hidden = probing(allowed_arguments={"probe": ["encoded", "encoded_mask"]})
    assert torch.equal(hidden(**inputs, age=AGES)["probe_logits"], hidden(**inputs)["probe_logits"])


def test_allowed_arguments_hide_labels_and_inputs_of_the_backbone() -> None:
    model = probing(allowed_arguments={"probe": ["encoded", "encoded_mask"], "backbone": ["input_ids"]}).double()
    inputs = tiny_inputs()
    output = model(**inputs, labels={"probe": torch.ones(4), "classifier1": SENTIMENT})
    assert "probe_row_losses" not in output
    assert torch.equal(output["loss"], output["classifier1_loss"])
    # the attention mask does not get to the backbone
    assert output["encoded_text_mask"].all()
    assert not tiny_inputs()["attention_mask"].all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"arg_name_mapping": {"classifer1": {"sentiment": "labels"}}},
            "arg_name_mapping: unknown component 'classifer1', did you mean 'classifier1'?",
        ),
        (
            {"allowed_arguments": {"backbon": ["input_ids"]}},
            "allowed_arguments: unknown component 'backbon', did you mean 'backbone'?",
        ),
        (
            {"arg_name_mapping": {"classifier1": {"sentiment": "label"}}},
            "arg_name_mapping of 'classifier1': unknown parameter 'label', did you mean 'labels'?",
        ),
        (
            {"allowed_arguments": {"probe": ["encoded", "encoded_mask", "ages"]}},
            "allowed_arguments of 'probe': unknown parameter 'ages', did you mean 'age'?",
        ),
        # BERT takes anything beside what it names, but nothing of another name is ever passed to it
        (
            {"arg_name_mapping": {"backbone": {"question": "inputs_ids"}}},
            "arg_name_mapping of 'backbone': unknown parameter 'inputs_ids', did you mean 'input_ids'?",
        ),
        (
            {"tasks": {"reviews": ["classifer1"]}},
            "task 'reviews': unknown head 'classifer1', did you mean 'classifier1'?",
        ),
    ],
    ids=str,
)
def test_what_names_no_component_or_parameter(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        probing(**config)
    assert str(caught.value).startswith(message)


# ------------------------------------------------------------------------------------------------------------------
# saving


def test_a_saved_model_routes_as_before(tiny_backbone: str, tmp_path: Path) -> None:
    routing = {
        "arg_name_mapping": MAPPING,
        "allowed_arguments": {"backbone": {"input_ids", "attention_mask"}},
        "tasks": {"reviews": ["classifier1", "classifier2"], "questions": ["classifier2"]},
        "loss_weights": {"classifier2": 0.5},
    }
    model = MultiTaskModel.from_backbone(tiny_backbone, heads=HEADS, **routing)
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    for config in (model.config, loaded.config, MultiTaskConfig.from_pretrained(tmp_path)):
        assert config.arg_name_mapping == MAPPING
        assert config.allowed_arguments == {"backbone": ["attention_mask", "input_ids"]}
        assert config.tasks == routing["tasks"]
        assert config.loss_weights == {"classifier2": 0.5}
    call = {
        **batch(),
        "sentiment": SENTIMENT,
        "topic": TOPIC,
        "task": ["questions", "reviews", "questions", "reviews"],
    }
    expected, found = model(**call), loaded(**call)
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("tasks", [{}, {"reviews": ["topic"], "questions": ["sentiment"]}], ids=["heads", "tasks"])
def test_indices_of_tasks_mean_the_same_in_a_saved_model(tasks: dict[str, list[str]], tmp_path: Path) -> None:
    """Neither heads nor tasks are in alphabetical order, in which transformers writes a config."""
    model = tiny_model({"topic": HEADS["classifier2"], "sentiment": HEADS["classifier1"]}, tasks=tasks)
    index = torch.tensor([0, 1, 0, 0])
    expected = model(**tiny_inputs(), task=index)
    assert expected["topic_rows"].tolist() == [0, 2, 3]
    model.save_pretrained(tmp_path)
    found = MultiTaskModel.from_pretrained(tmp_path)(**tiny_inputs(), task=index)
    assert found["topic_rows"].tolist() == [0, 2, 3]
    assert torch.equal(found["sentiment_logits"], expected["sentiment_logits"])


# ------------------------------------------------------------------------------------------------------------------
# names of AllenNLP


def test_names_of_the_backbone() -> None:
    model = example()
    assert isinstance(model.backbone, Backbone)
    output = model.backbone(input_ids=tiny_inputs()["input_ids"])
    assert list(output) == ["encoded_text", "encoded_text_mask", "token_ids"]
    assert callable(model.backbone.make_output_human_readable)


def test_names_of_the_heads() -> None:
    assert {"sequence_classification", "token_classification", "regression"} <= set(head_types())
    assert get_forward_arguments(example().heads["classifier1"]) == {"encoded", "encoded_mask", "labels"}
    assert get_forward_arguments(_Probe(_ProbeConfig(), 4)) == {
        "encoded",
        "encoded_mask",
        "token_ids",
        "age",
        "scale",
        "labels",
    }


def test_names_of_the_model(tiny_backbone: str, tmp_path: Path) -> None:
    model = MultiTaskModel.from_backbone(tiny_backbone, heads=HEADS)
    assert model.default_predictor == MultiTaskModel.default_predictor == "multitask"
    for name in ("get_metrics", "make_output_human_readable", "save_pretrained", "from_pretrained", "push_to_hub"):
        assert callable(getattr(model, name))
    assert (model.track_metrics, model.tokenizer) == (False, None)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    rows = [
        {"text": "play dido", "task": "classifier2"},
        {"text": "the film is great", "task": "classifier1"},
        {"text": "weather in rome"},
    ]
    answers = MultiTaskPredictor(*load_model(tmp_path))(rows)
    assert [sorted(set(answer) & set(HEADS)) for answer in answers] == [
        ["classifier2"],
        ["classifier1"],
        ["classifier1", "classifier2"],
    ]
