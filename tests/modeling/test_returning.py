"""Logits, features or layers instead of all outputs."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from adapting import TASKS as ADAPTED_TASKS
from adapting import with_task_adapters
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from backbones import ENCODER_DECODERS, FAMILIES, tiny_backbone_config, tiny_backbone_inputs
from fixtures import HEADS, tiny_inputs, tiny_model
from head_tasks import TASKS, head_batch, head_config
from mt_transformers import Head, HeadConfig, MultiTaskConfig, MultiTaskModel, register_head
from mt_transformers.errors import InputError
from mt_transformers.heads import SequenceClassificationHeadConfig, SourceRow, get_head_class, head_types
from mt_transformers.heads.vocabulary import TiedDecoder
from mt_transformers.routing import get_forward_arguments

FAMILY_OF = {"image_classification": "vit", "audio_classification": "wav2vec2", "causal_language_modeling": "gpt2"}
TRAINED_LAYER = {
    "sequence_classification": "classifier",
    "regression": "regressor",
    "token_classification": "classifier",
    "lemmatization": "classifier",
    "question_answering": "qa_outputs",
    "multiple_choice": "classifier",
    "preference": "classifier",
    "masked_language_modeling": "decoder",
    "causal_language_modeling": "decoder",
    "sentence_similarity": "projection",
    "image_classification": "classifier",
    "audio_classification": "classifier",
}
"""Head type -> its last layer; a dependency parser has none that makes all of its logits."""


def make_model(head_type: str, family: str, **fields: Any) -> MultiTaskModel:
    torch.manual_seed(0)
    heads = {"head": head_config(head_type, **fields)}
    return MultiTaskModel(MultiTaskConfig(backbone_config=tiny_backbone_config(family), heads=heads)).eval()


@lru_cache
def _batch(head_type: str, family: str) -> dict[str, Any]:
    return head_batch(head_type, family, make_model(head_type, family).named_heads["head"].config)


def make_batch(head_type: str) -> dict[str, Any]:
    """A batch with labels for a head on its family."""
    return dict(_batch(head_type, FAMILY_OF.get(head_type, "bert")))


def logits_from(head: Head, features: torch.Tensor, logits: torch.Tensor, model: MultiTaskModel) -> torch.Tensor:
    """The head's logits, computed anew from its features."""
    layer = head.last_layer
    kind = head.config.head_type
    if kind == "sentence_similarity":
        return nn.functional.cosine_similarity(*features.unbind(dim=1)).unsqueeze(1) * 3.0  # labels are from 0 to 3
    if isinstance(layer, TiedDecoder):
        found: torch.Tensor = layer(features, model.get_input_embeddings().weight, getattr(head, "bias", None))
        return found
    assert isinstance(layer, nn.Linear)
    found = layer(features)
    if kind == "regression":
        return found * torch.tensor(head.config.std) + torch.tensor(head.config.mean)
    if kind in ("multiple_choice", "preference"):
        found = found.squeeze(-1)
        return torch.where(logits == torch.finfo(logits.dtype).min, logits, found)
    return found


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("head_type", TASKS)
def test_every_head_gives_logits_and_what_they_are_made_of(head_type: str, with_labels: bool) -> None:
    model, batch = make_model(head_type, FAMILY_OF.get(head_type, "bert")), make_batch(head_type)
    if not with_labels:
        del batch["labels"], batch["rows"]
    if head_type == "masked_language_modeling":
        batch["input_ids"] = torch.where(batch["input_ids"] == 5, 4, batch["input_ids"])
    expected = model(**batch)["head_logits"]
    logits, features = model(**batch, returnt="both")
    assert torch.equal(logits, expected)
    assert torch.equal(model(**batch, returnt="out"), expected)
    assert torch.equal(model(**batch, returnt="features"), features)
    assert torch.equal(model.features(**batch), features)
    head = model.named_heads["head"]
    if head_type in TRAINED_LAYER:
        assert head.last_layer is getattr(head, TRAINED_LAYER[head_type])
        torch.testing.assert_close(logits_from(head, features, expected, model), expected)
    else:
        assert head.last_layer is None
        assert torch.equal(features, model(**batch)["encoded_text"])
    # a strategy trains through either
    (slope,) = torch.autograd.grad(logits.sum(), features, retain_graph=True)
    assert slope.shape == features.shape
    # not the sum, which layer normalization keeps
    features.pow(3).sum().backward()
    assert any(each.grad is not None and each.grad.any() for each in model.backbone.parameters())


def test_every_head_type_is_held() -> None:
    own = {name for name in head_types() if get_head_class(name).__module__.startswith("mt_transformers.")}
    assert {*TRAINED_LAYER, "dependency_parsing"} == own


@pytest.mark.parametrize("fields", [{"hidden_sizes": [6]}, {"pooling": "attention"}])
def test_features_are_read_behind_feed_forward_layers_and_pooling(fields: dict[str, Any]) -> None:
    model = make_model("sequence_classification", "bert", **fields)
    logits, features = model(**tiny_inputs(), returnt="both")
    assert features.shape == (4, 6 if "hidden_sizes" in fields else 32)
    assert torch.equal(model.heads["head"].classifier(features), logits)


def test_features_of_projected_sentences_are_those_before_the_projection() -> None:
    model = make_model("sentence_similarity", "bert", projection_size=5)
    outputs = model(**tiny_inputs())
    features = model.features(**tiny_inputs())
    assert features.shape == (4, 1, 32)
    projected = model.heads["head"].projection(features[:, 0])
    torch.testing.assert_close(nn.functional.normalize(projected, dim=-1), outputs["head_embedding"])


def test_features_of_a_layer_and_of_a_mix_are_what_the_head_reads() -> None:
    for layer in (1, "scalar_mix"):
        model = make_model("dependency_parsing", "bert", layer=layer)
        layers = model(**tiny_inputs(), returnt="full")
        expected = layers[1] if layer == 1 else sum(layers) / 3
        torch.testing.assert_close(model.features(**tiny_inputs()), expected)


# ------------------------------------------------------------------------------------------------------------------
# one head, several heads, rows


def test_several_heads_come_as_dicts() -> None:
    model, inputs = tiny_model(), tiny_inputs()
    outputs = model(**inputs)
    logits, features = model(**inputs, returnt="both")
    assert list(logits) == list(features) == list(HEADS)
    assert all(torch.equal(value, outputs[f"{name}_logits"]) for name, value in logits.items())
    assert torch.equal(features["slots"], outputs["encoded_text"])
    for returnt, expected in (("out", logits), ("features", features)):
        found = model(**inputs, returnt=returnt)
        assert list(found) == list(HEADS)
        assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_one_head_in_play_comes_as_a_tensor_however_it_was_chosen() -> None:
    model, inputs = tiny_model(tasks={"requests": ["intent", "slots"], "reviews": ["stars"]}), tiny_inputs()
    outputs = model(**inputs)
    assert torch.equal(model(**inputs, heads=["intent"], returnt="out"), outputs["intent_logits"])
    assert torch.equal(model(**inputs, task=["reviews"] * 4, returnt="out"), outputs["stars_logits"])
    assert torch.equal(model(**inputs, labels={"stars": torch.ones(4, 1)}, returnt="out"), outputs["stars_logits"])
    found = model(**inputs, heads=["intent"], labels=torch.tensor([0, 1, 2, 0]), returnt="out")
    assert torch.equal(found, outputs["intent_logits"])


def test_rows_are_those_of_the_head() -> None:
    model, inputs = tiny_model(tasks={"requests": ["intent"], "reviews": ["stars"]}), tiny_inputs()
    whole = model.double()(**inputs, returnt="out")
    found = model(**inputs, task=["reviews", "requests", "reviews", "reviews"], returnt="out")
    torch.testing.assert_close(found["intent"], whole["intent"][1:2])
    torch.testing.assert_close(found["stars"], whole["stars"][[0, 2, 3]])
    labels = {"intent": torch.tensor([-100, 1, -100, 0]), "stars": torch.full((4, 1), float("nan"))}
    logits, features = model(**inputs, labels=labels, returnt="both")
    # a head in play without a row does not run, and what there is stays a dict
    assert list(logits) == list(features) == ["intent"]
    torch.testing.assert_close(logits["intent"], whole["intent"][[1, 3]])
    assert features["intent"].shape == (2, 32)
    rows = {"intent": torch.tensor([3]), "stars": torch.tensor([], dtype=torch.long)}
    found = model(**inputs, labels=labels, rows=rows, returnt="out")
    torch.testing.assert_close(found["intent"], whole["intent"][3:])


@pytest.mark.parametrize("returnt", ["out", "features", "both"])
def test_a_single_head_without_a_row_is_refused_by_name(returnt: Any) -> None:
    with pytest.raises(InputError, match=r"^returnt: expected a row for head 'intent' in the batch, found none\.$"):
        tiny_model()(**tiny_inputs(), labels={"intent": torch.full((4,), -100)}, returnt=returnt)


def test_no_head_in_play() -> None:
    model, inputs = tiny_model({}), tiny_inputs()
    with pytest.raises(InputError, match=r"^returnt: expected a head in play for 'both', found none\.$"):
        model(**inputs, returnt="both")
    assert len(model(**inputs, returnt="full")) == 3


@pytest.mark.parametrize("returnt", ["logits", "", 0, True])
def test_what_cannot_be_returned_is_refused_before_anything_runs(returnt: Any) -> None:
    model = tiny_model()
    model.backbone.register_forward_pre_hook(lambda *_: pytest.fail("the backbone ran"))
    message = rf"^returnt: expected one of out, features, both, full, found {returnt!r}\.$"
    with pytest.raises(InputError, match=message):
        model(**tiny_inputs(), returnt=returnt)


# ------------------------------------------------------------------------------------------------------------------
# every layer


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "swin", "wav2vec2", "clip", "vilt"])
def test_full_is_that_of_the_backbone_and_runs_no_head(family: str) -> None:
    model, inputs = make_model("sequence_classification", family), tiny_backbone_inputs(family)
    model.heads["head"].register_forward_pre_hook(lambda *_: pytest.fail("a head ran"))
    torch.manual_seed(0)
    found = model(**inputs, returnt="full")
    torch.manual_seed(0)
    expected = model.backbone(**inputs, returnt="full")
    assert type(found) is type(expected)
    assert isinstance(found, dict) == (family in ("clip", "vilt"))
    names = list(expected) if isinstance(expected, dict) else [slice(None)]
    assert all(map(torch.equal, found[name], expected[name]) for name in names)


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_full_is_of_the_encoder_also_where_a_head_reads_the_decoder(family: str) -> None:
    model = make_model("sequence_classification", family, input="encoded_text_decoder")
    layers = model(**tiny_backbone_inputs(family), returnt="full")
    assert torch.equal(layers[-1], model(**tiny_backbone_inputs(family))["encoded_text"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_sibling_is_followed_layer_by_layer(family: str) -> None:
    """TwF's use of it: layers of two models are as many and of the same shapes, and those of one are trained."""
    inputs, models = tiny_backbone_inputs(family), [make_model("sequence_classification", family) for _ in range(2)]
    layers, targets = models[0].train()(**inputs, returnt="full"), models[1](**inputs, returnt="full")
    if isinstance(layers, dict):
        layers, targets = ([*each["text"], *each["image"]] for each in (layers, targets))
    losses = [nn.functional.mse_loss(one, other.detach() + 1) for one, other in zip(layers, targets, strict=True)]
    torch.stack(losses).sum().backward()
    assert any(each.grad is not None and each.grad.any() for each in models[0].backbone.parameters())


# ------------------------------------------------------------------------------------------------------------------
# what stays as it is


def test_without_it_nothing_is_hooked_and_afterwards_nothing_is_left() -> None:
    model, inputs = tiny_model(), tiny_inputs()
    classifier, seen = model.heads["intent"].classifier, []
    model.heads["intent"].pooler.register_forward_hook(lambda *_: seen.append(len(classifier._forward_pre_hooks)))
    for returnt in (None, "out", "features", None):
        model(**inputs, returnt=returnt)
    assert seen == [0, 0, 1, 0]
    handle = classifier.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.features(**inputs)
    handle.remove()
    assert not classifier._forward_pre_hooks


def test_it_is_handed_to_nobody() -> None:
    config = {"backbone": ["input_ids", "attention_mask", "returnt"]}
    model = tiny_model(allowed_arguments=config)
    kept: list[set[str]] = []
    for part in (model.backbone.model, *model.heads.values()):
        part.register_forward_pre_hook(lambda *given: kept.append(set(given[2])), with_kwargs=True)
    model(**tiny_inputs(), returnt="both")
    model(**tiny_inputs(), returnt="full")
    assert len(kept) == 5
    assert not any("returnt" in each for each in kept)
    assert "returnt" not in get_forward_arguments(model.backbone)
    assert "returnt" in inspect.signature(model.forward).parameters


def test_in_training_features_are_what_the_layer_reads_behind_its_dropout() -> None:
    heads = {"intent": {**HEADS["intent"], "classifier_dropout": 0.9}}
    model = tiny_model(heads).train()
    logits, features = model(**tiny_inputs(), returnt="both")
    assert (features == 0).float().mean() > 0.7
    assert torch.equal(model.heads["intent"].classifier(features), logits)


def test_bfloat16() -> None:
    model = tiny_model().to(torch.bfloat16)
    logits, features = model(**tiny_inputs(), returnt="both")
    assert {value.dtype for value in features.values()} == {torch.bfloat16}
    # numbers are in the targets' unit, which 16 bits would round
    assert {name: value.dtype for name, value in logits.items()} == {
        "intent": torch.bfloat16,
        "slots": torch.bfloat16,
        "stars": torch.float32,
    }
    assert {each.dtype for each in model(**tiny_inputs(), returnt="full")} == {torch.bfloat16}


def test_another_thread_does_not_get_in_between() -> None:
    model, inputs, others = tiny_model({"intent": HEADS["intent"]}), tiny_inputs(), tiny_inputs(seed=1)
    expected = model.features(**inputs)
    begun = []

    def run_others(*_: Any) -> None:
        if not begun:
            begun.append(threading.Thread(target=lambda: model(**others)))
            begun[0].start()
            begun[0].join()

    model.heads["intent"].dropout.register_forward_pre_hook(run_others)
    assert torch.equal(model.features(**inputs), expected)
    assert len(begun) == 1
    assert not torch.equal(model.features(**others), expected)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_in_a_wrapped_model_both_train() -> None:
    """DER++'s use of it: the logits of the past, and gradients that every process shares."""
    model = tiny_model({"intent": HEADS["intent"]}).train()
    wrapped = DistributedDataParallel(model)
    past = torch.randn(4, 3)
    for _ in range(2):
        logits, features = wrapped(**tiny_inputs(), returnt="both")
        assert features.shape == (4, 32)
        nn.functional.mse_loss(logits, past).backward()
    assert all(each.grad is not None for each in model.parameters() if each.requires_grad)


# ------------------------------------------------------------------------------------------------------------------
# adapters, and heads of one's own


def test_each_row_goes_through_the_adapter_of_its_task() -> None:
    pytest.importorskip("peft")
    adapted, inputs = with_task_adapters(), tiny_inputs(3)
    tasks = list(ADAPTED_TASKS)
    layers = adapted(**inputs, task=tasks, returnt="full")
    logits, features = adapted(**inputs, task=tasks, returnt="both")
    expected = adapted(**inputs, task=tasks)
    assert torch.equal(layers[-1], expected["encoded_text"])
    assert not torch.equal(layers[-1], adapted(**inputs, task=tasks[::-1], returnt="full")[-1])
    for name in HEADS:
        assert torch.equal(logits[name], expected[f"{name}_logits"])
    # the head that stands in the wrapper of peft
    head = adapted.get_base_model().heads["intent"]
    assert torch.equal(head.classifier(features["intent"]), logits["intent"])


class PlainConfig(SequenceClassificationHeadConfig):
    """Config of a head of one's own."""


class NamedConfig(SequenceClassificationHeadConfig):
    """Config of another."""


class NothingConfig(SequenceClassificationHeadConfig):
    """Config of a third one."""


@register_head("plain_for_test_returning")
class PlainHead(Head):
    """Names no last layer."""

    config_class: ClassVar[type[HeadConfig]] = PlainConfig

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        return {"logits": encoded.sum(dim=1)}

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return outputs["logits"]

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        return outputs["logits"].tolist()


@register_head("named_for_test_returning")
class NamedHead(PlainHead):
    """Has a layer under the name of the last one, and calls it twice."""

    config_class = NamedConfig

    def __init__(self, config: HeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.last_layer = nn.Linear(hidden_size, 2)

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        logits = self.last_layer(encoded[:, 0] * 2)
        self.last_layer(encoded[:, 1])
        return {"logits": logits}


@register_head("nothing_for_test_returning")
class NothingHead(PlainHead):
    """Reads the backbone's output under its own name, and gives no logits."""

    config_class = NothingConfig

    def forward(  # type: ignore[override]
        self, encoded_text: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        return {"scores": encoded_text.sum(dim=1)}


def own_model(head: str) -> MultiTaskModel:
    """A model with one head of one's own."""
    return tiny_model({"own": {"head_type": f"{head}_for_test_returning", "num_labels": 2}})


def test_a_layer_called_last_layer_is_found_and_its_first_call_counts() -> None:
    model = own_model("named")
    assert isinstance(model.heads["own"].last_layer, nn.Linear)
    logits, features = model(**tiny_inputs(), returnt="both")
    assert torch.equal(features, model(**tiny_inputs())["encoded_text"][:, 0] * 2)
    assert torch.equal(model.heads["own"].last_layer(features), logits)


def test_a_head_without_a_last_layer_has_what_it_reads_as_features() -> None:
    model = own_model("plain")
    assert model.heads["own"].last_layer is None
    assert torch.equal(model.features(**tiny_inputs()), model(**tiny_inputs())["encoded_text"])


def test_a_head_without_features_or_logits_is_refused_by_name() -> None:
    model = own_model("nothing")
    with pytest.raises(InputError, match=r"^head 'own': expected features to return, found none: .*'encoded'\.$"):
        model.features(**tiny_inputs())
    with pytest.raises(InputError, match=r"^head 'own': expected logits to return, found none among what it gives\.$"):
        model(**tiny_inputs(), returnt="out")
