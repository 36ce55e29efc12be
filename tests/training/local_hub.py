"""A hub of one's own, to push to and to load from. Tests write `from training.local_hub import ...`."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
COMMIT = "0" * 39 + "1"


class LocalHub:
    """
    Serves what huggingface_hub asks for to make repositories, commit to them and read them.

    `repositories` maps names to files, `commits` lists repository, message and paths in their order.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commits: list[tuple[str, str, list[str]]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()

    def write(self, repository: str, folder: Path) -> Path:
        """Write the files of a repository into a folder."""
        for name, content in self.repositories[repository].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    def run(self, code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in a fresh process, whose hub this is, in a folder that holds its cache, too."""
        environment: Mapping[str, str] = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(folder / "cache"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": "hf_local",
            "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
        }
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300, check=False
        )


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            given = json.loads(body)
            name = f"{given.get('organization') or 'owner'}/{given['name']}"
            self.hub.repositories.setdefault(name, {})
            self._answer({"url": f"{self.hub.endpoint}/{name}", "name": name, "id": name})
        elif parts == ["api", "validate-yaml"]:
            self._answer({"errors": [], "warnings": []})
        elif len(parts) > 4 and parts[4] == "preupload":
            files = [{"path": each["path"], "uploadMode": "regular"} for each in json.loads(body)["files"]]
            self._answer({"files": [{**each, "shouldIgnore": False} for each in files]})
        elif len(parts) > 4 and parts[4] == "commit":
            name = "/".join(parts[2:4])
            self._commit(name, [json.loads(line) for line in body.splitlines()])
            self._answer({"commitUrl": f"{self.hub.endpoint}/{name}/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self._answer({}, 404)

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        files = {each["value"]["path"]: each["value"]["content"] for each in lines if each["key"] == "file"}
        self.hub.repositories[name] |= {path: base64.b64decode(content) for path, content in files.items()}
        [summary] = [each["value"]["summary"] for each in lines if each["key"] == "header"]
        self.hub.commits.append((name, summary, sorted(files)))

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        files = self.hub.repositories.get(name)
        if files is None:
            self._answer({}, 404, {"X-Error-Code": "RepoNotFound"})
        elif len(parts) > 4 and parts[4] == "tree":
            # nobody looks for anything but folders that are not there
            self._answer({}, 404, {"X-Error-Code": "EntryNotFound"})
        elif parts[0] == "api":
            self._answer({"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]})
        elif (content := files.get("/".join(parts[4:]))) is not None:
            etag = hashlib.sha256(content).hexdigest()
            self._send(content, 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        else:
            self._answer({}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def _answer(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, content: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
