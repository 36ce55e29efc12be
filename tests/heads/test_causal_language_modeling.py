"""Causal language modelling: the loss of GPT-2, the next token of each row, and who may not predict it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from heads.raw_texts import CLM, language_model
from torch.nn import functional
from transformers import BertConfig, GPT2LMHeadModel, LlamaForCausalLM, PreTrainedConfig, PreTrainedModel, T5Config

from backbones import tiny_backbone_config
from fixtures import VOCABULARY, tiny_config, tiny_inputs, tiny_tokenizer
from mt_transformers import Backbone, MultiTaskConfig, MultiTaskModel
from mt_transformers.data import DataCollatorForMultiTask
from mt_transformers.errors import InputError
from mt_transformers.heads import CausalLanguageModelingHead, CausalLanguageModelingHeadConfig, SourceRow


def make_head(hidden_size: int = 4, embedding_size: int = 4, vocab_size: int = 7) -> Any:
    """A head in float64 whose sizes are given, and embeddings for it."""
    config = CausalLanguageModelingHeadConfig(vocab_size=vocab_size, embedding_size=embedding_size)
    head = CausalLanguageModelingHead(config, hidden_size).double().eval()
    return head, torch.randn(vocab_size, embedding_size, dtype=torch.float64)


@pytest.mark.parametrize("config", [BertConfig(), T5Config()], ids=["bert", "t5"])
def test_backbones_that_see_what_they_are_to_predict_are_refused(config: PreTrainedConfig) -> None:
    message = f"^head 'lm': {CLM}: a {config.model_type!r} backbone looks both ways, so that it sees the tokens that"
    with pytest.raises(InputError, match=message):
        MultiTaskConfig(backbone_config=config, heads={"lm": {"head_type": CLM}})


def test_a_decoder_that_reads_the_whole_text_is_refused() -> None:
    fields = {"head_type": CLM, "input": "encoded_text_decoder"}
    with pytest.raises(InputError, match=f"{CLM} reads encoded_text, found the input 'encoded_text_decoder'"):
        MultiTaskConfig(backbone_config=T5Config(), heads={"lm": fields})


def test_the_label_is_the_next_token() -> None:
    config = CausalLanguageModelingHeadConfig()
    made = [config.make_sequence(ids, tiny_tokenizer(), 0) for ids in ([2, 7, 9, 3], [5])]
    assert made == [(None, [7, 9, 3, -100]), (None, [-100])]
    labels = config.collate_labels([made[0][1], None, made[1][1]], 5)
    assert labels.tolist() == [[7, 9, 3, -100, -100], [-100] * 5, [-100] * 5]
    assert labels.dtype == torch.long
    assert config.count_items(labels).tolist() == [3, 0, 0]


def test_rows_are_read_as_they_are() -> None:
    collator = DataCollatorForMultiTask(tiny_tokenizer(), {"lm": CausalLanguageModelingHeadConfig()})
    ids = tiny_tokenizer()(["the film is great .", "oslo"]).input_ids
    batch = collator([{"input_ids": row, "labels_lm": True} for row in ids])
    assert batch["input_ids"].tolist() == [ids[0], ids[1] + [0] * 4]
    assert batch["labels"]["lm"].tolist() == [[*ids[0][1:], -100], [*ids[1][1:], *[-100] * 5]]


def test_numbers_by_hand() -> None:
    head, embeddings = make_head(hidden_size=2, embedding_size=2, vocab_size=3)
    embeddings.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    encoded = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [3.0, 1.0], [9.0, 9.0]]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True, False]])
    outputs = head(encoded, mask, torch.tensor([[2, 1, -100, -100]]), token_embeddings=embeddings)
    assert outputs["logits"].tolist() == [[3.0, 0.0, 1.0]]
    expected = np.log(np.exp([1.0, 0.0, 2.0]).sum()) - 2 + np.log(3)
    assert outputs["row_losses"].item() == pytest.approx(expected)
    assert list(head.parameters()) == []


REFERENCES: dict[str, type[PreTrainedModel]] = {"gpt2": GPT2LMHeadModel, "llama": LlamaForCausalLM}


@pytest.mark.parametrize("family", REFERENCES)
def test_the_loss_is_that_of_transformers(family: str) -> None:
    """With the same weights; both embeddings are tied there, too."""
    reference = REFERENCES[family](tiny_backbone_config(family, tie_word_embeddings=True)).double().eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    config = tiny_config({"lm": {"head_type": CLM}}, reference.config)
    model = MultiTaskModel(config, backbone=Backbone(reference.base_model)).double().eval()
    inputs = tiny_inputs()
    mask = inputs["attention_mask"].bool()
    expected = reference(**inputs, labels=inputs["input_ids"].masked_fill(~mask, -100))
    labels = torch.cat([inputs["input_ids"][:, 1:], torch.full((4, 1), -100)], dim=1)
    labels[:, :-1][~mask[:, 1:]] = -100
    found = model(**inputs, labels={"lm": labels})
    # transformers computes this loss in float32, whatever the model's dtype is
    torch.testing.assert_close(found["loss"].float(), expected.loss, rtol=1e-6, atol=0)
    exact = functional.cross_entropy(expected.logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(found["loss"], exact, rtol=1e-12, atol=0)
    last = expected.logits[torch.arange(4), mask.sum(dim=1) - 1]
    torch.testing.assert_close(found["lm_logits"], last, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs)["lm_logits"], last, rtol=1e-12, atol=1e-12)


def test_narrower_embeddings_are_reached_by_a_layer_without_bias() -> None:
    head, embeddings = make_head(hidden_size=4, embedding_size=2)
    assert [(name, tuple(value.shape)) for name, value in head.named_parameters()] == [("dense.weight", (2, 4))]
    encoded = torch.randn(1, 1, 4, dtype=torch.float64)
    found = head(encoded, torch.ones(1, 1, dtype=torch.bool), token_embeddings=embeddings)["logits"]
    torch.testing.assert_close(found[0], embeddings @ head.dense.weight @ encoded[0, 0])


@pytest.mark.parametrize("embedding_size", [4, 3])
def test_gradients(embedding_size: int) -> None:
    head, embeddings = make_head(embedding_size=embedding_size)
    encoded = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True] * 3 + [False], [True] * 4])
    labels = torch.tensor([[1, 2, 3, -100], [0, 6, -100, -100], [-100] * 4])
    losses = head(encoded, mask, labels, token_embeddings=embeddings)["row_losses"]
    assert losses[2].item() == 0
    losses.sum().backward()
    assert encoded.grad is not None
    assert torch.equal(encoded.grad.any(dim=2), labels != -100)

    def run(features: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return head(features, mask, labels, token_embeddings=table)["row_losses"]

    assert torch.autograd.gradcheck(run, (encoded.detach().requires_grad_(), embeddings.requires_grad_()))


def test_padding_on_either_side_and_other_rows_change_nothing() -> None:
    head, embeddings = make_head()
    encoded, tokens = torch.randn(2, 3, 4, dtype=torch.float64), torch.ones(2, 3, dtype=torch.bool)
    padding, nothing = torch.full((2, 2, 4), 9.0, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.bool)
    labels, ignored = torch.tensor([[1, 2, -100], [3, 4, -100]]), torch.full((2, 2), -100)
    bare = head(encoded, tokens, labels, token_embeddings=embeddings)
    for order in (slice(None), slice(None, None, -1)):
        features, mask, wanted = (
            torch.cat(list(parts)[order], dim=1)
            for parts in ((encoded, padding), (tokens, nothing), (labels, ignored))
        )
        found = head(features, mask, wanted, token_embeddings=embeddings)
        for name, value in bare.items():
            torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)
    alone = head(encoded[1:], tokens[1:], labels[1:], token_embeddings=embeddings)
    for name, value in bare.items():
        torch.testing.assert_close(alone[name][0], value[1], rtol=1e-12, atol=1e-12)


def test_answers() -> None:
    head, _ = make_head()
    outputs = {"logits": torch.tensor([[0.0, 0.75, 0.25], [0.5, 0.2, 0.3]]).log()}
    rows = [SourceRow(to_tokens={0: "a", 1: "b"}.__getitem__)] * 2
    assert head.decode(outputs, rows) == [
        {"token": "b", "score": pytest.approx(0.75)},
        {"token": "a", "score": pytest.approx(0.5)},
    ]


def test_the_text_tower_of_a_model_with_two_can_be_read() -> None:
    model = MultiTaskModel(tiny_config({"lm": {"head_type": CLM}}, tiny_backbone_config("clip"))).eval()
    inputs = tiny_inputs()
    model(**inputs, labels={"lm": inputs["input_ids"]})["loss"].backward()
    weight = model.backbone.model.text_model.get_input_embeddings().weight
    assert model(**inputs)["lm_logits"].shape == (4, len(VOCABULARY))
    assert weight.grad is not None
    assert model.get_input_embeddings().weight is weight


def test_a_head_without_weights_follows_the_vocabulary() -> None:
    head = language_model(CLM).named_heads["lm"]
    head.resize_vocabulary(50)
    assert head.config.to_dict()["vocab_size"] == 50
