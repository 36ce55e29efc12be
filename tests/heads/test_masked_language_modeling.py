"""Masked language modelling: BERT's own loss, masks that only the row settles, answers for mask tokens."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heads.raw_texts import MLM, TEXTS, cities_task, language_model, make_trainer, moods_task, quiet_config, raw_task
from transformers import (
    AlbertForMaskedLM,
    BertForMaskedLM,
    ElectraForMaskedLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
)

from backbones import tiny_backbone_config
from fixtures import MOODS, VOCABULARY, tiny_bert_config, tiny_config, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import Backbone, MultiTaskConfig, MultiTaskModel, MultiTaskPredictor
from mt_transformers.backbone import describe_backbone
from mt_transformers.data import DataCollatorForMultiTask, MultiTaskDataset
from mt_transformers.errors import InputError
from mt_transformers.heads import MaskedLanguageModelingHead, MaskedLanguageModelingHeadConfig, SourceRow

MASK = VOCABULARY.index("[MASK]")
SPECIAL = range(5)


def make_config(backbone: PreTrainedConfig | None = None, **fields: Any) -> MaskedLanguageModelingHeadConfig:
    """A config resolved on a tiny BERT, or on another backbone."""
    config = MaskedLanguageModelingHeadConfig(**fields)
    config.resolve(describe_backbone(tiny_bert_config() if backbone is None else backbone))
    return config


def make_head(hidden_size: int = 4, embedding_size: int = 3, vocab_size: int = 7, **fields: Any) -> Any:
    """A head in float64 whose sizes are given, and embeddings for it."""
    values = {"vocab_size": vocab_size, "embedding_size": embedding_size, "mask_token_id": 4, **fields}
    head = MaskedLanguageModelingHead(MaskedLanguageModelingHeadConfig(**values), hidden_size).double().eval()
    torch.nn.init.normal_(head.bias)
    return head, torch.randn(vocab_size, embedding_size, dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------------------
# the config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mlm_probability": 0.0}, r"mlm_probability: expected a fraction in \(0, 1\], found 0.0"),
        ({"mlm_probability": 1.5}, r"mlm_probability: expected a fraction in \(0, 1\], found 1.5"),
        ({"mask_replace_prob": 0.95}, r"together up to 1, found \(0.95, 0.1\)"),
        ({"random_replace_prob": -0.1}, r"together up to 1, found \(0.8, -0.1\)"),
        ({"seed": -1}, "seed: expected an integer from 0 up, found -1"),
        ({"seed": None}, "seed: expected an integer from 0 up, found None"),
        ({"mask_token_id": 1.5}, "mask_token_id: expected an integer from 0 up, found 1.5"),
        ({"hidden_act": "gule"}, "hidden_act: expected one of .*gelu.*, found 'gule'"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps: expected a number above 0, found 0.0"),
    ],
)
def test_bad_values_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MaskedLanguageModelingHeadConfig(**fields)


@pytest.mark.parametrize("config", [GPT2Config(), LlamaConfig()], ids=["gpt2", "llama"])
def test_backbones_that_only_look_back_are_refused(config: PreTrainedConfig) -> None:
    message = f"^head 'lm': {MLM}: a {config.model_type!r} backbone only looks back, .* Use causal_language_modeling"
    with pytest.raises(InputError, match=message):
        MultiTaskConfig(backbone_config=config, heads={"lm": {"head_type": MLM}})


def test_the_encoder_of_an_encoder_decoder_is_taken() -> None:
    config = make_config(T5Config(d_model=32, vocab_size=50))
    assert (config.input, config.vocab_size, config.embedding_size) == ("encoded_text", 50, 32)


def test_the_mask_token_is_taken_from_the_tokenizer_unless_given() -> None:
    config = make_config()
    config.complete_from_tokenizer(tiny_tokenizer())
    assert config.to_dict()["mask_token_id"] == MASK
    own = make_config(mask_token_id=1)
    own.complete_from_tokenizer(tiny_tokenizer())
    assert own.mask_token_id == 1


def test_a_tokenizer_without_a_mask_token_is_refused_before_any_row_is_read(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.mask_token = None
    message = r"a tokenizer with a mask token, but \w+ has none: set tokenizer.mask_token, or the head's mask_token_id"
    with pytest.raises(InputError, match=f"^head 'lm': {MLM}: expected {message}"):
        make_trainer(language_model(MLM), {"raw": raw_task()}, tmp_path, processing_class=tokenizer)
    with pytest.raises(InputError, match=message):
        make_config().make_sequence([2, 7, 3], tokenizer, 0)
    masked, _ = make_config(
        mask_token_id=1, mlm_probability=1.0, mask_replace_prob=1.0, random_replace_prob=0.0
    ).make_sequence([2, 7, 3], tokenizer, 0)
    assert masked == [2, 1, 3]


def test_a_mask_token_that_the_backbone_does_not_know_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"mask_token": "<hidden>"})
    with pytest.raises(InputError, match=r"knows the ids 0 to 46, found 47\. .* resize_token_embeddings"):
        make_config().complete_from_tokenizer(tokenizer)
    with pytest.raises(InputError, match="knows the ids 0 to 46, found 47"):
        make_config(mask_token_id=47)


# ------------------------------------------------------------------------------------------------------------------
# masks


def sequences(epoch: int, texts: list[str] | None = None, **fields: Any) -> list[tuple[Any, Any]]:
    config = make_config(**fields)
    ids = tiny_tokenizer()(TEXTS if texts is None else texts).input_ids
    return [config.make_sequence(row, tiny_tokenizer(), epoch) for row in ids]


def test_what_is_hidden_is_what_is_to_be_predicted() -> None:
    ids = tiny_tokenizer()(TEXTS).input_ids
    for epoch in range(-1, 20):
        for row, (masked, label) in zip(ids, sequences(epoch), strict=True):
            assert len(label) >= 1
            assert [row[position] for position, _ in label] == [token for _, token in label]
            assert not {token for _, token in label} & set(SPECIAL)
            chosen = {position for position, _ in label}
            assert [token for place, token in enumerate(masked) if place not in chosen] == [
                token for place, token in enumerate(row) if place not in chosen
            ]


def test_masks_change_with_epoch_and_seed_only() -> None:
    assert sequences(3) == sequences(3)
    assert sequences(3) == sequences(3, TEXTS[::-1])[::-1]
    assert sequences(-1) == sequences(-1)
    different = [sequences(-1), sequences(0), sequences(1), sequences(0, seed=1)]
    assert all(one != other for number, one in enumerate(different) for other in different[:number])


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"mask_replace_prob": 1.0, "random_replace_prob": 0.0}, {"mask"}),
        ({"mask_replace_prob": 0.0, "random_replace_prob": 0.0}, {"same"}),
        ({"mask_replace_prob": 0.0, "random_replace_prob": 1.0}, {"other"}),
        ({}, {"mask", "other", "same"}),
    ],
)
def test_the_shares(shares: dict[str, float], expected: set[str]) -> None:
    text = " ".join(VOCABULARY[5:35])
    (row,) = tiny_tokenizer()([text]).input_ids
    (found,) = sequences(0, [text], mlm_probability=1.0, **shares)
    masked, label = found
    assert [position for position, _ in label] == list(range(1, 31))
    kinds = ["mask" if masked[at] == MASK else "same" if masked[at] == row[at] else "other" for at in range(1, 31)]
    # a random token is the mask token or the same one now and then
    assert {kind for kind in kinds if kinds.count(kind) >= 2} == expected


def test_mlm_probability_is_the_share_of_tokens() -> None:
    text = " ".join(VOCABULARY[5:35])
    for probability, number in ((0.1, 3), (0.5, 15), (1.0, 30)):
        assert len(sequences(0, [text], mlm_probability=probability)[0][1]) == number


def test_collating() -> None:
    config = make_config()
    labels = config.collate_labels([[(1, 7), (3, 9)], None, [(2, 8)], []], 6)
    assert labels.tolist() == [
        [[1, 7], [3, 9]],
        [[-100, -100], [-100, -100]],
        [[2, 8], [-100, -100]],
        [[-100, -100], [-100, -100]],
    ]
    assert labels.dtype == torch.long
    assert config.count_items(labels).tolist() == [2, 0, 1, 0]
    assert config.collate_labels([None, None], 6).shape == (2, 0, 2)


# ------------------------------------------------------------------------------------------------------------------
# the head


def test_numbers_by_hand() -> None:
    head, embeddings = make_head(hidden_size=2, embedding_size=2, vocab_size=3, hidden_act="relu")
    with torch.no_grad():
        head.dense.weight.copy_(torch.eye(2))
        head.dense.bias.zero_()
        head.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
        embeddings.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    encoded = torch.tensor([[[9.0, 9.0], [3.0, 1.0]]], dtype=torch.float64)
    outputs = head(encoded, torch.ones(1, 2, dtype=torch.bool), torch.tensor([[[1, 1]]]), token_embeddings=embeddings)
    # the layer normalization of (3, 1) is (1, -1)
    torch.testing.assert_close(outputs["logits"], torch.tensor([[[1.0, 1.0, -1.0]]], dtype=torch.float64))
    expected = np.log(2 * np.exp(1) + np.exp(-1)) - 1
    assert outputs["row_losses"].item() == pytest.approx(expected)
    assert outputs["positions"].tolist() == [[1]]


def test_the_epsilon_of_the_layer_normalization() -> None:
    head, _ = make_head(layer_norm_eps=0.5)
    assert head.layer_norm.eps == 0.5
    assert make_head()[0].layer_norm.eps == 1e-12


REFERENCES: dict[str, tuple[type[PreTrainedModel], dict[str, str], dict[str, Any]]] = {
    "bert": (
        BertForMaskedLM,
        {"dense": "cls.predictions.transform.dense", "layer_norm": "cls.predictions.transform.LayerNorm"},
        {},
    ),
    "albert": (
        AlbertForMaskedLM,
        {"dense": "predictions.dense", "layer_norm": "predictions.LayerNorm"},
        {"hidden_act": "gelu_new"},
    ),
    "electra": (
        ElectraForMaskedLM,
        {"dense": "generator_predictions.dense", "layer_norm": "generator_predictions.LayerNorm"},
        {},
    ),
}
"""Models of transformers with a head of the same form: where its layers are, and what the config has to say."""


@pytest.mark.parametrize("family", REFERENCES)
def test_the_loss_is_that_of_transformers(family: str) -> None:
    """With the same weights and masks, also where the embeddings are narrower than the features."""
    reference_class, names, fields = REFERENCES[family]
    reference = reference_class(tiny_backbone_config(family)).double().eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    config = tiny_config({"lm": {"head_type": MLM, **fields}}, reference.config)
    model = MultiTaskModel(config, backbone=Backbone(reference.base_model)).double().eval()
    head: Any = model.heads["lm"]
    for own, theirs in names.items():
        getattr(head, own).load_state_dict(reference.get_submodule(theirs).state_dict())
    head.layer_norm.eps = reference.get_submodule(names["layer_norm"]).eps
    head.bias.data.copy_(reference.get_output_embeddings().bias)
    inputs = tiny_inputs()
    labels = torch.tensor([[[1, 7], [4, 9]], [[2, 11], [-100, -100]], [[-100, -100], [-100, -100]], [[0, 8], [5, 8]]])
    dense = torch.full(inputs["input_ids"].shape, -100)
    for row, position, token in ((0, 1, 7), (0, 4, 9), (1, 2, 11), (3, 0, 8), (3, 5, 8)):
        dense[row, position] = token
    expected = reference(**inputs, labels=dense)
    found = model(**inputs, labels={"lm": labels})
    torch.testing.assert_close(found["loss"], expected.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(found["lm_logits"][0], expected.logits[0, [1, 4]], rtol=1e-12, atol=1e-12)
    # rows without labels do not go to the head
    assert found["lm_rows"].tolist() == [0, 1, 3]
    assert found["lm_positions"].tolist() == [[1, 4], [2, -1], [0, 5]]


def test_gradients() -> None:
    head, embeddings = make_head()
    encoded = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(3, 4, dtype=torch.bool)
    labels = torch.tensor([[[0, 2], [3, 6]], [[2, 1], [-100, -100]], [[-100, -100], [-100, -100]]])
    losses = head(encoded, mask, labels, token_embeddings=embeddings)["row_losses"]
    assert losses[2].item() == 0
    assert (losses[:2] > 0).all()
    losses.sum().backward()
    assert encoded.grad is not None
    # only what stands at the hidden positions trains the backbone
    assert encoded.grad.any(dim=2).tolist() == [
        [True, False, False, True],
        [False, False, True, False],
        [False, False, False, False],
    ]

    def run(features: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return head(features, mask, labels, token_embeddings=table)["row_losses"]

    assert torch.autograd.gradcheck(run, (encoded.detach().requires_grad_(), embeddings.requires_grad_()))


def test_padding_on_either_side_and_other_rows_change_nothing() -> None:
    head, embeddings = make_head()
    encoded, ids = torch.randn(3, 3, 4, dtype=torch.float64), torch.tensor([[5, 4, 4], [4, 6, 5], [6, 6, 6]])
    labels = torch.tensor([[[1, 2], [2, 3]], [[0, 1], [-100, -100]], [[-100, -100], [-100, -100]]])
    tokens, nothing = torch.ones(3, 3, dtype=torch.bool), torch.zeros(3, 2, dtype=torch.bool)
    padding, padded_ids = torch.full((3, 2, 4), 9.0, dtype=torch.float64), torch.full((3, 2), 4)

    def run(*parts: tuple[torch.Tensor, torch.Tensor, torch.Tensor], given: Any = None) -> dict[str, torch.Tensor]:
        features, mask, token_ids = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
        found: dict[str, torch.Tensor] = head(features, mask, given, token_embeddings=embeddings, token_ids=token_ids)
        return found

    row, pad = (encoded, tokens, ids), (padding, nothing, padded_ids)
    for given in (labels, None):
        bare = run(row, given=given)
        assert bare["positions"].tolist() == [[1, 2], [0, -1], [-1, -1]]
        for parts in ((row, pad), (pad, row)):
            found = run(*parts, given=given)
            assert found.keys() == bare.keys()
            assert torch.equal(found["positions"], bare["positions"])
            kept = bare["positions"] >= 0
            torch.testing.assert_close(found["logits"][kept], bare["logits"][kept], rtol=1e-12, atol=1e-12)
            if given is not None:
                torch.testing.assert_close(found["row_losses"], bare["row_losses"], rtol=1e-12, atol=1e-12)
    alone = run((encoded[1:2], tokens[1:2], ids[1:2]), given=labels[1:2])
    together = run(row, given=labels)
    torch.testing.assert_close(alone["row_losses"][0], together["row_losses"][1], rtol=1e-12, atol=1e-12)


def test_logits_are_computed_at_the_hidden_positions_only() -> None:
    head, embeddings = make_head()
    encoded, mask = torch.randn(2, 9, 4, dtype=torch.float64), torch.ones(2, 9, dtype=torch.bool)
    labels = torch.tensor([[[8, 2]], [[0, 3]]])
    assert head(encoded, mask, labels, token_embeddings=embeddings)["logits"].shape == (2, 1, 7)
    nothing = labels[:, :0]
    outputs = head(encoded, mask, nothing, token_embeddings=embeddings)
    assert outputs["row_losses"].tolist() == [0, 0]


def test_without_labels_ids_and_a_mask_token_are_needed() -> None:
    head, embeddings = make_head()
    encoded, mask = torch.randn(1, 2, 4, dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(InputError, match="expected input_ids to find the mask tokens in, found none"):
        head(encoded, mask, token_embeddings=embeddings)
    head.config.mask_token_id = None
    with pytest.raises(InputError, match="mask_token_id: expected the id of the mask token, found None"):
        head(encoded, mask, token_embeddings=embeddings, token_ids=torch.tensor([[4, 5]]))


def test_answers() -> None:
    head, _ = make_head()
    logits = torch.tensor([[[0.0, 0.75, 0.25], [0.5, 0.2, 0.3]], [[0.1, 0.1, 0.8], [0.9, 0.05, 0.05]]]).log()
    outputs = {"logits": logits, "positions": torch.tensor([[1, 4], [2, -1]])}
    names = {0: "a", 1: "b", 2: "c"}
    rows = [SourceRow(to_tokens=names.__getitem__)] * 2
    assert head.decode(outputs, rows) == [
        [
            {"position": 1, "token": "b", "score": pytest.approx(0.75)},
            {"position": 4, "token": "a", "score": pytest.approx(0.5)},
        ],
        [{"position": 2, "token": "c", "score": pytest.approx(0.8)}],
    ]


def test_a_bias_begins_at_zero_and_keeps_its_values_when_resized() -> None:
    assert not language_model(MLM).heads["lm"].bias.any()
    head, _ = make_head()
    before = head.bias.detach().clone()
    head.bias.requires_grad_(False)
    head.resize_vocabulary(9)
    assert torch.equal(head.bias, torch.cat([before, before.new_zeros(2)]))
    assert head.config.vocab_size == 9
    head.resize_vocabulary(5)
    assert torch.equal(head.bias, before[:5])
    assert head.bias.dtype == torch.float64
    assert not head.bias.requires_grad


def test_a_missing_head_begins_anew(tmp_path: Path) -> None:
    model = tiny_model({"mood": {"head_type": "sequence_classification", "id2label": MOODS}})
    model.save_pretrained(tmp_path)
    config = tiny_config({"lm": {"head_type": MLM}})
    with warnings.catch_warnings():
        # transformers tells of weights that it leaves out
        warnings.simplefilter("ignore")
        again = MultiTaskModel.from_pretrained(tmp_path, config=config, init_missing_heads=True)
    assert torch.equal(again.heads["lm"].bias, torch.zeros(len(VOCABULARY)))
    assert bool(torch.isfinite(again.heads["lm"].dense.weight).all())


# ------------------------------------------------------------------------------------------------------------------
# beside other heads


def collated(tasks: dict[str, Any], rows: list[int], tmp_path: Path, epoch: int = 0, **trainer: Any) -> dict[str, Any]:
    """The batch of some training rows."""
    heads = {"mood": {"head_type": "sequence_classification", "id2label": MOODS}, "lm": {"head_type": MLM}}
    made = make_trainer(tiny_model(heads), tasks, tmp_path, **trainer)
    dataset = made.train_dataset
    assert isinstance(dataset, MultiTaskDataset)
    collator = DataCollatorForMultiTask(tiny_tokenizer(), made.head_configs, epoch=epoch)
    return collator(dataset.__getitems__(rows))


def test_alone_it_masks_in_place_and_beside_another_head_a_copy(tmp_path: Path) -> None:
    tasks = {"moods": moods_task(lm=None), "cities": cities_task()}
    # rows 0 and 1 feed both heads, rows 12 and 13 this one
    numbers = [0, 12, 1, 13]
    batch = collated(tasks, numbers, tmp_path)
    assert batch["sequences"]["lm"].tolist() == [[4], [1], [5], [3]]
    assert len(batch["input_ids"]) == 6
    texts = [*tasks["moods"].dataset["train"]["text"], *tasks["cities"].dataset["train"]["text"]]
    originals = tiny_tokenizer()([texts[number] for number in numbers], padding=True, return_tensors="pt").input_ids
    assert torch.equal(batch["input_ids"][[0, 2]], originals[[0, 2]])
    for masked, original, label in zip(
        batch["input_ids"][[4, 1, 5, 3]], originals, batch["labels"]["lm"], strict=True
    ):
        positions, ids = label[label[:, 0] >= 0].unbind(dim=1)
        assert len(positions) >= 1
        assert torch.equal(original[positions], ids)
        assert torch.equal(masked.index_fill(0, positions, 0), original.index_fill(0, positions, 0))
    assert not torch.equal(batch["input_ids"][[4, 1, 5, 3]], originals)


def test_the_other_head_sees_the_text_unmasked(tmp_path: Path) -> None:
    tasks = {"moods": moods_task(lm=None)}
    batch = collated(tasks, [0, 1, 6], tmp_path)
    batch.pop("task_index")
    heads = {
        "mood": {"head_type": "sequence_classification", "id2label": MOODS, "classifier_dropout": 0.0},
        "lm": {"head_type": MLM},
    }
    model = tiny_model(heads, quiet_config("bert")).double()
    outputs = model(**batch)
    inputs = tiny_tokenizer()(
        ["the film is great .", "the film is lovely .", "the book is great ."], return_tensors="pt"
    )
    with torch.no_grad():
        alone = model(**inputs, heads=["mood"])["mood_logits"]
    torch.testing.assert_close(outputs["mood_logits"], alone, rtol=1e-10, atol=1e-12)
    # the losses are those of the masked text by itself
    masked = {name: batch[name][3:] for name in ("input_ids", "attention_mask", "token_type_ids")}
    own = model(**masked, labels={"lm": batch["labels"]["lm"]})
    torch.testing.assert_close(outputs["lm_row_losses"], own["lm_row_losses"], rtol=1e-10, atol=1e-12)
    outputs["loss"].backward()
    for name in ("mood", "lm"):
        for key, parameter in model.heads[name].named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.any() or key == "dense.bias", key


def test_masks_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    tasks = {"cities": cities_task()}
    everything = collated(tasks, list(range(8)), tmp_path, epoch=2)
    for rows in ([3], [5, 3], [7, 3, 0, 1]):
        batch = collated(tasks, rows, tmp_path, epoch=2)
        for place, row in enumerate(rows):
            length = int(batch["attention_mask"][place].sum())
            assert torch.equal(batch["input_ids"][place, :length], everything["input_ids"][row, :length])
            items = int((batch["labels"]["lm"][place, :, 0] >= 0).sum())
            assert torch.equal(batch["labels"]["lm"][place, :items], everything["labels"]["lm"][row, :items])


def test_evaluations_hide_the_same_tokens(tmp_path: Path) -> None:
    trainer = make_trainer(language_model(MLM), {"raw": raw_task()}, tmp_path, max_steps=3, learning_rate=0.0)
    before = trainer.evaluate()["eval_raw_lm_nll"]
    trainer.train()
    assert trainer.evaluate()["eval_raw_lm_nll"] == before


def test_answers_point_into_the_row_whatever_the_batch(tmp_path: Path) -> None:
    model = language_model(MLM, mask_token_id=MASK)
    predictor = MultiTaskPredictor(model, tiny_tokenizer())
    rows = ["[MASK] [MASK]", "the film is [MASK] .", "oslo", {"tokens": ["the", "[MASK]"]}]
    answers = [answer["lm"] for answer in predictor(rows)]
    assert [[each["position"] for each in answer] for answer in answers] == [[1, 2], [4], [], [2]]
    assert all(each["token"] in VOCABULARY for answer in answers for each in answer)
    for row, answer in zip(rows, answers, strict=True):
        (alone,) = predictor([row])
        assert [each["token"] for each in alone["lm"]] == [each["token"] for each in answer]
