"""The pipeline: what it takes, what it gives, and that an import is all it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from transformers import pipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.pt_utils import KeyDataset

from fixtures import tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskModel, MultiTaskPipeline, MultiTaskPredictor, get_peft_model
from mt_transformers.errors import InputError
from mt_transformers.inference import load_model

TEXTS = ["play music by dido", "weather in new rome", "the film is great ."]


@pytest.fixture(scope="module")
def answer(trained_folder: Path) -> MultiTaskPipeline:
    made = pipeline("multi-task", model=str(trained_folder), device="cpu")
    assert isinstance(made, MultiTaskPipeline)
    return made


def labels(answers: Any, head: str = "intent") -> list[str]:
    return [each[head]["label"] for each in answers]


def test_one_row_gets_one_answer(answer: MultiTaskPipeline, trained_folder: Path) -> None:
    found = answer(TEXTS[0])
    assert found == MultiTaskPredictor(*load_model(trained_folder))(TEXTS[:1])[0]
    assert found["intent"]["label"] == "PlayMusic"
    assert [span["text"] for span in found["slots"]] == ["dido"]
    assert set(found) == {"intent", "slots", "mood"}


@pytest.mark.parametrize(
    ("row", "same_as"),
    [
        (("the film is great .", "dull"), {"text": "the film is great .", "text_pair": "dull"}),
        ({"tokens": ["play", "dido"]}, {"tokens": ["play", "dido"]}),
    ],
)
def test_a_pair_and_a_dict_are_one_row(answer: MultiTaskPipeline, row: Any, same_as: Any) -> None:
    assert answer(row) == answer([same_as])[0]


def test_a_list_holds_texts_pairs_words_and_dicts(answer: MultiTaskPipeline) -> None:
    rows = [TEXTS[0], ("dull", "dull"), ["weather", "in", "rome"], {"text": "play", "task": "requests"}]
    alone = [answer([row])[0] for row in rows]
    together = answer(rows)
    assert [set(each) for each in together] == [set(each) for each in alone]
    assert labels(together) == labels(alone)
    assert [span["text"] for span in together[2]["slots"]] == ["rome"]


def test_columns_and_datasets_give_lists(answer: MultiTaskPipeline) -> None:
    wanted = labels(answer(TEXTS))
    rows = datasets.Dataset.from_dict({"text": TEXTS, "tokens": [text.split() for text in TEXTS]})
    for inputs in (rows["text"], rows.select_columns("text"), KeyDataset(rows, "text"), rows["tokens"]):
        found = answer(inputs)
        assert isinstance(found, list)
        assert labels(found) == wanted


def test_a_generator_is_answered_as_it_is_read(answer: MultiTaskPipeline) -> None:
    taken = 0

    def rows() -> Iterator[str]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield TEXTS[number % 2]

    answers = answer(rows(), batch_size=1, heads=["intent"])
    first = [next(answers) for _ in range(3)]
    assert labels(first) == ["PlayMusic", "GetWeather", "PlayMusic"]
    assert taken == 64
    rest = list(answers)
    assert labels(rest) == ["GetWeather", "PlayMusic"] * 498 + ["GetWeather"]


def test_iterable_datasets_stream_too(answer: MultiTaskPipeline) -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS}).to_iterable_dataset()
    assert labels(list(answer(rows))) == labels(answer(TEXTS))
    assert labels(list(answer(rows["text"]))) == labels(answer(TEXTS))


def test_options_of_the_pipeline_give_way_to_those_of_a_call(trained_folder: Path) -> None:
    answer = pipeline("multi-task", model=str(trained_folder), device="cpu", heads=["intent"], top_k=2, batch_size=2)
    assert [set(each) for each in answer(TEXTS)] == [{"intent"}] * 3
    assert [len(each["intent"]) for each in answer(TEXTS)] == [2] * 3
    assert set(answer(TEXTS[0], heads=["mood"])) == {"mood"}
    assert len(answer(TEXTS[0], top_k=1)["intent"]) == 1
    assert answer.predictor.batch_size == 2


def test_a_batch_size_reaches_the_model(answer: MultiTaskPipeline) -> None:
    sizes: list[int] = []
    hook = answer.model.backbone.register_forward_hook(lambda _, __, output: sizes.append(len(output["encoded_text"])))
    answer(TEXTS, batch_size=2)
    answer(TEXTS)
    hook.remove()
    assert sizes == [2, 1, 3]


def test_the_steps_of_a_pipeline_hold_as_they_do_elsewhere(answer: MultiTaskPipeline) -> None:
    prepared = answer.preprocess(TEXTS[0])
    assert answer.postprocess(answer.forward(prepared, heads=["intent"])) == answer(TEXTS[0], heads=["intent"])


def test_a_model_and_a_tokenizer_in_memory() -> None:
    model = tiny_model({"intent": {"head_type": "sequence_classification", "num_labels": 2}})
    answer = pipeline("multi-task", model=model, tokenizer=tiny_tokenizer(), device="cpu")
    assert set(answer("play")["intent"]) == {"label", "score"}


def test_a_model_with_adapters() -> None:
    peft = pytest.importorskip("peft")
    model = tiny_model({"intent": {"head_type": "sequence_classification", "num_labels": 2}})
    adapted = get_peft_model(model, peft.LoraConfig(r=2, init_lora_weights=False))
    answer = pipeline("multi-task", model=adapted, tokenizer=tiny_tokenizer(), device="cpu")
    found = answer("play")
    assert found == MultiTaskPredictor(adapted, tiny_tokenizer())(["play"])[0]
    with adapted.disable_adapter():
        assert answer("play") != found


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (None, {}, "expected a row or rows, found NoneType"),
        (5, {}, "expected a row or rows, found int"),
        ([None], {}, "row 0: expected a text"),
        (["play", 3.5], {}, "row 1: expected a text"),
        ("play", {"heads": ["intnt"]}, "unknown head 'intnt', did you mean 'intent'"),
        ("play", {"heads": "intent"}, "expected a list of names, found the text 'intent'"),
        ("play", {"top_k": 0}, "expected a top_k of at least 1, found 0"),
        ("play", {"threshold": 2}, "expected a probability from 0 to 1, found 2"),
        ("play", {"threshold": 0.5}, "threshold: no head that is asked has a use for it"),
        ("play", {"top_k": 2, "heads": ["slots"]}, "top_k: no head that is asked has a use for it"),
        ("play", {"topk": 2}, "unknown option 'topk', did you mean 'top_k'"),
        (["play"], {"batch_size": 0}, "expected a batch size of at least 1, found 0"),
    ],
)
def test_what_cannot_be_used(answer: MultiTaskPipeline, inputs: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        answer(inputs, **options)
    assert message in str(caught.value)
    assert labels(answer(TEXTS[:1])) == ["PlayMusic"]


def test_a_million_characters_are_answered(answer: MultiTaskPipeline) -> None:
    [found] = answer(["play dido " * 100_000])
    assert found["intent"]["label"] == "PlayMusic"


def test_a_generator_names_the_row_that_cannot_be_used(answer: MultiTaskPipeline) -> None:
    answers = answer((text for text in ["play"] * 70 + [b"play"]), batch_size=1)
    assert len([next(answers) for _ in range(64)]) == 64
    with pytest.raises(InputError, match="row 70: expected a text"):
        next(answers)


def test_a_folder_without_a_tokenizer(trained_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(trained_folder / name, tmp_path)
    with pytest.raises(InputError, match=r"the tokenizer or processor of .* cannot be loaded"):
        pipeline("multi-task", model=str(tmp_path), device="cpu")


def test_a_broken_file_of_weights(trained_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(trained_folder, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="its weights cannot be read"):
        MultiTaskModel.from_pretrained(tmp_path)
    # transformers tells the errors of all classes that it tried
    with pytest.raises(ValueError, match="its weights cannot be read"):
        pipeline("multi-task", model=str(tmp_path), device="cpu")


def test_another_model_is_refused(trained_folder: Path) -> None:
    backbone = MultiTaskModel.from_pretrained(trained_folder).backbone.model
    with pytest.raises(
        InputError,
        match="pipeline 'multi-task': expected a multi-task model, or peft's model around one, found BertModel",
    ):
        pipeline("multi-task", model=backbone, tokenizer=tiny_tokenizer(), device="cpu")


_ORDERS = {
    "package first": "import mt_transformers\nfrom transformers import pipeline",
    "transformers first": "from transformers import pipeline\nimport mt_transformers",
    "public names first": "from mt_transformers import MultiTaskTrainer\nfrom transformers import pipeline",
    "pipelines by the package": "from mt_transformers import MultiTaskPipeline\nfrom transformers import pipeline",
    "trainer first": "import mt_transformers\nfrom transformers import Trainer, AutoModel, pipeline",
}


@pytest.mark.parametrize("imports", _ORDERS.values(), ids=_ORDERS)
def test_an_import_is_all_it_needs(imports: str, trained_folder: Path) -> None:
    script = f"{imports}\nprint(pipeline('multi-task', model={str(trained_folder)!r})('play dido')['intent']['label'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "PlayMusic\n"


def test_the_import_of_the_package_waits_for_pipelines() -> None:
    script = (
        "import sys, mt_transformers, importlib\nfirst = list(sys.meta_path)\n"
        "importlib.reload(mt_transformers)\nassert sys.meta_path == first\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_registered_for_its_model() -> None:
    assert PIPELINE_REGISTRY.check_task("multi-task")[1]["pt"] == (MultiTaskModel,)


# the short form


def test_predict_is_the_short_form(trained_folder: Path) -> None:
    model, tokenizer = load_model(trained_folder)
    wanted = MultiTaskPredictor(model, tokenizer)(TEXTS, ["intent"], top_k=2)
    assert model.predict(TEXTS, tokenizer=tokenizer, heads=["intent"], top_k=2) == wanted
    with pytest.raises(InputError, match="predict: expected a tokenizer"):
        model.predict(TEXTS)
    model.tokenizer = tokenizer
    assert model.predict(TEXTS, heads=["intent"], top_k=2) == wanted
    with pytest.raises(InputError, match="expected a list of rows, found one of type str"):
        model.predict("play")


def test_predict_leaves_the_mode_as_it_was(trained_folder: Path) -> None:
    model, tokenizer = load_model(trained_folder)
    answers = model.predict(TEXTS, tokenizer)
    model.train()
    assert model.predict(TEXTS, tokenizer) == answers
    assert model.training
    assert model.heads["intent"].training
    with pytest.raises(InputError):
        model.predict([None], tokenizer)
    assert model.training
    assert torch.is_grad_enabled()
