"""What is pushed is what others load: real uploads to a hub of the test's own, and real downloads from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load
from training.local_hub import LocalHub
from transformers import AutoTokenizer

from fixtures import tiny_inputs
from mt_transformers import MultiTaskModel

PUSH = """
import json, sys, torch
from fixtures import INTENTS, MOODS, SLOTS, tiny_inputs, tiny_model, tiny_tokenizer, two_tasks
from mt_transformers import MultiTaskTrainer, MultiTaskTrainingArguments

names = {"intent": INTENTS, "slots": SLOTS, "mood": MOODS}
types = {"slots": "token_classification"}
heads = {name: {"head_type": types.get(name, "sequence_classification"), "id2label": names[name]} for name in names}
model, tokenizer = tiny_model(heads), tiny_tokenizer()
model.push_to_hub("bare")
tokenizer.push_to_hub("bare")
args = MultiTaskTrainingArguments(
    "run", use_cpu=True, report_to=[], disable_tqdm=True, max_steps=4, save_steps=2, save_total_limit=1,
    push_to_hub=True, hub_model_id="owner/trained", hub_strategy="all_checkpoints", hub_token="hf_secret",
    hub_always_push=True,
)
trainer = MultiTaskTrainer(model, args, tasks=two_tasks(), processing_class=tokenizer)
trainer.train()
trainer.evaluate(split="test", metric_key_prefix="test")
trainer.push_to_hub(language="en", tags="nice", commit_message="The end")
with torch.no_grad():
    logits = {name: each.tolist() for name, each in model(**tiny_inputs()).items() if name.endswith("_logits")}
print(json.dumps(logits))
"""

LOAD = """
import json, sys
from transformers import AutoModel

try:
    AutoModel.from_pretrained("owner/trained")
except ValueError as error:
    print(json.dumps(str(error)))
assert "mt_transformers" not in sys.modules
exec(sys.argv[1])
"""

MODEL_FILES = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    """A hub that is empty at first."""
    found = LocalHub()
    yield found
    found.close()


@pytest.fixture(scope="module")
def logits(hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[float]]]:
    """The logits of the model in `owner/trained`, which was trained; its first weights are in `owner/bare`."""
    done = hub.run(PUSH, tmp_path_factory.mktemp("pushing"))
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, list[list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def card(hub: LocalHub, logits: dict[str, list[list[float]]]) -> ModelCard:
    """The card of `owner/trained`."""
    return ModelCard(hub.repositories["owner/trained"]["README.md"].decode())


def test_the_repository_holds_the_model_and_nothing_pickled(
    hub: LocalHub, logits: dict[str, list[list[float]]]
) -> None:
    """The Trainer's training_args.bin holds the token and is run when it is loaded."""
    [files] = [files for name, message, files in hub.commits if message == "The end"]
    assert set(files) == MODEL_FILES
    assert {name for name in hub.repositories["owner/trained"] if "/" not in name} == MODEL_FILES
    everything = [content for files in hub.repositories.values() for content in files.values()]
    assert not [content for content in everything if b"hf_secret" in content]
    assert not [name for files in hub.repositories.values() for name in files if name.endswith("training_args.bin")]


def test_what_was_pushed_loads_to_the_same_bits(
    hub: LocalHub, logits: dict[str, list[list[float]]], tmp_path: Path
) -> None:
    folder = hub.write("owner/trained", tmp_path)
    model = MultiTaskModel.from_pretrained(folder)
    with torch.no_grad():
        found = model(**tiny_inputs())
    assert {name: found[name].tolist() for name in logits} == logits
    assert AutoTokenizer.from_pretrained(folder)("play dido").input_ids == [2, 24, 8, 3]


def test_checkpoints_are_pushed_once_they_are_whole(hub: LocalHub, logits: dict[str, list[list[float]]]) -> None:
    """So that a run can go on from one that was fetched; the model beside them is that of the same step."""
    messages = [message for name, message, _ in hub.commits if name == "owner/trained"]
    assert messages[:4] == [
        "Training in progress, step 2",
        "Training in progress, step 2, checkpoint",
        "Training in progress, step 4",
        "Training in progress, step 4, checkpoint",
    ]
    files = hub.repositories["owner/trained"]
    for step in (2, 4):
        names = {name.rpartition("/")[2] for name in files if name.startswith(f"checkpoint-{step}/")}
        assert {"mixture_state.json", "model.safetensors", "optimizer.pt", "trainer_state.json"} <= names
        assert "README.md" not in names
    last, pushed = (load(files[name]) for name in ("checkpoint-4/model.safetensors", "model.safetensors"))
    assert last.keys() == pushed.keys()
    assert all(torch.equal(last[name], pushed[name]) for name in last)
    in_progress = [files for _, message, files in hub.commits if message == "Training in progress, step 2"]
    assert set(in_progress[0]) == MODEL_FILES


def test_the_card_is_ours_and_can_be_read(card: ModelCard) -> None:
    assert card.data.library_name == "mt_transformers"
    assert (card.data.language, card.data.model_name) == ("en", "trained")
    assert card.data.tags == ["multi-task", "mt_transformers", "nice"]
    assert {(each.dataset_name, each.dataset_split) for each in card.data.eval_results} == {
        ("requests", "test"),
        ("moods", "test"),
    }
    assert 'load_model("owner/trained")' in card.text
    assert "pip install mt_transformers" in card.text


def test_a_fresh_process_does_what_the_card_says(hub: LocalHub, card: ModelCard, tmp_path: Path) -> None:
    """`AutoModel` alone knows nothing of the model; the card's program, as it stands there, loads it from the hub."""
    found = re.search(r"^```python\n(.*?)^```", card.text, re.DOTALL | re.MULTILINE)
    assert found is not None
    done = hub.run(LOAD, tmp_path, found[1])
    assert done.returncode == 0, done.stderr[-4000:]
    message, answers = done.stdout.splitlines()
    assert "multi_task" in message
    assert "does not recognize this architecture" in message
    assert answers.startswith("[{'intent': {'label': ")
    assert "'mood': {'label': " in answers


def test_a_model_without_its_trainer_is_pushed_as_any_other(hub: LocalHub, tmp_path: Path) -> None:
    """With the card of transformers, which knows nothing of tasks; its tokenizer is pushed by itself."""
    folder = hub.write("owner/bare", tmp_path)
    assert {path.name for path in folder.iterdir()} == MODEL_FILES
    assert list(MultiTaskModel.from_pretrained(folder).heads) == ["intent", "slots", "mood"]
    assert AutoTokenizer.from_pretrained(folder)("play dido").input_ids == [2, 24, 8, 3]


def test_a_model_that_is_pushed_by_itself_is_tagged(hub: LocalHub, logits: dict[str, list[list[float]]]) -> None:
    """Its card is that of transformers, for a model alone knows neither tasks nor results."""
    card = ModelCard(hub.repositories["owner/bare"]["README.md"].decode())
    assert card.data.tags == ["multi-task", "mt_transformers"]
    assert MultiTaskModel.model_tags is None
