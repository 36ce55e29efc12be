"""Transfer without Forgetting: its loss by hand, every option, and what it remembers."""

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

SMALL: dict[str, Any] = {"name": "twf", "buffer_size": 12}


def train(folder: Path, **options: Any) -> tuple[ContinualTrainer, Any]:
    trainer = make_continual(folder, class_stream(24), {**SMALL, **options}, learning_rate=1e-2)
    trainer.train()
    return trainer, trainer.strategy.strategies[0]


def hidden_states(bert: Any, batch: Any) -> Any:
    names = ("input_ids", "attention_mask")
    return bert(**{name: batch[name] for name in names}, output_hidden_states=True).hidden_states[1:]


def soft_map(scores: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return (scores[0].unsqueeze(1) + scores[1].unsqueeze(2)).sigmoid()


def by_hand(strategy: Any, learner: Any, batch: Any) -> torch.Tensor:
    """What is added for a batch of the experience's own rows, layer by layer and row by row."""
    learnt = hidden_states(learner.model.backbone.model, batch)
    kept = hidden_states(strategy.sibling.model, batch)
    lengths, total = batch["attention_mask"].sum(dim=1).tolist(), torch.zeros(())
    number = torch.tensor([learner.number])
    for attention, own, other in zip(strategy._attention, learnt, kept, strict=True):
        for row, length in enumerate(lengths):
            mine, theirs = own[row, :length], other[row : row + 1, :length]
            opened = soft_map(attention(theirs, torch.ones(1, length), number))[0]
            distance = ((mine - theirs[0]).square() * (opened > 0.5)).mean()
            total = total + 0.7 * distance + 0.3 * (opened.mean() - 0.5) ** 2
    return total / len(lengths)


def test_features_of_every_layer_are_drawn_to_the_siblings(tmp_path: Path) -> None:
    """The added loss in the second experience, where the model has moved away from its pretrained self."""
    options = {"alpha": 0.0, "beta": 0.0, "propagation_weight": 0.7, "openness_weight": 0.3, "consistency_weight": 0.0}
    trainer = make_continual(tmp_path, class_stream(), {**SMALL, **options}, learning_rate=1e-2)
    strategy: Any = trainer.strategy.strategies[0]
    added_loss, seen = strategy.added_loss, []

    def compare(learner: Any, inputs: Any, outputs: Any) -> Any:
        found = added_loss(learner, inputs, outputs)
        expected = by_hand(strategy, learner, inputs)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        moved = list(learner.model.backbone.parameters())
        for left, right in zip(*(torch.autograd.grad(each, moved) for each in (found, expected)), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)
        seen.append((learner.number, found.item()))
        return added_loss_again(found)

    def added_loss_again(found: torch.Tensor) -> torch.Tensor:
        # its graph is gone
        return found.detach()

    strategy.added_loss = compare
    trainer.train()
    assert {number for number, _ in seen} == {0, 1, 2}
    assert seen[-1][1] > seen[0][1]


def test_the_sibling_stays_as_it_was_pretrained(tmp_path: Path) -> None:
    trainer, strategy = train(tmp_path)
    pretrained = quiet_model(class_stream(24)).backbone.state_dict()
    for name, value in strategy.sibling.state_dict().items():
        assert torch.equal(value, pretrained[name]), name
    assert not any(parameter.requires_grad for parameter in strategy.sibling.parameters())
    assert any(not torch.equal(value, pretrained[name]) for name, value in trainer.model.backbone.state_dict().items())


def test_rows_keep_the_maps_that_they_had_at_the_end_of_their_experience(tmp_path: Path) -> None:
    """What the first experience leaves does not change with the attention; it counts as memory."""
    trainer = make_continual(tmp_path, class_stream(24), SMALL, learning_rate=1e-2)
    strategy: Any = trainer.strategy.strategies[0]
    end, kept = strategy.end, []

    def keep(learner: Any) -> None:
        end(learner)
        slots = [slot for slot in strategy.buffer.slots if slot.experience == 0]
        kept.append({id(slot): {name: each.clone() for name, each in slot.features.items()} for slot in slots})
        with torch.no_grad():
            kept_now = strategy._scores_of(learner, [0])[0][0][0]
        assert kept_now.shape == (1, 32)

    strategy.end = keep
    trainer.train()
    left = kept[0].keys() & kept[2].keys()
    assert left
    for slot in left:
        assert set(kept[2][slot]) == {"channels_0", "positions_0", "channels_1", "positions_1"}
        for name, value in kept[2][slot].items():
            assert torch.equal(value, kept[0][slot][name])
            assert value.shape == ((32,) if "channels" in name else (5,))
    assert strategy.buffer.memory()["features"] == 12 * 2 * (32 + 5) * 4


def final_weights(folder: Path, **options: Any) -> dict[str, dict[str, torch.Tensor]]:
    trainer, strategy = train(folder, **options)
    return {"model": weights(trainer.model.backbone), "attention": weights(strategy._attention)}


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    return final_weights(tmp_path_factory.mktemp("unchanged"))


@pytest.mark.parametrize(
    ("option", "changes"),
    [("propagation_weight", "model"), ("openness_weight", "attention"), ("consistency_weight", "attention")],
)
def test_every_weight_matters(
    option: str, changes: str, unchanged: dict[str, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    found = final_weights(tmp_path, **{option: 5.0})[changes]
    assert any((value - unchanged[changes][name]).abs().max() > 1e-4 for name, value in found.items())


def test_a_strong_pull_keeps_the_backbone_nearer(
    unchanged: dict[str, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    pretrained = quiet_model(class_stream(24)).backbone.state_dict()
    strong = final_weights(tmp_path, propagation_weight=100.0)["model"]
    distances = [
        sum((each[name] - value).square().sum().item() for name, value in pretrained.items())
        for each in (strong, unchanged["model"])
    ]
    assert distances[0] < distances[1]


def test_it_beats_training_on_one_experience_after_another(tmp_path: Path) -> None:
    scores = {}
    for strategy in ("naive", {"name": "twf", "buffer_size": 60}):
        trainer = make_continual(
            tmp_path / str(len(scores)), class_stream(96), strategy, num_train_epochs=4, learning_rate=3e-3
        )
        scores[len(scores)] = trainer.train().measures()["average_accuracy"]
    assert scores[1] > scores[0] + 0.2


def test_a_backbone_without_layers_of_text_alone_is_refused(tmp_path: Path) -> None:
    scenario = head_stream()
    fields = {name: {**each.to_dict(), "input": "encoded_text"} for name, each in scenario.heads_after(0).items()}
    model = tiny_model(fields, tiny_backbone_config("t5"))
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    with pytest.raises(InputError, match="strategy 'twf': backbone 't5': expected one of text alone"):
        ContinualTrainer(model, args, scenario, "twf", processing_class=tiny_tokenizer())


@pytest.mark.parametrize("option", ["propagation_weight", "openness_weight", "consistency_weight"])
def test_weights_below_0_are_refused(option: str) -> None:
    with pytest.raises(InputError, match=f"strategy 'twf': {option}: expected a number from 0 up, found -1"):
        make_strategy({"name": "twf", option: -1})
