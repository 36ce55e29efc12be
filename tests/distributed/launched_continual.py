"""What a test of continual learning starts on several processes, and calls on one to compare."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from continual_streams import class_stream, head_stream, make_continual
from launching import leave, spare_imports
from mt_transformers.continual.trainer import ContinualTrainer

STREAMS = {"classes": class_stream, "heads": head_stream}
STRATEGIES: dict[str, Any] = {
    "naive": "naive",
    "replay": {"name": "replay", "buffer_size": 12},
    "derpp": {"name": "derpp", "buffer_size": 12},
}
RUNS = [f"{stream}-{strategy}" for stream in STREAMS for strategy in STRATEGIES]
"""Each run's experiences and strategy."""

GLOBAL_BATCH, RESUMED = 8, "classes-replay"


def make(name: str, folder: Path) -> ContinualTrainer:
    """The trainer of one of `RUNS`, in float64; another seed of the weights on other processes must not matter."""
    stream, strategy = name.split("-")
    trainer = make_continual(
        folder / name, STREAMS[stream](), STRATEGIES[strategy], num_train_epochs=2, save_strategy="steps", save_steps=2
    )
    trainer.model.double()
    trainer.args.per_device_train_batch_size = GLOBAL_BATCH // trainer.args.world_size
    trainer.args.per_device_eval_batch_size = GLOBAL_BATCH // trainer.args.world_size
    return trainer


def train(name: str, folder: Path, resume: bool = False) -> None:
    """Train one of `RUNS`, and keep weights, results and metrics."""
    trainer = make(name, folder)
    results = trainer.train(resume_from_checkpoint=resume)
    with trainer.concluding() as last:
        metrics = last.evaluate(split="test", metric_key_prefix="test")
    if trainer.args.process_index == 0:
        ending = "-resumed" if resume else ""
        torch.save(trainer.model.state_dict(), folder / f"{name}{ending}.pt")
        kept = {key: value for key, value in metrics.items() if "_words_" in key or key == "test_score"}
        report = {"results": {**results.to_dict(), "seconds": []}, "metrics": kept}
        (folder / f"{name}{ending}.json").write_text(json.dumps(report))


def kill_in_second_experience(trainer: ContinualTrainer, step: int) -> None:
    """Let the process be killed behind a step of the second experience."""
    strategy = trainer.strategy
    end_step, steps = strategy.end_step, []

    def killed(learner: Any) -> None:
        end_step(learner)
        steps.extend([step] if learner.number == 1 else [])
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    strategy.end_step = killed  # type: ignore[method-assign]


def main() -> None:
    """`FOLDER train`: all runs. `FOLDER kill`: one that is killed. `FOLDER resume`: goes on from there."""
    from accelerate import PartialState

    state = PartialState(cpu=True)
    folder, action = Path(sys.argv[1]), sys.argv[2]
    if action == "kill":
        trainer = make(RESUMED, folder)
        kill_in_second_experience(trainer, step=3)
        trainer.train()
    elif action == "resume":
        train(RESUMED, folder, resume=True)
    else:
        for name in RUNS:
            train(name, folder)
            state.wait_for_everyone()
    state.wait_for_everyone()
    if state.num_processes > 1:
        state.destroy_process_group()


if __name__ == "__main__":
    spare_imports()
    main()
    leave()
