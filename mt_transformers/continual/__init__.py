"""Learning tasks one after another, without forgetting the earlier ones."""

from __future__ import annotations

from .buffer import Buffer, Slot
from .class_scenarios import class_incremental, task_incremental
from .learner import Learner
from .results import ContinualResults
from .scenario import Experience, Scenario
from .strategies import STRATEGIES, Strategy, make_strategy
from .task_scenarios import domain_incremental, new_heads
from .trainer import ContinualTrainer

__all__ = [
    "STRATEGIES",
    "Buffer",
    "ContinualResults",
    "ContinualTrainer",
    "Experience",
    "Learner",
    "Scenario",
    "Slot",
    "Strategy",
    "class_incremental",
    "domain_incremental",
    "make_strategy",
    "new_heads",
    "task_incremental",
]
