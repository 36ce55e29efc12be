"""Balancing in the trainer: the same for any micro-batches, and what is saved of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import parameters_to_vector
from transformers import TrainerCallback

from fixtures import INTENTS, MOODS, SLOTS, VOCABULARY, tiny_model
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.balancing import ConflictReport
from mt_transformers.balancing.aggregations import AGGREGATIONS
from mt_transformers.balancing.weightings.famo import FastAdaptiveWeighting
from mt_transformers.errors import InputError
from mt_transformers.modeling import get_peft_model
from mt_transformers.modeling.running_metrics import RunningMetrics

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]


def skip_without_torchjd(balancing: Any) -> None:
    name = balancing["name"] if isinstance(balancing, dict) else balancing
    if name in AGGREGATIONS and name != "sum":
        pytest.importorskip("torchjd")


def moved(
    model: MultiTaskModel, make_trainer: Trainers, tasks: dict[str, Task], size: int = 8, **given: Any
) -> torch.Tensor:
    """How far training moves the parameters, in steps of 8 rows."""
    start = parameters_to_vector(model.parameters()).detach().clone()
    defaults = {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": 8 // size,
        "max_steps": 3,
        "learning_rate": 0.05,
        "optim": "sgd",
        "max_grad_norm": 0.0,
    }
    make_trainer(model, tasks, **{**defaults, **given}).train()
    return parameters_to_vector(model.parameters()).detach() - start


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_the_sum_of_the_gradients_of_all_tasks_is_the_gradient_of_the_sum(
    batches: str, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    found = []
    for balancing in (None, "sum"):
        torch.manual_seed(0)
        model = quiet_model(loss_weights={"slots": 2.0}).double()
        mixture = Mixture(batches=batches)
        found.append(moved(model, make_trainer, two_tasks, 4, mixture=mixture, balancing=balancing))
    assert found[0].norm() > 1e-3
    assert (found[1] - found[0]).norm() / found[0].norm() < 1e-9


@pytest.mark.parametrize("balancing", ["uw", "geometric_mean", "pcgrad"])
def test_micro_batches_give_what_one_batch_gives(
    balancing: str, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    skip_without_torchjd(balancing)
    found = []
    for size in (8, 4, 1):
        torch.manual_seed(0)
        found.append(moved(quiet_model().double(), make_trainer, two_tasks, size, balancing=balancing))
    assert found[0].norm() > 1e-3
    for other in found[1:]:
        assert (other - found[0]).norm() / found[0].norm() < 1e-6


def test_what_a_head_is_worth_follows_the_formula(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """The geometric mean of the losses of a step, whose gradient is written out."""
    torch.manual_seed(0)
    model = quiet_model(loss_weights={"mood": 2.0}).double()
    trainer = make_trainer(
        model,
        two_tasks,
        per_device_train_batch_size=8,
        balancing="geometric_mean",
        max_steps=1,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=0.0,
    )
    start = parameters_to_vector(model.parameters()).detach().clone()
    batch = next(iter(trainer.get_train_dataloader()))
    outputs = model(**{name: value for name, value in batch.items() if name != "task_index"})
    losses = torch.stack([outputs["intent_loss"], outputs["slots_loss"], 2 * outputs["mood_loss"]])
    losses.prod().pow(1 / 3).backward()
    expected = torch.cat(
        [each.new_zeros(each.numel()) if each.grad is None else each.grad.reshape(-1) for each in model.parameters()]
    )
    model.zero_grad()
    trainer.train()
    found = (start - parameters_to_vector(model.parameters()).detach()) / 0.1
    assert (found - expected).norm() / expected.norm() < 1e-5


def head_gradients(model: MultiTaskModel, trainer: MultiTaskTrainer) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """
    The gradients of the first batch: of each head's loss in the backbone, `(heads, elements)`, and of each head's loss
    in its own parameters.
    """
    batch = next(iter(trainer.get_train_dataloader()))
    parts = batch.get("parts", {0: batch}).values()
    backbone, own = [], {}
    for name, head in model.named_heads.items():
        model.zero_grad()
        for part in parts:
            if name in part["labels"]:
                outputs = model(**{key: value for key, value in part.items() if key != "task_index"})
                outputs[f"{name}_loss"].backward()
        backbone.append(flat_gradient(model.backbone))
        own[name] = flat_gradient(head)
    model.zero_grad()
    return torch.stack(backbone), own


def parameters_of(module: torch.nn.Module) -> torch.Tensor:
    return parameters_to_vector(module.parameters()).detach().clone()


def flat_gradient(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat(
        [(torch.zeros_like(each) if each.grad is None else each.grad).reshape(-1) for each in module.parameters()]
    )


ONE_STEP = {
    "per_device_train_batch_size": 8,
    "max_steps": 1,
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "optim": "sgd",
    "max_grad_norm": 0.0,
}


def test_gradients_between_heads_that_share_rows(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """Each head has a row of the matrix, `intent` and `slots` of the same texts; and keeps its own gradient."""
    pytest.importorskip("torchjd")
    torch.manual_seed(0)
    model = quiet_model().double()
    balancing = {"name": "mgda", "between": "heads"}
    trainer = make_trainer(model, two_tasks, balancing=balancing, **ONE_STEP)
    matrix, own = head_gradients(model, trainer)
    expected = mgda(matrix) @ matrix
    start = parameters_of(model.backbone)
    heads = {
        name: parameters_to_vector(head.parameters()).detach().clone() for name, head in model.named_heads.items()
    }
    trainer.train()
    found = (start - parameters_of(model.backbone)) / 0.1
    assert (found - expected).norm() / expected.norm() < 1e-6
    for name, head in model.named_heads.items():
        moved_head = (heads[name] - parameters_of(head)) / 0.1
        torch.testing.assert_close(moved_head, own[name])


def mgda(matrix: torch.Tensor) -> torch.Tensor:
    from torchjd.aggregation import MGDAWeighting

    return MGDAWeighting()(matrix @ matrix.T)


def test_gradients_at_the_features(two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers) -> None:
    """The weights are those of the heads' gradients in the encoded features, and heads keep their own gradients."""
    pytest.importorskip("torchjd")
    torch.manual_seed(0)
    model = quiet_model().double()
    balancing = {"name": "mgda", "between": "heads", "at": "features"}
    trainer = make_trainer(model, two_tasks, balancing=balancing, **ONE_STEP)
    matrix, own = head_gradients(model, trainer)
    batch = next(iter(trainer.get_train_dataloader()))
    outputs = model(**{key: value for key, value in batch.items() if key != "task_index"})
    features = torch.stack(
        [
            torch.autograd.grad(outputs[f"{name}_loss"], outputs["encoded_text"], retain_graph=True)[0].reshape(-1)
            for name in model.named_heads
        ]
    )
    weights = mgda(features)
    assert weights.std() > 0.01
    expected = weights @ matrix
    start = parameters_of(model.backbone)
    heads = {
        name: parameters_to_vector(head.parameters()).detach().clone() for name, head in model.named_heads.items()
    }
    result = trainer.train()
    found = (start - parameters_of(model.backbone)) / 0.1
    assert (found - expected).norm() / expected.norm() < 1e-6
    for name, head in model.named_heads.items():
        moved_head = (heads[name] - parameters_of(head)) / 0.1
        torch.testing.assert_close(moved_head, own[name])
    losses = [outputs[f"{name}_loss"].item() for name in model.named_heads]
    assert result.training_loss == pytest.approx(sum(losses), rel=1e-5)


DROPPING = {
    "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "mood": {"head_type": "sequence_classification", "id2label": MOODS},
}
"""Heads with the default dropout, so that a run that goes on needs the state of the random numbers, too."""

REMEMBERING: dict[str, dict[str, Any]] = {
    "uw": {},
    "dwa": {"period": 2},
    "dwa by epochs": {"name": "dwa"},
    "famo": {},
    "random": {},
    "running_mean": {},
    "pcgrad": {},
    "gradvac": {},
    "nash_mtl": {},
    "graddrop": {},
}


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_resumed_run_equals_an_uninterrupted_one(
    name: str, two_tasks: dict[str, Task], make_trainer: Trainers, tmp_path: Path
) -> None:
    """Bit for bit, with dropout: what a method learns and remembers is in the checkpoint."""
    skip_without_torchjd(REMEMBERING[name].get("name", name))

    def trainer(folder: str, **given: Any) -> MultiTaskTrainer:
        return make_trainer(
            tiny_model(DROPPING),
            two_tasks,
            output_dir=str(tmp_path / folder),
            num_train_epochs=3,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            save_strategy="steps",
            save_steps=1,
            balancing={"name": name, **REMEMBERING[name]},
            **given,
        )

    whole = trainer("whole")
    whole.train()
    assert whole.state.global_step == 9
    weights = [line for line in whole.state.log_history if "loss" in line]
    for step in (2, 7):
        resumed = trainer(f"from_{step}")
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        for key, value in whole.model.state_dict().items():
            assert torch.equal(resumed.model.state_dict()[key], value), key
        told = [line for line in resumed.state.log_history if "loss" in line]
        names = [each for each in weights[-1] if each.startswith(("weight_", "conflicts"))]
        assert names
        assert [{each: line.get(each) for each in names} for line in told[step:]] == [
            {each: line.get(each) for each in names} for line in weights[step:]
        ]


def test_a_checkpoint_of_another_method_is_refused(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    make_trainer(quiet_model(), two_tasks, balancing="uw", **given).train()
    checkpoint = str(tmp_path / "out" / "checkpoint-1")
    for other in ("imtl_l", None, "famo"):
        with pytest.raises(InputError, match="another method of balancing, or for other heads"):
            make_trainer(quiet_model(), two_tasks, balancing=other, **given).train(resume_from_checkpoint=checkpoint)
    (tmp_path / "out" / "checkpoint-1" / "balancing.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"balancing\.safetensors cannot be read"):
        make_trainer(quiet_model(), two_tasks, balancing="uw", **given).train(resume_from_checkpoint=checkpoint)


def test_the_losses_that_weights_follow_are_those_that_are_trained_on(
    two_tasks: dict[str, Task], make_trainer: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout is the same when micro-batches are looked at in advance, and when they are looked at again."""
    asked: list[torch.Tensor] = []
    weigh, compare = FastAdaptiveWeighting.weigh, FastAdaptiveWeighting.compare
    compared: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watching(self: Any, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        asked.append(losses.clone())
        return weigh(self, losses, present)

    def comparing(self: Any, before: torch.Tensor, after: torch.Tensor, present: torch.Tensor) -> None:
        compared.append((before.clone(), after.clone()))
        compare(self, before, after, present)

    monkeypatch.setattr(FastAdaptiveWeighting, "weigh", watching)
    monkeypatch.setattr(FastAdaptiveWeighting, "compare", comparing)
    # with a learning rate of next to nothing, the rows have the same losses after the step
    given = {"gradient_accumulation_steps": 2, "max_steps": 2, "learning_rate": 1e-12, "balancing": "famo"}
    make_trainer(tiny_model(DROPPING), two_tasks, **given).train()
    assert len(asked) == len(compared) == 2
    for losses, (before, after) in zip(asked, compared, strict=True):
        torch.testing.assert_close(losses, before, rtol=1e-6, atol=0)
        torch.testing.assert_close(after, before, rtol=1e-5, atol=0)


def test_metrics_of_the_model_do_not_count_rows_that_are_looked_at_again(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    add = RunningMetrics.add

    def counting(self: Any, name: str, predictions: Any, labels: torch.Tensor) -> None:
        counted.append(len(labels))
        add(self, name, predictions, labels)

    monkeypatch.setattr(RunningMetrics, "add", counting)
    model = quiet_model()
    model.track_metrics = True
    given = {"gradient_accumulation_steps": 2, "max_steps": 1, "balancing": "famo"}
    make_trainer(model, two_tasks, **given).train()
    # 6 rows of requests for two heads, 2 of moods
    assert sum(counted) == 14
    assert model.track_metrics


def test_what_is_learnt_beside_the_model_has_a_rate_of_its_own(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    for rate, moved_by in ((0.01, 0.01), (0.5, 0.5)):
        balancing = {"name": "uw", "learning_rate": rate}
        trainer = make_trainer(
            quiet_model(), two_tasks, balancing=balancing, max_steps=1, lr_scheduler_type="constant", weight_decay=0.9
        )
        trainer.train()
        (method,) = trainer._balancer.modules()
        # the first step of Adam is the learning rate; one of the heads was not in the step
        steps = sorted(abs(each) for each in method.log_variances.tolist())
        assert steps == pytest.approx([steps[0], moved_by, moved_by], rel=1e-3)


def test_absent_heads_keep_what_is_theirs(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """No momentum moves the parameter of a head in steps without it."""
    history: list[list[float]] = []

    class Watching(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            (method,) = trainer._balancer.modules()
            history.append(method.log_variances.tolist())

    mixture = Mixture(batches="homogeneous")
    trainer = make_trainer(
        quiet_model(), two_tasks, mixture=mixture, balancing="uw", callbacks=[Watching()], num_train_epochs=2
    )
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    for before, after, line in zip(history, history[1:], lines[1:], strict=False):
        changed = [one != other for one, other in zip(before, after, strict=True)]
        assert changed == ([False, False, True] if line["share_moods"] else [True, True, False])


def test_weights_and_conflicts_are_logged(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(quiet_model(), two_tasks, balancing="mean", max_steps=2, per_device_train_batch_size=8)
    trainer.train()
    line = trainer.state.log_history[0]
    assert [line[f"weight_{name}"] for name in ("intent", "slots", "mood")] == pytest.approx([1 / 3] * 3)
    trainer = make_trainer(quiet_model(), two_tasks, balancing="sum", max_steps=4, per_device_train_batch_size=8)
    trainer.train()
    assert {line["conflicts"] for line in trainer.state.log_history if "loss" in line} <= {0.0, 1.0}


@pytest.mark.parametrize("balancing", ["uw", "famo", "pcgrad", {"name": "mgda", "between": "heads", "at": "features"}])
def test_bfloat16(balancing: Any, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers) -> None:
    skip_without_torchjd(balancing)
    found = []
    for bf16 in (False, True):
        torch.manual_seed(0)
        given = {"max_steps": 2, "bf16": bf16, "optim": "adamw_torch"}
        found.append(moved(quiet_model(), make_trainer, two_tasks, balancing=balancing, **given))
    assert torch.isfinite(found[1]).all()
    assert torch.cosine_similarity(found[0], found[1], dim=0) > 0.9


def test_adapters_and_frozen_layers_make_a_small_matrix(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    pytest.importorskip("torchjd")
    model = quiet_model()
    for parameter in model.backbone.model.embeddings.parameters():
        parameter.requires_grad_(False)
    frozen = model.backbone.model.embeddings.word_embeddings.weight.clone()
    trainer = make_trainer(model, two_tasks, balancing="pcgrad", max_steps=2)
    trained = sum(each.numel() for each in model.backbone.parameters() if each.requires_grad)
    assert trainer._balancer.memory() == 2 * 4 * trained
    trainer.train()
    assert torch.equal(model.backbone.model.embeddings.word_embeddings.weight, frozen)
    peft = pytest.importorskip("peft")
    adapted = get_peft_model(quiet_model(), peft.LoraConfig(r=2, target_modules=["query"]))
    trainer = make_trainer(adapted, two_tasks, balancing="pcgrad", max_steps=2)
    names = [name for name, each in adapted.named_parameters() if each.requires_grad and "lora" in name]
    before = {name: each.detach().clone() for name, each in adapted.named_parameters()}
    trainer.train()
    assert len(trainer._balancer.rows.parameters) == len(names) == 4
    after = dict(adapted.named_parameters())
    assert any(not torch.equal(before[name], after[name]) for name in names)


def test_clipping_is_of_the_one_gradient(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    pytest.importorskip("torchjd")
    given = {"max_steps": 1, "max_grad_norm": 0.01, "learning_rate": 1.0, "lr_scheduler_type": "constant"}
    assert moved(quiet_model().double(), make_trainer, two_tasks, balancing="pcgrad", **given).norm() == pytest.approx(
        0.01, rel=1e-3
    )


class WatchingEmbeddings(TrainerCallback):
    def __init__(self, embeddings: torch.nn.Embedding) -> None:
        self.embeddings = embeddings
        self.seen: list[bool] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seen.append(self.embeddings.sparse)


def test_embeddings_are_sparse_while_they_are_compared_only(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    pytest.importorskip("torchjd")
    for balancing, sparse in (("pcgrad", True), ("graddrop", False), ("uw", False)):
        model = quiet_model()
        embeddings = model.backbone.model.get_input_embeddings()
        watching = WatchingEmbeddings(embeddings)
        make_trainer(model, two_tasks, balancing=balancing, max_steps=1, callbacks=[watching]).train()
        assert watching.seen == [sparse]
        assert not embeddings.sparse


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"balancing": "pcgard"}, "balancing: unknown method 'pcgard', did you mean 'pcgrad'"),
        ({"balancing": ["uw"]}, r"balancing: expected a name, or a mapping with a 'name', found \['uw'\]"),
        ({"balancing": {"name": "pcgrad", "between": "rows"}}, "unknown between 'rows'"),
        ({"balancing": {"name": "pcgrad", "between": "heads", "at": "layers"}}, "unknown at 'layers'"),
        ({"balancing": {"name": "pcgrad", "at": "features"}}, "compared between heads"),
        (
            {"balancing": {"name": "graddrop", "between": "heads", "at": "features"}},
            "gives no weights, and so needs the gradients at the parameters",
        ),
        (
            {"balancing": {"name": "mgda", "between": "heads", "at": "features"}, "gradient_accumulation_steps": 2},
            "needs all rows of an optimizer step in one batch, found gradient_accumulation_steps 2",
        ),
        ({"balancing": "pcgrad", "nonfinite_loss": "skip"}, "cannot be combined with nonfinite_loss: skip"),
        (
            {"balancing": "pcgrad", "fsdp": "full_shard"},
            "which fsdp keeps in shards: use DDP, or a method that weighs",
        ),
        ({"balancing": "uw", "fsdp": "full_shard"}, "has parameters of its own, which fsdp cannot shard"),
    ],
)
def test_what_cannot_be_combined_is_refused_before_any_work(
    given: dict[str, Any], message: str, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    pytest.importorskip("torchjd")
    with pytest.raises(InputError, match=message):
        make_trainer(quiet_model(), two_tasks, **given)


def test_a_model_that_shares_nothing_is_refused(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    pytest.importorskip("torchjd")
    model = quiet_model()
    with pytest.raises(InputError, match="needs at least two tasks, found moods"):
        make_trainer(model, {"moods": two_tasks["moods"]}, balancing="pcgrad")
    model.freeze_backbone()
    with pytest.raises(InputError, match="needs parameters that tasks share, but the backbone is frozen"):
        make_trainer(model, two_tasks, balancing="pcgrad")


def test_heads_that_read_more_than_the_features_are_refused_there(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    pytest.importorskip("torchjd")
    balancing = {"name": "mgda", "between": "heads", "at": "features"}
    heads = {"intent": {**DROPPING["intent"], "layer": 0}, "slots": DROPPING["slots"], "mood": DROPPING["mood"]}
    with pytest.raises(InputError, match="read the last layer and nothing else, unlike 'intent'"):
        make_trainer(quiet_model(heads=heads), two_tasks, balancing=balancing)
    heads["intent"] = {"head_type": "masked_language_modeling", "vocab_size": len(VOCABULARY), "mask_token_id": 4}
    tasks = {"texts": Task(dataset=two_tasks["moods"].dataset, inputs={"text": "text"}, labels={"intent": "text"})}
    with pytest.raises(InputError, match="read the last layer and nothing else, unlike 'intent'"):
        make_trainer(tiny_model(heads), {**two_tasks, **tasks, "requests": tasks["texts"]}, balancing=balancing)


def test_tokens_are_counted_over_all_parts(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    counted = []
    for balancing in (None, "sum"):
        given = {"include_num_input_tokens_seen": "non_padding", "max_steps": 2, "per_device_train_batch_size": 8}
        trainer = make_trainer(quiet_model(), two_tasks, balancing=balancing, **given)
        trainer.train()
        counted.append(trainer.state.num_input_tokens_seen)
        assert trainer.state.total_flos > 0
    assert counted[0] == counted[1] > 0


def test_streams(two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers) -> None:
    """Rows without a task that fill up a batch change nothing, and neither does the way rows are read."""
    streams = {
        name: replace(task, dataset={"train": task.dataset["train"].to_iterable_dataset()})
        for name, task in two_tasks.items()
    }
    found = []
    for balancing in (None, "sum"):
        torch.manual_seed(0)
        given = {"max_steps": 5, "mixture": Mixture(sampling="uniform"), "balancing": balancing}
        found.append(moved(quiet_model().double(), make_trainer, streams, **given))
    assert (found[1] - found[0]).norm() / found[0].norm() < 1e-9


def test_what_is_not_to_change_yet_does_not(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    before = parameters_of(model.backbone)
    make_trainer(model, two_tasks, balancing="sum", max_steps=1, freeze_until={"backbone": 1}).train()
    assert torch.equal(parameters_of(model.backbone), before)


def test_only_losses_of_heads_that_tasks_feed_are_weighed(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(quiet_model(), {"moods": two_tasks["moods"]}, balancing="uw", max_steps=1)
    (method,) = trainer._balancer.modules()
    assert method.heads == ["mood"]
    trainer.train()
    assert method.log_variances.item() != 0


def test_how_gradients_agree_is_in_the_folder_of_the_run(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    """As a report and a picture, and of a run that was resumed the whole of it."""

    def train(folder: str, **given: Any) -> list[Any]:
        arguments = {"max_steps": 6, "save_strategy": "steps", "save_steps": 4, "logging_steps": 2, **given}
        trainer = make_trainer(
            quiet_model(), two_tasks, balancing="sum", output_dir=str(tmp_path / folder), **arguments
        )
        checkpoint = given.get("resume_from_checkpoint")
        trainer.train(resume_from_checkpoint=checkpoint)
        return ConflictReport.load(tmp_path / folder / "conflicts.json").records

    torch.manual_seed(0)
    whole = train("whole")
    assert [each.step for each in whole] == [2, 4, 6]
    assert whole[0].norms == [pytest.approx(norm) for norm in whole[0].norms if norm is not None and norm > 0]
    torch.manual_seed(0)
    resumed = train("resumed", resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert resumed == whole
    pytest.importorskip("matplotlib")
    assert (tmp_path / "resumed" / "conflicts.png").read_bytes().startswith(b"\x89PNG")
