"""Makes the pipeline known to transformers without importing it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

__all__ = ["register_with_pipelines"]

_PIPELINES = "transformers.pipelines"


def register_with_pipelines() -> None:
    """
    Register the pipeline with `transformers.pipelines`: now if that is imported, else as soon as it is.

    Until then neither transformers nor torch are imported, which would cost every command line its seconds.
    """
    if _PIPELINES in sys.modules:
        _register()
    elif not any(isinstance(finder, _PipelinesFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PipelinesFinder())


class _PipelinesFinder(MetaPathFinder):
    """Waits for the import of `transformers.pipelines`, and leaves all others alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _PIPELINES:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register()

        vars(spec.loader)["exec_module"] = execute_and_register
        return spec


def _register() -> None:
    from .inference import pipeline as pipeline
