"""Experience replay: rows out of a buffer beside each batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..learner import Batch, Learner
from .rehearsal import Rehearsal

__all__ = ["Replay"]


@dataclass(kw_only=True)
class Replay(Rehearsal):
    """
    Experience replay (ER): train on each batch together with as many rows out of a buffer.

    Source: Chaudhry et al. (2019), "On Tiny Episodic Memories in Continual Learning",
    https://arxiv.org/abs/1902.10486, algorithm 1, with reservoir sampling.

    Args:
        buffer_size, ratio, sampling, replay_batch_size, seed: See [`Rehearsal`].

    Example:
        >>> Replay(buffer_size=500).options()["buffer_size"]
        500
    """

    name: ClassVar[str] = "replay"

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        return [self.collate(learner, slots) for slots in self.draw(learner, batches).own if slots]
