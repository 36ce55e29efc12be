"""The lines of Python by which a model is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...data import Task

__all__ = ["usage_example"]

_EXAMPLES = {
    "text": '"A text to read."',
    "text_pair": '"Another text."',
    "question": '"What is it?"',
    "context": '"It is a text that holds the answer."',
    "choices": '["One answer.", "Another answer."]',
    "sentences": '["One sentence.", "Another sentence."]',
    "chosen": '"A good answer."',
    "rejected": '"A bad answer."',
    "images": "np.zeros((224, 224, 3), dtype=np.uint8)",
    "audio": "np.zeros(16000, dtype=np.float32)",
}
"""A value for each input. None is from the training data, which may be private."""


def usage_example(repo_id: str, tasks: Mapping[str, Task]) -> str:
    """
    Write a program that loads the model and answers a row for each kind of input that its tasks have.

    Args:
        repo_id (`str`): Name on the hub, or a folder.
        tasks (`Mapping[str, Task]`): The tasks.

    Returns:
        `str`: The program.

    Example:
        >>> task = Task(dataset={}, inputs={"tokens": "words"}, labels={"slots": "slots"})
        >>> print(usage_example("owner/name", {"snips": task}))
        from mt_transformers import MultiTaskPredictor
        from mt_transformers.inference import load_model
        <BLANKLINE>
        predictor = MultiTaskPredictor(*load_model("owner/name"))
        print(predictor(["A text to read."]))
    """
    # words in a list are a text, too
    kinds = [tuple("text" if name == "tokens" else name for name in task.inputs) for task in tasks.values()]
    rows = [_row(kind) for kind in dict.fromkeys(kinds)]
    imports = ["from mt_transformers import MultiTaskPredictor", "from mt_transformers.inference import load_model"]
    if any("np." in row for row in rows):
        imports.insert(0, "import numpy as np\n")
    name = '"' + repo_id.replace("\\", "\\\\").replace('"', '\\"') + '"'
    load = f"predictor = MultiTaskPredictor(*load_model({name}))"
    return "\n".join([*imports, "", load, *_call(rows)])


def _row(inputs: Iterable[str]) -> str:
    names = list(inputs)
    if names == ["text"]:
        return _EXAMPLES["text"]
    return "{" + ", ".join(f'"{name}": {_EXAMPLES[name]}' for name in names) + "}"


def _call(rows: list[str]) -> list[str]:
    if len(rows) == 1:
        return [f"print(predictor([{rows[0]}]))"]
    return ["rows = [", *(f"    {row}," for row in rows), "]", "for answer in predictor(rows):", "    print(answer)"]
