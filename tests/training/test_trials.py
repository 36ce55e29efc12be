"""Trials of a search: what each is trained with, and that nothing is left over from the one before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, set_seed

from fixtures import tiny_tokenizer
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments, Task
from mt_transformers.data import PreparedTasks
from mt_transformers.errors import InputError
from mt_transformers.training.trials import eval_score

Models = Callable[..., MultiTaskModel]


class _Seen(TrainerCallback):
    """Notes with what each run begins."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        groups = kwargs["optimizer"].param_groups
        self.runs.append(
            {
                "model": kwargs["model"],
                "loss_weights": dict(kwargs["model"].config.loss_weights),
                "weights": kwargs["model"].heads["mood"].state_dict()["classifier.weight"].clone(),
                "rates": sorted({group["initial_lr"] for group in groups}),
                "folder": Path(args.output_dir).name,
                "balancing": args.balancing,
                "moments": len(kwargs["optimizer"].state),
            }
        )


@pytest.fixture
def seen() -> _Seen:
    return _Seen()


@pytest.fixture
def make_searching(tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models) -> Callable[..., MultiTaskTrainer]:
    """Makes a trainer with `model_init`."""

    def make(model_init: Any = quiet_model, **given: Any) -> MultiTaskTrainer:
        own = {name: given.pop(name) for name in ("mixture", "callbacks", "optimizers", "tasks") if name in given}
        defaults: dict[str, Any] = {
            "output_dir": str(tmp_path / "out"),
            "use_cpu": True,
            "report_to": [],
            "disable_tqdm": True,
            "save_strategy": "no",
            "max_steps": 3,
            "learning_rate": 1e-3,
        }
        args = MultiTaskTrainingArguments(**{**defaults, **given})
        tasks = own.pop("tasks", two_tasks)
        return MultiTaskTrainer(
            None, args, tasks, processing_class=tiny_tokenizer(), model_init=lambda: model_init(), **own
        )

    return make


def test_each_trial_is_trained_with_its_values(make_searching: Any, seen: _Seen) -> None:
    optuna = pytest.importorskip("optuna")
    trainer = make_searching(callbacks=[seen])
    before = {name: each.clone() for name, each in trainer.model.state_dict().items()}
    chosen = [(0.5, 1e-3, 1e-2, None), (2.0, 2e-3, 3e-2, "uw"), (0.25, 3e-3, 2e-2, None)]

    def hp_space(trial: Any) -> dict[str, Any]:
        weight, rate, of_heads, balancing = chosen[trial.suggest_int("number", trial.number, trial.number)]
        return {
            "loss_weights.slots": weight,
            "learning_rate": rate,
            "learning_rates.heads": of_heads,
            "balancing": balancing,
        }

    study: Any = {"storage": optuna.storages.InMemoryStorage(), "study_name": "mine"}
    best = trainer.hyperparameter_search(hp_space, n_trials=3, **study)
    assert [each["loss_weights"] for each in seen.runs] == [{"slots": weight} for weight, *_ in chosen]
    assert [each["balancing"] for each in seen.runs] == [None, "uw", None]
    # uncertainty weighting has a rate of its own for what it learns
    own = [[], [0.01], []]
    expected = [sorted([rate, of_heads, *more]) for (_, rate, of_heads, _), more in zip(chosen, own, strict=True)]
    assert [each["rates"] for each in seen.runs] == expected
    assert [each["folder"] for each in seen.runs] == ["run-0", "run-1", "run-2"]
    assert [each["moments"] for each in seen.runs] == [0, 0, 0]
    # each has a new model, and the seed gives them equal weights
    assert len({id(each["model"]) for each in seen.runs}) == 3
    assert all(torch.equal(each["weights"], seen.runs[0]["weights"]) for each in seen.runs)
    trials = optuna.load_study(**study).trials
    assert best.objective == max(each.value for each in trials)
    assert trials[int(best.run_id)].value == best.objective
    # the values as they were given, not what was drawn to make them
    assert best.hyperparameters["loss_weights.slots"] == chosen[int(best.run_id)][0]
    assert trainer.with_values(best.hyperparameters).args.learning_rate == chosen[int(best.run_id)][1]
    # the trainer itself is as it was, and can be trained
    assert all(torch.equal(each, before[name]) for name, each in trainer.model.state_dict().items())
    assert trainer.args.learning_rate == 1e-3
    assert trainer.train().global_step == 3


def test_the_objective_is_the_score_of_a_run_of_its_own(
    make_searching: Any, two_tasks: dict[str, Task], quiet_model: Models, tmp_path: Path
) -> None:
    """The trial before leaves nothing behind: the second one equals a trainer that was made for its values."""
    pytest.importorskip("optuna")
    scores: dict[int, dict[str, float]] = {}
    trainer = make_searching(mixture=Mixture(sampling="temperature", temperature=1.0))
    values = {"learning_rates.heads": 0.05, "mixture.temperature": 3.0, "balancing": "dwa"}

    def objective(metrics: dict[str, float]) -> float:
        scores[len(scores)] = metrics
        return eval_score(metrics)

    trainer.hyperparameter_search(
        lambda trial: values if trial.number else {"learning_rate": 0.1, "balancing": "uw"}, objective, n_trials=2
    )
    args = MultiTaskTrainingArguments(
        output_dir=str(tmp_path / "alone"),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        max_steps=3,
        learning_rate=1e-3,
        learning_rates={"heads": 0.05},
        balancing="dwa",
    )
    set_seed(args.seed)
    alone = MultiTaskTrainer(
        quiet_model(),
        args,
        two_tasks,
        Mixture(sampling="temperature", temperature=3.0),
        processing_class=tiny_tokenizer(),
    )
    alone.train()
    expected = alone.evaluate()
    exact = [name for name in expected if not name.endswith(("_runtime", "_second"))]
    assert {name: scores[1][name] for name in exact} == {name: expected[name] for name in exact}
    assert scores[0]["eval_loss"] != scores[1]["eval_loss"]
    assert trainer.objective == expected["eval_score"]


def test_the_mixture_of_a_trial_reaches_its_sampler(make_searching: Any) -> None:
    trainer = make_searching(mixture=Mixture(sampling="weighted", weights={"requests": 1.0, "moods": 1.0}))
    made = trainer.with_values({"mixture.weights.moods": 0.0, "mixture.instances_per_epoch": 8})
    assert made.mixture.weights == {"requests": 1.0, "moods": 0.0}
    tasks = [set(batch["task_index"].tolist()) for batch in made.get_train_dataloader()]
    assert set().union(*tasks) == {made._task_names.index("requests")}
    # that of the trainer is as it was
    assert trainer.mixture.weights == {"requests": 1.0, "moods": 1.0}


def test_rows_are_prepared_once_unless_they_would_differ(make_searching: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[str] = []
    prepare = PreparedTasks._prepare_split

    def counted(self: PreparedTasks, task_name: str, split_name: str, split: Any) -> Any:
        prepared.append(f"{task_name} {split_name}")
        return prepare(self, task_name, split_name, split)

    monkeypatch.setattr(PreparedTasks, "_prepare_split", counted)
    trainer = make_searching()
    assert len(prepared) == 6
    prepared.clear()
    made = trainer.with_values({"learning_rate": 0.1, "loss_weights.mood": 2.0})
    assert prepared == []
    assert made.splits == trainer.splits
    longest = max(len(row) for row in trainer.splits["moods"]["train"]["input_ids"])
    with pytest.warns(UserWarning, match="behind the maximum length"):
        made = trainer.with_values({"max_length": longest - 1})
    assert len(prepared) == 6
    assert max(len(row) for row in made.splits["moods"]["train"]["input_ids"]) == longest - 1


def test_fields_of_heads_are_left_to_model_init(
    tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models, make_searching: Any
) -> None:
    given: list[dict[str, Any]] = []

    def model_init(values: dict[str, Any]) -> MultiTaskModel:
        given.append(values)
        return quiet_model()

    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], max_steps=1)
    trainer = MultiTaskTrainer(None, args, two_tasks, processing_class=tiny_tokenizer(), model_init=model_init)
    values = {"heads.mood.classifier_dropout": 0.3, "learning_rate": 0.1}
    trainer.with_values(values)
    assert given == [{}, values]
    with pytest.raises(
        InputError, match=r"heads.mood.classifier_dropout: expected a model_init that takes the values"
    ):
        make_searching().with_values(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 0.1}, "unknown training argument 'learning_rat', did you mean 'learning_rate'"),
        ({"learning_rates.nood": 0.1}, "learning_rates: unknown component 'nood', did you mean 'mood'"),
        ({"learning_rates.mood": -0.1}, "learning_rates: expected a finite number above 0"),
        ({"balancing": "uv"}, "unknown.* 'uv'"),
        ({"loss_weights.nood": 1.0}, "loss_weights: unknown head 'nood', did you mean 'mood'"),
        ({"loss_weights.mood": -1.0}, "loss_weights: expected a finite number from 0 up for head 'mood'"),
        ({"mixture.temprature": 2.0}, "unknown field of the mixture 'temprature', did you mean 'temperature'"),
        ({"mixture.temperature": 2.0}, "temperature belongs to sampling 'temperature'"),
        ({"learning_rate.mood": 1.0}, "learning_rate.mood: 'learning_rate' is no mapping"),
    ],
)
def test_values_that_cannot_be_are_refused(make_searching: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_searching().with_values(values)


def test_what_a_search_needs(
    make_searching: Any, make_trainer: Any, quiet_model: Models, two_tasks: dict[str, Task]
) -> None:
    with pytest.raises(InputError, match="unknown backend 'ray'"):
        make_searching().hyperparameter_search(backend="ray")
    with pytest.raises(InputError, match="model_init: expected a function that makes the model"):
        make_trainer(quiet_model(), two_tasks).with_values({})
    with pytest.raises(InputError, match=r"optimizers: expected none with model_init"):
        make_searching(optimizers=(None, None))
    with pytest.raises(InputError, match="model, model_init: expected one of them, found none of them"):
        make_trainer(None, two_tasks)
    pytest.importorskip("optuna")
    with pytest.raises(InputError, match="expected a trainer with model_init in place of a model"):
        make_trainer(quiet_model(), two_tasks).hyperparameter_search()
    tasks = {
        name: Task(dataset={"train": task.dataset["train"]}, inputs=task.inputs, labels=task.labels)
        for name, task in two_tasks.items()
    }
    with pytest.raises(InputError, match="expected a validation split"):
        make_searching(tasks=tasks).hyperparameter_search()


def test_without_optuna_the_extra_is_named(make_searching: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mt_transformers.training.trials.is_optuna_available", lambda: False)
    with pytest.raises(InputError, match=r'pip install "mt_transformers\[search\]"'):
        make_searching().hyperparameter_search()


@pytest.mark.parametrize("metrics", [{}, {"eval_score": float("nan")}, {"eval_score": float("inf")}])
def test_a_score_that_is_no_number_is_refused(metrics: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected an eval_score that is a number"):
        eval_score(metrics)
