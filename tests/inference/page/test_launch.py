"""Where the page may listen, and what is said where it cannot."""

from __future__ import annotations

import socket
import sys

import pytest

from mt_transformers.errors import InputError
from mt_transformers.inference.page.launch import check_address, check_gradio


def test_a_taken_port_is_refused_and_a_free_one_is_not() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port(port: int) -> None:
    with pytest.raises(InputError, match=f"from 1 to 65535, found {port}"):
        check_address("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "host.invalid"])
def test_a_host_that_is_not_this_machine(host: str) -> None:
    with pytest.raises(InputError, match=f"cannot listen on {host}, port 7860"):
        check_address(host, 7860)


def test_a_missing_gradio_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r'pip install "mt_transformers\[page\]"'):
        check_gradio()
