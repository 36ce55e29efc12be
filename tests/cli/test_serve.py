"""`mt-transformers serve`: one message for what cannot be used, and Ctrl-C ends it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from inference.page.serving import free_port, serve

from backbones import tiny_backbone_config
from fixtures import tiny_model, tiny_tokenizer
from head_tasks import processing_for
from mt_transformers.cli.main import main

pytest.importorskip("gradio")
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder") / "tiny"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def refused(capsys: Captured, folder: Path, *options: str) -> str:
    """The message of a page that cannot be shown: status 2, one message, no traceback."""
    capsys.readouterr()
    if "--port" not in options:
        options = (*options, "--port", str(free_port()))
    assert main(["serve", str(folder), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("mt-transformers: ") == 1
    assert "Traceback" not in error
    return error.rpartition("mt-transformers: ")[2].strip()


def test_help_imports_neither_torch_nor_gradio() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "mt_transformers.cli.main", "serve", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "127.0.0.1" in result.stdout
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in result.stderr.splitlines() if "|" in line}
    assert "mt_transformers" in imported
    assert imported & {"torch", "transformers", "gradio"} == set()


def test_it_answers_until_it_is_interrupted(folder: Path) -> None:
    with serve(folder, "--heads", "slots,intent") as server:
        body = json.dumps({"data": ["play music", None, None]}).encode()
        request = Request(
            f"{server.address}gradio_api/run/predict", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urlopen(request, timeout=60) as response:
            assert list(json.load(response)["data"][0]["answers"]) == ["intent", "slots"]
        assert server.interrupt() == 130


def test_folders_that_hold_no_model(capsys: Captured, folder: Path, tmp_path: Path) -> None:
    assert "none" in refused(capsys, tmp_path / "none")
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    assert "its weights cannot be read" in refused(capsys, broken)
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    assert "tokenizer" in refused(capsys, bare)


def test_options_that_cannot_be_used(capsys: Captured, folder: Path) -> None:
    assert "unknown head 'slot', did you mean 'slots'" in refused(capsys, folder, "--heads", "slot")
    assert "1 character or more at most, found 0" in refused(capsys, folder, "--max_characters", "0")
    assert "port: expected a number from 1 to 65535, found 0" in refused(capsys, folder, "--port", "0")
    assert "cannot listen on 203.0.113.7" in refused(capsys, folder, "--host", "203.0.113.7")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        assert f"port {port}: Address already in use" in refused(capsys, folder, "--port", port)


def test_a_model_of_sounds_has_no_page(capsys: Captured, tmp_path: Path) -> None:
    heads = {"mood": {"head_type": "audio_classification", "num_labels": 2}}
    tiny_model(heads, tiny_backbone_config("hubert")).save_pretrained(tmp_path)
    processing_for("hubert").feature_extractor.save_pretrained(tmp_path)
    assert "boxes for texts and images, but the heads read encoded_audio" in refused(capsys, tmp_path)
