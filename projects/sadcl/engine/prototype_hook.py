"""Class prototypes from the training set, and the start of the contrastive stage.

Shapes in this module: B images, C classes, D embed dims.
"""

from __future__ import annotations

import copy
import time

import torch
from mmengine import dist
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, load_checkpoint
from mmpretrain.registry import HOOKS
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mlic.engine.mmengine_internals import has_loaded


@HOOKS.register_module()
class PrototypeHook(Hook):
    r"""Start the contrastive stage of SADCL at an epoch.

    Until then the contrastive losses are zero. At the start of epoch ``begin`` the hook puts the
    weights that ``start_from`` names into the model, computes the prototypes in one pass
    over the training images under the test pipeline (or takes those of the file that the head's
    ``prototypes`` names), hands them to the head (which fills the
    memory bank with them, renews its projector and switches its contrastive losses on), and
    starts optimizer state, EMA and the search for the best checkpoint anew.

    The prototype of class c, as the published files show it (their code is not released), with
    :math:`N_c` the number of all training images that have the class:

    .. math::
        P_c = \frac{1}{N_c} \sum_{b:\, y_{bc} = 1,\, p_{bc} > t} h_{bc}

    Args:
        begin (int): The epoch, counted from 1, that starts with contrastive losses. 1 needs
            trained weights (``load_from``).
        threshold (float): t, the score a positive must exceed to be averaged.
            Defaults to 0.85, the published value.
        start_from (str): 'ema': the averaged weights, where an ``EMAHook`` runs; 'best': those of
            the first stage's best checkpoint, where there is one, as the published two programs
            do. Defaults to 'ema'.

    On several processes the projector and the prototypes are rank 0's, and each process has the
    memory bank of its own rows.
    """

    priority = 'LOW'

    def __init__(self, begin: int, threshold: float = 0.85, start_from: str = 'ema') -> None:
        if begin < 1:
            raise ValueError(f'begin counts epochs from 1, got {begin}')
        if start_from not in ('ema', 'best'):
            raise ValueError(f"start_from is 'ema' or 'best', got {start_from!r}")
        self.begin = begin
        self.start_from = start_from
        self.threshold = threshold

    def before_train(self, runner: Runner) -> None:
        """Check that the stage can start, and switch the losses off until it does.

        Raises:
            TypeError: If the head has no contrastive losses.
            ValueError: If the stage never starts, or would fail when it does: a batch larger
                than the memory bank, batches of different size on different processes, a training
                set without a pipeline, no multi-hot labels.
            RuntimeError: If the stage starts at once, from weights that nobody trained.
        """
        model = _unwrap(runner.model)
        head = model.head
        if getattr(head, 'projector', None) is None:
            raise TypeError(
                f'PrototypeHook needs an SADCLHead with loss_sscl or loss_pscl, '
                f'got {type(head).__name__} without them: remove the hook from custom_hooks'
            )
        if self.begin > runner.max_epochs:
            raise ValueError(
                f'PrototypeHook(begin={self.begin}) never starts: the run has '
                f'{runner.max_epochs} epochs'
            )
        batch_size = runner.train_dataloader.batch_size
        if head.loss_sscl is not None and batch_size > len(head.memory_bank):
            raise ValueError(
                f'train_dataloader.batch_size is {batch_size} and the memory bank has '
                f'{len(head.memory_bank)} slots: set model.head.bank_slots to the batch size'
            )
        if dist.get_world_size() > 1 and not getattr(
            runner.train_dataloader.sampler, 'round_up', True
        ):
            raise ValueError(
                'the contrastive losses gather batches of equal size from all processes: set '
                'train_dataloader.sampler.round_up=True'
            )
        if not getattr(model.data_preprocessor, 'to_onehot', False):
            raise ValueError('PrototypeHook needs data_preprocessor.to_onehot=True')
        prototype_loader_config(runner.cfg)
        if self.begin == 1 and not has_loaded(runner):
            raise RuntimeError(
                'PrototypeHook(begin=1) computes prototypes from trained weights, and none are '
                'given: train the first stage (tools/train.py with the sarl_* config), then add '
                '--cfg-options load_from=CHECKPOINT'
            )
        # a run resumed within epoch `begin` has started the stage already
        head.contrastive = runner.iter > self._first_iteration(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the contrastive stage if its epoch has come."""
        # an epoch of which nothing is left, at resume, is at that iteration, too
        if runner.epoch + 1 != self.begin or runner.iter != self._first_iteration(runner):
            return
        model = _unwrap(runner.model)
        ema_models = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
        self._load_start(runner, model, ema_models)
        prototypes = model.head.given_prototypes()
        if prototypes is None:
            prototypes = self._compute(runner, model)
        model.head.start_contrastive(prototypes)
        for parameter in model.head.parameters():
            dist.broadcast(parameter.data)  # the new projector is drawn on each rank
        for ema_model in ema_models:
            ema_model.module.load_state_dict(model.state_dict())
            # not 0: mmengine would copy the weights after the first step, the published average
            # starts from those before it
            ema_model.steps.fill_(1)
        self._forget_best_score(runner)
        runner.optim_wrapper.optimizer.state.clear()
        runner.optim_wrapper.zero_grad()  # what accumulation has gathered is of the stage before
        runner.logger.info(
            f'Contrastive stage starts at epoch {self.begin}: SSCL and PSCL are on, optimizer '
            'state and EMA start anew.'
        )

    def _first_iteration(self, runner: Runner) -> int:
        """Iterations before the stage."""
        return (self.begin - 1) * len(runner.train_dataloader)

    def _load_start(self, runner: Runner, model: nn.Module, ema_models: list) -> None:
        """Put the weights to start from into the model."""
        best = [getattr(hook, 'best_ckpt_path', None) for hook in runner.hooks]
        for hook in runner.hooks:  # of several metrics, the first
            best += getattr(hook, 'best_ckpt_path_dict', {}).values()
        best = next(filter(None, best), None)
        if self.start_from == 'best' and best is not None:
            dist.barrier()  # rank 0 may still be writing it
            load_checkpoint(model, best, map_location='cpu', strict=True, logger=runner.logger)
            return
        for ema_model in ema_models:
            with torch.no_grad():
                for source, average in zip(model.parameters(), ema_model.module.parameters()):
                    source.copy_(average)

    @staticmethod
    def _forget_best_score(runner: Runner) -> None:
        """The stage keeps a best checkpoint of its own, beside that of the stage before."""
        for name in [key for key in runner.message_hub.runtime_info if key.startswith('best_')]:
            runner.message_hub.pop_info(name)
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and getattr(hook, 'best_ckpt_path', None):
                hook.best_ckpt_path = None
            for key in getattr(hook, 'best_ckpt_path_dict', {}):
                hook.best_ckpt_path_dict[key] = None

    def _compute(self, runner: Runner, model: nn.Module) -> Tensor:
        """Prototypes (C, D) of the training set; classes without one are named in the log."""
        loader = build_prototype_loader(runner.cfg, runner.seed)
        runner.logger.info(f'Prototypes: one pass over {len(loader.dataset)} training images')
        sums, counts, confident = class_means(model, loader, self.threshold, runner.logger.info)
        prototypes = sums / counts.clamp(min=1)[:, None]
        classes = loader.dataset.metainfo.get('classes') or list(range(len(counts)))
        empty = [str(name) for name, count in zip(classes, confident.tolist()) if count == 0]
        if empty:
            runner.logger.warning(
                f'Prototypes: {len(empty)} of {len(classes)} classes have no training image with '
                f'a score above {self.threshold} and start at zero: {", ".join(empty[:20])}'
                + (', …' if len(empty) > 20 else '')
            )
        return prototypes


def build_prototype_loader(cfg: Config, seed: int | None = None) -> DataLoader:
    """The training set in order, without augmentation, each image on one rank.

    Args:
        cfg (Config): With ``train_dataloader`` and ``val_dataloader`` (or ``test_dataloader``),
            whose pipeline is used.
        seed (int, optional): Of the loader's workers. Defaults to None.

    Raises:
        ValueError: If the training set is a wrapper, which has no pipeline of its own.
    """
    return Runner.build_dataloader(prototype_loader_config(cfg), seed=seed)


def prototype_loader_config(cfg: Config) -> Config:
    """The config of :func:`build_prototype_loader`."""
    loader_cfg = copy.deepcopy(cfg.train_dataloader)
    # not the test set's: a model may be tested at another image size than it is trained at
    test_cfg = cfg.get('val_dataloader') or cfg.test_dataloader
    if 'pipeline' not in loader_cfg.dataset:
        raise ValueError(
            'prototypes are computed with train_dataloader.dataset.pipeline replaced by the test '
            f'pipeline, and {loader_cfg.dataset.type} has none: use a dataset without a wrapper'
        )
    loader_cfg.dataset.pipeline = test_cfg.dataset.pipeline
    loader_cfg.sampler = dict(type='DefaultSampler', shuffle=False, round_up=False)
    loader_cfg.drop_last = False
    loader_cfg.persistent_workers = False
    loader_cfg.pop('batch_sampler', None)
    return loader_cfg


@torch.no_grad()
def class_means(
    model: nn.Module, loader, threshold: float, log=lambda line: None
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the embeddings of confident positives over a data loader, over all ranks.

    Args:
        model (nn.Module): An ImageClassifier with SARLNeck and SADCLHead; it is left in the mode
            it was in.
        loader (DataLoader): Images with labels.
        threshold (float): The score that a positive must exceed.
        log (callable): Takes a line of progress, about ten times. Defaults to none.

    Returns:
        tuple[Tensor]: Sums (C, D) and, per class, the number of positives (C,) and of
        confident ones (C,); float32.
    """
    was_training = model.training
    model.eval()
    shape = model.head.prototypes.shape  # (C, D)
    total = model.head.prototypes.new_zeros(shape[0], shape[1] + 2, dtype=torch.float64)
    started = time.time()
    every = max(1, len(loader) // 10)
    for index, batch in enumerate(loader, start=1):
        batch = model.data_preprocessor(batch, False)
        feats = model.extract_feat(batch['inputs'])
        score = model.head(feats).sigmoid()  # (B, C)
        target = torch.stack([sample.gt_score for sample in batch['data_samples']]) > 0
        chosen = target & (score > threshold)
        sums = torch.einsum('bc,bcd->cd', chosen.double(), feats[-1].double())
        total += torch.cat([sums, target.sum(0)[:, None], chosen.sum(0)[:, None]], dim=1)
        if index % every == 0 or index == len(loader):
            left = (time.time() - started) / index * (len(loader) - index)
            log(f'Prototypes: batch {index} / {len(loader)}, {left:.0f} s left')
    model.train(was_training)
    dist.all_reduce(total)
    sums, counts, confident = total[:, :-2], total[:, -2], total[:, -1]
    return sums.float(), counts.float(), confident.float()


def _unwrap(model: nn.Module) -> nn.Module:
    """The model inside a DDP wrapper."""
    return model.module if is_model_wrapper(model) else model
