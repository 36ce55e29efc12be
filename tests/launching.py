"""
Scripts that run on several processes. Tests write `from launching import ...`.

- `load_script`: a script of `tests/distributed` as a module, to make its runs on this process.
- `launch`: starts one on several processes.
- `spare_imports`: what such a process begins with, once all is imported, as every file of tests does.
- `leave`: how such a process ends.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NoReturn

TESTS = Path(__file__).parent


def load_script(name: str) -> ModuleType:
    """The script of this name, as a module."""
    spec = spec_from_file_location(name, TESTS / "distributed" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(name: str, *arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Run the script of this name to its end, whatever that is."""
    # accelerate launch --cpu starts one process, whatever --num_processes says (accelerate 1.15)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    script = str(TESTS / "distributed" / f"{name}.py")
    command = [sys.executable, *(launcher if processes > 1 else []), script, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)


def spare_imports() -> None:
    """Keep imports out of garbage collection, which accelerate runs after each training: half of a tiny one's time."""
    gc.collect()
    gc.freeze()


def leave() -> NoReturn:
    """End this process at once, its work done: gloo now and then joins a thread that never ends (torch 2.13)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
