"""
One backbone, many heads, everything else is Hugging Face.

The public names are imported on first use, so that `import mt_transformers` and the command line's `--help` do not
pay for torch and transformers. The import makes the pipeline `"multi-task"` known to transformers, as soon as that has
pipelines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .registration import register_with_pipelines
from .version import __version__ as __version__

# Public name -> the module or sub-package that defines it. `__all__` and the lazy lookup come from this table.
_PUBLIC = {
    "Backbone": "backbone",
    "DataCollatorForMultiTask": "data",
    "Head": "heads",
    "HeadConfig": "heads",
    "Mixture": "data",
    "MultiTaskConfig": "configuration",
    "MultiTaskModel": "modeling",
    "MultiTaskModelCardCallback": "training",
    "MultiTaskModelOutput": "modeling",
    "MultiTaskPipeline": "inference",
    "MultiTaskPredictor": "inference",
    "MultiTaskTrainer": "training",
    "MultiTaskTrainingArguments": "training",
    "Task": "data",
    "add_task_adapters": "modeling",
    "export_onnx": "inference.export",
    "from_native": "inference.native",
    "get_head_config": "heads",
    "get_peft_model": "modeling",
    "load_adapted_model": "modeling",
    "load_model": "inference",
    "merge_adapters": "modeling",
    "num_flat_features": "backbone",
    "register_head": "heads",
    "to_native": "inference.native",
    "xavier": "backbone",
}

__all__ = list(_PUBLIC)

register_with_pipelines()

if TYPE_CHECKING:
    from .backbone import Backbone as Backbone
    from .backbone import num_flat_features as num_flat_features
    from .backbone import xavier as xavier
    from .configuration import MultiTaskConfig as MultiTaskConfig
    from .data import DataCollatorForMultiTask as DataCollatorForMultiTask
    from .data import Mixture as Mixture
    from .data import Task as Task
    from .heads import Head as Head
    from .heads import HeadConfig as HeadConfig
    from .heads import get_head_config as get_head_config
    from .heads import register_head as register_head
    from .inference import MultiTaskPipeline as MultiTaskPipeline
    from .inference import MultiTaskPredictor as MultiTaskPredictor
    from .inference import load_model as load_model
    from .inference.export import export_onnx as export_onnx
    from .inference.native import from_native as from_native
    from .inference.native import to_native as to_native
    from .modeling import MultiTaskModel as MultiTaskModel
    from .modeling import MultiTaskModelOutput as MultiTaskModelOutput
    from .modeling import add_task_adapters as add_task_adapters
    from .modeling import get_peft_model as get_peft_model
    from .modeling import load_adapted_model as load_adapted_model
    from .modeling import merge_adapters as merge_adapters
    from .training import MultiTaskModelCardCallback as MultiTaskModelCardCallback
    from .training import MultiTaskTrainer as MultiTaskTrainer
    from .training import MultiTaskTrainingArguments as MultiTaskTrainingArguments
else:
    # Hidden from type checkers: with a module-level `__getattr__` in sight they accept any misspelt name.
    def __getattr__(name: str) -> object:
        """Import a public name on first use (PEP 562)."""
        if name not in _PUBLIC:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names beside what is imported already."""
    return sorted({*globals(), *_PUBLIC})
