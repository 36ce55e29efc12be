"""Dependency trees: offsets and relations going in, losses by hand, the best tree of a row coming out."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from safetensors.torch import load_file, save_file
from torch.func import functional_call

from fixtures import sub_word_tokenizer, tiny_bert_config, tiny_model, tiny_tokenizer
from mt_transformers import (
    MultiTaskModel,
    MultiTaskPredictor,
    MultiTaskTrainer,
    MultiTaskTrainingArguments,
    Task,
    get_head_config,
)
from mt_transformers.data import prepare_split
from mt_transformers.errors import InputError
from mt_transformers.heads import (
    BackboneInfo,
    DependencyParsingHead,
    DependencyParsingHeadConfig,
    EncodedRows,
    LabelSource,
    SourceRow,
    Word,
    tree_to_conllu,
)
from mt_transformers.metrics.conllu import read_conllu

NAMES = ["root", "nsubj", "obj", "case"]
HEADS = List(Value("int32"))
DEPRELS = List(ClassLabel(names=NAMES))
NOTHING = [-100, -100]

# [CLS] sing ##er ##s in new ##york play ##ing [SEP]
ROW = ["singers", "in", "newyork", "playing"]


def make_config(**fields: Any) -> DependencyParsingHeadConfig:
    return DependencyParsingHeadConfig(**{"id2label": NAMES, "arc_size": 3, "relation_size": 2, **fields})


def make_head(**fields: Any) -> DependencyParsingHead:
    """A head on 4 features, in float64, with an activation that has gradients everywhere."""
    return DependencyParsingHead(make_config(**{"hidden_act": "tanh", **fields}), 4).double().eval()


def source(deprels: Any = DEPRELS, heads: Any = HEADS, values: list[Any] | None = None) -> LabelSource:
    return LabelSource("ewt", "head, deprel", {"heads": heads, "deprels": deprels}, lambda: values or [])


def encode(
    values: list[tuple[Any, Any]], words: list[list[str]], label_source: LabelSource | None = None, **tokenize: Any
) -> list[Any]:
    encoding = sub_word_tokenizer()(words, is_split_into_words=True, **tokenize)
    rows = EncodedRows(
        range(10, 10 + len(words)), {"tokens": words}, [encoding.word_ids(row) for row in range(len(words))]
    )
    parts = [{"heads": heads, "deprels": deprels} for heads, deprels in values]
    return make_config().encode_labels(parts, label_source or source(), rows)


def pairs(encoded: list[Any]) -> list[list[int]]:
    return [list(pair) for pair in zip(*encoded, strict=True)]


# ------------------------------------------------------------------------------------------------------------------
# labels


def test_labels_stand_on_first_sub_tokens_and_point_to_such() -> None:
    found = encode([([4, 3, 1, 0], [1, 3, 2, 0])], [ROW])[0]
    at = {1: [6, 1], 4: [1, 3], 5: [-4, 2], 7: [0, 0]}
    assert pairs(found) == [at.get(position, NOTHING) for position in range(10)]


def test_rows_do_not_get_mixed_up() -> None:
    values = [([0], [0]), ([2, 0, 2], [1, 0, 2]), (None, None), ([], []), ([2, 0], [3, 0])]
    words = [["dido"], ["cher", "playing", "rome"], ["oslo", "lima"], [], ["in", "cairo"]]
    found = [pairs(each) for each in encode(values, words)]
    assert found == [
        [NOTHING, [0, 0], NOTHING],
        [NOTHING, [1, 1], [0, 0], NOTHING, [-2, 2], NOTHING],
        [NOTHING] * 4,
        [NOTHING] * 2,
        [NOTHING, [1, 3], [0, 0], NOTHING],
    ]


def test_words_whose_head_was_cut_off_are_ignored_but_remain_words() -> None:
    # "newyork" and "playing" are cut off; "singers" hangs on the latter, "in" on "singers"
    found = encode([([4, 1, 4, 0], [1, 3, 2, 0])], [ROW], truncation=True, max_length=6)[0]
    assert pairs(found) == [NOTHING, [0, -100], NOTHING, NOTHING, [-3, 3], NOTHING]


def test_words_without_a_sub_token() -> None:
    # the second word has none: the first one's head is gone, the fourth one's is not
    found = encode([([2, 3, 0, 3], [1, 3, 0, 2])], [["cher", " ", "in", "rome"]])[0]
    assert pairs(found) == [NOTHING, [0, -100], [0, 0], [-1, 2], NOTHING]


def test_words_without_a_relation_are_ignored_but_remain_words() -> None:
    deprels = [-1, 0, None]
    assert pairs(encode([([2, 0, 2], deprels)], [["cher", "in", "rome"]])[0]) == [
        NOTHING,
        [0, -100],
        [0, 0],
        [0, -100],
        NOTHING,
    ]


def test_an_offset_may_be_100_tokens_back() -> None:
    # all words hang on the first one
    heads, words = [0] + [1] * 105, [None, *range(106), None]
    rows = EncodedRows([0], {}, [words])
    config = make_config()
    labels = config.collate_labels(
        config.encode_labels([{"heads": heads, "deprels": [0] + [2] * 105}], source(), rows), 108
    )
    assert labels[0, 101].tolist() == [-100, 2]
    assert config.count_items(labels).tolist() == [106]
    head = make_head()
    found = head.predictions(head(torch.randn(1, 108, 4).double(), torch.ones(1, 108).bool(), labels), labels)
    predictions, references = config.metric_inputs("las", found.numpy(), labels.numpy())
    assert len(predictions[0]["heads"]) == 106
    assert references == [{"heads": [0, *range(-1, -106, -1)], "deprels": ["root"] + ["obj"] * 105}]


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([2, 0, 4], "word 3: expected a head from 0 (the root) to 3, found 4."),
        ([2, 0, -1], "word 3: expected a head from 0 (the root) to 3, found -1."),
        ([2, 0, None], "word 3: expected a head from 0 (the root) to 3, found None."),
        ([2, 1, 0], "expected heads that form a tree, found a cycle of the words 1, 2."),
        ([1, 0, 2], "word 1: expected another word as its head, found the word itself."),
        ([0, 1, 0], "expected one word with the head 0 (the root), found the words 1, 3."),
        ([2, 3, 1], "expected one word with the head 0 (the root), found none."),
    ],
)
def test_heads_that_form_no_tree_are_refused(heads: list[Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        encode([([0], [0]), (heads, [0, 1, 2])], [["dido"], ["cher", "in", "rome"]])
    assert str(caught.value) == f"task 'ewt', column 'head, deprel', row 11: {message}"


@pytest.mark.parametrize(("missing", "value"), [("heads", (None, [0])), ("deprels", ([0], None))])
def test_one_part_without_the_other_is_refused(missing: str, value: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match=f"row 10: expected both heads and deprels, or neither, found no {missing}"):
        encode([value], [["dido"]])


def test_relations_by_name_and_from_a_column_in_another_order() -> None:
    other = source(List(ClassLabel(names=["obj", "root"])))
    assert pairs(encode([([0, 1], [1, 0])], [["dido", "rome"]], other)[0])[1:3] == [[0, 0], [-1, 2]]
    text = source(List(Value("string")))
    assert pairs(encode([([0, 1], ["root", None])], [["dido", "rome"]], text)[0])[1:3] == [[0, 0], [0, -100]]
    with pytest.raises(InputError, match="row 10: label 'dep' is not among the head's 4 labels"):
        encode([([0], ["dep"])], [["dido"]], text)


def test_collating() -> None:
    labels = make_config().collate_labels([[[-100, 1, 0], [-100, 2, 0]], None, [[0], [-100]]], 4)
    assert labels.tolist() == [
        [NOTHING, [1, 2], [0, 0], NOTHING],
        [NOTHING] * 4,
        [[0, -100], *[NOTHING] * 3],
    ]
    assert labels.dtype == torch.long
    assert make_config().count_items(labels).tolist() == [2, 0, 0]


# ------------------------------------------------------------------------------------------------------------------
# the config


def test_names_are_read_from_the_relations() -> None:
    config = DependencyParsingHeadConfig()
    config.complete([source()])
    assert config.names == NAMES
    by_text = DependencyParsingHeadConfig()
    values = [{"heads": [2, 0], "deprels": ["obj", "root"]}, {"heads": None, "deprels": None}]
    by_text.complete([source(List(Value("string")), values=values)])
    assert by_text.names == ["obj", "root"]


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"heads": List(Value("string")), "deprels": DEPRELS}, "expected a list with the number of each word's head"),
        ({"heads": Value("int32"), "deprels": DEPRELS}, "expected a list with the number of each word's head"),
        ({"heads": HEADS, "deprels": ClassLabel(names=NAMES)}, "expected a list with a relation for each word"),
        ({"heads": HEADS, "deprels": List(Value("float32"))}, "expected class labels"),
        ({"heads": HEADS, "relations": DEPRELS}, "expected a column for each of heads, deprels, found {'heads': .*"),
        (DEPRELS, r"expected a column for each of heads, deprels, found List\(ClassLabel"),
    ],
)
def test_columns_that_cannot_train_the_head_are_refused(feature: Any, message: str) -> None:
    bad, config = LabelSource("ewt", "x", feature, list), make_config()
    with pytest.raises(InputError, match=f"^task 'ewt', column 'x': {message}"):
        config.complete([bad])
    with pytest.raises(InputError, match=f"^task 'ewt', column 'x': {message}"):
        config.encode_labels([], bad, EncodedRows([]))


def test_defaults_are_those_of_the_paper() -> None:
    config = DependencyParsingHeadConfig()
    assert (config.arc_size, config.relation_size, config.hidden_act) == (500, 100, "relu")
    assert config.classifier_dropout == pytest.approx(0.33)
    assert config.metric_names == ("las", "uas")
    assert get_head_config("parse", config.to_dict()) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arc_size": 0}, "arc_size: expected at least 1, found 0"),
        ({"relation_size": 1.5}, "relation_size: expected at least 1, found 1.5"),
        ({"hidden_act": "rellu"}, "hidden_act: expected one of .*, found 'rellu'"),
        ({"classifier_dropout": 1.0}, r"classifier_dropout: expected a fraction in \[0, 1\), found 1.0"),
        ({"metrics": ["accuracy"]}, "metrics: unknown metric 'accuracy'. Known: las, las_universal, uas"),
        ({"id2label": ["root", "root"]}, "each name may occur once"),
    ],
)
def test_bad_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(**fields)


def test_heads_on_what_is_no_text_are_refused() -> None:
    image = BackboneInfo("vit", {"encoded_image": 4}, {}, {"encoded_image": "pooled"}, False, None, None)
    with pytest.raises(InputError, match="dependency_parsing reads encoded_text or encoded_text_decoder"):
        make_config().resolve(image)


# ------------------------------------------------------------------------------------------------------------------
# scores and losses

MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
LABELS = make_config().collate_labels(
    [
        # words at 1, 2 and 4, the second one the root
        [[-100, 1, 0, -100, -2], [-100, 1, 0, -100, 2]],
        # words at 1 and 3, of which the first is ignored and the head of the other
        [[-100, 0, -100, -2, -100], [-100, -100, -100, 3, -100]],
        # one word
        [[-100, 0, -100], [-100, 0, -100]],
        None,
    ],
    5,
)


def features(rows: int = 4, length: int = 5) -> torch.Tensor:
    return torch.randn(rows, length, 4, dtype=torch.float64)


def test_scores_follow_the_equations() -> None:
    head, encoded = make_head(), features()
    with torch.no_grad():
        outputs = head(encoded, MASK)
        assert set(outputs) == {"logits", "relation_heads", "relation_dependents"} < set(head.config.output_names)
        assert outputs["logits"].shape == (4, 5, 6)
        assert outputs["relation_heads"].shape == (4, 6, 2)
        assert outputs["relation_dependents"].shape == (4, 5, 2)
        lowest = torch.finfo(torch.float64).min
        for row, word, place in product(range(4), range(5), range(6)):
            vector = head.root.weight[0] if place == 5 else encoded[row, place]
            as_head = torch.tanh(head.arc_heads[0](vector))
            as_dependent = torch.tanh(head.arc_dependents[0](encoded[row, word]))
            score = as_head @ head.arcs.linear.weight @ as_dependent + as_head @ head.arcs.linear.bias
            possible = place == 5 or (place != word and bool(MASK[row, place]))
            expected = score.item() if possible else lowest
            assert outputs["logits"][row, word, place].item() == pytest.approx(expected, rel=1e-9)


def test_losses_by_hand() -> None:
    head = make_head()
    with torch.no_grad():
        for value in head.parameters():
            value.zero_()
    losses = head(features(), MASK, LABELS)["row_losses"]
    # as many heads as other words and the root, each as likely as the other; 4 relations
    expected = [3 * math.log(3 * 4), math.log(2 * 4), math.log(4), 0.0]
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=torch.float64))


def reference_loss(head: DependencyParsingHead, outputs: dict[str, torch.Tensor], row: int) -> float:
    """The loss of a row, word by word."""
    is_word = [relation != -100 or offset == 0 for offset, relation in LABELS[row].tolist()]
    total = 0.0
    for place, (offset, relation) in enumerate(LABELS[row].tolist()):
        if relation == -100:
            continue
        gold = 5 if offset == 0 else place + offset
        exponents = {
            other: math.exp(outputs["logits"][row, place, other].item())
            for other in range(6)
            if other == 5 or (is_word[other] and other != place)
        }
        total -= math.log(exponents[gold] / sum(exponents.values()))
        dependent, governor = outputs["relation_dependents"][row, place], outputs["relation_heads"][row, gold]
        total -= head.relations(dependent[None], governor[None]).double().log_softmax(dim=1)[0, relation].item()
    return total


def test_losses_are_sums_over_words() -> None:
    head = make_head()
    with torch.no_grad():
        for value in head.parameters():
            value.normal_()
    outputs = head(features(), MASK, LABELS)
    expected = [reference_loss(head, outputs, row) for row in range(4)]
    assert expected[0] > expected[3] == 0
    assert outputs["row_losses"].tolist() == pytest.approx(expected, rel=1e-9)


def test_gradcheck() -> None:
    head = make_head()
    parameters = dict(head.named_parameters())

    def run(encoded: torch.Tensor, *values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = functional_call(head, dict(zip(parameters, values, strict=True)), (encoded, MASK, LABELS))
        return outputs["logits"], outputs["row_losses"]

    values = [value.detach().clone().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(run, (features().requires_grad_(), *values))


def test_only_words_and_the_root_take_part_in_the_loss() -> None:
    head, encoded = make_head(), features().requires_grad_()
    losses = head(encoded, MASK, LABELS)["row_losses"]
    losses.sum().backward()
    assert encoded.grad is not None
    words = torch.tensor([[0, 1, 1, 0, 1], [0, 1, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    assert torch.equal(encoded.grad.any(dim=2), words)
    assert bool(torch.isfinite(encoded.grad).all())
    assert all(bool(value.grad.any()) for value in head.parameters() if value.grad is not None)


def test_rows_without_labels_have_loss_zero_and_no_gradient() -> None:
    head, encoded = make_head(), features().requires_grad_()
    losses = head(encoded, MASK, torch.full_like(LABELS, -100))["row_losses"]
    assert losses.tolist() == [0, 0, 0, 0]
    losses.sum().backward()
    assert encoded.grad is not None
    assert not encoded.grad.any()
    assert all(value.grad is not None and not value.grad.any() for value in head.parameters())


def test_padding_changes_nothing() -> None:
    head, encoded = make_head(), features()
    narrow = head(encoded, MASK, LABELS)
    wider = torch.cat([encoded, torch.full((4, 3, 4), 9.0, dtype=torch.float64)], dim=1)
    wider_labels = torch.nn.functional.pad(LABELS, (0, 0, 0, 3), value=-100)
    wide = head(wider, torch.nn.functional.pad(MASK, (0, 3)), wider_labels)
    torch.testing.assert_close(wide["logits"][:, :5, [0, 1, 2, 3, 4, 8]], narrow["logits"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(wide["row_losses"], narrow["row_losses"], rtol=1e-12, atol=1e-12)
    assert torch.equal(head.predictions(wide, wider_labels)[:, :5], head.predictions(narrow, LABELS))


def test_rows_do_not_depend_on_each_other() -> None:
    head, encoded = make_head(), features()
    together = head(encoded, MASK, LABELS)
    order = [2, 0]
    apart = head(encoded[order], MASK[order], LABELS[order])
    torch.testing.assert_close(apart["row_losses"], together["row_losses"][order], rtol=1e-12, atol=1e-12)
    assert torch.equal(head.predictions(apart, LABELS[order]), head.predictions(together, LABELS)[order])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_16_bit_scores_are_computed_in_32(dtype: torch.dtype) -> None:
    head = make_head()
    with torch.no_grad():
        # scores of relations that 16 bits hold as they are
        head.relations.linear.weight.zero_()
        head.relations.linear.bias.zero_().view(4, 3)[:, 2] = torch.tensor([0.5, -1.25, 2.0, 0.0])
    head.to(dtype)
    outputs = head(features().to(dtype), MASK, LABELS)
    assert outputs["row_losses"].dtype == torch.float32
    exact = [reference_loss(head, outputs, row) for row in range(4)]
    assert outputs["row_losses"].tolist() == pytest.approx(exact, rel=1e-5)
    assert head.predictions(outputs, LABELS).shape == LABELS.shape


def test_dropout_acts_in_training_only() -> None:
    head, encoded = make_head(classifier_dropout=0.5, arc_size=50, relation_size=50), features()
    names = ("logits", "relation_heads", "relation_dependents")
    once, again = head(encoded, MASK), head(encoded, MASK)
    assert all(torch.equal(once[name], again[name]) for name in names)
    head.train()
    once, again = head(encoded, MASK), head(encoded, MASK)
    assert not any(torch.equal(once[name], again[name]) for name in names)
    without = make_head(classifier_dropout=0.0).train()
    assert torch.equal(without(encoded, MASK)["logits"], without(encoded, MASK)["logits"])


# ------------------------------------------------------------------------------------------------------------------
# trees


def is_tree(heads: tuple[int, ...]) -> bool:
    """Whether heads (-1 the root) are a tree with one root: all walks end there."""
    for start in range(len(heads)):
        word, steps = start, 0
        while word != -1 and steps <= len(heads):
            word, steps = heads[word], steps + 1
        if word != -1:
            return False
    return heads.count(-1) == 1


def random_outputs(head: DependencyParsingHead, rows: int, length: int) -> dict[str, torch.Tensor]:
    size = head.config.relation_size
    own = torch.eye(length, length + 1).bool()
    return {
        "logits": (3 * torch.randn(rows, length, length + 1).double()).masked_fill(own, torch.finfo().min),
        "relation_heads": torch.randn(rows, length + 1, size).double(),
        "relation_dependents": torch.randn(rows, length, size).double(),
    }


PLACES = [[1, 2, 4, 6], [0, 3, 5], [2], [], [1, 2, 3, 4], [6, 5]]
"""Where the words of some rows begin; the last row names its words in no order."""


def source_rows() -> list[SourceRow]:
    return [SourceRow([Word(at, f"w{at}", 10 * at, 10 * at + 2) for at in places]) for places in PLACES]


@torch.no_grad()
def test_decoded_is_the_best_tree_of_a_search_over_all() -> None:
    head = make_head()
    for _ in range(20):
        outputs = random_outputs(head, len(PLACES), 7)
        for row, answer in enumerate(head.decode(outputs, source_rows())):
            places = PLACES[row]
            logits = outputs["logits"][row][places][:, [*places, 7]]
            # column -1 is the root's
            heads_of_all = product(range(-1, len(places)), repeat=len(places))
            trees = [heads for heads in heads_of_all if is_tree(heads)] or [()]
            best = max(trees, key=lambda heads: logits[range(len(heads)), heads].sum().item())
            assert [word["head"] for word in answer] == [at + 1 for at in best]
            for word, at, place, said in zip(range(len(places)), best, places, answer, strict=True):
                governor = 7 if at == -1 else places[at]
                relations = head.relations(
                    outputs["relation_dependents"][row, place][None], outputs["relation_heads"][row, governor][None]
                ).softmax(dim=1)[0]
                possible = [other for other in range(len(places) + 1) if other != word]
                score = logits[word, possible].softmax(dim=0)[possible.index(at % (len(places) + 1))]
                assert said == {
                    "text": f"w{place}",
                    "start": 10 * place,
                    "end": 10 * place + 2,
                    "head": at + 1,
                    "deprel": NAMES[int(relations.argmax())],
                    "score": pytest.approx((score * relations.max()).item(), rel=1e-6),
                }


@torch.no_grad()
def test_predictions_are_the_decoded_trees_in_the_form_of_labels() -> None:
    head = make_head()
    # an ignored word and a labelled one, with any numbers that they may have
    kinds = [[0, -100], [-100, 3], [2, 0]]
    places = [sorted(each) for each in PLACES]
    labels = torch.full((len(places), 7, 2), -100)
    for row, own in enumerate(places):
        for number, place in enumerate(own):
            labels[row, place] = torch.tensor(kinds[(row + number) % 3])
    outputs = random_outputs(head, len(places), 7)
    rows = [SourceRow([Word(at, "w", 0, 1) for at in own]) for own in places]
    expected = torch.full_like(labels, -100)
    for row, (own, answer) in enumerate(zip(places, head.decode(outputs, rows), strict=True)):
        for place, word in zip(own, answer, strict=True):
            offset = 0 if word["head"] == 0 else own[word["head"] - 1] - place
            expected[row, place] = torch.tensor([offset, NAMES.index(word["deprel"])])
    assert torch.equal(head.predictions(outputs, labels), expected)


def test_metrics_count_labelled_words() -> None:
    config = make_config(id2label=["root", "nsubj", "nsubj:pass", "obj"], metrics=["las", "uas", "las_universal"])
    labels = np.array(
        [
            # the second word is ignored
            [NOTHING, [1, 1], [0, -100], [-100, 3], [0, 0]],
            [NOTHING] * 5,
            [NOTHING, [0, 0], [-1, 3], NOTHING, NOTHING],
        ]
    )
    predictions = np.array(
        [
            [NOTHING, [1, 2], [1, 1], [-100, 3], [0, 0]],
            [NOTHING] * 5,
            [NOTHING, [1, 0], [-1, 1], NOTHING, NOTHING],
        ]
    )
    results = config.compute_metrics(predictions, labels)
    assert results == {"las": pytest.approx(2 / 5), "uas": pytest.approx(4 / 5), "las_universal": pytest.approx(3 / 5)}
    assert config.metric_inputs("las", labels, labels)[0] == [
        {"heads": [1, -100, 0], "deprels": ["nsubj", "obj", "root"]},
        {"heads": [0, -1], "deprels": ["root", "obj"]},
    ]
    with pytest.raises(InputError, match="no labelled row, so that las cannot be computed"):
        config.compute_metrics(predictions[1:2], labels[1:2])


# ------------------------------------------------------------------------------------------------------------------
# from the dataset to the answer

SENTENCES = [
    (["cher", "is", "great", "."], [3, 3, 0, 3], ["nsubj", "cop", "root", "punct"]),
    (["play", "music", "by", "dido"], [0, 1, 4, 2], ["root", "obj", "case", "nmod"]),
    (["the", "film", "is", "dull", "."], [2, 4, 4, 0, 4], ["det", "nsubj", "cop", "root", "punct"]),
    (["weather", "in", "newyork"], [0, 3, 1], ["root", "case", "nmod"]),
    (["singers", "in", "rome"], [0, 3, 1], ["root", "case", "nmod"]),
    (["superb"], [0], ["root"]),
    (
        ["play", "the", "new", "song", "by", "adele"],
        [0, 4, 4, 1, 6, 4],
        ["root", "det", "amod", "obj", "case", "nmod"],
    ),
    (["unhappy", "singers", "play", "a", "song"], [2, 3, 0, 5, 3], ["amod", "nsubj", "root", "det", "obj"]),
]


def make_task(sentences: list[tuple[list[str], Any, Any]] = SENTENCES, splits: tuple[str, ...] = ()) -> Task:
    relations = sorted({name for _, _, deprels in SENTENCES for name in deprels})
    rows = [{"words": words, "head": heads, "deprel": deprels} for words, heads, deprels in sentences]
    features = Features({"words": List(Value("string")), "head": HEADS, "deprel": List(ClassLabel(names=relations))})
    data = Dataset.from_list(rows, features=features)
    return Task(
        dataset={"train": data, **dict.fromkeys(splits, data)},
        inputs={"tokens": "words"},
        labels={"parse": {"heads": "head", "deprels": "deprel"}},
    )


def prepare(task: Task, tokenizer: Any, max_length: int | None = None, **fields: Any) -> Dataset:
    split = task.dataset["train"]
    names = split.features["deprel"].feature.names
    heads = {"parse": make_config(id2label=names, **fields)}
    return prepare_split("ewt", task, "train", split, heads, tokenizer, max_length)


def test_prepared_rows() -> None:
    prepared = prepare(make_task(), sub_word_tokenizer())
    assert prepared[3]["labels_parse"][0] == [-100, 0, 1, -2, -100, -100]
    assert prepared[7]["labels_parse"][0] == [-100, 2, -100, 3, -100, -100, 0, 1, -2, -100]


def test_parts_of_other_lengths_are_refused() -> None:
    for heads, deprels in (([2, 0], ["nsubj", "cop", "root"]), ([2, 3, 0], ["nsubj", "root"])):
        task = make_task([(["cher", "is", "great"], heads, deprels)])
        with pytest.raises(InputError, match=r"column 'head, deprel', row 0: expected 3 labels, .* found 2"):
            prepare(task, sub_word_tokenizer())


def test_one_column_for_both_parts_is_refused() -> None:
    task = make_task()
    single = Task(dataset=task.dataset, inputs=task.inputs, labels={"parse": "deprel"})
    with pytest.raises(InputError, match="dependency_parsing needs a column for each of heads, deprels"):
        prepare(single, sub_word_tokenizer())


def test_cut_rows_train_on_what_is_left() -> None:
    with pytest.warns(UserWarning, match="words lie behind the maximum length"):
        prepared = prepare(make_task(), tiny_tokenizer(), max_length=5)
    # of "the film is dull ." the words "dull" and "." are gone, and with the former the head of two more
    assert [offset for offset, relation in zip(*prepared[2]["labels_parse"], strict=True) if relation != -100] == [1]
    config = make_config(id2label=make_task().dataset["train"].features["deprel"].feature.names)
    head = DependencyParsingHead(config, 4)
    labels = config.collate_labels(prepared["labels_parse"], 5)
    mask = torch.arange(5) < torch.tensor(prepared["length"]).unsqueeze(1)
    losses = head(torch.randn(len(labels), 5, 4), mask, labels)["row_losses"]
    assert bool((losses < 30).all())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[MultiTaskTrainer, dict[str, float]]:
    """A trainer that has learned `SENTENCES` by heart, and its metrics on them."""
    torch.manual_seed(0)
    task = make_task(splits=("validation",))
    names = task.dataset["train"].features["deprel"].feature.names
    parse = {"head_type": "dependency_parsing", "id2label": names, "arc_size": 32, "relation_size": 16}
    model = tiny_model({"parse": parse}, tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    arguments = MultiTaskTrainingArguments(
        output_dir=str(tmp_path_factory.mktemp("parse")),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        per_device_train_batch_size=4,
        max_steps=150,
        learning_rate=5e-3,
        lr_scheduler_type="constant",
    )
    trainer = MultiTaskTrainer(model, arguments, tasks={"ewt": task}, processing_class=sub_word_tokenizer())
    trainer.train()
    return trainer, trainer.evaluate()


def test_a_tiny_model_learns_trees_by_heart(trained: tuple[MultiTaskTrainer, dict[str, float]]) -> None:
    _, metrics = trained
    assert metrics["eval_ewt_parse_las"] > 0.95
    assert metrics["eval_ewt_parse_uas"] >= metrics["eval_ewt_parse_las"] == metrics["eval_score"]
    assert metrics["eval_ewt_loss"] < 0.5


def test_the_predictor_gives_trees_that_can_be_written(
    trained: tuple[MultiTaskTrainer, dict[str, float]], tmp_path: Path
) -> None:
    model = trained[0].model
    assert isinstance(model, MultiTaskModel)
    rows = [{"tokens": words} for words, _, _ in SENTENCES]
    answers = [each["parse"] for each in MultiTaskPredictor(model, sub_word_tokenizer(), batch_size=3)(rows)]
    right = [
        word["head"] == head and word["deprel"] == deprel
        for answer, (_, heads, deprels) in zip(answers, SENTENCES, strict=True)
        for word, head, deprel in zip(answer, heads, deprels, strict=True)
    ]
    assert sum(right) / len(right) == pytest.approx(trained[1]["eval_ewt_parse_las"])
    assert [word["text"] for word in answers[3]] == ["weather", "in", "newyork"]
    assert answers[3][2] == {**answers[3][2], "start": 11, "end": 18}
    assert all(0 < word["score"] <= 1 for answer in answers for word in answer)
    read = read_conllu("".join(map(tree_to_conllu, answers)))
    assert [[(word.form, word.head, word.deprel) for word in sentence] for sentence in read] == [
        [(word["text"], word["head"], word["deprel"]) for word in answer] for answer in answers
    ]
    # texts are split into words, and may have none
    text, empty = MultiTaskPredictor(model, sub_word_tokenizer())(["play music by dido", ""])
    assert text["parse"] == [{**word, "score": pytest.approx(word["score"], abs=1e-5)} for word in answers[1]]
    assert empty["parse"] == []


def test_predict_returns_trees_in_place_of_scores(trained: tuple[MultiTaskTrainer, dict[str, float]]) -> None:
    found = trained[0].predict(split="validation")["ewt"]
    predictions, labels = found.predictions["parse"], found.label_ids["parse"]
    assert predictions.shape == labels.shape == (8, 10, 2)
    kept = labels[..., 1] != -100
    assert kept.sum() == sum(len(words) for words, _, _ in SENTENCES)
    assert (predictions[kept] == labels[kept]).all(axis=1).mean() == pytest.approx(trained[1]["eval_ewt_parse_las"])


def test_saved_and_loaded_it_gives_the_same(
    trained: tuple[MultiTaskTrainer, dict[str, float]], tmp_path: Path
) -> None:
    model = trained[0].model
    assert isinstance(model, MultiTaskModel)
    model.save_pretrained(tmp_path)
    inputs = sub_word_tokenizer()([" ".join(words) for words, _, _ in SENTENCES], padding=True, return_tensors="pt")
    with torch.no_grad():
        ours, theirs = (each.eval()(**inputs) for each in (model, MultiTaskModel.from_pretrained(tmp_path)))
    assert {"parse_logits", "parse_relation_heads", "parse_relation_dependents"} <= set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_head_that_starts_anew_has_initial_values(
    trained: tuple[MultiTaskTrainer, dict[str, float]], tmp_path: Path
) -> None:
    trained[0].model.save_pretrained(tmp_path)
    weights = {name: value for name, value in load_file(tmp_path / "model.safetensors").items() if "parse" not in name}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = MultiTaskModel.from_pretrained(tmp_path, init_missing_heads=True)
    for name, value in model.heads.named_parameters():
        if not name.endswith("bias"):
            assert 0.01 < value.std().item() < 0.03, name
