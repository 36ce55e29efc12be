"""Which of the encoded sequences each head reads of each row: chosen by hand, and through the whole model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fixtures import tiny_inputs, tiny_model
from mt_transformers import Head, HeadConfig, register_head
from mt_transformers.heads import EncodedRows, LabelSource, SourceRow
from mt_transformers.modeling.sequences import per_sequence, read_features


@dataclass(kw_only=True)
class PlainConfig(HeadConfig):
    """Reads one sequence a row; a label is a number."""

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return list(values)

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return torch.tensor([float("nan") if label is None else label for label in labels])

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        return predictions, labels


@dataclass(kw_only=True)
class AllConfig(PlainConfig):
    """Reads all sequences of a row."""

    multi_sequence: ClassVar[bool] = True


class SumHead(Head):
    """Adds up the first feature of all tokens, and puts out what it was given."""

    config_class = PlainConfig

    def forward(  # type: ignore[override]
        self,
        encoded: torch.Tensor,
        encoded_mask: torch.Tensor,
        token_ids: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        logits = (encoded[..., 0] * encoded_mask).flatten(1).sum(dim=1)
        outputs = {"logits": logits, "mask": encoded_mask, "token_ids": token_ids, "input_ids": input_ids}
        outputs["attention_mask"] = attention_mask
        if labels is not None:
            outputs["row_losses"] = torch.where(labels.isnan(), 0.0, logits - labels.nan_to_num())
        return outputs

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return outputs["logits"]

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        return outputs["logits"].tolist()


@register_head("one_for_test_sequences")
class OneHead(SumHead):
    config_class = PlainConfig


@register_head("all_for_test_sequences")
class AllHead(SumHead):
    config_class = AllConfig


def head(multi: bool, **fields: Any) -> Head:
    if multi:
        return AllHead(AllConfig(input="encoded_text", **fields), 1)
    return OneHead(PlainConfig(input="encoded_text", **fields), 1)


def one_head(**fields: Any) -> Head:
    return head(False, **fields)


def sequences_of(number: int) -> dict[str, Any]:
    """Outputs of a backbone for some sequences of two tokens: sequence n has the features n and n + 0.5."""
    first = torch.arange(number, dtype=torch.float32)
    encoded = torch.stack([first, first + 0.5], dim=1).unsqueeze(-1)
    mask = torch.ones(number, 2, dtype=torch.bool)
    mask[1::2, 1] = False
    return {
        "encoded_text": encoded,
        "encoded_text_mask": mask,
        "text_layers": (encoded * 10, encoded),
        "token_ids": torch.arange(number * 2).reshape(number, 2),
    }


def firsts(taken: dict[str, Any], name: str = "encoded") -> list[Any]:
    """The number of each sequence that was read."""
    return taken[name][..., 0, 0].tolist()


# first sequences


@pytest.mark.parametrize("rows", [None, torch.tensor([2, 0])])
@pytest.mark.parametrize("further", [0, 3])
def test_a_head_reads_the_first_sequence_of_its_rows(rows: torch.Tensor | None, further: int) -> None:
    encoded = sequences_of(3 + further)
    taken = read_features(one_head(), encoded, None, rows, batch_size=3)
    wanted = [0, 1, 2] if rows is None else rows.tolist()
    assert firsts(taken) == firsts(taken, "encoded_text") == wanted
    assert taken["encoded_mask"].tolist() == [[True, number % 2 == 0] for number in wanted]
    assert taken["token_ids"].tolist() == [[2 * number, 2 * number + 1] for number in wanted]


@pytest.mark.parametrize("rows", [None, torch.tensor([1])])
def test_it_may_be_of_another_layer(rows: torch.Tensor | None) -> None:
    taken = read_features(one_head(layer=0), sequences_of(4), None, rows, batch_size=2)
    wanted = [0, 1] if rows is None else [1]
    assert firsts(taken) == [10 * number for number in wanted]
    assert firsts(taken, "encoded_text") == wanted


def test_a_head_that_reads_several_gets_a_dimension_for_one() -> None:
    taken = read_features(head(True), sequences_of(3), None, torch.tensor([0, 2]), batch_size=3)
    assert taken["encoded"].shape == (2, 1, 2, 1)
    assert taken["encoded_mask"].shape == taken["token_ids"].shape == (2, 1, 2)
    assert firsts(taken) == [[0], [2]]


# other sequences


def test_a_head_reads_the_sequence_that_was_made_for_it() -> None:
    sequences = torch.tensor([[3], [1], [-1], [4]])
    taken = read_features(one_head(), sequences_of(5), sequences, torch.tensor([0, 1, 3]), batch_size=4)
    assert firsts(taken) == [3, 1, 4]
    assert taken["encoded_mask"].tolist() == [[True, False], [True, False], [True, True]]
    assert taken["token_ids"].tolist() == [[6, 7], [2, 3], [8, 9]]
    everywhere = read_features(one_head(), sequences_of(5), sequences, None, batch_size=4)
    # a row without one is there, so that all rows have an answer, and has no token
    assert len(everywhere["encoded"]) == 4
    assert everywhere["encoded_mask"].tolist()[2] == [False, False]


def test_a_head_reads_all_sequences_of_its_rows() -> None:
    sequences = torch.tensor([[0, 3, -1], [1, -1, -1], [2, 4, 5]])
    taken = read_features(head(True), sequences_of(6), sequences, torch.tensor([2, 0]), batch_size=3)
    assert taken["encoded"].shape == (2, 3, 2, 1)
    assert firsts(taken)[0] == [2, 4, 5]
    assert firsts(taken)[1][:2] == [0, 3]
    assert taken["encoded_mask"].tolist() == [
        [[True, True], [True, True], [True, False]],
        [[True, True], [True, False], [False, False]],
    ]
    assert taken["token_ids"][0].tolist() == [[4, 5], [8, 9], [10, 11]]


def test_several_sequences_of_another_layer() -> None:
    taken = read_features(head(True, layer=0), sequences_of(4), torch.tensor([[0, 2], [1, 3]]), None, batch_size=2)
    assert firsts(taken) == [[0, 20], [10, 30]]
    assert firsts(taken, "encoded_text") == [[0, 2], [1, 3]]


def test_what_has_no_entry_for_each_sequence_is_left_alone() -> None:
    scale = torch.tensor([2.0])
    encoded = {**sequences_of(3), "scale": scale, "name": "bert"}
    for sequences in (None, torch.tensor([[0, 2], [1, -1]])):
        taken = read_features(one_head(), encoded, sequences, None, batch_size=2)
        assert taken["name"] == "bert"
        assert taken["scale"] is scale


@pytest.mark.parametrize("sequences", [None, torch.tensor([[2], [1]])])
@pytest.mark.parametrize("names", [{"encoded"}, {"encoded", "encoded_mask"}, {"encoded_mask", "token_ids"}])
def test_only_what_the_head_takes_is_chosen(sequences: torch.Tensor | None, names: set[str]) -> None:
    given = (one_head(), sequences_of(3), sequences, None, 2)
    everything, taken = read_features(*given), read_features(*given, takes=names.__contains__)
    assert set(taken) == names
    assert all(torch.equal(value, everything[name]) for name, value in taken.items())


@given(st.data())
def test_every_row_gets_its_own(data: st.DataObject) -> None:
    batch_size = data.draw(st.integers(1, 4))
    number = batch_size + data.draw(st.integers(0, 4))
    widest = data.draw(st.integers(1, 3))
    place = st.integers(-1, number - 1)
    sequences = torch.tensor(
        data.draw(
            st.lists(st.lists(place, min_size=widest, max_size=widest), min_size=batch_size, max_size=batch_size)
        )
    )
    rows = data.draw(st.one_of(st.none(), st.lists(st.integers(0, batch_size - 1), min_size=1, unique=True)))
    encoded = sequences_of(number)
    taken = read_features(
        head(True), encoded, sequences, None if rows is None else torch.tensor(rows), batch_size=batch_size
    )
    for answer, row in enumerate(range(batch_size) if rows is None else rows):
        for position, wanted in enumerate(sequences[row].tolist()):
            mask = taken["encoded_mask"][answer, position]
            if wanted < 0:
                assert not mask.any()
                continue
            assert torch.equal(mask, encoded["encoded_text_mask"][wanted])
            assert torch.equal(taken["encoded"][answer, position], encoded["encoded_text"][wanted])


# inputs of the backbone


def test_inputs_with_an_entry_for_each_sequence() -> None:
    encoded = {"encoded_text": torch.zeros(4, 2, 1), "encoded_text_mask": torch.ones(4, 2)}
    inputs = {
        "input_ids": torch.zeros(4, 2),
        "pixel_values": torch.zeros(2, 3),
        "position_ids": torch.zeros(1, 2),
        "scale": torch.tensor(1.0),
        "output_attentions": True,
    }
    assert list(per_sequence(inputs, encoded)) == ["input_ids"]
    # those of a tower that has one image a row are as many as the rows
    both = {**encoded, "encoded_image_mask": torch.ones(2, 5)}
    assert list(per_sequence(inputs, both)) == ["input_ids"]


# through the model

HEADS = {"all": {"head_type": "all_for_test_sequences"}, "one": {"head_type": "one_for_test_sequences"}}
PLACES = torch.tensor([[0, 3, 4], [1, -1, -1], [2, 5, -1]])


def test_the_model_gives_what_each_row_gives_by_itself() -> None:
    model, inputs = tiny_model(HEADS), tiny_inputs(rows=6)
    outputs = model(**inputs, sequences={"all": PLACES})
    assert outputs["all_logits"].shape == outputs["one_logits"].shape == (3,)
    alone = [model(**{name: value[[place]] for name, value in inputs.items()})["one_logits"] for place in range(6)]
    torch.testing.assert_close(outputs["one_logits"], torch.cat(alone[:3]))
    expected = [sum(alone[place] for place in row if place >= 0) for row in PLACES.tolist()]
    torch.testing.assert_close(outputs["all_logits"], torch.cat(expected))


def test_inputs_reach_heads_as_their_sequences_do() -> None:
    model, inputs = tiny_model(HEADS), tiny_inputs(rows=6)
    labels = {"all": torch.tensor([1.0, float("nan"), 2.0]), "one": torch.tensor([float("nan"), 1.0, 2.0])}
    outputs = model(**inputs, sequences={"all": PLACES}, labels=labels)
    assert outputs["all_rows"].tolist() == [0, 2]
    assert outputs["one_rows"].tolist() == [1, 2]
    for name in ("input_ids", "token_ids"):
        assert torch.equal(outputs[f"one_{name}"], inputs["input_ids"][1:3])
        assert torch.equal(outputs[f"all_{name}"][0], inputs["input_ids"][[0, 3, 4]])
        assert torch.equal(outputs[f"all_{name}"][1, :2], inputs["input_ids"][[2, 5]])
    assert torch.equal(outputs["all_attention_mask"][0], inputs["attention_mask"][[0, 3, 4]])
    assert outputs["all_mask"][1].sum(dim=1).tolist() == [*inputs["attention_mask"][[2, 5]].sum(dim=1).tolist(), 0]


def test_a_sequence_of_its_own_takes_the_place_of_the_rows() -> None:
    model, inputs = tiny_model(HEADS), tiny_inputs(rows=4)
    own = torch.tensor([[3], [1], [-1]])
    outputs = model(**inputs, sequences={"one": own}, heads=["one"])
    plain = model(**inputs, heads=["one"])["one_logits"]
    torch.testing.assert_close(outputs["one_logits"], torch.stack([plain[3], plain[1], torch.tensor(0.0)]))
    assert torch.equal(outputs["one_input_ids"][:2], inputs["input_ids"][[3, 1]])


def test_a_loss_counts_rows_and_trains_every_sequence() -> None:
    model, inputs = tiny_model(HEADS), tiny_inputs(rows=6)
    outputs = model(**inputs, sequences={"all": PLACES}, labels={"all": torch.tensor([1.0, 2.0, 3.0])})
    expected = (outputs["all_logits"] - torch.tensor([1.0, 2.0, 3.0])).sum() / 3
    torch.testing.assert_close(outputs["all_loss"], expected)
    inputs["input_ids"][5, 1] = 11
    changed = model(**inputs, sequences={"all": PLACES}, heads=["all"])["all_logits"]
    assert (changed != outputs["all_logits"]).tolist() == [False, False, True]
