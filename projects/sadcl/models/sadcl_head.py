"""The head of SADCL: class scores, and the two contrastive losses around them.

Shapes in this module: B images, C classes, D embed dims, P projection dims, S slots of the
memory bank, K positive (image, class) pairs of the batch.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from mmengine import dist
from mmengine.logging import print_log
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from mlic.files import map_array
from mlic.models.checks import build_contrast
from mlic.models.heads.label_embed_head import LabelEmbedHead
from mlic.models.layers.projector import Projector
from mlic.models.targets import positive_pairs

CLASSIFICATION = dict(type='StopGradAsymmetricLoss', mean_over_classes=True, loss_weight=1000.0)
SSCL = dict(type='SSCLLoss', anchors='all', loss_weight=16.0)
PSCL = dict(type='PSCLLoss', loss_weight=50.0)


@MODELS.register_module()
class SADCLHead(LabelEmbedHead):
    """Scores of ``LabelEmbedHead``, and SADCL's losses on the label embeddings (ECAI 2023).

    Training: ``loss_cls`` on the scores; ``loss_sscl`` on the projected embeddings of the
    positive labels next to those that the memory bank holds for the same rows; ``loss_pscl`` on
    all projected embeddings against the projected prototypes. After the losses, each positive
    label with a score above ``bank_threshold`` overwrites its slot of the bank (``FiniteLossHook``
    takes that back where a loss is not finite). Prediction uses none of projector, prototypes and
    bank.

    On W processes each has the bank of its own rows: slot b of rank r is slot b * W + r of the
    bank that one process would have, and the losses of gathered rows (``gather=True``) are the
    same however the batch is split.

    With soft targets (Mixup, CutMix) a label of at least 0.5 is positive in all of this but
    ``loss_cls``; an unknown one (NaN) is no part of it.

    With both contrastive losses None, the three do not exist: that is SARL alone.

    Args:
        num_classes (int): C.
        in_channels (int): D, width of the label embeddings.
        proj_channels (int): P, width of the contrastive space. Defaults to 1024.
        loss_cls (dict): Loss of logits and a multi-hot target. Defaults to binary cross-entropy
            at the published scale, 1000 times the mean over classes.
        loss_sscl (dict, optional): Defaults to the paper's formula,
            ``SSCLLoss(anchors='all', loss_weight=16)``, whose gradient has the size of the
            published ``anchors='official', loss_weight=100``. None: off.
        loss_pscl (dict, optional): Defaults to ``PSCLLoss(loss_weight=50)``, as published.
            None: off.
        prototypes (str, optional): A ``.npy`` file (C, D) to start the trainable prototypes and
            the bank from; ``PrototypeHook`` takes them, too, instead of computing some. Defaults
            to None: drawn from N(0, 1) until :meth:`set_prototypes`.
        bank_slots (int, optional): S, the largest batch of a process that the bank can pair.
            Defaults to None: that of the training, or of the checkpoint that is loaded.
        bank_threshold (float): A score must exceed it to be stored. Defaults to 0.8.
        prototype_momentum (float, optional): m, between 0 and 1: after a training batch, a class
            that is in it moves its prototype to ``m * prototype + (1 - m) * mean`` of its
            embeddings, and no gradient does; 1 keeps the prototypes as the stage's start gave
            them. Defaults to None: they are trained, as published.
        prior_prob, thr, topk, init_cfg: See ``LabelEmbedHead``.

    Raises:
        ValueError: If ``prototype_momentum`` is not between 0 and 1, prototypes have another shape,
            or a contrastive loss takes other arguments.

    Attributes:
        contrastive (bool): Whether the contrastive losses are on; while it is False they are
            zero with a graph. ``PrototypeHook`` sets it.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from projects.sadcl.models import SADCLHead
        >>> head = SADCLHead(num_classes=3, in_channels=8, proj_channels=4, bank_slots=2)
        >>> label_embeds = torch.rand(2, 3, 8)  # of SARLNeck
        >>> head((label_embeds,)).shape
        torch.Size([2, 3])
        >>> samples = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([1])]
        >>> list(head.loss((label_embeds,), samples))
        ['loss_cls', 'loss_pscl', 'loss_sscl']
    """

    training_only = ('projector', 'prototypes', 'memory_bank')
    off_in_prediction = ('loss_sscl', 'loss_pscl')
    row_buffers = ('memory_bank',)
    takes_back = ('memory_bank',)
    by_class = dict(prototypes=(0,), memory_bank=(1,))

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        proj_channels: int = 1024,
        loss_cls: dict = CLASSIFICATION,
        loss_sscl: dict | None = SSCL,
        loss_pscl: dict | None = PSCL,
        prototypes: str | None = None,
        bank_slots: int | None = None,
        bank_threshold: float = 0.8,
        prototype_momentum: float | None = None,
        prior_prob: float | None = None,
        thr: float | None = None,
        topk: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, loss_cls, prior_prob, thr, topk, init_cfg)
        if prototype_momentum is not None and not 0 <= prototype_momentum <= 1:
            raise ValueError(
                f'prototype_momentum must lie between 0 and 1, got {prototype_momentum}'
            )
        self.prototype_momentum = prototype_momentum
        self.bank_slots = bank_slots
        self.bank_threshold = bank_threshold
        self.prototypes_file = prototypes
        self.loss_sscl = self.loss_pscl = None
        if loss_sscl is not None:
            self.loss_sscl = build_contrast(loss_sscl, 'z', 'target', 'image', 'label')
        if loss_pscl is not None:
            self.loss_pscl = build_contrast(loss_pscl, 'z', 'prototypes', 'target')
        self.contrastive = self.loss_sscl is not None or self.loss_pscl is not None
        self.projector = None
        self._written = None  # image, label (K,) and what was there (K, D), of the last batch
        if self.contrastive:
            self.projector = Projector(in_channels, proj_channels)
            prototypes = torch.randn(num_classes, in_channels)
            if prototype_momentum is None:
                self.prototypes = nn.Parameter(prototypes)
            else:
                self.register_buffer('prototypes', prototypes)
            self.register_buffer(
                'memory_bank', torch.zeros(bank_slots or 0, num_classes, in_channels)
            )
            given = self.given_prototypes()
            self.set_prototypes(self.prototypes if given is None else given)

    def other_losses(
        self, label_embeds: Tensor, cls_score: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """``loss_sscl`` and ``loss_pscl`` where configured; in training, the bank is updated after.

        Raises:
            ValueError: If the batch is larger than the memory bank.
        """
        if self.projector is None:
            return {}
        self._written = None
        if not self.contrastive:  # zero, with a graph for each of their parameters
            zero = sum(p.sum() * 0.0 for p in (*self.projector.parameters(), self.prototypes))
            configured = dict(loss_sscl=self.loss_sscl, loss_pscl=self.loss_pscl)
            return {name: zero for name, loss in configured.items() if loss is not None}
        image, label = positive_pairs(target)  # (K,), (K,)
        losses = self._contrastive_losses(label_embeds, target, image, label)
        if self.training and self.loss_sscl is not None:
            self._update_bank(label_embeds, cls_score, image, label)
        if self.training and self.prototype_momentum is not None:
            self._average_prototypes(label_embeds, image, label)
        return losses

    def given_prototypes(self) -> Tensor | None:
        """The prototypes (C, D) of the config's file, or None; a ValueError for another shape."""
        if self.prototypes_file is None:
            return None
        path, prototypes = self.prototypes_file, read_prototypes(self.prototypes_file)
        shapes = tuple(self.prototypes.shape), tuple(prototypes.shape)
        if shapes[0] != shapes[1]:
            raise ValueError(f'{path} must hold prototypes (C, D) = {shapes[0]}, got {shapes[1]}')
        zero = (~prototypes.any(dim=1)).nonzero().flatten().tolist()
        if zero:
            print_log(
                f'{path}: the prototypes of {len(zero)} of {len(prototypes)} classes are zero and '
                f'share one projected prototype. Their indices: {", ".join(map(str, zero))}',
                logger='current',
                level=logging.WARNING,
            )
        return prototypes.float()

    @torch.no_grad()
    def set_prototypes(self, prototypes: Tensor) -> None:
        """Start from (C, D) and fill every slot of the bank; a ValueError for another shape."""
        if prototypes.shape != self.prototypes.shape:
            raise ValueError(
                f'prototypes must be (C, D) = {tuple(self.prototypes.shape)}, '
                f'got {tuple(prototypes.shape)}'
            )
        self.prototypes.copy_(prototypes)
        self.memory_bank.copy_(self.prototypes.expand_as(self.memory_bank))

    def start_contrastive(self, prototypes: Tensor) -> None:
        """Switch the contrastive losses on, with a new projector and these prototypes (C, D)."""
        self.projector.reset_parameters()
        self.set_prototypes(prototypes)
        self.contrastive = True

    def restart_row_buffer(self, name: str) -> str:
        """The bank starts from the prototypes again."""
        self.set_prototypes(self.prototypes)
        return 'the prototypes'

    @torch.no_grad()
    def fit_row_buffers(self, rows: int) -> None:
        """Give a bank without ``bank_slots`` as many as ``rows``; new ones start as prototypes."""
        if self.projector is None or self.bank_slots is not None or rows == len(self.memory_bank):
            return
        bank = self.prototypes.repeat(rows, 1, 1)
        kept = min(rows, len(self.memory_bank))
        bank[:kept] = self.memory_bank[:kept]
        self.memory_bank = bank

    @torch.no_grad()
    def take_back(self, where: Tensor) -> None:
        """The slots that the last batch wrote get back what they had."""
        if self._written is not None:
            image, label, slots = self._written
            now = self.memory_bank[image, label]
            self.memory_bank[image, label] = torch.where(where, slots, now)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """torch's, of a bank with any number of slots: the first ones are taken."""
        stored, own = state_dict.get(f'{prefix}memory_bank'), getattr(self, 'memory_bank', None)
        if stored is not None and own is not None and stored.shape[1:] == own.shape[1:]:
            if not len(own):
                self.fit_row_buffers(len(stored))
            fitted = self.memory_bank.to(stored, copy=True)
            kept = min(len(stored), len(fitted))
            fitted[:kept] = stored[:kept]
            state_dict[f'{prefix}memory_bank'] = fitted
        super()._load_from_state_dict(state_dict, prefix, *args)

    def start_warnings(self, class_names: Sequence[str] | None) -> list[str]:
        """Names the classes whose prototype is zero, once the contrastive losses are on."""
        if not self.contrastive:
            return []
        zero = (~self.prototypes.detach().any(dim=1)).nonzero().flatten().tolist()
        names = [str(index if class_names is None else class_names[index]) for index in zero]
        return [
            f'{len(names)} of {self.num_classes} classes start from a prototype of zeros '
            f'and share one projected prototype: {", ".join(names)}'
        ] * bool(names)

    def _contrastive_losses(
        self, label_embeds: Tensor, target: Tensor, image: Tensor, label: Tensor
    ) -> dict[str, Tensor]:
        """``loss_sscl`` and ``loss_pscl``; only the active rows of the bank are projected."""
        losses = {}
        if self.loss_pscl is not None:
            z = self.projector(label_embeds)  # (B, C, P)
            active = z[image, label]  # (K, P)
            # a copy: averaging changes the prototypes before the backward pass
            losses['loss_pscl'] = self.loss_pscl(z, self.projector(self.prototypes.clone()), target)
        else:
            active = self.projector(label_embeds[image, label])
        if self.loss_sscl is not None:
            if self.bank_slots is None and len(label_embeds) > len(self.memory_bank):
                self.fit_row_buffers(len(label_embeds))
            if len(label_embeds) > len(self.memory_bank):
                raise ValueError(
                    f'a batch of {len(label_embeds)} images does not fit a memory bank of '
                    f'{len(self.memory_bank)} slots: set head.bank_slots to the batch size'
                )
            remembered = self.projector(self.memory_bank[image, label])  # (K, P)
            views = torch.stack([active, remembered])  # (V = 2, K, P)
            loss = self.loss_sscl(views, target, image, label)
            if self.loss_pscl is None:  # the prototypes' only gradient, which DDP would wait for
                loss = loss + self.prototypes.sum() * 0.0
            losses['loss_sscl'] = loss
        return losses

    @torch.no_grad()
    def _update_bank(
        self, label_embeds: Tensor, cls_score: Tensor, image: Tensor, label: Tensor
    ) -> None:
        """Confident positive labels overwrite their slot (row of the batch, class)."""
        confident = cls_score[image, label].sigmoid() > self.bank_threshold  # (K,)
        slots = self.memory_bank[image, label]  # (K, D)
        embeds = label_embeds[image, label].to(slots.dtype)
        self.memory_bank[image, label] = torch.where(confident[:, None], embeds, slots)
        self._written = image, label, slots

    @torch.no_grad()
    def _average_prototypes(self, label_embeds: Tensor, image: Tensor, label: Tensor) -> None:
        """Move the prototypes of the classes of the batch, of all processes, to their means."""
        embeds = label_embeds[image, label].to(self.prototypes.dtype)  # (K, D)
        sums = self.prototypes.new_zeros(self.num_classes, self.in_channels + 1)
        sums.index_add_(0, label, torch.cat([embeds, torch.ones_like(embeds[:, :1])], dim=1))
        dist.all_reduce(sums)
        counts = sums[:, -1:]  # (C, 1)
        means = sums[:, :-1] / counts.clamp(min=1)
        moved = torch.lerp(means, self.prototypes, self.prototype_momentum)
        self.prototypes.copy_(torch.where(counts > 0, moved, self.prototypes))


def read_prototypes(path: str) -> Tensor:
    """Prototypes (C, D), float64, of a ``.npy`` file; no pickled object is ever loaded.

    Raises:
        OSError: If it cannot be opened.
        ValueError: If it is not a file of finite floats; names the file.
    """
    array = map_array(path)
    if array.dtype.kind != 'f':
        raise ValueError(f'{path} must hold one array of floats, got {array.dtype}')
    if not np.isfinite(array).all():
        raise ValueError(f'{path} holds values that are not finite')
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    return torch.from_numpy(array.astype(np.float64))
