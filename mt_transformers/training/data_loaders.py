"""Where a trainer's batches come from."""

from __future__ import annotations

from typing import Any

import datasets
import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from transformers import Trainer

from ..data import DataCollatorForMultiTask, Mixture, MultiTaskBatchSampler, MultiTaskDataset, MultiTaskStream
from ..errors import InputError
from .arguments import MultiTaskTrainingArguments
from .sampler_callback import SamplerCallback
from .stream_callback import StreamCallback

__all__ = ["DataLoaderMixin", "data_seed"]


def data_seed(args: MultiTaskTrainingArguments) -> int:
    """
    The seed of the rows' order.

    Args:
        args ([`MultiTaskTrainingArguments`]): The training arguments.

    Returns:
        `int`: `data_seed`, or `seed` where there is none.
    """
    return int(args.seed if args.data_seed is None else args.data_seed)


def _step_batches(args: MultiTaskTrainingArguments, mixture: Mixture) -> int:
    """Batches that the sampler makes for an optimizer step; processes share each, or have one of their own."""
    processes = 1 if mixture.same_task_on_all_ranks else args.world_size
    return int(args.gradient_accumulation_steps) * processes


class DataLoaderMixin(Trainer):
    """Adds batches of several tasks to a `Trainer`; each kind of loader is built in one place."""

    args: MultiTaskTrainingArguments
    mixture: Mixture
    sampler_callback: SamplerCallback
    eval_collator: DataCollatorForMultiTask

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of the mixture, cut up for the processes by the sampler, or the stream, itself."""
        args, strategy = self.args, self.args.train_sampling_strategy
        if isinstance(self.train_dataset, MultiTaskStream):
            if strategy != "random":
                raise InputError(f"train_sampling_strategy: rows of streams have no length yet, found {strategy!r}.")
            return self._stream_dataloader(self.train_dataset)
        if not isinstance(self.train_dataset, MultiTaskDataset):
            raise InputError("no task has a train split, so that there is nothing to train on.")
        sampler = MultiTaskBatchSampler(
            dict(zip(self.train_dataset.task_names, self.train_dataset.sizes, strict=True)),
            self.mixture,
            self._train_batch_size,
            seed=data_seed(args),
            num_processes=args.world_size,
            drop_last=args.dataloader_drop_last,
            lengths=None if strategy == "random" else self.train_dataset.lengths(),
            window=_step_batches(args, self.mixture) if strategy == "batch_rebalance" else None,
            # how the rows of an optimizer step are cut up changes nothing
            keep_tasks=strategy != "batch_rebalance",
        )
        self.sampler_callback.set_sampler(sampler)
        return self._build_dataloader(self.train_dataset, self.data_collator, batch_sampler=sampler)

    def _stream_dataloader(self, stream: MultiTaskStream) -> DataLoader[Any]:
        self.pop_callback(StreamCallback)
        # another collator need not know rows that are empty
        if self.data_collator is self.sampler_callback.collator:
            self.add_callback(StreamCallback(stream, self._train_batch_size))
        loader = self._make_dataloader(stream, self.data_collator, batch_size=self._train_batch_size)
        # not through accelerator.prepare, which would divide the rows among the processes once more
        placed: DataLoader[Any] = prepare_data_loader(
            loader,
            self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            dispatch_batches=False,
            non_blocking=self.accelerator.non_blocking,
        )
        return placed

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Batches of one prepared split, in its order."""
        if not isinstance(eval_dataset, datasets.Dataset):
            raise InputError("expected one prepared split; evaluate() and predict() go through all tasks.")
        # a generator of its own: an evaluation must not change the random numbers of the training around it
        generator = torch.Generator().manual_seed(0)
        batching = {"batch_size": self.args.eval_batch_size, "generator": generator}
        return self._build_dataloader(eval_dataset, self.eval_collator, **batching)

    def _build_dataloader(self, dataset: Any, collator: Any, **batching: Any) -> DataLoader[Any]:
        prepared: DataLoader[Any] = self.accelerator.prepare(self._make_dataloader(dataset, collator, **batching))
        return prepared

    def _make_dataloader(self, dataset: Any, collator: Any, **batching: Any) -> DataLoader[Any]:
        args = self.args
        return DataLoader(
            dataset,
            collate_fn=collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory and args.device.type != "cpu",
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            **batching,
        )
