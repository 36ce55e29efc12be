"""What all tests share: no network, a cache of their own, the same seeds, marks and fixtures."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import find, settings
from hypothesis.strategies import booleans

from launching import spare_imports

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from mt_transformers import Task

# the same examples in every run, and no time limit, which a busy machine would break
settings.register_profile("tests", derandomize=True, deadline=None)
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --runslow."""
    parser.addoption("--runslow", action="store_true", help="run the tests that are marked as slow, too")


def pytest_configure(config: pytest.Config) -> None:
    """Set what torch, transformers and datasets read when they are imported, then import them and quiet them."""
    cache = tempfile.TemporaryDirectory(prefix="mt_transformers-tests-")
    config.add_cleanup(cache.cleanup)
    os.environ["HF_DATASETS_CACHE"] = cache.name
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what was not asked for or cannot run here."""
    import torch

    skips = {}
    if not config.getoption("--runslow"):
        skips["slow"] = pytest.mark.skip(reason="slow: runs with --runslow")
    if not torch.cuda.is_available():
        skips["gpu"] = pytest.mark.skip(reason="needs CUDA")
    for item in items:
        for mark, skip in skips.items():
            if item.get_closest_marker(mark) is not None:
                item.add_marker(skip)


@pytest.fixture(autouse=True, scope="session")
def hypothesis_begins() -> None:
    """Let hypothesis ask the garbage collector who holds its random numbers, which is not found once it is frozen."""
    find(booleans(), lambda _: True)


@pytest.fixture(autouse=True, scope="module")
def imports() -> None:
    """What is imported by now costs the tests of a file no garbage collection."""
    spare_imports()


@pytest.fixture(autouse=True)
def seeds() -> None:
    """The same random numbers in every test, whichever ran before it."""
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a saved tiny BertModel and the word-level tokenizer; tests leave it as it is."""
    import torch
    from transformers import BertModel

    from fixtures import tiny_bert_config, tiny_tokenizer

    folder = tmp_path_factory.mktemp("tiny_backbone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(tiny_bert_config()).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """The word-level tokenizer that belongs to the tiny backbone, see `fixtures.tiny_tokenizer`."""
    import fixtures

    return fixtures.tiny_tokenizer()


@pytest.fixture
def two_tasks() -> dict[str, Task]:
    """Two small tasks, see `fixtures.two_tasks`; their heads are `fixtures.TASK_HEADS`."""
    import fixtures

    return fixtures.two_tasks()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the real data sets, named by MT_TRANSFORMERS_DATA; without it the test is skipped."""
    folder = os.environ.get("MT_TRANSFORMERS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MT_TRANSFORMERS_DATA names no folder with data")
    return Path(folder)
