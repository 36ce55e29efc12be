"""From rows to token ids and encoded labels: exact ids, exact labels, and what the messages say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value, load_from_disk
from transformers import ByT5Tokenizer

from fixtures import INTENTS, MOODS, SLOTS, TASK_HEADS, VOCABULARY, sub_word_tokenizer, tiny_tokenizer
from mt_transformers import Task
from mt_transformers.data import complete_heads, find_max_length, label_sources, load_splits, prepare_split
from mt_transformers.errors import InputError
from mt_transformers.heads import HeadConfig, SequenceClassificationHeadConfig, get_head_config

TEXT, WORDS = Value("string"), List(Value("string"))
SLOT_LABELS = List(ClassLabel(names=SLOTS))
MOOD = {"head_type": "sequence_classification", "id2label": MOODS}
SLOT = {"head_type": "token_classification", "id2label": SLOTS}


def ids(*tokens: str) -> list[int]:
    """Ids of these tokens between [CLS] and [SEP]; [SEP] may also be among them."""
    return [VOCABULARY.index(token) for token in ("[CLS]", *tokens, "[SEP]")]


def rows_of(features: dict[str, Any], **columns: list[Any]) -> Dataset:
    """A split with these columns."""
    return Dataset.from_dict(columns, features=Features(features))


def moods(texts: list[Any], labels: list[Any] | None = None) -> Dataset:
    """Rows with `text` and `label`."""
    labels = [0] * len(texts) if labels is None else labels
    return rows_of({"text": TEXT, "label": ClassLabel(names=MOODS)}, text=texts, label=labels)


def requests(words: list[Any], slots: list[Any]) -> Dataset:
    """Rows with `tokens` and `slots`."""
    return rows_of({"tokens": WORDS, "slots": SLOT_LABELS}, tokens=words, slots=slots)


def prepare(
    rows: Dataset, heads: Mapping[str, Any], labels: dict[str, str], inputs: dict[str, str], **options: Any
) -> Dataset:
    """Prepare as split `train` of task `t`, with the sub-word tokenizer unless another is given."""
    configs = {name: get_head_config(name, values) for name, values in heads.items()}
    task = Task(dataset={"train": rows}, inputs=inputs, labels=labels)
    options = {"processing_class": sub_word_tokenizer(), **options}
    return prepare_split("t", task, "train", rows, configs, **options)


def prepare_moods(rows: Dataset, **options: Any) -> Dataset:
    """Prepare rows of [`moods`]."""
    heads = {"mood": options.pop("head", MOOD)}
    return prepare(rows, heads, {"mood": "label"}, {"text": "text"}, **options)


def prepare_requests(rows: Dataset, **options: Any) -> Dataset:
    """Prepare rows of [`requests`]."""
    return prepare(rows, {"slots": SLOT}, {"slots": "slots"}, {"tokens": "tokens"}, **options)


def prepare_labels(feature: Any, labels: list[Any], head: dict[str, Any]) -> list[Any]:
    """The encoded labels of a column, as the head `h` reads it."""
    rows = rows_of({"text": TEXT, "y": feature}, text=["play"] * len(labels), y=labels)
    return list(prepare(rows, {"h": head}, {"h": "y"}, {"text": "text"})["labels_h"])


def refusal(rows: Dataset, *arguments: Any, **options: Any) -> str:
    """The message with which the rows are refused."""
    with pytest.raises(InputError) as caught:
        prepare(rows, *arguments, **options)
    return str(caught.value)


class TestInputs:
    """What the backbone reads."""

    def test_text(self) -> None:
        prepared = prepare_moods(moods(["play music", "newyork is great"], [0, 1]))
        assert set(prepared.column_names) == {"input_ids", "token_type_ids", "length", "labels_mood"}
        assert list(prepared["input_ids"]) == [ids("play", "music"), ids("new", "##york", "is", "great")]
        assert list(prepared["length"]) == [4, 6]
        assert list(prepared["labels_mood"]) == [0, 1]

    @pytest.mark.parametrize("names", [("text", "text_pair"), ("text_pair", "text")])
    def test_pair_in_whichever_order(self, names: tuple[str, str]) -> None:
        columns = {"text": "premise", "text_pair": "hypothesis"}
        rows = rows_of({"premise": TEXT, "hypothesis": TEXT}, premise=["play music"], hypothesis=["dido"])
        prepared = prepare(rows, {}, {}, {name: columns[name] for name in names})
        assert prepared[0] == {
            "input_ids": ids("play", "music", "[SEP]", "dido"),
            "token_type_ids": [0, 0, 0, 0, 1, 1],
            "length": 6,
        }

    def test_tokens_are_not_texts(self) -> None:
        rows = requests([["play", "music", "by", "dido"]], [[0, 0, 0, 1]])
        assert prepare_requests(rows)["input_ids"][0] == ids("play", "music", "by", "dido")

    def test_a_row_without_words(self) -> None:
        prepared = prepare_requests(requests([[], ["dido"]], [[], [1]]))
        assert list(prepared["input_ids"]) == [ids(), ids("dido")]
        assert list(prepared["labels_slots"]) == [[-100, -100], [-100, 1, -100]]

    @pytest.mark.parametrize(("max_length", "expected"), [(4, ["play", "music"]), (None, ["play", "music", "by"])])
    def test_max_length(self, max_length: int | None, expected: list[str]) -> None:
        prepared = prepare_moods(moods(["play music by"]), max_length=max_length)
        assert prepared[0]["input_ids"] == ids(*expected)
        assert prepared[0]["length"] == len(expected) + 2

    def test_columns_of_the_dataset_may_have_any_name(self) -> None:
        names = ["length", "input_ids", "task_index", "labels_mood", "cut_words"]
        rows = rows_of(
            {"text": TEXT, "label": ClassLabel(names=MOODS), **dict.fromkeys(names, TEXT)},
            text=["play"],
            label=[1],
            **{name: ["x"] for name in names},
        )
        prepared = prepare_moods(rows)
        assert prepared[0] == {"input_ids": ids("play"), "token_type_ids": [0] * 3, "length": 3, "labels_mood": 1}

    @pytest.mark.parametrize(
        ("inputs", "columns", "where"),
        [
            ({"text": "a"}, {"a": ["x", None]}, "column 'a', row 1"),
            ({"text": "a", "text_pair": "b"}, {"a": ["x", "x"], "b": [None, "x"]}, "column 'b', row 0"),
            ({"text_pair": "b", "text": "a"}, {"a": ["x", None], "b": ["x", "x"]}, "column 'a', row 1"),
            ({"text": "a"}, {"a": ["x"] * 1100 + [None]}, "column 'a', row 1100"),
        ],
    )
    def test_no_text(self, inputs: dict[str, str], columns: dict[str, Any], where: str) -> None:
        rows = rows_of(dict.fromkeys(columns, TEXT), **columns)
        message = f"task 't', split 'train', {where}: expected a text, found None."
        assert refusal(rows, {}, {}, inputs) == message

    @pytest.mark.parametrize("words", [None, ["play", None]])
    def test_no_word(self, words: Any) -> None:
        rows = rows_of({"tokens": WORDS}, tokens=[["play"], words])
        message = "task 't', split 'train', column 'tokens', row 1: expected a text, found None."
        assert refusal(rows, {}, {}, {"tokens": "tokens"}) == message


class TestWordLabels:
    """Labels of words on their first sub-tokens, and what is lost on the way."""

    def test_first_sub_tokens(self) -> None:
        prepared = prepare_requests(requests([["singers", "in", "newyork"]], [[1, 0, 3]]))
        assert prepared["input_ids"][0] == ids("sing", "##er", "##s", "in", "new", "##york")
        assert prepared["labels_slots"][0] == [-100, 1, -100, -100, 0, 3, -100, -100]

    def test_a_tokenizer_that_splits_nothing(self) -> None:
        prepared = prepare_requests(requests([["singers", "in"]], [[1, 0]]), processing_class=tiny_tokenizer())
        assert prepared["labels_slots"][0] == [-100, 1, 0, -100]

    @pytest.mark.parametrize(
        ("max_length", "pieces", "labels", "cut"),
        [
            (7, ["cher", "in", "new", "##york", "dido"], [1, 0, 3, -100, 2], 0),
            (6, ["cher", "in", "new", "##york"], [1, 0, 3, -100], 1),
            # half a word keeps its label, which is on its first half
            (5, ["cher", "in", "new"], [1, 0, 3], 1),
            (4, ["cher", "in"], [1, 0], 2),
            (3, ["cher"], [1], 3),
        ],
    )
    def test_cut_rows_keep_labels_in_place(
        self, max_length: int, pieces: list[str], labels: list[int], cut: int, recwarn: pytest.WarningsRecorder
    ) -> None:
        rows = requests([["cher", "in", "newyork", "dido"]], [[1, 0, 3, 2]])
        prepared = prepare_requests(rows, max_length=max_length)
        assert prepared["input_ids"][0] == ids(*pieces)
        assert prepared["labels_slots"][0] == [-100, *labels, -100]
        message = f"task 't', split 'train': {cut} words lie behind the maximum length, their labels are not used."
        assert [str(each.message) for each in recwarn] == ([message] if cut else [])

    def test_one_warning_counts_the_words_of_all_rows(self) -> None:
        rows = requests([["play"], ["a"] * 5, ["by"] * 4, ["in"] * 2], [[0], [0] * 5, [0] * 4, [0] * 2])
        with pytest.warns(UserWarning, match="words") as caught:
            prepared = prepare_requests(rows, max_length=4)
        message = "task 't', split 'train': 5 words lie behind the maximum length, their labels are not used."
        assert [str(each.message) for each in caught] == [message]
        assert list(prepared["length"]) == [3, 4, 4, 4]

    def test_no_warning_without_a_head_for_words(self) -> None:
        rows = rows_of({"tokens": WORDS, "label": ClassLabel(names=MOODS)}, tokens=[["a"] * 9], label=[1])
        prepared = prepare(rows, {"mood": MOOD}, {"mood": "label"}, {"tokens": "tokens"}, max_length=4)
        assert prepared["length"][0] == 4

    def test_words_without_a_sub_token(self) -> None:
        rows = requests([["cher", "", "newyork"], ["", "dido"], ["dido", ""]], [[1, 0, 3], [3, 2], [2, 4]])
        with pytest.warns(UserWarning, match="words") as caught:
            prepared = prepare_requests(rows)
        message = "task 't', split 'train': 3 words have no sub-token, their labels are not used."
        assert [str(each.message) for each in caught] == [message]
        assert list(prepared["labels_slots"]) == [[-100, 1, 3, -100, -100], [-100, 2, -100], [-100, 2, -100]]

    def test_both_kinds_of_lost_words(self) -> None:
        rows = requests([["cher", "", "in", "newyork", "dido"]], [[1, 0, 0, 3, 2]])
        with pytest.warns(UserWarning, match="words") as caught:
            prepared = prepare_requests(rows, max_length=4)
        assert [str(each.message).split(": ")[1].split(",")[0] for each in caught] == [
            "2 words lie behind the maximum length",
            "1 words have no sub-token",
        ]
        assert prepared["labels_slots"][0] == [-100, 1, 0, -100]

    @pytest.mark.parametrize("slots", [[0], [0, 0, 0], []])
    def test_one_label_for_each_word(self, slots: list[int]) -> None:
        rows = requests([["play"], ["play", "music"]], [[0], slots])
        message = refusal(rows, {"slots": SLOT}, {"slots": "slots"}, {"tokens": "tokens"})
        expected = f"expected 2 labels, one for each word, found {len(slots)}."
        assert message == f"task 't', split 'train', column 'slots', row 1: {expected}"

    def test_a_row_without_labels(self) -> None:
        rows = requests([["play", "newyork"], ["play", "cher"]], [None, [0, None]])
        assert list(prepare_requests(rows)["labels_slots"]) == [[-100] * 5, [-100, 0, -100, -100]]


class TestRefusedBeforeTheMap:
    """What would put labels of words in the wrong place, named before any row is read."""

    @pytest.fixture(autouse=True)
    def no_map(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make `Dataset.map` fail where the test is about a refusal."""
        if "refused" in request.function.__name__:

            def not_now(*_: Any, **__: Any) -> None:
                raise AssertionError("rows were read")

            monkeypatch.setattr(Dataset, "map", not_now)

    @pytest.fixture
    def cuts_the_front(self) -> Any:
        """The sub-word tokenizer, cutting on the left."""
        tokenizer = sub_word_tokenizer()
        tokenizer.truncation_side = "left"
        return tokenizer

    @pytest.mark.parametrize("inputs", [{"text": "text"}, {"text": "text", "text_pair": "pair"}])
    def test_words_of_a_text_are_refused(self, inputs: dict[str, str]) -> None:
        rows = rows_of(
            {"text": TEXT, "pair": TEXT, "slots": SLOT_LABELS, "label": ClassLabel(names=MOODS)},
            text=["play"],
            pair=["play"],
            slots=[[0]],
            label=[0],
        )
        message = refusal(rows, {"mood": MOOD, "slots": SLOT}, {"mood": "label", "slots": "slots"}, inputs)
        assert message == (
            "task 't', head 'slots' labels words, but the input is a text. "
            "Name a column with lists of words as 'tokens'."
        )

    @pytest.mark.parametrize("max_length", [None, 4, 64])
    def test_cutting_the_front_of_labelled_words_is_refused(self, cuts_the_front: Any, max_length: int | None) -> None:
        rows = rows_of(
            {"tokens": WORDS, "slots": SLOT_LABELS, "label": ClassLabel(names=MOODS)},
            tokens=[["cher", "by", "newyork", "dido"]],
            slots=[[1, 0, 3, 2]],
            label=[0],
        )
        heads, labels = {"mood": MOOD, "slots": SLOT}, {"mood": "label", "slots": "slots"}
        message = refusal(
            rows, heads, labels, {"tokens": "tokens"}, processing_class=cuts_the_front, max_length=max_length
        )
        assert message == (
            "task 't', head 'slots' labels words, expected a tokenizer whose truncation_side is 'right', found 'left'."
        )

    def test_a_slow_tokenizer_is_refused(self) -> None:
        message = refusal(moods(["x"]), {}, {}, {"text": "text"}, processing_class=ByT5Tokenizer())
        assert message == "expected a fast tokenizer, found ByT5Tokenizer."

    def test_what_prepares_nothing_is_refused(self) -> None:
        message = refusal(moods(["x"]), {}, {}, {"text": "text"}, processing_class=SimpleNamespace(is_fast=True))
        assert message.startswith("processing_class: expected the backbone's tokenizer, ")
        assert message.endswith("found SimpleNamespace.")

    def test_the_front_of_words_may_be_cut_for_a_label_of_the_row(self, cuts_the_front: Any) -> None:
        rows = rows_of(
            {"tokens": WORDS, "label": ClassLabel(names=MOODS)}, tokens=[["cher", "by", "newyork", "dido"]], label=[1]
        )
        # the head of another task labels words
        prepared = prepare(
            rows,
            {"mood": MOOD, "slots": SLOT},
            {"mood": "label"},
            {"tokens": "tokens"},
            processing_class=cuts_the_front,
            max_length=5,
        )
        assert prepared[0]["input_ids"] == ids("new", "##york", "dido")
        assert prepared[0]["labels_mood"] == 1

    def test_the_front_of_a_text_may_be_cut(self, cuts_the_front: Any) -> None:
        prepared = prepare_moods(moods(["play newyork dido"], [1]), processing_class=cuts_the_front, max_length=4)
        assert prepared[0]["input_ids"] == ids("##york", "dido")
        assert prepared[0]["labels_mood"] == 1


class TestLabels:
    """Labels of rows, as each type of head encodes them."""

    @pytest.mark.parametrize(
        ("feature", "labels", "expected"),
        [
            (ClassLabel(names=MOODS), [0, 1, None, -1], [0, 1, -100, -100]),
            (ClassLabel(names=MOODS[::-1]), [0, 1], [1, 0]),
            (TEXT, ["positive", "negative", None], [1, 0, -100]),
            (Value("int64"), [1, 0, -1, -100, None], [1, 0, -100, -100, -100]),
            (Value("bool"), [True, False, None], [1, 0, -100]),
        ],
    )
    def test_single_label(self, feature: Any, labels: list[Any], expected: list[int]) -> None:
        assert prepare_labels(feature, labels, MOOD) == expected

    @pytest.mark.parametrize(
        ("feature", "labels"),
        [
            (List(ClassLabel(names=["b", "c", "a"])), [[1], [2, 0], [], None]),
            (List(TEXT), [["c"], ["a", "b"], [], None]),
            (List(Value("int64")), [[2], [0, 1], [], None]),
        ],
    )
    def test_several_labels(self, feature: Any, labels: list[Any]) -> None:
        head = {**MOOD, "id2label": ["a", "b", "c"], "problem_type": "multi_label_classification"}
        encoded = prepare_labels(feature, labels, head)
        assert encoded[:3] == [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
        assert all(map(math.isnan, encoded[3]))

    def test_a_number(self) -> None:
        encoded = prepare_labels(Value("float64"), [2.5, None, -1.0], {"head_type": "regression"})
        assert (encoded[0], encoded[2]) == ([2.5], [-1.0])
        assert math.isnan(encoded[1][0])
        assert prepare_labels(Value("int32"), [3], {"head_type": "regression"}) == [[3.0]]

    def test_several_numbers(self) -> None:
        head = {"head_type": "regression", "num_targets": 2}
        encoded = prepare_labels(List(Value("float32")), [[1.0, 2.5], None, [None, 4.0]], head)
        assert encoded[0] == [1.0, 2.5]
        assert all(map(math.isnan, encoded[1]))
        assert math.isnan(encoded[2][0])
        assert encoded[2][1] == 4.0

    @pytest.mark.parametrize(
        ("feature", "labels", "head", "message"),
        [
            (
                TEXT,
                ["positive", "mixed"],
                MOOD,
                "row 1: label 'mixed' is not among the head's 2 labels (negative, posi",
            ),
            (ClassLabel(names=["negative", "mixed"]), [0, 1], MOOD, "row 1: label 'mixed' is not among the head's 2"),
            (Value("int64"), [1, 0, 2], MOOD, "row 2: label 2 is out of range, expected 0 to 1"),
            (Value("int64"), [-3], MOOD, "row 0: label -3 is out of range, expected 0 to 1"),
            (Value("float32"), [0.5], MOOD, ": expected class labels (ClassLabel, text or integers), found "),
            (Value("float64"), [1.0, float("inf")], {"head_type": "regression"}, "row 1: expected 1 finite number(s)"),
            (TEXT, ["x"], {"head_type": "regression"}, ": expected a number a row, found Value('string')"),
        ],
    )
    def test_labels_that_are_none(self, feature: Any, labels: list, head: dict, message: str) -> None:
        with pytest.raises(InputError) as caught:
            prepare_labels(feature, labels, head)
        assert str(caught.value).startswith("task 't', column 'y'")
        assert message in str(caught.value)

    def test_rows_are_counted_through_all_batches(self) -> None:
        with pytest.raises(InputError, match="task 't', column 'y', row 1500: label 'mixed' is not among"):
            prepare_labels(TEXT, [*["positive"] * 1500, "mixed"], MOOD)

    def test_one_column_may_feed_two_heads(self) -> None:
        rows = moods(["play", "music"], [0, 1])
        heads = {"mood": MOOD, "turned": {**MOOD, "id2label": MOODS[::-1]}}
        prepared = prepare(rows, heads, {"mood": "label", "turned": "label"}, {"text": "text"})
        assert list(prepared["labels_mood"]) == [0, 1]
        assert list(prepared["labels_turned"]) == [1, 0]


class TestProcessesAndCache:
    """The same rows however they were made, and not made twice."""

    @pytest.fixture
    def stored(self, tmp_path: Path) -> Dataset:
        """Rows on disk, which `datasets` caches; the second has more tokens than the first."""
        moods(["play", "the newyork film is great"], [0, 1]).save_to_disk(tmp_path / "rows")
        return load_from_disk(tmp_path / "rows")

    # Python 3.12 warns of fork in a process with threads, which `datasets` does (multiprocess 0.70); can be removed
    # once it spawns instead.
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_two_processes_make_the_same_rows(self, tmp_path: Path) -> None:
        count = 1203
        words = [[VOCABULARY[5 + index % 20], "newyork", ""][: 1 + index % 3] for index in range(count)]
        slots = [[index % 5 for index in range(len(each))] for each in words]
        prepared = {}
        for num_proc in (1, 2):
            # each from a folder of its own, for one would read the other's cache
            requests(words, slots).save_to_disk(tmp_path / str(num_proc))
            with pytest.warns(UserWarning, match="401 words have no sub-token"):
                prepared[num_proc] = prepare_requests(load_from_disk(tmp_path / str(num_proc)), num_proc=num_proc)
        assert {num_proc: len(rows.cache_files) for num_proc, rows in prepared.items()} == {1: 1, 2: 2}
        assert prepared[1].to_list() == prepared[2].to_list()
        assert len(prepared[2]) == count

    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_two_processes_name_the_row(self) -> None:
        rows = moods(["play"] * 1200 + [None])
        message = "task 't', split 'train', column 'text', row 1200: expected a text, found None."
        assert refusal(rows, {"mood": MOOD}, {"mood": "label"}, {"text": "text"}, num_proc=2) == message

    def test_few_rows_need_no_processes(self, stored: Dataset) -> None:
        assert len(prepare_moods(stored, num_proc=2).cache_files) == 1

    @pytest.mark.parametrize("max_length", [None, 5])
    @pytest.mark.parametrize("fresh_tokenizer", [True, False])
    def test_the_second_call_reads_the_cache(
        self, stored: Dataset, max_length: int | None, fresh_tokenizer: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tokenizer = sub_word_tokenizer()
        first = prepare_moods(stored, max_length=max_length, processing_class=tokenizer)

        def not_again(*_: Any) -> None:
            raise AssertionError("encoded again")

        monkeypatch.setattr(SequenceClassificationHeadConfig, "encode_labels", not_again)
        again = load_from_disk(str(Path(stored.cache_files[0]["filename"]).parent))
        tokenizer = sub_word_tokenizer() if fresh_tokenizer else tokenizer
        second = prepare_moods(again, max_length=max_length, processing_class=tokenizer)
        assert first.cache_files == second.cache_files != []
        assert second.to_list() == first.to_list()

    def test_padding_by_the_tokenizer_does_not_matter(self, stored: Dataset) -> None:
        tokenizer = sub_word_tokenizer()
        first = prepare_moods(stored, processing_class=tokenizer)
        tokenizer(["play", "play music"], padding=True, truncation=True, max_length=7)
        assert prepare_moods(stored, processing_class=tokenizer).cache_files == first.cache_files

    @pytest.mark.parametrize(
        "options",
        [
            {"max_length": 5},
            {"head": {**MOOD, "id2label": MOODS[::-1]}},
            {"processing_class": tiny_tokenizer()},
        ],
    )
    def test_what_makes_other_rows_has_another_cache(self, stored: Dataset, options: dict[str, Any]) -> None:
        first, second = prepare_moods(stored), prepare_moods(stored, **options)
        assert not {each["filename"] for each in first.cache_files} & {each["filename"] for each in second.cache_files}
        assert first.to_list() != second.to_list()

    def test_the_side_that_is_cut_has_another_cache(self, stored: Dataset) -> None:
        turned = sub_word_tokenizer()
        turned.truncation_side = "left"
        assert prepare_moods(stored, max_length=4)[1]["input_ids"] == ids("the", "new")
        assert prepare_moods(stored, max_length=4, processing_class=turned)[1]["input_ids"] == ids("is", "great")

    def test_other_inputs_of_the_model_have_another_cache(self, stored: Dataset) -> None:
        other = sub_word_tokenizer()
        other.model_input_names = ["input_ids", "attention_mask"]
        assert "token_type_ids" in prepare_moods(stored).column_names
        assert "token_type_ids" not in prepare_moods(stored, processing_class=other).column_names

    def test_other_columns_have_another_cache(self, tmp_path: Path) -> None:
        rows = rows_of({"a": TEXT, "b": TEXT, "y": TEXT, "z": TEXT}, a=["play"], b=["music"], y=MOODS[:1], z=MOODS[1:])
        rows.save_to_disk(tmp_path / "rows")
        stored = load_from_disk(tmp_path / "rows")
        found = {
            (text, label): prepare(stored, {"h": MOOD}, {"h": label}, {"text": text})[0]
            for text in "ab"
            for label in "yz"
        }
        for (text, label), row in found.items():
            assert row["input_ids"] == ids({"a": "play", "b": "music"}[text])
            assert row["labels_h"] == {"y": 0, "z": 1}[label]


def configs_of(heads: Mapping[str, Any]) -> dict[str, HeadConfig]:
    """The heads' configs."""
    return {name: get_head_config(name, values) for name, values in heads.items()}


def complete(tasks: dict[str, Task], heads: Mapping[str, Any], **options: Any) -> dict[str, HeadConfig]:
    """The heads' configs, completed from the tasks."""
    configs = configs_of(heads)
    splits = {name: load_splits(name, task) for name, task in tasks.items()}
    complete_heads(configs, label_sources(tasks, splits), **options)
    return configs


def mood_task(feature: Any, labels: list[Any], head: str = "mood", **other_splits: Any) -> Task:
    """A task over `text` and `label`, which feeds one head."""
    rows = rows_of({"text": TEXT, "label": feature}, text=["play"] * len(labels), label=labels)
    return Task(dataset={"train": rows, **other_splits}, inputs={"text": "text"}, labels={head: "label"})


class TestCompleteHeads:
    """What heads learn from the label columns."""

    def test_names_come_from_class_labels(self, two_tasks: dict[str, Task]) -> None:
        configs = complete(two_tasks, TASK_HEADS)
        names = {name: config.names for name, config in configs.items()}
        assert names == {"intent": INTENTS, "slots": SLOTS, "mood": MOODS}

    def test_names_come_from_the_texts_of_the_training_split(self) -> None:
        other = rows_of({"text": TEXT, "label": TEXT}, text=["x"], label=["zebra"])
        task = mood_task(TEXT, ["good", "bad", None, "good"], test=other)
        assert complete({"t": task}, {"mood": {"head_type": "sequence_classification"}})["mood"].names == [
            "bad",
            "good",
        ]

    def test_given_names_stay(self) -> None:
        task = mood_task(ClassLabel(names=MOODS), [0])
        assert complete({"t": task}, {"mood": {**MOOD, "id2label": MOODS[::-1]}})["mood"].names == MOODS[::-1]

    def test_numbers_give_a_regression_head_its_scale(self) -> None:
        heads = complete({"t": mood_task(Value("float32"), [1.0, 3.0, None])}, {"mood": {"head_type": "regression"}})
        assert (heads["mood"].mean, heads["mood"].std) == ([2.0], [1.0])

    def test_an_unknown_head(self) -> None:
        with pytest.raises(InputError) as caught:
            complete({"t": mood_task(TEXT, ["a"], head="moood")}, {"mood": MOOD})
        assert str(caught.value) == (
            "task 't', column 'label': unknown head 'moood', did you mean 'mood'? Known: mood."
        )

    def test_a_head_that_nothing_feeds(self) -> None:
        heads = {"mood": MOOD, "topic": MOOD}
        with pytest.raises(InputError) as caught:
            complete({"t": mood_task(TEXT, ["positive"])}, heads)
        assert str(caught.value) == "head 'topic': no task has labels for it. Heads with labels: mood."
        assert set(complete({"t": mood_task(TEXT, ["positive"])}, heads, all_fed=False)) == {"mood", "topic"}

    @pytest.mark.parametrize(
        ("feature", "labels", "head", "message"),
        [
            (
                Value("int64"),
                [0],
                {"head_type": "sequence_classification"},
                "task 't', column 'label' has no label names",
            ),
            (Value("float32"), [0.5], MOOD, "task 't', column 'label': expected class labels"),
            (
                ClassLabel(names=MOODS),
                [0],
                SLOT,
                "task 't', column 'label': expected a list with a label for each word",
            ),
            (TEXT, ["x"], {"head_type": "regression"}, "task 't', column 'label': expected a number a row"),
            (
                ClassLabel(names=MOODS),
                [0],
                {"head_type": "sequence_classification", "num_labels": 3},
                "num_labels is 3, but id2label has 2 names",
            ),
        ],
    )
    def test_a_column_that_cannot_train_the_head(
        self, feature: Any, labels: list[Any], head: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError) as caught:
            complete({"t": mood_task(feature, labels)}, {"mood": head})
        assert str(caught.value).startswith("head 'mood': ")
        assert message in str(caught.value)

    @pytest.mark.parametrize("second_names", [["positive", "negative"], ["mixed", "positive", "negative"]])
    def test_two_tasks_agree_on_names_not_on_ids(self, second_names: list[str]) -> None:
        tasks = {
            "one": mood_task(ClassLabel(names=MOODS), [0, 1, 1]),
            "two": mood_task(ClassLabel(names=second_names), list(range(len(second_names)))),
        }
        configs = complete(tasks, {"mood": {"head_type": "sequence_classification"}})
        assert configs["mood"].names == [*MOODS, "mixed"][: len(second_names)]
        for name, expected in (("one", ["negative", "positive", "positive"]), ("two", second_names)):
            rows = load_splits(name, tasks[name])["train"]
            prepared = prepare_split(name, tasks[name], "train", rows, configs, tiny_tokenizer())
            assert [configs["mood"].names[label] for label in prepared["labels_mood"]] == expected

    def test_a_split_with_names_in_another_order(self) -> None:
        other = rows_of({"text": TEXT, "label": ClassLabel(names=MOODS[::-1])}, text=["x", "y"], label=[0, 1])
        task = mood_task(ClassLabel(names=MOODS), [0, 1], test=other)
        configs = complete({"t": task}, {"mood": {"head_type": "sequence_classification"}})
        encoded = {
            name: list(prepare_split("t", task, name, rows, configs, tiny_tokenizer())["labels_mood"])
            for name, rows in load_splits("t", task).items()
        }
        assert encoded == {"train": [0, 1], "test": [1, 0]}


@pytest.mark.parametrize(
    ("of_tokenizer", "positions", "asked", "expected"),
    [
        (64, 512, None, 64),
        (512, 64, None, 64),
        (64, None, None, 64),
        (int(1e30), 128, None, 128),
        (int(1e30), None, None, None),
        (64, 512, 64, 64),
        (64, 512, 3, 3),
        (int(1e30), None, 5000, 5000),
    ],
)
def test_find_max_length(of_tokenizer: int, positions: int | None, asked: int | None, expected: int | None) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = of_tokenizer
    assert find_max_length(tokenizer, positions, asked) == expected


@pytest.mark.parametrize(
    ("of_tokenizer", "positions", "asked", "message"),
    [
        (64, 512, 65, "max_length: expected 3 to 64 tokens, found 65."),
        (512, 64, 65, "max_length: expected 3 to 64 tokens, found 65."),
        (64, None, 2, "max_length: expected 3 to 64 tokens, found 2."),
        (int(1e30), None, 0, "max_length: expected 3 to any number of tokens, found 0."),
        (int(1e30), None, -1, "max_length: expected 3 to any number of tokens, found -1."),
    ],
)
def test_lengths_that_are_refused(of_tokenizer: int, positions: int | None, asked: int, message: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = of_tokenizer
    with pytest.raises(InputError) as caught:
        find_max_length(tokenizer, positions, asked)
    assert str(caught.value) == message


def test_two_tasks_from_rows_to_columns(two_tasks: dict[str, Task]) -> None:
    configs = complete(two_tasks, TASK_HEADS)
    sizes = [("train", 16), ("validation", 8), ("test", 8)]
    columns = {}
    for name, task in two_tasks.items():
        for split_name, rows in load_splits(name, task).items():
            prepared = prepare_split(name, task, split_name, rows, configs, tiny_tokenizer())
            columns[name, split_name] = (len(prepared), set(prepared.column_names))
    common = {"input_ids", "token_type_ids", "length"}
    assert columns == {
        **{("requests", name): (count, common | {"labels_intent", "labels_slots"}) for name, count in sizes},
        **{("moods", name): (count // 2, common | {"labels_mood"}) for name, count in sizes},
    }
