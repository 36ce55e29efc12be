"""Metrics under their fixed names: collisions, losses and scores by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fixtures import SLOTS
from mt_transformers.errors import InputError
from mt_transformers.heads import HeadConfig, get_head_config
from mt_transformers.training.evaluation import EvaluationResults, metric_names


def configs(**heads: dict[str, Any]) -> dict[str, HeadConfig]:
    return {name: get_head_config(name, values) for name, values in heads.items()}


CLASSES = {"head_type": "sequence_classification", "num_labels": 2}
NUMBER = {"head_type": "regression"}


def output(predictions: Any, losses: list[float], items: list[int]) -> dict[str, np.ndarray]:
    return {
        "predictions": np.asarray(predictions),
        "row_losses": np.asarray(losses, dtype=np.float32),
        "items": np.asarray(items),
    }


def results(heads: dict[str, HeadConfig], reduction: Any = "per_head", **given: Any) -> EvaluationResults:
    return EvaluationResults(heads, given.get("loss_weights", {}), reduction, given.get("prefix", "eval"))


# names


def test_the_names_are_fixed() -> None:
    heads = configs(intent=CLASSES, slots={"head_type": "token_classification", "id2label": SLOTS}, stars=NUMBER)
    found = metric_names({"snips": ["intent", "slots"], "reviews": ["stars"]}, heads, prefix="test")
    assert found == {
        "test_loss",
        "test_score",
        "test_snips_loss",
        "test_snips_score",
        "test_snips_intent_accuracy",
        "test_snips_intent_f1_macro",
        "test_snips_slots_entity_f1",
        "test_snips_slots_accuracy",
        "test_reviews_loss",
        "test_reviews_score",
        *(f"test_reviews_stars_{name}" for name in heads["stars"].metric_names),
    }
    assert {"eval_loss", "eval_score", "eval_snips_loss"} < metric_names({"snips": ["intent"]}, heads)


@pytest.mark.parametrize(
    ("tasks", "name"),
    [
        ({"a": ["b_c"], "a_b": ["c"]}, "eval_a_b_c_accuracy"),
        ({"a_b": ["c"], "a": ["b_c"]}, "eval_a_b_c_accuracy"),
    ],
)
def test_two_metrics_of_one_name_are_refused(tasks: dict[str, list[str]], name: str) -> None:
    heads = configs(b_c=CLASSES, c=CLASSES)
    with pytest.raises(InputError, match=f"the metric {name} would stand for .*'a.* and for .*'a"):
        metric_names(tasks, heads)


def test_names_that_only_look_alike_are_accepted() -> None:
    heads = configs(b_c=CLASSES, d=CLASSES)
    assert len(metric_names({"a": ["b_c"], "a_b": ["d"]}, heads)) == 2 + 4 + 4


# losses and scores


def two_tasks_added(reduction: Any = "per_head", **given: Any) -> EvaluationResults:
    """Task a: 4 rows, intent on 3 of them, stars on 2; task b: 2 rows, intent on both."""
    heads = configs(intent=CLASSES, stars={**NUMBER, "metrics": ["mse"]})
    found = results(heads, reduction, **given)
    found.add_task(
        "a",
        {
            "intent": output([0, 1, 1, 0], [1.0, 2.0, 3.0, 0.0], [1, 1, 1, 0]),
            "stars": output([[1.0], [2.0], [0.0], [0.0]], [4.0, 6.0, 0.0, 0.0], [1, 1, 0, 0]),
        },
        {"intent": np.array([0, 1, 0, -100]), "stars": np.array([[1.0], [5.0], [np.nan], [np.nan]])},
    )
    found.add_task("b", {"intent": output([1, 1], [4.0, 5.0], [1, 1])}, {"intent": np.array([1, 1])})
    return found


def test_losses_and_scores_by_hand() -> None:
    metrics = two_tasks_added().finish()
    assert metrics == pytest.approx(
        {
            "eval_a_intent_accuracy": 2 / 3,
            # of the classes 0 and 1: 2 x 1 / (1 + 2) each
            "eval_a_intent_f1_macro": 2 / 3,
            "eval_a_stars_mse": (0.0 + 9.0) / 2,
            "eval_a_loss": 6 / 3 + 10 / 2,
            "eval_a_score": (2 / 3 - 4.5) / 2,
            "eval_b_intent_accuracy": 1.0,
            "eval_b_intent_f1_macro": 1.0,
            "eval_b_loss": 9 / 2,
            "eval_b_score": 1.0,
            # all 5 labels of intent together
            "eval_loss": 15 / 5 + 10 / 2,
            # intent counts once, with the mean over its tasks; of an error lower is better
            "eval_score": ((2 / 3 + 1.0) / 2 - 4.5) / 2,
        }
    )


def test_loss_weights_weigh_the_losses_and_not_the_score() -> None:
    plain, weighted = two_tasks_added().finish(), two_tasks_added(loss_weights={"stars": 0.5, "intent": 2.0}).finish()
    assert weighted["eval_a_loss"] == pytest.approx(2 * 2 + 0.5 * 5)
    assert weighted["eval_b_loss"] == pytest.approx(2 * 4.5)
    assert weighted["eval_loss"] == pytest.approx(2 * 3 + 0.5 * 5)
    assert weighted["eval_score"] == plain["eval_score"]


def test_per_row_multiplies_by_the_share_of_the_rows() -> None:
    metrics = two_tasks_added("per_row").finish()
    assert metrics["eval_a_loss"] == pytest.approx(2 * 3 / 4 + 5 * 2 / 4)
    assert metrics["eval_b_loss"] == pytest.approx(4.5 * 2 / 2)
    assert metrics["eval_loss"] == pytest.approx(3 * 5 / 6 + 5 * 2 / 6)


def test_the_prefix_stands_before_every_name() -> None:
    metrics = two_tasks_added(prefix="test").finish()
    assert metrics
    assert all(name.startswith("test_") for name in metrics)


def test_the_score_of_an_error_alone_is_negative() -> None:
    heads = configs(stars={**NUMBER, "metrics": ["mse", "pearson"]})
    found = results(heads)
    labels = np.array([[1.0], [2.0], [3.0]])
    found.add_task("a", {"stars": output([[2.0], [3.0], [4.0]], [1.0, 1.0, 1.0], [1, 1, 1])}, {"stars": labels})
    metrics = found.finish()
    assert metrics["eval_a_stars_mse"] == pytest.approx(1.0)
    assert metrics["eval_score"] == pytest.approx(-1.0)


def test_the_first_metric_is_the_primary_one() -> None:
    heads = configs(intent={**CLASSES, "metrics": ["f1_macro", "accuracy"]})
    found = results(heads)
    found.add_task("a", {"intent": output([0, 0, 0, 0], [0.0] * 4, [1] * 4)}, {"intent": np.array([0, 0, 0, 1])})
    metrics = found.finish()
    assert metrics["eval_a_intent_accuracy"] == 0.75
    assert metrics["eval_score"] == metrics["eval_a_intent_f1_macro"] == pytest.approx((6 / 7 + 0) / 2)


def test_losses_are_added_up_in_double_precision() -> None:
    """2^24 and a row of 1 more: a sum in single precision would lose the ones."""
    heads = configs(intent=CLASSES)
    found = results(heads)
    rows = 101
    found.add_task(
        "a",
        {"intent": output([0] * rows, [2.0**24, *[1.0] * (rows - 1)], [1] * rows)},
        {"intent": np.zeros(rows, dtype=np.int64)},
    )
    assert found.finish()["eval_loss"] == pytest.approx((2**24 + 100) / rows, rel=1e-12)


# heads without labels


def unlabelled() -> dict[str, Any]:
    return {
        "outputs": {
            "intent": output([0, 1], [1.0, 3.0], [1, 1]),
            "stars": output([[1.0], [2.0]], [0.0, 0.0], [0, 0]),
        },
        "labels": {"intent": np.array([0, 1]), "stars": np.array([[np.nan], [np.nan]])},
    }


def test_no_labelled_row_is_an_error_that_names_task_and_head() -> None:
    found = results(configs(intent=CLASSES, stars=NUMBER))
    with pytest.raises(InputError, match="task 'a', head 'stars': no labelled row"):
        found.add_task("a", **unlabelled())


def test_lenient_passes_over_heads_without_labels() -> None:
    found = results(configs(intent=CLASSES, stars=NUMBER))
    found.add_task("a", **unlabelled(), lenient=True)
    assert found.finish() == {
        "eval_a_intent_accuracy": 1.0,
        "eval_a_intent_f1_macro": 1.0,
        "eval_a_loss": 2.0,
        "eval_a_score": 1.0,
        "eval_loss": 2.0,
        "eval_score": 1.0,
    }


def test_nothing_labelled_gives_no_metric_at_all() -> None:
    found = results(configs(intent=CLASSES))
    outputs = {"intent": output([0, 1], [0.0, 0.0], [0, 0])}
    found.add_task("a", outputs, {"intent": np.array([-100, -100])}, lenient=True)
    assert found.finish() == {}
