"""The model card of a trained folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..version import __version__

if TYPE_CHECKING:
    from ..data import MixturePlan
    from .recipe import Recipe
    from .trainer import MultiTaskTrainer

__all__ = ["write_model_card"]


def write_model_card(
    path: Path, recipe: Recipe, plan: MixturePlan | None, trainer: MultiTaskTrainer, results: Mapping[str, float]
) -> None:
    """
    Write the card of a trained model: heads, tasks, results, with the results also in its metadata.

    Args:
        path (`Path`): The file.
        recipe ([`Recipe`]): What was trained.
        plan ([`MixturePlan`], *optional*): Rows and shares of the tasks; None for streams.
        trainer ([`MultiTaskTrainer`]): Holds the model.
        results (`Mapping[str, float]`): Metrics, `test_` and `eval_` among them.
    """
    name = Path(recipe.training["output_dir"]).resolve().name
    prefix = "test" if any(key.startswith("test_") for key in results) else "eval"
    scores = _scores(trainer, prefix, results)
    data = ModelCardData(
        library_name="transformers",
        tags=["multi-task", "mt_transformers"],
        # a folder of this machine says nothing to others
        base_model=None if _is_local(recipe.base_model) else recipe.base_model,
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=trainer.head_configs[head].head_type.replace("_", "-"),
                dataset_type=task_name,
                dataset_name=task_name,
                dataset_split="test" if prefix == "test" else "validation",
                metric_type=metric,
                metric_name=f"{head} {metric}",
                metric_value=value,
            )
            for task_name, head, metric, value in scores
        ],
    )
    ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_body(name, recipe, plan, trainer, prefix, scores)}").save(path)


def _is_local(name: str) -> bool:
    return Path(name).exists() or Path(name).is_absolute()


def _scores(trainer: MultiTaskTrainer, prefix: str, results: Mapping[str, float]) -> list[tuple[str, str, str, float]]:
    """Task, head, metric and value of every result of a head."""
    return [
        (task_name, head, metric, results[key])
        for task_name, task in trainer.tasks.items()
        for head in task.labels
        for metric in trainer.head_configs[head].metric_names
        if (key := f"{prefix}_{task_name}_{head}_{metric}") in results
    ]


def _body(
    name: str,
    recipe: Recipe,
    plan: MixturePlan | None,
    trainer: MultiTaskTrainer,
    prefix: str,
    scores: list[tuple[str, str, str, float]],
) -> str:
    heads = [
        f"| {head} | `{config.head_type}` | {', '.join(config.metric_names)} |"
        for head, config in trainer.head_configs.items()
    ]
    tasks = [
        f"| {task.task_name} | {task.rows} | {task.share:.1%} | {', '.join(recipe.tasks[task.task_name].labels)} |"
        for task in (plan.tasks if plan is not None else [])
    ]
    if tasks:
        tasks = ["| task | training rows | share of an epoch | heads |", "|---|--:|--:|---|", *tasks, ""]
    lines = [f"| {task} | {head} | {metric} | {value:.4f} |" for task, head, metric, value in scores]
    split = "test" if prefix == "test" else "validation"
    return "\n".join(
        [
            f"# {name}",
            "",
            f"One backbone (`{Path(recipe.base_model).name}`), {len(heads)} head(s), trained with "
            f"mt_transformers {__version__}.",
            "",
            "```python",
            "from mt_transformers import MultiTaskModel",
            "",
            f'model = MultiTaskModel.from_pretrained("{name}")',
            "```",
            "",
            "| head | type | metrics |",
            "|---|---|---|",
            *heads,
            "",
            *(
                ["| task | training rows | share of an epoch | heads |", "|---|--:|--:|---|", *tasks, ""]
                if tasks
                else []
            ),
            f"Results on the {split} splits:",
            "",
            "| task | head | metric | value |",
            "|---|---|---|--:|",
            *lines,
            "",
        ]
    )
