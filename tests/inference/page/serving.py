"""
Pages that run in processes of their own. Tests write `from inference.page.serving import ...`.

- `free_port`: a port that nobody listens on.
- `serve`: runs `mt-transformers serve` and ends it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

SECONDS = 240


@dataclass
class Server:
    """
    A page's process.

    Args:
        process (`subprocess.Popen`): The process.
        address (`str`): Where the page is.
    """

    process: subprocess.Popen[str]
    address: str

    def interrupt(self) -> int:
        """Press Ctrl-C and give the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(SECONDS)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _take_interrupts() -> None:
    """A shell's background jobs have SIGINT ignored, and so has what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[Server]:
    """Run the page of a folder, on a port of its own, for as long as the block takes."""
    address = f"http://127.0.0.1:{free_port()}/"
    command = [sys.executable, "-m", "mt_transformers.cli.main", "serve", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [*command, "--port", address.rstrip("/").rsplit(":", 1)[1], *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        preexec_fn=_take_interrupts,
    )
    with process:
        try:
            assert process.stdout is not None
            limit = Timer(SECONDS, process.kill)
            limit.start()
            line = process.stdout.readline()
            limit.cancel()
            assert address in line, f"the page did not start: {line!r}"
            yield Server(process, address)
        finally:
            process.kill()
