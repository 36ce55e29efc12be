"""What a test starts on two processes that shard the backbone, and calls on one to compare: runs in float64."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from launched import _CHECKPOINTING as CHECKPOINTING
from launched import pairs

from fixtures import INTENTS, MOODS, SLOTS, tiny_bert_config, tiny_model, tiny_tokenizer, two_tasks
from launching import leave, spare_imports
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments, Task

RUNS: dict[str, dict[str, Any]] = {
    # one row a process: nearly every step has heads on one process only
    "rows": {"global_batch": 2},
    # the last batch of an epoch has no row for the second process
    "odd": {"global_batch": 2, "moods": 7},
    "homogeneous": {"mixture": {"batches": "homogeneous", "order": "round_robin"}, "global_batch": 4},
    # the clipping matters
    "accumulated": {"global_batch": 2, "accumulation": 2, "training": {"max_grad_norm": 0.01}},
    # either way to compute activations again
    "checkpointed": {"global_batch": 2, "training": {CHECKPOINTING: True}},
    "checkpointed_by_shards": {"global_batch": 2, "fsdp": {"activation_checkpointing": True}},
    # a head that reads the weights of the sharded token embeddings, and rows of two sequences
    "sequences": {"global_batch": 4, "sequences": True},
    # the layers above have no gradient on any process
    "below": {"global_batch": 4, "layers": {"intent": 1, "slots": 1, "mood": 1}},
    # nor have they in some steps, or on some processes
    "layers": {"global_batch": 2, "layers": {"intent": 0, "slots": 1, "mood": -1}},
    "mixed_layers": {"global_batch": 2, "layers": {"intent": 1, "slots": "scalar_mix", "mood": 0}},
    # what is gathered when, and no clipping
    "gathered": {"global_batch": 2, "fsdp": {"reshard_after_forward": False}, "training": {"max_grad_norm": 0.0}},
    "unwrapped": {"global_batch": 2, "fsdp": {"auto_wrap_policy": "NO_WRAP"}},
    # nothing that is sharded has a gradient, ever or for some steps
    "frozen": {"global_batch": 2, "accumulation": 2, "frozen": ("backbone", "mood")},
    "staged": {
        "global_batch": 2,
        "accumulation": 2,
        "training": {"freeze_until": {"backbone": 6, "mood": 3}, "learning_rates": {"intent": 5e-3}},
    },
}
"""What is special of each run."""

APART: dict[str, dict[str, Any]] = {
    # in bfloat16, in which two processes only come near to one
    "half": {"global_batch": 2, "dtype": torch.float32, "training": {"bf16": True}},
    # the second task's head has no state yet when a checkpoint of step 5 is written
    "sequential": {"global_batch": 2, "mixture": {"order": "sequential"}, "training": {"max_steps": 12}},
}
"""Runs with tests of their own."""

WHOLE = ("rows", "odd", "layers", "mixed_layers")
"""Runs that are made under DDP, too."""

STEPS = 20

SHARDED_TYPES = ("FULL_STATE_DICT", "SHARDED_STATE_DICT")


class _StrayHeads(TrainerCallback):
    """Notes a head that was not in a step and still has a gradient when the optimizer steps."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Look at the head that no task feeds."""
        if any(parameter.grad is not None for parameter in model.heads["idle"].parameters()):
            self.found.append(f"step {state.global_step}")


def shard_on_cpu() -> None:
    """Let accelerate shard on CPU processes, which torch can and accelerate 1.15 does on accelerators only."""
    initialize = AcceleratorState.__init__

    def initialize_sharded(self: Any, *args: Any, **kwargs: Any) -> None:
        initialize(self, *args, **kwargs)
        if kwargs.get("fsdp_plugin") is not None:
            PartialState._shared_state["distributed_type"] = self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = kwargs["fsdp_plugin"]
            if self._mixed_precision != "no":
                self.fsdp_plugin.set_mixed_precision(self._mixed_precision)

    AcceleratorState.__init__ = initialize_sharded


def make_trainer(name: str, folder: Path, sharded: bool, seed: int = 0, **training: Any) -> MultiTaskTrainer:
    """
    The trainer of one of `RUNS`.

    Args:
        name (`str`): The run.
        folder (`Path`): Where it writes.
        sharded (`bool`): Whether the backbone is sharded.
        seed (`int`, *optional*, defaults to 0): Seed of the weights; another one on other processes must not matter.
        training (`Any`): Further training arguments.
    """
    run = (RUNS | APART)[name]
    heads: dict[str, dict[str, Any]] = {
        "intent": {"head_type": "sequence_classification", "id2label": INTENTS, "classifier_dropout": 0.0},
        "slots": {"head_type": "token_classification", "id2label": SLOTS, "classifier_dropout": 0.0},
        "mood": {"head_type": "sequence_classification", "id2label": MOODS, "classifier_dropout": 0.0},
        "idle": {"head_type": "regression", "mean": [0.0], "std": [1.0]},
    }
    for head, layer in run.get("layers", {}).items():
        heads[head]["layer"] = layer
    tasks = two_tasks()
    moods = tasks["moods"]
    moods.dataset["train"] = moods.dataset["train"].select(range(run.get("moods", 8)))
    if run.get("sequences"):
        heads |= {
            "mlm": {"head_type": "masked_language_modeling"},
            "near": {"head_type": "sentence_similarity", "min_score": 0.0, "max_score": 7.0},
        }
        tasks["moods"] = Task(dataset=moods.dataset, inputs=moods.inputs, labels={**moods.labels, "mlm": None})
        tasks["pairs"] = pairs()
    torch.manual_seed(seed)
    model = tiny_model(
        heads,
        tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
        loss_weights={"slots": 2.0},
        loss_reduction=run.get("loss_reduction", "per_head"),
    ).to(run.get("dtype", torch.float64))
    for part in run.get("frozen", ()):
        (model.backbone if part == "backbone" else model.heads[part]).requires_grad_(False)
    if sharded:
        # every run has a plugin of its own
        AcceleratorState._reset_state()
    defaults = {
        "output_dir": str(folder / name),
        "max_steps": STEPS,
        "gradient_accumulation_steps": run.get("accumulation", 1),
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "logging_steps": 5,
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    if sharded:
        defaults |= {"fsdp": True, "fsdp_config": dict(run.get("fsdp", {}))}
    args = MultiTaskTrainingArguments(**{**defaults, **run.get("training", {}), **training})
    args.per_device_train_batch_size = run["global_batch"] // args.world_size
    mixture = Mixture(**run.get("mixture", {}))
    return MultiTaskTrainer(model, args, tasks, mixture, tiny_tokenizer(), callbacks=[_StrayHeads()])


def train(name: str, folder: Path, sharded: bool, seed: int = 0) -> None:
    """
    Evaluate, train one of `RUNS`, evaluate again, and save the model, its metrics and the log.

    Args:
        name, folder, sharded, seed: See [`make_trainer`].
    """
    trainer = make_trainer(name, folder, sharded, seed)
    untrained = trainer.evaluate()
    idle = [parameter.detach().clone() for parameter in trainer.model.heads["idle"].parameters()]
    trainer.train()
    metrics = trainer.evaluate()
    trainer.save_model(str(folder / name))
    if trainer.is_world_process_zero():
        stray = next(each for each in trainer.callback_handler.callbacks if isinstance(each, _StrayHeads))
        report = {
            "untrained": untrained,
            "metrics": metrics,
            "log": trainer.state.log_history,
            "stray": stray.found,
            "idle_moved": not all(map(torch.equal, idle, trainer.model.heads["idle"].parameters())),
            "sharded": _sharded(trainer.model),
        }
        (folder / f"{name}.json").write_text(json.dumps(report))


def _sharded(model: MultiTaskModel) -> list[str]:
    """Which of the model's parts have sharded parameters; an evaluation may have left the root's gathered."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    kinds = {
        part: {isinstance(parameter, DTensor) for parameter in getattr(model, part).parameters()}
        for part in ("backbone", "heads")
    }
    return [part for part, found in kinds.items() if found != {False}]


def resume(state_dict_type: str, folder: Path, seed: int) -> None:
    """
    Train, and train once more from a checkpoint in the middle, and from the best one; save what comes out.

    Args:
        state_dict_type (`str`): How checkpoints are kept.
        folder, seed: See [`make_trainer`].
    """
    own = folder / state_dict_type
    run = APART["sequential"]
    saving = {**run["training"], "save_strategy": "steps", "save_steps": 5}
    APART[state_dict_type] = {**run, "fsdp": {"state_dict_type": state_dict_type}, "training": saving}
    best = {"eval_strategy": "steps", "eval_steps": 5, "load_best_model_at_end": True, "greater_is_better": False}
    runs: dict[str, tuple[int, dict[str, Any], str | None]] = {
        "whole": (seed, {}, None),
        # weights of its own, which those of the checkpoint replace
        "resumed": (seed + 2, {}, str(own / "checkpoint-5")),
        "best": (seed, best, None),
    }
    for name, (own_seed, training, checkpoint) in runs.items():
        trainer = make_trainer(state_dict_type, folder, True, own_seed, **training)
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model(str(own / name))
        if trainer.is_world_process_zero():
            (own / f"{name}.json").write_text(json.dumps(trainer.state.best_model_checkpoint))


def from_environment(folder: Path, seed: int) -> None:
    """
    Train the first run with what `accelerate launch` reads from the configuration for FSDP2.

    Args:
        folder, seed: See [`make_trainer`].
    """
    file = Path(__file__).parents[2] / "scripts" / "accelerate" / "fsdp2.yaml"
    given = launch_command_parser().parse_args(["--config_file", str(file), "script.py"])
    settings = prepare_multi_gpu_env(_validate_launch_command(given)[0])
    os.environ.update({name: value for name, value in settings.items() if name.startswith("FSDP_")})
    APART["launched"] = RUNS["rows"]
    AcceleratorState._reset_state()
    train("launched", folder, sharded=False, seed=seed)


def main() -> None:
    """Make all runs, the processes' weights starting from different seeds."""
    folder, state = Path(sys.argv[1]), PartialState(cpu=True)
    (folder / "whole").mkdir(exist_ok=True)
    for name in WHOLE:
        train(name, folder / "whole", sharded=False, seed=state.process_index)
        state.wait_for_everyone()
    shard_on_cpu()
    for name in [*RUNS, "half"]:
        train(name, folder, sharded=True, seed=state.process_index)
        state.wait_for_everyone()
    for state_dict_type in SHARDED_TYPES:
        resume(state_dict_type, folder, state.process_index)
        state.wait_for_everyone()
    # the trainers before have left ACCELERATE_USE_FSDP in the environment, where `accelerate launch` sets it
    from_environment(folder, state.process_index)
    state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    spare_imports()
    main()
    leave()
