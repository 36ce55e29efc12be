"""Tasks, their rows, and the mixture of both."""

from __future__ import annotations

from .collator import DataCollatorForMultiTask
from .dataset import LABEL_PREFIX, TASK_INDEX, MultiTaskDataset
from .mixture import Mixture
from .plan import MixturePlan, TaskPlan, plan_mixture
from .prepared import PreparedTasks
from .preprocessing import complete_heads, find_max_length, prepare_split
from .sampler import MultiTaskBatchSampler
from .shares import shares_of
from .streaming import MultiTaskStream
from .task import SPLITS, Task, label_sources, load_splits

__all__ = [
    "LABEL_PREFIX",
    "SPLITS",
    "TASK_INDEX",
    "DataCollatorForMultiTask",
    "Mixture",
    "MixturePlan",
    "MultiTaskBatchSampler",
    "MultiTaskDataset",
    "MultiTaskStream",
    "PreparedTasks",
    "Task",
    "TaskPlan",
    "complete_heads",
    "find_max_length",
    "label_sources",
    "load_splits",
    "plan_mixture",
    "prepare_split",
    "shares_of",
]
