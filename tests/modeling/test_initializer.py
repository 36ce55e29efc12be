"""Initial values of new parameters: which rule a parameter follows, and that a pretrained backbone is left alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training.recipes import recipe_values, write_recipe
from transformers import AutoModel

from fixtures import HEADS
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.modeling.initializer import initialize
from mt_transformers.training import load_recipe, read_recipe
from mt_transformers.training.run import build_trainer

ZEROS = {"type": "zeros"}
ONES = {"type": "ones"}


def constant(value: float) -> dict[str, Any]:
    """The action that fills a parameter with one number."""
    return {"type": "constant", "val": value}


def two_layers() -> nn.ModuleDict:
    """Two layers of 4 inputs, the first with 3 outputs, the second with 2; all values are 7."""
    layers = nn.ModuleDict({"first": nn.Linear(4, 3), "second": nn.Linear(4, 2)})
    for parameter in layers.parameters():
        nn.init.constant_(parameter, 7.0)
    return layers


def initialized(*rules: Any) -> dict[str, set[float]]:
    """The values in each parameter of `two_layers` behind these rules."""
    layers = two_layers()
    initialize(layers.named_parameters(), rules)
    return {name: set(parameter.flatten().tolist()) for name, parameter in layers.named_parameters()}


# ------------------------------------------------------------------------------------------------------------------
# rules


def test_without_rules_everything_stays() -> None:
    assert set.union(*initialized().values()) == {7.0}


def test_what_no_rule_fits_stays() -> None:
    assert initialized(["first", constant(1.0)]) == {
        "first.weight": {1.0},
        "first.bias": {1.0},
        "second.weight": {7.0},
        "second.bias": {7.0},
    }


def test_the_first_rule_that_fits_wins() -> None:
    specific, general = [r"first\.weight", constant(1.0)], ["weight", constant(2.0)]
    found = initialized(specific, general)
    assert (found["first.weight"], found["second.weight"]) == ({1.0}, {2.0})
    found = initialized(general, specific)
    assert (found["first.weight"], found["second.weight"]) == ({2.0}, {2.0})


@pytest.mark.parametrize("first", [True, False])
def test_prevent_wins_over_every_rule_wherever_it_stands(first: bool) -> None:
    rules = [["bias", constant(1.0)], [".*", constant(2.0)]]
    rules.insert(0 if first else 2, [r"second\.", "prevent"])
    assert initialized(*rules) == {
        "first.weight": {2.0},
        "first.bias": {1.0},
        "second.weight": {7.0},
        "second.bias": {7.0},
    }


def test_a_pattern_is_searched_for_anywhere_in_the_name() -> None:
    assert initialized(["cond.w", ZEROS])["second.weight"] == {0.0}
    assert initialized(["^second", ZEROS])["second.bias"] == {0.0}
    assert initialized([r"t\.bias$", ZEROS])["first.bias"] == {0.0}


def test_values_are_changed_in_place_and_without_a_graph() -> None:
    layers = two_layers()
    before = {name: parameter.data_ptr() for name, parameter in layers.named_parameters()}
    initialize(layers.named_parameters(), [[".*", constant(1.0)]])
    for name, parameter in layers.named_parameters():
        assert parameter.data_ptr() == before[name]
        assert parameter.is_leaf
        assert parameter.requires_grad


# ------------------------------------------------------------------------------------------------------------------
# functions of torch.nn.init


@pytest.mark.parametrize(
    ("action", "same"),
    [
        ({"type": "constant", "val": 0.25}, lambda weight: nn.init.constant_(weight, 0.25)),
        ({"type": "zeros"}, nn.init.zeros_),
        ({"type": "ones"}, nn.init.ones_),
        ({"type": "eye"}, nn.init.eye_),
        ({"type": "normal"}, nn.init.normal_),
        ({"type": "normal", "mean": 5.0, "std": 0.5}, lambda weight: nn.init.normal_(weight, 5.0, 0.5)),
        ({"type": "uniform", "a": -3.0, "b": -2.0}, lambda weight: nn.init.uniform_(weight, -3.0, -2.0)),
        ({"type": "trunc_normal", "std": 0.1}, lambda weight: nn.init.trunc_normal_(weight, std=0.1)),
        ({"type": "xavier_uniform"}, nn.init.xavier_uniform_),
        ({"type": "xavier_uniform", "gain": 3.0}, lambda weight: nn.init.xavier_uniform_(weight, gain=3.0)),
        ({"type": "xavier_normal", "gain": 3.0}, lambda weight: nn.init.xavier_normal_(weight, gain=3.0)),
        (
            {"type": "kaiming_uniform", "nonlinearity": "relu", "mode": "fan_out"},
            lambda weight: nn.init.kaiming_uniform_(weight, mode="fan_out", nonlinearity="relu"),
        ),
        ({"type": "kaiming_normal", "a": 1.0}, lambda weight: nn.init.kaiming_normal_(weight, a=1.0)),
        ({"type": "orthogonal", "gain": 2.0}, lambda weight: nn.init.orthogonal_(weight, gain=2.0)),
        ({"type": "sparse", "sparsity": 0.5}, lambda weight: nn.init.sparse_(weight, sparsity=0.5)),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_any_function_of_torch_with_its_arguments(action: dict[str, Any], same: Any) -> None:
    layers, expected = two_layers(), torch.empty(3, 4)
    torch.manual_seed(3)
    same(expected)
    torch.manual_seed(3)
    initialize(layers.named_parameters(), [[r"first\.weight", action]])
    assert torch.equal(layers["first"].weight, expected)


def test_the_gain_of_xavier_is_used() -> None:
    layers = two_layers()
    initialize(layers.named_parameters(), [[r"first\.weight", {"type": "xavier_uniform", "gain": 10.0}]])
    bound = math.sqrt(6 / (4 + 3))
    largest = layers["first"].weight.abs().max().item()
    assert bound < largest <= 10 * bound


# ------------------------------------------------------------------------------------------------------------------
# errors

FITS_NONE = "There are: first.weight, first.bias, second.weight, second.bias."


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            [["classifier", ZEROS]],
            f"initializer: the pattern 'classifier' fits no new parameter. {FITS_NONE}",
        ),
        ([[".*", ZEROS], ["third", ONES]], f"initializer: the pattern 'third' fits no new parameter. {FITS_NONE}"),
        (
            [[".*", ZEROS], ["third", "prevent"]],
            f"initializer: the pattern 'third' fits no new parameter. {FITS_NONE}",
        ),
        (["weight"], "initializer: expected pairs of a pattern and what to do, found 'weight'."),
        # a text of two characters is no pair
        (["w."], "initializer: expected pairs of a pattern and what to do, found 'w.'."),
        ([["weight"]], "initializer: expected pairs of a pattern and what to do, found ['weight']."),
        (
            [["weight", ZEROS, "prevent"]],
            "initializer: expected pairs of a pattern and what to do, found ['weight', {'type': 'zeros'}, 'prevent'].",
        ),
        ([{"weight": ZEROS}], "initializer: expected pairs of a pattern and what to do, found "),
        # what a recipe can hold in place of a pair
        ([{"pattern": "weight", "type": "zeros"}], "initializer: expected pairs of a pattern and what to do, found "),
        ([5], "initializer: expected pairs of a pattern and what to do, found 5."),
        ([None], "initializer: expected pairs of a pattern and what to do, found None."),
        (
            [["weight", "zeros"]],
            "initializer: expected {'type': ...} or 'prevent' for 'weight', found 'zeros'.",
        ),
        ([["weight", {"val": 1}]], "initializer: expected {'type': ...} or 'prevent' for 'weight', found {'val': 1}."),
        ([["weight", None]], "initializer: expected {'type': ...} or 'prevent' for 'weight', found None."),
        ([["(", ZEROS]], "initializer: '(' is no regular expression: "),
        ([["(", "prevent"]], "initializer: '(' is no regular expression: "),
        ([[5, ZEROS]], "initializer: 5 is no regular expression: "),
        (
            [["weight", {"type": "xavier_unifrom"}]],
            "initializer: unknown type 'xavier_unifrom', did you mean 'xavier_uniform'?",
        ),
        # torch's own spelling is not ours
        ([["weight", {"type": "zeros_"}]], "initializer: unknown type 'zeros_', did you mean 'zeros'?"),
        ([["weight", {"type": None}]], "initializer: unknown type None"),
        # one typing error behind a rule that wins is one all the same
        (
            [["weight", ZEROS], ["weight", {"type": "onse"}]],
            "initializer: unknown type 'onse', did you mean 'ones'?",
        ),
        (
            [[".*", {"type": "xavier_uniform"}]],
            "initializer: xavier_uniform cannot fill first.bias (3,): Fan in and fan out can not be computed",
        ),
        ([["bias", {"type": "orthogonal"}]], "initializer: orthogonal cannot fill first.bias (3,): "),
        ([["second.w", {"type": "constant"}]], "initializer: constant cannot fill second.weight (2, 4): "),
        ([["first.w", {"type": "zeros", "val": 1}]], "initializer: zeros cannot fill first.weight (3, 4): "),
        ([["first.w", {"type": "xavier_uniform", "gain": "a"}]], "initializer: xavier_uniform cannot fill first.w"),
        ([["first.w", {"type": "normal", "std": -1.0}]], "initializer: normal cannot fill first.weight (3, 4): "),
        ([["first.w", {"type": "uniform", "a": 2.0, "b": 1.0}]], "initializer: uniform cannot fill first.weight"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(rules: list[Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        initialize(two_layers().named_parameters(), rules)
    assert str(caught.value).startswith(message)


def test_a_rule_that_another_one_outdoes_everywhere_is_used() -> None:
    """Only a pattern that fits no name is an error: order and `prevent` may leave a rule without effect."""
    assert initialized([".*", ZEROS], ["weight", ONES])["first.weight"] == {0.0}
    assert initialized(["weight", ONES], ["weight", "prevent"])["first.weight"] == {7.0}


# ------------------------------------------------------------------------------------------------------------------
# from_backbone


def test_new_heads_start_as_the_rules_say(tiny_backbone: str) -> None:
    model = MultiTaskModel.from_backbone(
        tiny_backbone,
        heads=HEADS,
        initializer=[
            [r"heads\.slots\.", "prevent"],
            [r"heads\.intent\.classifier\.weight", {"type": "normal", "mean": 5.0, "std": 0.01}],
            ["bias", constant(0.5)],
        ],
    )
    assert model.heads["intent"].classifier.weight.mean().item() == pytest.approx(5.0, abs=0.01)
    assert set(model.heads["intent"].classifier.bias.tolist()) == {0.5}
    assert set(model.heads["stars"].regressor.bias.tolist()) == {0.5}
    # as without a rule
    assert set(model.heads["slots"].classifier.bias.tolist()) != {0.5}


@pytest.mark.parametrize("pattern", [".*", "weight|bias", ""])
def test_a_loaded_backbone_keeps_its_weights(tiny_backbone: str, pattern: str) -> None:
    model = MultiTaskModel.from_backbone(tiny_backbone, heads=HEADS, initializer=[[pattern, constant(0.5)]])
    assert all(set(value.flatten().tolist()) == {0.5} for value in model.heads.parameters())
    expected = AutoModel.from_pretrained(tiny_backbone).state_dict()
    found = model.backbone.model.state_dict()
    assert len(found) > 20
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_the_backbone_has_no_new_parameter_that_a_pattern_could_fit(tiny_backbone: str) -> None:
    with pytest.raises(InputError) as caught:
        MultiTaskModel.from_backbone(
            tiny_backbone, heads={"intent": HEADS["intent"]}, initializer=[["backbone", ZEROS]]
        )
    assert str(caught.value) == (
        "initializer: the pattern 'backbone' fits no new parameter. "
        "There are: heads.intent.classifier.weight, heads.intent.classifier.bias."
    )


def test_values_are_in_the_backbones_dtype(tiny_backbone: str) -> None:
    model = MultiTaskModel.from_backbone(
        tiny_backbone, heads=HEADS, initializer=[[".*", constant(0.1)]], dtype=torch.bfloat16
    )
    values = model.heads["intent"].classifier.weight
    assert torch.equal(values, torch.full((3, 32), 0.1, dtype=torch.bfloat16))


def test_what_was_initialized_is_saved(tiny_backbone: str, tmp_path: Path) -> None:
    """The rules were for the first values: a model that is loaded has what was saved."""
    model = MultiTaskModel.from_backbone(tiny_backbone, heads=HEADS, initializer=[["bias", constant(0.5)]])
    with torch.no_grad():
        model.heads["intent"].classifier.bias[0] = 3.0
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.heads["intent"].classifier.bias.tolist() == [3.0, 0.5, 0.5]
    assert loaded.heads["stars"].regressor.bias.tolist() == [0.5]


# ------------------------------------------------------------------------------------------------------------------
# recipes


def test_a_recipe_says_how_heads_start(tiny_backbone: str, tmp_path: Path) -> None:
    values = recipe_values(tiny_backbone, tmp_path)
    values["initializer"] = [[r"mood\..*bias", "prevent"], [r"\.bias$", {"type": "constant", "val": 0.25}]]
    recipe = read_recipe(write_recipe(tmp_path, values))
    assert recipe.initializer == values["initializer"]
    model = build_trainer(load_recipe(recipe)).model
    assert set(model.heads["intent"].classifier.bias.tolist()) == {0.25}
    assert set(model.heads["slots"].classifier.bias.tolist()) == {0.25}
    assert set(model.heads["mood"].classifier.bias.tolist()) != {0.25}
    expected = AutoModel.from_pretrained(tiny_backbone).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.backbone.model.state_dict().items())


@pytest.mark.parametrize("missing", [True, False])
def test_a_recipe_without_rules(tiny_backbone: str, tmp_path: Path, missing: bool) -> None:
    values = recipe_values(tiny_backbone, tmp_path)
    if not missing:
        values["initializer"] = None
    assert read_recipe(write_recipe(tmp_path, values)).initializer == []


@pytest.mark.parametrize("value", [{"weight": "prevent"}, "prevent", 3])
def test_rules_of_a_recipe_are_a_list(tiny_backbone: str, tmp_path: Path, value: Any) -> None:
    values = {**recipe_values(tiny_backbone, tmp_path), "initializer": value}
    with pytest.raises(InputError, match="initializer: expected a list of pairs, found "):
        read_recipe(write_recipe(tmp_path, values))


def test_a_pattern_of_a_recipe_that_fits_nothing(tiny_backbone: str, tmp_path: Path) -> None:
    values = {**recipe_values(tiny_backbone, tmp_path), "initializer": [["clasifier", {"type": "zeros"}]]}
    loaded = load_recipe(read_recipe(write_recipe(tmp_path, values)))
    with pytest.raises(InputError, match=r"the pattern 'clasifier' fits no new parameter\. There are: heads\.intent"):
        build_trainer(loaded)
