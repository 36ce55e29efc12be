"""Word labels as sequences, the option `crf`: losses and answers by enumeration, and what only it can learn."""

from __future__ import annotations

import math
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from torch.nn.utils import parameters_to_vector

from fixtures import SLOTS, sub_word_tokenizer, tiny_bert_config, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import (
    MultiTaskModel,
    MultiTaskPredictor,
    MultiTaskTrainer,
    MultiTaskTrainingArguments,
    Task,
    get_head_config,
)
from mt_transformers.errors import InputError
from mt_transformers.heads import SourceRow, TokenClassificationHead, TokenClassificationHeadConfig, Word

BIO = ["O", "B-x", "I-x"]
BIOES = ["O", "B-x", "I-x", "E-x", "S-x"]
PLAIN = ["NOUN", "VERB", "X"]


def make_head(names: list[str], **fields: Any) -> TokenClassificationHead:
    """A head on 4 features, in float64, whose transition scores are not those of a new one."""
    config = TokenClassificationHeadConfig(**{"id2label": names, "crf": True, **fields})
    head = TokenClassificationHead(config, 4).double().eval()
    if head.crf is not None:
        torch.nn.init.normal_(head.crf.transition_weights, std=1 / 32)
    return head


def transition_scores(head: Any) -> torch.Tensor:
    assert head.crf is not None
    scores: torch.Tensor = head.crf.transition_scores.detach()
    return scores


def sequence_scores(scores: torch.Tensor, logits: torch.Tensor) -> dict[tuple[int, ...], float]:
    """The score of every label sequence over some words, added up term by term; `logits` of the words alone."""
    edge = len(scores) - 1
    return {
        ids: sum(float(scores[pair]) for pair in pairwise([edge, *ids, edge]))
        + sum(float(logits[place, label]) for place, label in enumerate(ids))
        for ids in product(range(edge), repeat=len(logits))
    }


def log_partition(every: dict[tuple[int, ...], float]) -> float:
    return math.log(sum(map(math.exp, every.values())))


def is_valid(ids: tuple[int, ...], names: list[str]) -> bool:
    """Whether tags follow the scheme, said of one type in words of their own."""
    tags = "".join(names[index][0] for index in ids)
    if names == BIO:
        return "OI" not in tags and not tags.startswith("I")
    rest = tags.replace("I", "")
    return (
        all(tags[place - 1] in "BI" for place, tag in enumerate(tags) if tag in "IE" and place > 0)
        and tags[:1] not in ("I", "E")
        and tags[-1:] not in ("B", "I")
        and all(pair not in rest for pair in ("BO", "BS", "BB"))
    )


# ------------------------------------------------------------------------------------------------------------------
# losses


def test_the_loss_of_a_model_is_that_of_the_sequences_divided_by_the_words() -> None:
    model = tiny_model({"slots": {"head_type": "token_classification", "id2label": PLAIN, "crf": True}}).double()
    torch.nn.init.normal_(model.heads["slots"].crf.transition_weights, std=1 / 32)
    labels = torch.full((4, 6), -100)
    labels[0, [1, 3, 4]], labels[1, 2] = torch.tensor([2, 0, 1]), 1
    with torch.no_grad():
        outputs = model(**tiny_inputs(), labels={"slots": labels})
    costs = []
    for row, places in ((0, [1, 3, 4]), (1, [2])):
        every = sequence_scores(transition_scores(model.heads["slots"]), outputs["slots_logits"][row, places])
        costs.append(log_partition(every) - every[tuple(labels[row, places].tolist())])
    assert outputs["slots_row_losses"].tolist() == pytest.approx([*costs[:2]], rel=1e-9)
    assert outputs["slots_rows"].tolist() == [0, 1]
    assert outputs["slots_loss"].item() == pytest.approx(sum(costs) / 4, rel=1e-9)
    assert outputs["loss"].item() == outputs["slots_loss"].item()


def test_a_new_head_is_one_without_a_crf() -> None:
    crf, plain = make_head(BIO), make_head(BIO, crf=False)
    plain.classifier.load_state_dict(crf.classifier.state_dict())
    crf.crf.reset_parameters()
    encoded, mask = torch.randn(3, 6, 4).double(), torch.ones(3, 6, dtype=torch.bool)
    labels = torch.tensor([[-100, 1, 2, -100, 0, -100], [-100, 2, -100, -100, 1, 1], [-100] * 6])
    ours, theirs = crf(encoded, mask, labels), plain(encoded, mask, labels)
    torch.testing.assert_close(ours["row_losses"], theirs["row_losses"], rtol=1e-12, atol=1e-12)
    kept = labels != -100
    assert torch.equal(crf.predictions(ours, labels)[kept], plain.predictions(theirs, labels)[kept])
    rows = [SourceRow([Word(place, "w", place, place + 1) for place in range(1, 5)])] * 3
    assert crf.decode(ours, rows) == [
        [{**entity, "score": pytest.approx(entity["score"])} for entity in answer]
        for answer in plain.decode(theirs, rows)
    ]


@pytest.mark.parametrize("names", [BIO, BIOES, PLAIN], ids=["bio", "bioes", "plain"])
def test_sub_tokens_between_words_change_nothing(names: list[str]) -> None:
    head = make_head(names)
    spread, together = [1, 4, 5, 7], [0, 1, 2, 3]
    # [CLS] sing ##er ##s in new ##york play ##ing [SEP]; what stands beside first sub-tokens is far from them
    encoded = torch.randn(2, 10, 4).double() * 9
    labels, mask = torch.full((2, 10), -100), torch.ones(2, 10, dtype=torch.bool)
    labels[:, spread] = torch.tensor([[1, 2, 0, 1], [0, 0, 1, 2]])
    long = head(encoded, mask, labels)
    short = head(encoded[:, spread], mask[:, spread], labels[:, spread])
    torch.testing.assert_close(long["row_losses"], short["row_losses"], rtol=1e-12, atol=1e-12)
    assert torch.equal(head.predictions(long, labels)[:, spread], head.predictions(short, labels[:, spread]))
    answers = [
        head.decode(
            outputs, [SourceRow([Word(place, "w", number, number + 1) for number, place in enumerate(places)])] * 2
        )
        for outputs, places in ((long, spread), (short, together))
    ]
    assert answers[0] == [[{**each, "score": pytest.approx(each["score"])} for each in row] for row in answers[1]]


def test_micro_batches_add_up_to_one_batch() -> None:
    model = tiny_model({"slots": {"head_type": "token_classification", "id2label": SLOTS, "crf": True}}).double()
    torch.nn.init.normal_(model.heads["slots"].crf.transition_weights, std=1 / 32)
    inputs, labels = tiny_inputs(6), torch.full((6, 6), -100)
    labels[:, 1:4:2] = torch.randint(5, (6, 2))
    labels[3], labels[4, 2] = -100, 3

    def gradient(batches: list[list[int]]) -> torch.Tensor:
        model.zero_grad()
        for batch in batches:
            part = {name: value[batch] for name, value in inputs.items()}
            model(**part, labels={"slots": labels[batch]}, num_items_in_batch={"slots": 11})["loss"].backward()
        return parameters_to_vector([value.grad for value in model.parameters() if value.grad is not None])

    whole = gradient([[0, 1, 2, 3, 4, 5]])
    assert whole.norm() > 0.1
    for batches in ([[0, 1], [2, 3, 4], [5]], [[3], [4, 0, 1], [5, 2]]):
        torch.testing.assert_close(gradient(batches), whole, rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------------------------------------------------------
# answers


@pytest.mark.parametrize("names", [BIO, BIOES], ids=["bio", "bioes"])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_only_valid_sequences_are_predicted(names: list[str], length: int) -> None:
    head, free = make_head(names), make_head(names, label_scheme="plain")
    free.load_state_dict(head.state_dict())
    labels, broken = torch.zeros(40, length, dtype=torch.long), 0
    # the transition scores, too, speak for what is forbidden: an entity that begins with I-x
    head.crf.transition_weights.data[-1, 2] += 3 / 32
    logits = torch.randn(40, length, len(names)).double()
    for row, ids in enumerate(head.predictions({"logits": logits}, labels).tolist()):
        every = sequence_scores(transition_scores(head), logits[row])
        valid = {each: score for each, score in every.items() if is_valid(each, names)}
        assert tuple(ids) == max(valid, key=valid.__getitem__)
        broken += not is_valid(max(every, key=every.__getitem__), names)
    assert broken > 5
    unconstrained = free.predictions({"logits": logits}, labels)
    assert not all(is_valid(tuple(ids), names) for ids in unconstrained.tolist())


@pytest.mark.parametrize("names", [BIO, PLAIN], ids=["bio", "plain"])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_scores_are_probabilities_over_all_sequences(names: list[str], mode: Any) -> None:
    head, places = make_head(names), [1, 2, 4]
    words = [Word(place, "w", 2 * place, 2 * place + 1) for place in places]
    with mode():
        logits = head(torch.randn(1, 6, 4).double(), torch.ones(1, 6, dtype=torch.bool))["logits"]
        if names == BIO:
            # an entity of two words and one of one
            logits[0, places] = torch.tensor([[0.0, 4.0, 0.0], [0.0, 1.0, 4.0], [0.0, 4.0, 1.0]]).double()
            head.crf.transition_weights.data /= 4
        answers = head.decode({"logits": logits}, [SourceRow(words)])[0]
    every = sequence_scores(transition_scores(head), logits.detach()[0, places])
    total = log_partition(every)
    best = max((ids for ids in every if names == PLAIN or is_valid(ids, BIO)), key=every.__getitem__)
    scores = [
        sum(math.exp(score - total) for ids, score in every.items() if ids[place] == best[place]) for place in range(3)
    ]
    if names == BIO:
        assert best == (1, 2, 1)
        expected = [("x", 2, 5, (scores[0] + scores[1]) / 2), ("x", 8, 9, scores[2])]
    else:
        expected = [
            (names[label], word.start, word.end, score) for label, word, score in zip(best, words, scores, strict=True)
        ]
    assert [(each["label"], each["start"], each["end"], each["score"]) for each in answers] == [
        (*rest, pytest.approx(score, rel=1e-9)) for *rest, score in expected
    ]
    assert all(parameter.grad is None for parameter in head.parameters())


def test_rows_without_words_are_answered() -> None:
    head = make_head(BIO)
    logits = torch.randn(2, 3, 3).double()
    assert head.decode({"logits": logits}, [SourceRow(), SourceRow()]) == [[], []]


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_the_option_is_a_switch(value: Any) -> None:
    with pytest.raises(InputError, match=f"crf: expected true or false, found {value!r}"):
        TokenClassificationHeadConfig(id2label=BIO, crf=value)
    config = TokenClassificationHeadConfig(id2label=BIO, crf=True)
    assert get_head_config("slots", config.to_dict()) == config
    assert not TokenClassificationHeadConfig(id2label=BIO).crf


# ------------------------------------------------------------------------------------------------------------------
# a task that needs the label before

NAMES = ["ebb", "flow"]
ROWS = [["adele", "the", "the", "the"], ["cher", "the", "the", "the"], ["adele", "the"], ["cher", "the"]]
TIDES = [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1], [1, 0]]
"""Each label is the other one than before; only the first word says which is first."""


def train(folder: Path, crf: bool) -> tuple[MultiTaskModel, dict[str, float]]:
    """Train a model whose encoding of a word knows its place and nothing of other words; evaluate it on its rows."""
    torch.manual_seed(0)
    features = Features({"tokens": List(Value("string")), "tide": List(ClassLabel(names=NAMES))})
    rows = Dataset.from_dict({"tokens": ROWS, "tide": TIDES}, features=features)
    task = Task(dataset={"train": rows, "validation": rows}, inputs={"tokens": "tokens"}, labels={"tides": "tide"})
    head = {"head_type": "token_classification", "id2label": NAMES, "crf": crf, "classifier_dropout": 0.0}
    model = tiny_model({"tides": head}, tiny_bert_config(num_hidden_layers=0, hidden_dropout_prob=0.0))
    arguments = MultiTaskTrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        max_steps=80,
        learning_rate=3e-2,
        lr_scheduler_type="constant",
    )
    trainer = MultiTaskTrainer(model, arguments, tasks={"sea": task}, processing_class=tiny_tokenizer())
    trainer.train()
    return model, trainer.evaluate()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[MultiTaskModel, dict[str, float]]:
    return train(tmp_path_factory.mktemp("crf"), crf=True)


def test_labels_that_depend_on_the_one_before_are_learned(
    trained: tuple[MultiTaskModel, dict[str, float]], tmp_path: Path
) -> None:
    assert trained[1]["eval_sea_tides_accuracy"] == 1.0
    assert trained[1]["eval_sea_loss"] < 0.1
    plain = train(tmp_path, crf=False)[1]
    # the first words, and half of the others
    assert plain["eval_sea_tides_accuracy"] <= (4 + 4) / 12
    assert plain["eval_sea_loss"] > 0.6 * math.log(2)


@pytest.mark.parametrize("as_words", [True, False])
def test_the_predictor_answers_sequences(trained: tuple[MultiTaskModel, dict[str, float]], as_words: bool) -> None:
    rows = [{"tokens": words} if as_words else " ".join(words) for words in ROWS]
    answers = MultiTaskPredictor(trained[0], sub_word_tokenizer(), batch_size=3)(rows)
    assert [[word["label"] for word in answer["tides"]] for answer in answers] == [
        [NAMES[label] for label in labels] for labels in TIDES
    ]
    # the encoding of the words alone cannot be sure of more than the first one
    assert all(0.8 < word["score"] <= 1 for answer in answers for word in answer["tides"])


def test_saved_and_loaded_it_gives_the_same(tmp_path: Path) -> None:
    heads = {"slots": {"head_type": "token_classification", "id2label": BIO, "crf": True}}
    model = tiny_model(heads)
    # I-x everywhere
    torch.nn.init.normal_(model.heads["slots"].crf.transition_weights, std=1 / 32)
    with torch.no_grad():
        model.heads["slots"].classifier.bias.copy_(torch.tensor([0.0, 0.0, 50.0]))
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    state = loaded.state_dict()
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    labels = {"slots": torch.where(tiny_inputs()["attention_mask"] == 1, 0, -100)}
    with torch.no_grad():
        ours, theirs = (each(**tiny_inputs(), labels=labels) for each in (model, loaded))
    assert torch.equal(ours["slots_row_losses"], theirs["slots_row_losses"])
    found = loaded.heads["slots"].predictions({"logits": theirs["slots_logits"]}, labels["slots"])
    assert torch.equal(found, model.heads["slots"].predictions({"logits": ours["slots_logits"]}, labels["slots"]))
    # the constraints are still there: no entity begins with I-x
    assert found[:, 0].tolist() == [1, 1, 1, 1]
    assert found[0, 1:].eq(2).all()
