"""What heads over the vocabulary share: the loss and its memory, the size, training, saving, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from heads.raw_texts import (
    CLM,
    HEAD_TYPES,
    MLM,
    cities_task,
    language_model,
    make_trainer,
    moods_task,
    quiet_config,
    raw_task,
)
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional

from fixtures import MOODS, VOCABULARY, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import Mixture, MultiTaskModel, MultiTaskPredictor, Task
from mt_transformers.data import DataCollatorForMultiTask
from mt_transformers.errors import InputError
from mt_transformers.heads import BackboneInfo, get_head_config
from mt_transformers.heads.vocabulary import token_losses

both = pytest.mark.parametrize("head_type", HEAD_TYPES)

TEXT = {"encoded_text": 8}

MASK_TOKEN: dict[str, dict[str, int]] = {MLM: {"mask_token_id": VOCABULARY.index("[MASK]")}, CLM: {}}
"""What a head has to be told that answers without having been trained."""


def backbone(causal: bool, **changes: Any) -> BackboneInfo:
    values: dict[str, Any] = {
        "model_type": "x",
        "hidden_sizes": TEXT,
        "num_layers": {},
        "default_pooling": {"encoded_text": "mean"},
        "causal": causal,
        "vocab_size": 9,
        "embedding_size": 4,
    }
    return BackboneInfo(**{**values, **changes})


# ------------------------------------------------------------------------------------------------------------------
# the loss


@given(st.lists(st.lists(st.integers(-1, 4), min_size=3, max_size=3), min_size=1, max_size=3), st.integers(0, 9))
def test_losses_are_those_of_cross_entropy(targets: list[list[int]], seed: int) -> None:
    wanted = torch.tensor(targets)
    wanted[wanted < 0] = -100
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*wanted.shape, 5, generator=generator, dtype=torch.float64) * 10
    expected = functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
    torch.testing.assert_close(token_losses(logits, wanted), expected, rtol=1e-12, atol=1e-12)


def test_a_position_without_a_target_has_neither_loss_nor_gradient() -> None:
    logits = torch.randn(1, 3, 5, dtype=torch.float64, requires_grad=True)
    losses = token_losses(logits, torch.tensor([[2, -100, 4]]))
    assert losses[0, 1].item() == 0
    losses.sum().backward()
    assert logits.grad is not None
    assert logits.grad.any(dim=2).tolist() == [[True, False, True]]
    assert torch.autograd.gradcheck(lambda each: token_losses(each, torch.tensor([[2, -100, 4]])), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_16_bit_logits_are_computed_in_32(dtype: torch.dtype) -> None:
    logits = torch.tensor([[[0.0, 30.0, 0.5]]]).to(dtype)
    losses = token_losses(logits, torch.tensor([[2]]))
    assert losses.dtype == torch.float32
    # in 16 bits the digits behind 29 would be gone
    assert losses.item() == pytest.approx(29.5, abs=1e-6)


def test_nothing_as_large_as_the_logits_is_kept_beside_them() -> None:
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    logits = torch.randn(2, 3, 50, requires_grad=True) * 1
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        token_losses(logits, torch.zeros(2, 3, dtype=torch.long))
    large = [tensor for tensor in kept if tensor.numel() >= logits.numel()]
    assert large
    assert {tensor.data_ptr() for tensor in large} == {logits.data_ptr()}


# ------------------------------------------------------------------------------------------------------------------
# the config


@both
def test_sizes_come_from_the_backbone(head_type: str) -> None:
    config = get_head_config("lm", {"head_type": head_type, "vocab_size": 3})
    config.resolve(backbone(causal=HEAD_TYPES[head_type] == "gpt2"))
    assert config.to_dict()["vocab_size"] == 9
    assert config.to_dict()["embedding_size"] == 4
    config.check_complete()


@both
def test_a_head_needs_the_sizes(head_type: str) -> None:
    with pytest.raises(InputError, match=r"vocab_size, embedding_size: expected those of the backbone"):
        get_head_config("lm", {"head_type": head_type}).check_complete()


@both
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": None}, "'x' backbone says nothing of its vocabulary"),
        ({"embedding_size": None}, "'x' backbone says nothing of the width of its embeddings"),
        ({"hidden_sizes": {"encoded_image": 8}}, "{} reads encoded_text, but a 'x' backbone gives encoded_image"),
    ],
)
def test_backbones_without_a_vocabulary_are_refused(head_type: str, changes: dict[str, Any], message: str) -> None:
    config = get_head_config("lm", {"head_type": head_type})
    with pytest.raises(InputError, match=message.format(head_type)):
        config.resolve(backbone(HEAD_TYPES[head_type] == "gpt2", **changes))


@both
def test_metrics_are_over_all_tokens_and_lower_is_better(head_type: str) -> None:
    config = get_head_config("lm", {"head_type": head_type})
    assert config.metric_names == ("nll", "perplexity")
    assert config.score_sign == -1
    encoded: list[Any] = [[3, 4, -100], [7, -100], None]
    if head_type == MLM:
        encoded = [[(1, 3), (2, 4)], [(1, 7)], None]
    labels = config.collate_labels(encoded, 4)
    assert config.count_items(labels).tolist() == [2, 1, 0]
    # what stands in a row without tokens does not count
    found = config.compute_metrics(np.array([[5.0], [1.0], [99.0]]), labels.numpy())
    assert found == {"nll": 2.0, "perplexity": pytest.approx(np.exp(2.0))}
    # what `eval_score` takes the mean of lies between 0 and 1, like accuracies
    assert config.score(found) == pytest.approx(np.exp(-2.0))
    by_perplexity = get_head_config("lm", {"head_type": head_type, "metrics": ["perplexity"]})
    assert by_perplexity.score(found) == pytest.approx(np.exp(-2.0))
    with pytest.raises(InputError, match="no labelled row, so that nll cannot be computed"):
        config.compute_metrics(np.zeros((1, 1)), labels.numpy()[2:])
    with pytest.raises(InputError, match="accuracy"):
        get_head_config("lm", {"head_type": head_type, "metrics": ["accuracy"]})


@both
def test_a_column_with_labels_is_refused(head_type: str, tmp_path: Path) -> None:
    task = Task(dataset=raw_task().dataset, inputs={"text": "text"}, labels={"lm": "text"})
    with pytest.raises(InputError, match=r"makes its labels from the input: expected no column, found 'text'"):
        make_trainer(language_model(head_type), {"raw": task}, tmp_path)


# ------------------------------------------------------------------------------------------------------------------
# training


@both
def test_it_learns_its_texts_and_answers_them(head_type: str, tmp_path: Path) -> None:
    model = language_model(head_type)
    trainer = make_trainer(model, {"raw": raw_task()}, tmp_path, max_steps=250, per_device_train_batch_size=6)
    before = trainer.evaluate()
    assert before["eval_raw_lm_perplexity"] > 30
    trainer.train()
    after = trainer.evaluate()
    # where texts begin alike nobody can tell how they go on
    assert after["eval_raw_lm_perplexity"] < 2
    assert after["eval_raw_lm_perplexity"] == pytest.approx(np.exp(after["eval_raw_lm_nll"]))
    assert after["eval_raw_score"] == pytest.approx(np.exp(-after["eval_raw_lm_nll"]))
    predictor = MultiTaskPredictor(model, tiny_tokenizer())
    if head_type == MLM:
        answer, nothing = (each["lm"] for each in predictor(["weather in [MASK]", "weather in rome"]))
        assert nothing == []
        assert [(each["position"], each["token"]) for each in answer] == [(3, "rome")]
        assert 0.5 < answer[0]["score"] <= 1
    else:
        tokenizer = tiny_tokenizer()
        # texts end with [SEP] here, what comes next was never seen: ask within one
        inputs = tokenizer(["weather in rome", "the film is great"], return_tensors="pt", padding=True)
        cut = {name: value[:, :3] for name, value in inputs.items() if name != "token_type_ids"}
        answers = model.make_output_human_readable(model(**cut), tokenizer)["lm_decoded"]
        assert [each["token"] for each in answers] == ["rome", "is"]
        assert all(0.5 < each["score"] <= 1 for each in answers)
        assert set(predictor(["weather in rome"])[0]["lm"]) == {"token", "score"}


@both
def test_accumulated_steps_are_those_of_one_batch(head_type: str, tmp_path: Path) -> None:
    """Micro-batches with other numbers of tokens add up to the mean over all tokens."""
    weights = []
    for rows, accumulation in ((6, 1), (2, 3), (1, 6)):
        torch.manual_seed(0)
        trainer = make_trainer(
            language_model(head_type).double(),
            {"raw": raw_task()},
            tmp_path,
            max_steps=3,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=accumulation,
            optim="sgd",
            max_grad_norm=0,
        )
        trainer.train()
        weights.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
    for other in weights[1:]:
        for name, value in weights[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-10, atol=1e-12, msg=name)


@both
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(head_type: str, workers: int, tmp_path: Path) -> None:
    found = []
    for number in (0, workers):
        torch.manual_seed(0)
        more = {"dataloader_persistent_workers": True} if number else {}
        trainer = make_trainer(
            language_model(head_type),
            {"raw": raw_task()},
            tmp_path,
            num_train_epochs=2,
            dataloader_num_workers=number,
            **more,
        )
        trainer.train()
        found.append(trainer.model.state_dict())
    assert all(torch.equal(found[1][name], value) for name, value in found[0].items())


@both
def test_a_run_resumed_within_an_epoch_equals_an_uninterrupted_one(head_type: str, tmp_path: Path) -> None:
    def trainer(folder: str) -> Any:
        torch.manual_seed(0)
        return make_trainer(
            language_model(head_type),
            {"raw": raw_task(), "cities": cities_task()},
            tmp_path / folder,
            # 14 rows: 4 steps in an epoch
            num_train_epochs=3,
            save_strategy="steps",
            save_steps=1,
        )

    whole = trainer("whole")
    whole.train()
    assert whole.state.global_step == 12
    for step in (2, 4, 7):
        resumed = trainer(f"from_{step}")
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "out" / f"checkpoint-{step}"))
        other = resumed.model.state_dict()
        assert [name for name, value in whole.model.state_dict().items() if not torch.equal(other[name], value)] == []


@both
def test_a_head_of_another_kind_learns_beside_it(head_type: str, tmp_path: Path) -> None:
    """One task's rows feed both heads, the other's texts have no labels."""
    heads = {
        "mood": {"head_type": "sequence_classification", "classifier_dropout": 0.0, "id2label": MOODS},
        "lm": {"head_type": head_type},
    }
    tasks = {"moods": moods_task(lm=None), "cities": cities_task()}
    model = tiny_model(
        heads,
        quiet_config(HEAD_TYPES[head_type]),
        tasks={name: list(task.labels) for name, task in tasks.items()},
        loss_weights={"lm": 0.5},
    )
    trainer = make_trainer(
        model, tasks, tmp_path, max_steps=150, per_device_train_batch_size=20, mixture=Mixture(batches="mixed")
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_moods_mood_accuracy"] == 1
    for name in ("eval_moods_lm_nll", "eval_cities_lm_nll"):
        assert after[name] < before[name] / 2
    predicted = trainer.predict(split="validation")
    # logits over a vocabulary would be too large: the summed loss of each row in their place
    assert predicted["moods"].predictions["lm"].shape == (12, 1)
    assert predicted["moods"].predictions["mood"].shape == (12, 2)


# ------------------------------------------------------------------------------------------------------------------
# the embeddings


@both
def test_the_embeddings_are_trained_and_saved_once(head_type: str, tmp_path: Path) -> None:
    model = language_model(head_type)
    trainer = make_trainer(model, {"raw": raw_task()}, tmp_path, max_steps=2)
    trainer.train()
    model.save_pretrained(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert [name for name, value in saved.items() if value.dim() == 2 and len(value) == len(VOCABULARY)] == [
        next(name for name in saved if "embeddings.word" in name or "wte" in name)
    ]
    again = MultiTaskModel.from_pretrained(tmp_path / "saved")
    inputs = tiny_inputs()
    inputs["input_ids"][:, 1] = VOCABULARY.index("[MASK]")
    assert again.config.heads == model.config.heads
    model.eval()
    with torch.no_grad():
        assert torch.equal(again(**inputs)["lm_logits"], model(**inputs)["lm_logits"])
    assert model.get_input_embeddings() is not again.get_input_embeddings()


@both
def test_both_uses_of_the_embeddings_give_them_a_gradient(head_type: str) -> None:
    """A token that no row has gets one from the output alone."""
    model = language_model(head_type)
    inputs = tiny_inputs()
    labels = torch.full(inputs["input_ids"].shape, -100)
    labels[0, 1] = 7
    if head_type == MLM:
        labels = torch.tensor([[[1, 7]], [[-100, -100]], [[-100, -100]], [[-100, -100]]])
    model(**inputs, labels={"lm": labels})["loss"].backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient is not None
    unseen = next(token for token in range(5, len(VOCABULARY)) if token not in inputs["input_ids"])
    assert gradient[unseen].any()


@both
@pytest.mark.parametrize("size", [len(VOCABULARY) + 6, len(VOCABULARY) - 4])
def test_a_resized_vocabulary_is_followed(head_type: str, size: int, tmp_path: Path) -> None:
    model = language_model(head_type, **MASK_TOKEN[head_type])
    inputs = tiny_inputs()
    inputs["input_ids"] = inputs["input_ids"].clamp(max=size - 1)
    inputs["input_ids"][:, 1] = VOCABULARY.index("[MASK]")
    before = model(**inputs)["lm_logits"]
    model.resize_token_embeddings(size, mean_resizing=False)
    after = model(**inputs)["lm_logits"]
    common = min(size, len(VOCABULARY))
    assert after.shape[-1] == size
    torch.testing.assert_close(after[..., :common], before[..., :common])
    assert model.config.heads["lm"]["vocab_size"] == size
    assert model.named_heads["lm"].config.vocab_size == size
    model.save_pretrained(tmp_path / "saved")
    again = MultiTaskModel.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        assert torch.equal(again(**inputs)["lm_logits"], after)


@both
def test_training_goes_on_after_tokens_were_added(head_type: str, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["jazz"])
    model = language_model(head_type)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    trainer = make_trainer(
        model,
        {"raw": raw_task(["play some jazz", "jazz in rome", "the jazz is great ."])},
        tmp_path,
        processing_class=tokenizer,
        max_steps=30,
        learning_rate=1e-2,
    )
    old = model.get_input_embeddings().weight[-1].clone()
    before = trainer.evaluate()["eval_raw_lm_nll"]
    trainer.train()
    assert trainer.evaluate()["eval_raw_lm_nll"] < before - 1
    assert not torch.equal(model.get_input_embeddings().weight[-1], old)


# ------------------------------------------------------------------------------------------------------------------
# shapes and devices


@both
def test_training_does_not_wait_for_the_device(head_type: str) -> None:
    """On tensors without values nothing can be read: a forward that needs a value would fail."""
    model = language_model(head_type).to("meta").train()
    collator = DataCollatorForMultiTask(tiny_tokenizer(), {"lm": model.named_heads["lm"].config}, epoch=0)
    rows = [
        {"input_ids": row, "labels_lm": True} for row in tiny_tokenizer()(["the film is great .", "oslo"]).input_ids
    ]
    batch = collator(rows)
    inputs = {name: value.to("meta") for name, value in batch.items() if torch.is_tensor(value)}
    features = torch.empty(2, inputs["input_ids"].shape[1], 32, device="meta", requires_grad=True)
    labels = batch["labels"]["lm"].to("meta")
    outputs = model.named_heads["lm"](
        features,
        torch.ones(features.shape[:2], dtype=torch.bool, device="meta"),
        labels,
        token_embeddings=model.get_input_embeddings().weight,
    )
    outputs["row_losses"].sum().backward()
    assert outputs["row_losses"].shape == (2,)


@both
def test_answers_without_a_tokenizer_name_no_token(head_type: str) -> None:
    model = language_model(head_type, **MASK_TOKEN[head_type])
    inputs = tiny_inputs()
    inputs["input_ids"][0, 1] = 4
    answers = model.make_output_human_readable(model(**inputs))["lm_decoded"]
    assert len(answers) == 4
    first = answers[0][0] if head_type == MLM else answers[0]
    assert first["token"] is None
    assert 0 < first["score"] < 1
