"""Randomness without a state: every draw follows from numbers that a checkpoint keeps.

A generator's state would have to be saved for each process and each worker. Seeds that are
functions of the run's seed, the epoch, the iteration, the rank and the index of an image need no
saving, so a resumed run draws what the uninterrupted one draws.
"""

import random
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import Dataset, get_worker_info

# what a seed is for: the same numbers give different draws
OF_IMAGE, OF_ITERATION, OF_EPOCH = range(3)


def seed_generators(*numbers: int, seed_torch=torch.manual_seed) -> None:
    """Seed the generators of ``random``, ``numpy`` and torch from non-negative integers.

    Args:
        *numbers (int): Equal numbers give equal draws; neighbours give unrelated ones.
        seed_torch (callable): Takes torch's seed. Defaults to ``torch.manual_seed``, which
            reaches every device.

    Example:
        >>> import torch
        >>> from mlic.engine import seed_generators
        >>> seed_generators(7, 3)  # such as seed and epoch
        >>> first = torch.rand(2)
        >>> seed_generators(7, 3)
        >>> torch.equal(first, torch.rand(2))
        True
    """
    words = [int(word) for word in np.random.SeedSequence(numbers).generate_state(4)]
    random.seed(words[0])
    np.random.seed(words[1])
    seed_torch(words[2] << 32 | words[3])


def _seed_cuda(seed: int) -> None:
    torch.cuda.manual_seed_all(seed)
    torch.default_generator.manual_seed(seed)


# torch.manual_seed asks each device that torch knows, and formats a traceback for those that have
# not started: most of what an iteration's hooks would take of the host
SEED_TORCH = dict(cpu=torch.default_generator.manual_seed, cuda=_seed_cuda)


class SeededFetch:
    """Fetch the images of a batch, each under a seed of its own.

    The seed follows from run, epoch and index, so that an image is augmented in the same way on
    any rank and in any worker, and in another way in the next epoch. torch's loader calls a data
    set's ``__getitems__`` where there is one; this object takes its place.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        # shared memory: workers that live longer than an epoch see the new one
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __call__(self, indices: Sequence[int]) -> list:
        """Images of the current epoch; the process's own CPU generators stay as they are."""
        if get_worker_info() is not None:
            return self._fetch(indices)
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        try:
            return self._fetch(indices)
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])

    def _fetch(self, indices: Sequence[int]) -> list:
        epoch, images = self.epoch.item(), []
        for index in indices:
            # the CPU's generator only: a worker must not touch CUDA
            numbers = self.seed, OF_IMAGE, epoch, int(index)
            seed_generators(*numbers, seed_torch=SEED_TORCH['cpu'])
            images.append(self.dataset[index])
        return images


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed each epoch, each iteration and each image from numbers that survive a restart.

    - before an epoch and before an iteration, the process's generators are seeded from the
      run's seed, the number of the epoch or iteration, and the rank (dropout, a new layer);
    - each training image's augmentation is seeded from the run's seed, the epoch and the image's
      index: the same for any number of processes and workers, persistent, forked, spawned or none.

    Validation may draw what it likes between iterations. Resumed from the end of an epoch, a run
    continues as it would have without the stop; see ``MidEpochResumeHook`` for other checkpoints.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='SeedHook')  # in custom_hooks
        >>> HOOKS.build(config).priority
        'VERY_HIGH'
    """

    # before every hook that draws (a new layer in StageRestartHook), after StageEarlyStoppingHook,
    # which decides which epoch comes next
    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Let the training images be fetched under their seeds.

        Raises:
            ValueError: If the run does not count epochs, or its loader forms no batches.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(  # mmengine makes its own of a TypeError in a hook
                f'SeedHook counts epochs, and {type(runner.train_loop).__name__} has none: set '
                'train_cfg.by_epoch=True, or remove the hook from default_hooks'
            )
        loader = runner.train_dataloader
        if loader.batch_sampler is None:
            raise ValueError('SeedHook needs train_dataloader.batch_size or .batch_sampler')
        self.fetch = SeededFetch(loader.dataset, runner.seed)
        loader.dataset.__getitems__ = self.fetch
        device = next((weight.device.type for weight in runner.model.parameters()), None)
        self.seed_torch = SEED_TORCH.get(device, torch.manual_seed)

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed what is drawn between two epochs, and tell the workers the new one."""
        self.fetch.epoch.fill_(runner.epoch)
        seed_generators(runner.seed, OF_EPOCH, runner.epoch, runner.rank)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Seed what the model draws."""
        numbers = runner.seed, OF_ITERATION, runner.iter, runner.rank
        seed_generators(*numbers, seed_torch=self.seed_torch)
