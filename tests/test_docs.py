"""What the page on moving from AllenNLP shows works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Value
from torch import nn
from torch.nn import functional
from training.recipes import recipe_values, write_recipe
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from fixtures import MOODS, VOCABULARY, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskConfig, MultiTaskModel
from mt_transformers.data import Processing
from mt_transformers.data.preprocessing import make_encoder
from mt_transformers.heads import get_head_class, get_head_config, head_types
from mt_transformers.inference import MultiTaskPredictor, load_model
from mt_transformers.training import load_recipe, read_recipe, run_recipe
from mt_transformers.training.recipe import parse_recipe

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "migrating_from_allennlp.md").read_text(encoding="utf-8")
YAML_BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M))
]


def python_block(heading: str) -> str:
    """The Python block under a heading."""
    found = re.search(rf"^## {heading}\n.*?^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert found is not None
    return found.group(1)


def execute(heading: str, **provided: Any) -> dict[str, Any]:
    """Run a block as it is written, and give what it defined."""
    names: dict[str, Any] = {"__name__": "docs_migrating_from_allennlp", **provided}
    exec(compile(python_block(heading), "migrating_from_allennlp.md", "exec", dont_inherit=True), names)
    return names


def test_every_python_block_is_run_here() -> None:
    headings = re.findall(r"^## ([^\n]*)\n(?:(?!^## ).)*?^```python$", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert headings == ["Example", "A head of your own"]
    assert PAGE.count("```python") == 2


def test_the_example(tiny_backbone: str) -> None:
    ids = tiny_inputs(3)["input_ids"]
    sentiment, topic = torch.tensor([0, 1, 1]), torch.tensor([3, 2, 0])
    names = execute(
        "Example", MultiTaskModel=MultiTaskModel, name=tiny_backbone, ids=ids, sentiment=sentiment, topic=topic
    )
    model = names["model"]
    output = model(question=ids, sentiment=sentiment, topic=topic, task=["classifier1", "classifier2", "classifier1"])
    assert output["classifier1_rows"].tolist() == [0, 2]
    assert output["classifier2_rows"].tolist() == [1]
    everything = model(review=ids)
    expected = functional.cross_entropy(everything["classifier1_logits"][[0, 2]], sentiment[[0, 2]])
    expected = expected + functional.cross_entropy(everything["classifier2_logits"][[1]], topic[[1]])
    torch.testing.assert_close(output["loss"], expected)


# ------------------------------------------------------------------------------------------------------------------
# a head of one's own

COSINE = {"mood": {"head_type": "cosine_classification", "id2label": MOODS, "scale": 4.0}}


def test_the_loss_of_the_head_of_the_page() -> None:
    execute("A head of your own")
    model = tiny_model(COSINE).double()
    labels = torch.tensor([1, -100, 0, 1])
    output = model(**tiny_inputs(), labels={"mood": labels})
    # the cosine of the mean over the tokens and each prototype
    encoded, mask = output["encoded_text"], tiny_inputs()["attention_mask"].unsqueeze(2)
    pooled = (encoded * mask).sum(1) / mask.sum(1)
    logits = 4.0 * functional.cosine_similarity(
        pooled.unsqueeze(1), model.heads["mood"].prototypes.weight.unsqueeze(0), dim=-1
    )
    expected = functional.cross_entropy(logits[[0, 2, 3]], torch.tensor([1, 0, 1]))
    torch.testing.assert_close(output["loss"], expected, rtol=1e-9, atol=0)
    model.train()(**tiny_inputs(), labels={"mood": labels})["loss"].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.heads.parameters())


def test_the_head_of_the_page_saves_loads_and_decodes(tmp_path: Path) -> None:
    execute("A head of your own")
    model = tiny_model(COSINE)
    model.track_metrics = True
    output = model(**tiny_inputs(), labels={"mood": torch.tensor([1, -100, 0, 1])})
    predicted = output["mood_logits"].argmax(-1)
    assert model.get_metrics() == {"mood_accuracy": (predicted == torch.tensor([1, 0, 1])).double().mean().item()}
    assert model.make_output_human_readable(output)["mood_decoded"] == [MOODS[index] for index in predicted.tolist()]
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.config.head_config("mood").scale == 4.0
    assert torch.equal(loaded(**tiny_inputs())["mood_logits"], model(**tiny_inputs())["mood_logits"])


def test_the_head_of_the_page_trains_from_a_recipe(tiny_backbone: str, tmp_path: Path) -> None:
    """One step from the file to the trained folder, label names from the data, beside a head of the package."""
    execute("A head of your own")
    values = recipe_values(tiny_backbone, tmp_path)
    values["heads"]["mood"] = {"head_type": "cosine_classification", "scale": 5.0}
    values["training"] |= {"max_steps": 1, "per_device_train_batch_size": 24}
    values["initializer"] = [["prototypes", {"type": "constant", "val": 1.0}]]
    results = run_recipe(load_recipe(read_recipe(write_recipe(tmp_path, values))))
    assert 0 <= results["eval_moods_mood_accuracy"] <= 1
    assert 0 <= results["test_moods_mood_accuracy"] <= 1
    model, tokenizer = load_model(tmp_path / "out")
    head = model.heads["mood"]
    assert (head.config.names, head.config.scale) == (MOODS, 5.0)
    # trained: every number left where it began
    assert (head.prototypes.weight != 1.0).all()
    answers = MultiTaskPredictor(model, tokenizer)(
        ["the film is great .", {"text": "the play is dull .", "task": "moods"}]
    )
    assert all(answer["mood"] in MOODS for answer in answers)
    assert set(answers[1]) == {"mood"}


# ------------------------------------------------------------------------------------------------------------------
# a backbone of one's own


class _MineConfig(PreTrainedConfig):
    """Config of `_Mine`."""

    model_type = "test_docs_mine"

    vocab_size: int = len(VOCABULARY)
    hidden_size: int = 6


class _Mine(PreTrainedModel):
    """A bag of words, each beside its neighbour on the left."""

    config_class = _MineConfig
    base_model_prefix = "mine"

    def __init__(self, config: _MineConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.mix = nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> BaseModelOutput:
        embedded = self.words(input_ids)
        left = functional.pad(embedded, (0, 0, 1, 0))[:, :-1]
        return BaseModelOutput(last_hidden_state=self.mix(torch.cat([embedded, left], dim=-1)).tanh())


@pytest.fixture(scope="module")
def mine() -> None:
    """Makes `_Mine` known, as the page says."""
    AutoConfig.register("test_docs_mine", _MineConfig, exist_ok=True)
    AutoModel.register(_MineConfig, _Mine, exist_ok=True)


INTENT = {"intent": {"head_type": "sequence_classification", "num_labels": 3, "classifier_dropout": 0.0}}


def check_model(model: MultiTaskModel, folder: Path) -> None:
    """It answers by hand's numbers, trains whole, and comes back from a folder."""
    assert isinstance(model.backbone.model, _Mine)
    assert model.backbone.hidden_size == 6
    inputs, labels = tiny_inputs(), torch.tensor([0, 1, 2, 1])
    encoded = model.backbone.model(**inputs).last_hidden_state
    output = model(**inputs, labels={"intent": labels})
    assert torch.equal(output["encoded_text"], encoded)
    mask = inputs["attention_mask"].unsqueeze(2)
    logits = model.heads["intent"].classifier((encoded * mask).sum(1) / mask.sum(1))
    torch.testing.assert_close(output["loss"], functional.cross_entropy(logits, labels))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    output["loss"].backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert not [name for name, value in model.state_dict().items() if torch.equal(value, before[name])]
    model.save_pretrained(folder)
    for loaded in (MultiTaskModel.from_pretrained(folder), AutoModel.from_pretrained(folder)):
        assert type(loaded.config.backbone_config) is _MineConfig
        assert torch.equal(loaded(**inputs)["intent_logits"], model(**inputs)["intent_logits"])


def test_a_backbone_of_ones_own_is_loaded(mine: None, tmp_path: Path) -> None:
    backbone = _Mine(_MineConfig())
    backbone.save_pretrained(tmp_path / "backbone")
    model = MultiTaskModel.from_backbone(str(tmp_path / "backbone"), heads=INTENT)
    found = model.backbone.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in backbone.state_dict().items())
    check_model(model, tmp_path / "model")


def test_a_backbone_of_ones_own_is_built_anew(mine: None, tmp_path: Path) -> None:
    model = MultiTaskModel(MultiTaskConfig(backbone_config=_MineConfig(), heads=INTENT)).eval()
    check_model(model, tmp_path)


def test_arguments_of_a_backbone_of_ones_own_are_known(mine: None) -> None:
    model = MultiTaskModel(
        MultiTaskConfig(
            backbone_config=_MineConfig(), heads=INTENT, arg_name_mapping={"backbone": {"words": "input_ids"}}
        )
    ).eval()
    inputs = tiny_inputs()
    output = model(
        words=inputs["input_ids"], attention_mask=inputs["attention_mask"], token_type_ids=torch.zeros(4, 6)
    )
    assert output["intent_logits"].shape == (4, 3)
    assert torch.equal(output["token_ids"], inputs["input_ids"])


@pytest.mark.parametrize("block", YAML_BLOCKS)
def test_every_piece_of_a_recipe_is_right(block: str, tmp_path: Path) -> None:
    """Heads and tasks are what they say, and each task has what its heads need."""
    task = {"dataset": {"path": "any"}, "inputs": {"text": "text"}, "labels": {}}
    values = {"backbone": "any", "tasks": {"any": task}, "training": {"output_dir": "out"}, **yaml.safe_load(block)}
    recipe = parse_recipe(values, tmp_path)
    heads = {name: get_head_config(name, fields) for name, fields in recipe.heads.items()}
    for name, task in recipe.tasks.items():
        features = dict.fromkeys([*task.input_columns, *task.label_columns], Value("string"))
        processing = Processing(tiny_tokenizer(), object(), object())
        assert set(task.labels) <= set(heads)
        make_encoder(name, task, "train", features, heads, processing, None)


def test_the_table_has_every_head() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", (DOCS / "heads.md").read_text(encoding="utf-8"), re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    own = {name for name in head_types() if get_head_class(name).__module__.startswith("mt_transformers.")}
    assert named == own | {"head_type"}
