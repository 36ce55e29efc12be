"""Whether a backbone reads what the tasks give, and which tasks may share a batch."""

from __future__ import annotations

from typing import Any

import pytest

from mt_transformers import Task
from mt_transformers.data import Mixture, check_media
from mt_transformers.errors import InputError
from mt_transformers.heads import BackboneInfo


def backbone(model_type: str, *outputs: str) -> BackboneInfo:
    sizes = {name: 8 for output in outputs for name in (output, f"{output}_pooled")}
    return BackboneInfo(model_type, sizes, {}, dict.fromkeys(outputs, "mean"), False, None, None)


BERT = backbone("bert", "encoded_text")
VIT = backbone("vit", "encoded_image")
WAV2VEC2 = backbone("wav2vec2", "encoded_audio")
CLIP = backbone("clip", "encoded_text", "encoded_image")


def check(info: BackboneInfo, *inputs: dict[str, Any], batches: Any = "mixed") -> None:
    """Check tasks `t0`, `t1`, ... with these inputs."""
    tasks = {f"t{number}": Task(dataset={}, inputs=each) for number, each in enumerate(inputs)}
    check_media(tasks, info, Mixture(batches=batches))


TEXT, PAIR, WORDS = {"text": "a"}, {"text": "a", "text_pair": "b"}, {"tokens": "a"}
QUESTION, CHOICES = {"question": "a", "context": "b"}, {"choices": ["a", "b"]}
IMAGES, AUDIO, BOTH = {"images": "a"}, {"audio": "a"}, {"text": "a", "images": "b"}


@pytest.mark.parametrize(
    ("info", "inputs"),
    [
        (BERT, [TEXT, PAIR, WORDS, QUESTION, CHOICES]),
        (VIT, [IMAGES, {"images": "other"}]),
        (WAV2VEC2, [AUDIO]),
        (CLIP, [BOTH]),
        (CLIP, [TEXT, QUESTION]),
        (CLIP, [IMAGES]),
        (BERT, []),
    ],
)
def test_tasks_that_the_backbone_reads(info: BackboneInfo, inputs: list[dict[str, Any]]) -> None:
    check(info, *inputs)


@pytest.mark.parametrize(
    ("info", "inputs", "message"),
    [
        (BERT, IMAGES, "task 't1' reads images, but a 'bert' backbone gives encoded_text."),
        (BERT, BOTH, "task 't1' reads images, but a 'bert' backbone gives encoded_text."),
        (BERT, AUDIO, "task 't1' reads audio, but a 'bert' backbone gives encoded_text."),
        (VIT, QUESTION, "task 't1' reads text, but a 'vit' backbone gives encoded_image."),
        (CLIP, AUDIO, "task 't1' reads audio, but a 'clip' backbone gives encoded_text, encoded_image."),
    ],
)
@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_tasks_that_it_does_not_read(info: BackboneInfo, inputs: dict[str, str], message: str, batches: str) -> None:
    first = IMAGES if info is VIT else TEXT
    with pytest.raises(InputError) as caught:
        check(info, first, inputs, batches=batches)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ([TEXT, BOTH], ("t0", "t1")),
        ([TEXT, IMAGES], ("t0", "t1")),
        ([IMAGES, IMAGES, BOTH], ("t0", "t2")),
        ([CHOICES, TEXT, IMAGES, BOTH], ("t0", "t2")),
    ],
)
def test_tasks_that_cannot_share_a_batch(inputs: list[dict[str, Any]], named: tuple[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        check(CLIP, *inputs)
    assert str(caught.value) == (
        f"tasks {named[0]!r} and {named[1]!r} read different kinds of input: they need homogeneous batches "
        "(mixture: {batches: homogeneous})."
    )
    check(CLIP, *inputs, batches="homogeneous")
