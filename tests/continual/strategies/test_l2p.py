"""Learning to Prompt: equation 5 by hand, every option, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from backbones import tiny_backbone_config
from continual_streams import class_stream, head_stream, make_continual, quiet_model, weights
from fixtures import tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskTrainingArguments
from mt_transformers.continual.strategies import make_strategy
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.errors import InputError

SMALL: dict[str, Any] = {"name": "l2p", "pool_size": 4, "prompt_length": 2, "top_k": 2}


def train(folder: Path, **given: Any) -> tuple[ContinualTrainer, Any]:
    options = {name: given.pop(name) for name in ("pool_size", "pull_weight", "top_k", "seed") if name in given}
    trainer = make_continual(folder, class_stream(), {**SMALL, **options}, **given)
    trainer.train()
    return trainer, trainer.strategy.strategies[0]


def test_the_loss_is_that_of_equation_5(tmp_path: Path) -> None:
    """The gradients of one step of the second experience: cross-entropy among its classes, and the distances."""
    trainer = make_continual(tmp_path, class_stream(), {**SMALL, "pull_weight": 0.7}, max_steps=1, learning_rate=0.0)
    strategy: Any = trainer.strategy.strategies[0]
    found: dict[str, torch.Tensor] = {}
    expected: dict[str, torch.Tensor] = {}
    rehearse, end_backward = trainer.strategy.rehearse, trainer.strategy.end_backward

    def compute_by_hand(learner: Any, batches: Any) -> Any:
        if learner.number == 1:
            head: Any = learner.model.named_heads["kind"]
            batch = batches[0]
            rows = learner.model(**{name: batch[name] for name in ("input_ids", "attention_mask")}, returnt="features")
            queries = torch.nn.functional.normalize(trainer_queries(learner, batch), dim=1)
            cosines = queries @ torch.nn.functional.normalize(strategy.pool.keys, dim=1).T
            pulled = (1 - cosines.topk(2, dim=1).values).sum(dim=1).mean()
            logits = rows @ head.classifier.weight.T + head.classifier.bias
            log_shares = logits[:, 2:4].log_softmax(dim=1)
            labels = batch["labels"]["kind"]
            assert set(labels.tolist()) <= {2, 3}
            loss = -log_shares[torch.arange(len(labels)), labels - 2].mean() + 0.7 * pulled
            parameters = {**dict(strategy.pool.named_parameters()), **dict(head.named_parameters())}
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            expected.update(zip(parameters, gradients, strict=True))
        return rehearse(learner, batches)

    def keep(learner: Any) -> None:
        if learner.number == 1:
            head = learner.model.named_heads["kind"]
            parameters = {**dict(strategy.pool.named_parameters()), **dict(head.named_parameters())}
            found.update({name: each.grad.clone() for name, each in parameters.items()})
        end_backward(learner)

    trainer.strategy.rehearse = compute_by_hand  # type: ignore[method-assign]
    trainer.strategy.end_backward = keep  # type: ignore[method-assign]
    trainer.train()
    assert set(found) == {"keys", "prompts", "classifier.weight", "classifier.bias"}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)
        assert gradient.abs().sum() > 0, name


def trainer_queries(learner: Any, batch: Any) -> torch.Tensor:
    """The average token of the bare transformer."""
    mask = batch["attention_mask"].unsqueeze(2)
    with torch.no_grad():
        hidden = learner.model.backbone.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
    queries: torch.Tensor = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    return queries


def test_the_backbone_stays_and_is_trained_again_afterwards(tmp_path: Path) -> None:
    scenario = class_stream()
    trainer, _ = train(tmp_path)
    before, after = weights(quiet_model(scenario)), weights(trainer.model)
    assert all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("backbone"))
    assert not torch.equal(after["heads.kind.classifier.weight"][:2], before["heads.kind.classifier.weight"][:2])
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())
    ids = torch.tensor([[2, 6, 7, 3]])
    assert trainer.model.backbone(input_ids=ids)["encoded_text"].shape[1] == 4


def test_keys_move_by_their_distance_alone(tmp_path: Path) -> None:
    still, moved = (train(tmp_path / str(weight), pull_weight=weight)[1].pool for weight in (0.0, 0.5))
    first = make_continual(tmp_path / "new", class_stream(), SMALL).strategy.strategies[0].pool  # type: ignore[attr-defined]
    assert torch.equal(still.keys, first.keys)
    assert not torch.equal(moved.keys, first.keys)
    assert not torch.equal(still.prompts, first.prompts)


def test_prompts_begin_as_embedded_tokens_and_the_seed_chooses_them(tmp_path: Path) -> None:
    pools = []
    for number, seed in enumerate((0, 0, 1)):
        trainer = make_continual(tmp_path / str(number), class_stream(), {**SMALL, "seed": seed})
        strategy: Any = trainer.strategy.strategies[0]
        table = trainer.model.get_input_embeddings().weight
        assert all((table == row).all(dim=1).any() for row in strategy.pool.prompts.flatten(0, 1))
        pools.append(strategy.pool)
    assert torch.equal(pools[0].keys, pools[1].keys)
    assert not torch.equal(pools[0].keys, pools[2].keys)
    assert pools[0].prompts.shape == (4, 2, 32)
    assert trainer.strategy.memory() == 4 * (4 * 32 + 4 * 2 * 32)


def test_every_row_of_a_step_counts_alike_in_the_distance(tmp_path: Path) -> None:
    """The pool ends the same whether a step is one batch or two."""
    pools = [
        train(
            tmp_path / str(parts),
            per_device_train_batch_size=8 // parts,
            gradient_accumulation_steps=parts,
        )[1].pool
        for parts in (1, 2)
    ]
    for name, value in pools[0].state_dict().items():
        torch.testing.assert_close(pools[1].state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_rows_out_of_a_buffer_are_learnt_among_all_classes(tmp_path: Path) -> None:
    """Beside replay the head's own loss holds for what is rehearsed, labels of earlier classes among it."""
    strategy = [SMALL, {"name": "replay", "buffer_size": 8}]
    trainer = make_continual(tmp_path, class_stream(), strategy)
    results = trainer.train()
    assert results.matrix[-1].min() >= 0


@pytest.mark.parametrize("other", ["cumulative", "joint"])
def test_it_is_not_combined_with_other_rows_of_earlier_experiences(other: str) -> None:
    with pytest.raises(InputError, match="both decide about rows"):
        make_strategy(["l2p", other])


def test_prompts_that_do_not_fit_before_the_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"60 tokens of prompts do not fit before the 5 .* 64 .* set max_length to 4"):
        make_continual(tmp_path, class_stream(), {**SMALL, "prompt_length": 30})


def test_a_backbone_with_a_decoder_is_refused(tmp_path: Path) -> None:
    scenario = head_stream()
    fields = {name: {**each.to_dict(), "input": "encoded_text"} for name, each in scenario.heads_after(0).items()}
    model = tiny_model(fields, tiny_backbone_config("t5"))
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    with pytest.raises(InputError, match="strategy 'l2p': backbone 't5': expected one of text alone"):
        ContinualTrainer(model, args, scenario, "l2p", processing_class=tiny_tokenizer())


def test_it_forgets_less_than_training_on_one_experience_after_another(tmp_path: Path) -> None:
    """On words that the first training has told apart already, as a pretrained backbone would."""
    pretrained = make_continual(tmp_path / "first", class_stream(96), "joint", num_train_epochs=6, learning_rate=3e-3)
    pretrained.train()
    scores = []
    for strategy in ("naive", {**SMALL, "pool_size": 8}):
        given = {"num_train_epochs": 4, "learning_rate": 3e-3}
        trainer = make_continual(tmp_path / str(len(scores)), class_stream(96), strategy, **given)
        trainer.model.backbone.load_state_dict(pretrained.model.backbone.state_dict())
        scores.append(trainer.train().measures()["average_accuracy"])
    assert scores[1] > scores[0] + 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool_size": 0}, "strategy 'l2p': pool_size: expected a whole number above 0, found 0"),
        ({"top_k": 11}, "top_k: expected no more than the 10 of the pool, found 11"),
        ({"pull_weight": -1.0}, "pull_weight: expected a number from 0 up"),
        ({"seed": 0.5}, "seed: expected a whole number from 0 up"),
    ],
)
def test_options_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_strategy({"name": "l2p", **options})
