"""Tasks: where rows come from, and every input that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, LargeList, List, Value

from mt_transformers import Task
from mt_transformers.data import SPLITS, label_sources, load_splits
from mt_transformers.data.task import read_input
from mt_transformers.errors import InputError

MOODS = ClassLabel(names=["negative", "positive"])


def make(texts: list[Any] | None = None, **columns: Any) -> Dataset:
    """Rows with `text`, `label` (ClassLabel) and what else is given."""
    texts = ["a film", "a book", "a song"] if texts is None else texts
    rows = Dataset.from_dict({"text": texts, "label": [index % 2 for index in range(len(texts))], **columns})
    return rows.cast_column("text", Value("string")).cast_column("label", MOODS)


def task_over(dataset: Any, **changes: Any) -> Task:
    """A task that reads `text` and feeds the head `mood` from `label`, unless changed."""
    return Task(**{"dataset": dataset, "inputs": {"text": "text"}, "labels": {"mood": "label"}, **changes})


def refusal(task: Task, task_name: str = "moods") -> str:
    """The message with which a task is refused."""
    with pytest.raises(InputError) as caught:
        load_splits(task_name, task)
    return str(caught.value)


@pytest.mark.parametrize(
    "inputs",
    [
        {"text": "x"},
        {"text": "x", "text_pair": "y"},
        {"tokens": "x"},
        {"question": "x", "context": "y"},
        {"choices": "x"},
        {"text": "x", "choices": ["y", "z"]},
        {"sentences": ["y", "z"]},
        {"text": "x", "chosen": "y", "rejected": "z"},
        {"images": "x"},
        {"images": "x", "text": "y"},
        {"audio": "x"},
    ],
)
def test_inputs_that_are_taken(inputs: dict[str, Any]) -> None:
    task = Task(dataset={}, inputs=inputs)
    assert (task.inputs, task.labels) == (inputs, {})


@pytest.mark.parametrize(
    "inputs", [{}, {"txt": "x"}, {"text_pair": "x"}, {"text": "x", "tokens": "y"}, {"tokens": "x", "text_pair": "y"}]
)
def test_inputs_that_are_refused(inputs: dict[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        Task(dataset={}, inputs=inputs)
    assert str(caught.value) == (
        "inputs: expected one of [text; text, text_pair; tokens; context, question; choices; choices, text; "
        "sentences; chosen, rejected; chosen, rejected, text], images or audio, or one of these with images; "
        f"found {', '.join(sorted(inputs)) or 'none'}."
    )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text": ["x", "y"]}, "inputs, 'text': expected a column, found ['x', 'y']."),
        ({"text": None}, "inputs, 'text': expected a column, found None."),
        ({"images": ["x"]}, "inputs, 'images': expected a column, found ['x']."),
        ({"choices": 3}, "inputs, 'choices': expected a column, or a list of columns, found 3."),
        ({"sentences": []}, "inputs, 'sentences': expected a column, or a list of columns, found []."),
    ],
)
def test_columns_of_inputs_that_are_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Task(dataset={}, inputs=inputs)
    assert str(caught.value) == message


@pytest.mark.parametrize("label", [3, ["label"], {"start": 3}, {"start": None}])
def test_columns_of_labels_that_are_refused(label: Any) -> None:
    with pytest.raises(InputError) as caught:
        task_over({}, labels={"mood": label})
    assert str(caught.value) == (
        f"labels, 'mood': expected a column, a column for each part, or none, found {label!r}."
    )


def test_columns_that_are_read() -> None:
    task = Task(
        dataset={},
        inputs={"text": "t", "choices": ["c", "d"]},
        labels={"mood": "m", "span": {"start": "s", "end": "e"}, "raw": None},
    )
    assert task.input_columns == ["t", "c", "d"]
    assert task.label_columns == ["m", "s", "e"]


@pytest.mark.parametrize(
    ("inputs", "several"),
    [
        ({"text": "x", "text_pair": "y"}, False),
        ({"tokens": "x"}, False),
        ({"images": "x"}, False),
        ({"question": "x", "context": "y"}, True),
        ({"choices": "x"}, True),
        ({"sentences": "x"}, True),
        ({"chosen": "x", "rejected": "y"}, True),
    ],
)
def test_whether_a_row_may_be_several_sequences(inputs: dict[str, str], several: bool) -> None:
    assert Task(dataset={}, inputs=inputs).reads_several is several


def test_splits_of_other_names_are_left_alone() -> None:
    rows = make()
    found = load_splits("moods", task_over(DatasetDict({"test": rows, "unsupervised": make([]), "train": rows})))
    assert list(found) == ["train", "test"]
    assert found["train"] is rows
    assert SPLITS == ("train", "validation", "test")


def test_a_plain_dict_of_splits_will_do() -> None:
    assert list(load_splits("moods", task_over({"validation": make()}))) == ["validation"]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            {"training": "x", "dev": "y"},
            "task 'moods': expected splits among train, validation, test, found ['dev', 'training'].",
        ),
        ({}, "task 'moods': expected splits among train, validation, test, found []."),
        ([1, 2], "task 'moods': expected splits by name, found list."),
        (None, "task 'moods': expected splits by name, found NoneType."),
        (
            {"train": [{"text": "x"}]},
            "task 'moods', split 'train': expected a datasets.Dataset, found list.",
        ),
    ],
)
def test_what_is_no_dataset(dataset: Any, message: str) -> None:
    assert refusal(task_over(dataset)).startswith(message)


def test_one_split_without_its_name() -> None:
    assert refusal(task_over(make())) == "task 'moods': expected splits by name, found Dataset."


def test_an_empty_split() -> None:
    assert refusal(task_over({"train": make(), "test": make([])})) == "task 'moods', split 'test': the split is empty."


def test_streams() -> None:
    stream = IterableDataset.from_generator(lambda: iter([{"text": "x", "label": 0}]))
    assert refusal(task_over({"train": stream})) == (
        "task 'moods', split 'train': expected a stream whose features are known (cast it to its features), "
        "found an IterableDataset."
    )
    known = stream.cast(make().features)
    assert load_splits("moods", task_over({"train": known})) == {"train": known}
    assert refusal(task_over({"train": known, "test": known})) == (
        "task 'moods', split 'test': expected no stream, found an IterableDataset."
    )


@pytest.mark.parametrize("task_name", ["", "two words", "../up", "1st"])
def test_names_of_tasks(task_name: str) -> None:
    assert "task" in refusal(task_over({"train": make()}), task_name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inputs": {"text": "txt"}},
            "task 'moods', split 'train', inputs: unknown column 'txt', did you mean 'text'? Known: label, text.",
        ),
        (
            {"inputs": {"text": "text", "text_pair": "hypothesis"}},
            "task 'moods', split 'train', inputs: unknown column 'hypothesis'. Known: label, text.",
        ),
        (
            {"labels": {"mood": "lable"}},
            "task 'moods', split 'train', labels: unknown column 'lable', did you mean 'label'? Known: label, text.",
        ),
    ],
)
def test_a_missing_column_says_which_there_are(changes: dict[str, Any], message: str) -> None:
    assert refusal(task_over({"train": make()}, **changes)) == message


def test_every_split_must_have_the_columns() -> None:
    bare = make().remove_columns("label")
    message = refusal(task_over({"train": make(), "test": bare}))
    assert message == "task 'moods', split 'test', labels: unknown column 'label'. Known: text."


@pytest.mark.parametrize(
    ("part", "values", "feature", "expected"),
    [
        ("text", [1, 2], Value("int64"), "texts"),
        ("text", [["a"], ["b"]], List(Value("string")), "texts"),
        ("text", [0, 1], MOODS, "texts"),
        ("text", [None, None], Value("null"), "texts"),
        ("tokens", ["a b", "c"], Value("string"), "lists of words"),
        ("tokens", [[1], [2]], List(Value("int64")), "lists of words"),
        ("tokens", [[["a"]], [["b"]]], List(List(Value("string"))), "lists of words"),
        ("choices", ["a b", "c"], Value("string"), "lists of texts"),
        ("sentences", [[1], [2]], List(Value("int64")), "lists of texts"),
    ],
)
def test_columns_of_the_wrong_type(part: str, values: list[Any], feature: Any, expected: str) -> None:
    rows = Dataset.from_dict({"x": values}, features=Features({"x": feature}))
    message = refusal(task_over({"train": rows}, inputs={part: "x"}, labels={}))
    assert message == (
        f"task 'moods', split 'train', column 'x': expected {expected} for the input {part!r}, found {feature}."
    )


@pytest.mark.parametrize(
    ("part", "values", "feature"),
    [
        ("text", ["a", "b"], Value("large_string")),
        ("tokens", [["a"], ["b"]], List(Value("string"))),
        ("tokens", [["a"], ["b"]], LargeList(Value("large_string"))),
        ("tokens", [["a"], ["b"]], [Value("string")]),
        ("choices", [["a", "b"], ["c"]], List(Value("string"))),
        ("sentences", [["a"], ["b"]], LargeList(Value("large_string"))),
    ],
)
def test_every_form_of_texts_and_words(part: str, values: list[Any], feature: Any) -> None:
    rows = Dataset.from_dict({"x": values}, features=Features({"x": feature}))
    assert list(load_splits("moods", task_over({"train": rows}, inputs={part: "x"}, labels={}))) == ["train"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with train.parquet and test.parquet."""
    make().to_parquet(str(tmp_path / "train.parquet"))
    make(["a play"]).to_parquet(str(tmp_path / "test.parquet"))
    return tmp_path


def test_parquet_files_keep_their_class_labels(folder: Path) -> None:
    files = {name: str(folder / f"{name}.parquet") for name in ("train", "test")}
    splits = load_splits("moods", task_over({"path": "parquet", "data_files": files}))
    assert {name: len(split) for name, split in splits.items()} == {"train": 3, "test": 1}
    assert splits["train"].features == Features({"text": Value("string"), "label": MOODS})
    assert splits["train"][1] == {"text": "a book", "label": 1}


@pytest.mark.parametrize("as_list", [False, True])
def test_one_file_is_the_training_split(folder: Path, as_list: bool) -> None:
    file = str(folder / "train.parquet")
    splits = load_splits("moods", task_over({"path": "parquet", "data_files": [file] if as_list else file}))
    assert {name: len(split) for name, split in splits.items()} == {"train": 3}


def test_files_may_be_named_by_a_pattern(folder: Path) -> None:
    splits = load_splits("moods", task_over({"path": "parquet", "data_files": {"train": str(folder / "t*.parquet")}}))
    assert len(splits["train"]) == 4


@pytest.mark.parametrize("arguments", [{"path": "FOLDER"}, {"path": "parquet", "data_dir": "FOLDER"}])
def test_files_are_looked_for_where_load_dataset_looks(folder: Path, arguments: dict[str, str]) -> None:
    arguments = {name: value.replace("FOLDER", str(folder)) for name, value in arguments.items()}
    splits = load_splits("moods", task_over({**arguments, "data_files": {"train": "train.parquet"}}))
    assert len(splits["train"]) == 3


@pytest.mark.parametrize(
    "data_files", [{"train": "HERE/train.parquet", "test": "HERE/no.parquet"}, {"test": ["HERE/no.parquet"]}]
)
def test_a_file_that_does_not_exist(folder: Path, data_files: dict[str, Any]) -> None:
    text = {
        name: [each.replace("HERE", str(folder)) for each in files]
        if isinstance(files, list)
        else files.replace("HERE", str(folder))
        for name, files in data_files.items()
    }
    message = refusal(task_over({"path": "parquet", "data_files": text}))
    assert message == f"task 'moods': the file {folder}/no.parquet of split 'test' does not exist."


def test_what_load_dataset_refuses(folder: Path) -> None:
    missing = str(folder / "nowhere")
    message = refusal(task_over({"path": missing}))
    assert message.startswith(f"task 'moods': the dataset {missing!r} cannot be loaded: ")
    file = str(folder / "train.parquet")
    message = refusal(task_over({"path": "parquet", "data_files": file, "no_such_option": 1}))
    assert "'parquet' cannot be loaded" in message
    assert "no_such_option" in message


def test_a_file_that_is_not_what_it_says(folder: Path) -> None:
    (folder / "broken.parquet").write_text("this is no parquet")
    message = refusal(task_over({"path": "parquet", "data_files": str(folder / "broken.parquet")}))
    assert message.startswith("task 'moods': the dataset 'parquet' cannot be loaded: ")


def test_load_dataset_with_split_or_streaming(folder: Path) -> None:
    arguments = {"path": "parquet", "data_files": str(folder / "train.parquet")}
    assert refusal(task_over({**arguments, "split": "train"})).endswith("expected splits by name, found Dataset.")
    assert isinstance(load_splits("moods", task_over({**arguments, "streaming": True}))["train"], IterableDataset)


def test_arguments_are_not_changed(folder: Path) -> None:
    arguments = {"path": "parquet", "data_files": {"train": str(folder / "train.parquet")}}
    kept = {"path": "parquet", "data_files": dict(arguments["data_files"])}
    load_splits("moods", task_over(arguments))
    assert arguments == kept


def test_label_sources() -> None:
    first = make(stars=[1.0, 2.0, 3.0])
    tasks = {
        "films": task_over(
            {"train": first, "test": make(["x"], stars=[9.0])}, labels={"mood": "label", "stars": "stars"}
        ),
        "books": task_over({"validation": make(["y", "z"])}),
    }
    splits = {name: load_splits(name, task) for name, task in tasks.items()}
    sources = label_sources(tasks, splits)
    assert list(sources) == ["mood", "stars"]
    assert [(each.task_name, each.column, each.feature) for each in sources["mood"]] == [
        ("films", "label", MOODS),
        ("books", "label", MOODS),
    ]
    assert [each.where for each in sources["stars"]] == ["task 'films', column 'stars'"]
    # the values of the training split; without one, of the next that there is
    assert [each.read() for each in sources["mood"]] == [[0, 1, 0], [0, 1]]
    assert [each.read() for each in sources["stars"]] == [[1.0, 2.0, 3.0]]


def test_choices_in_columns_of_their_own() -> None:
    rows = Dataset.from_dict({"x": ["a", "b"], "y": ["c", "d"], "z": [["e"], ["f"]]})
    columns = task_over({"train": rows}, inputs={"choices": ["y", "x"]}, labels={})
    assert list(load_splits("moods", columns)) == ["train"]
    assert read_input(columns, "choices", rows[:]) == [["c", "a"], ["d", "b"]]
    listed = task_over({"train": rows}, inputs={"choices": "z"}, labels={})
    assert read_input(listed, "choices", rows[:]) == [["e"], ["f"]]
    wrong = task_over({"train": rows}, inputs={"choices": ["x", "z"]}, labels={})
    assert refusal(wrong).startswith("task 'moods', split 'train', column 'z': expected texts for the input 'choices'")
    missing = task_over({"train": rows}, inputs={"choices": ["x", "w"]}, labels={})
    assert "unknown column 'w'" in refusal(missing)


def test_sources_of_labels_in_several_columns_and_of_none() -> None:
    rows = make(start=[1, 2, 3], end=[4, 5, 6])
    labels = {"span": {"first": "start", "last": "end"}, "raw": None}
    tasks = {"films": task_over({"train": rows}, labels=labels)}
    (span,), (raw,) = label_sources(tasks, {"films": load_splits("films", tasks["films"])}).values()
    assert (span.column, span.where) == ("start, end", "task 'films', column 'start, end'")
    assert span.feature == {"first": Value("int64"), "last": Value("int64")}
    assert span.read() == [{"first": 1, "last": 4}, {"first": 2, "last": 5}, {"first": 3, "last": 6}]
    # a head that makes its labels from the input has one for each row
    assert (raw.column, raw.feature, raw.read()) == ("text", None, [True] * 3)
    assert span.read_input("text") == raw.read_input("text") == ["a film", "a book", "a song"]


def test_a_stream_is_not_read_beforehand() -> None:
    stream = make().to_iterable_dataset()
    tasks = {"films": task_over({"train": stream})}
    (source,) = label_sources(tasks, {"films": load_splits("films", tasks["films"])})["mood"]
    assert source.feature == MOODS
    with pytest.raises(InputError, match="column 'label' is streamed and cannot be read beforehand: give the head"):
        source.read()


def test_a_task_without_labels_has_no_sources() -> None:
    tasks = {"films": task_over({"train": make()}, labels={})}
    assert label_sources(tasks, {"films": load_splits("films", tasks["films"])}) == {}
