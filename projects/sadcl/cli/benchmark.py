"""Measure speed and memory, as ratios: tools/benchmark/run.py [--only losses …] [--out FILE]

SADCL's losses, bank and head at the sizes of COCO and Visual Genome; network, metric and data are
the toolkit's. The rival is the published algorithm written plainly, with dense masks, the whole
bank projected and loops, from its description (docs/reproduction.md), not from its code.

Shapes: B images, C classes, V views, D embed dims, P projection dims.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mlic.cli.benchmark.measure import Bench, Case
from mlic.cli.benchmark.network import make_target
from mlic.cli.benchmark.run import run
from mlic.engine.runner.errors import one_line_errors
from mlic.installation import find_config
from mlic.models.targets import target_of
from projects.sadcl.models.contrastive_losses import PSCLLoss, SSCLLoss
from projects.sadcl.models.sadcl_head import SADCLHead

PROJECTION, EMBED = 1024, 2048
# labels of an image: 2.9 on COCO, 13.6 on Visual Genome's 500 classes
COCO, GENOME = (32, 80, 93), (32, 500, 435)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    run(find_config('sadcl_r101_coco448'), cases, plain_loss, argv)


def cases(bench: Bench, quick: bool) -> Iterator[Case]:
    """What the losses cost."""
    yield _sscl(bench, *COCO, memory_limit_mb=20, published=not quick)
    yield _sscl(bench, *GENOME, limit=0.5, memory_limit_mb=60)
    for images in (16, 64, 256):
        growth = ('SSCL over B (2.9 labels an image)', images)
        yield _sscl(bench, images, 80, round(2.9 * images), growth=growth)
    for classes in (80, 320, 1280):
        yield _sscl(bench, 32, classes, 93, growth=('SSCL over C (93 labels)', classes))
    for size in (COCO, GENOME):
        yield _pscl(bench, *size)
    yield _bank(bench, *GENOME)
    for size in (COCO, GENOME):
        yield _head(bench, *size)


def _label(images: int, classes: int, positives: int) -> str:
    return f'B {images}, C {classes}, {positives} positives'


def _backward(loss: Callable[[], Tensor], *inputs: Tensor) -> Callable[[], None]:
    """Work to measure: the loss and its gradients, made anew."""

    def work():
        for tensor in inputs:
            tensor.grad = None
        loss().backward()

    return work


def _sscl(bench: Bench, images: int, classes: int, positives: int, published=False, **kwargs):
    """Forward and backward of the core, over active vectors of both views."""
    target = make_target(images, classes, positives, bench.device)
    image, label = target.nonzero(as_tuple=True)
    z = torch.randn(2, positives, PROJECTION, device=bench.device, requires_grad=True)
    loss = SSCLLoss(anchors='official')
    work = _backward(lambda: loss(z, target, image, label), z)
    name = f'SSCL fwd+bwd, {_label(images, classes, positives)}'
    if not published:
        return Case(name, work, **kwargs)
    shape = (images, 2, classes, PROJECTION)
    features = torch.randn(shape, device=bench.device, requires_grad=True)
    dense = _backward(lambda: dense_sscl(features, target), features)
    return Case(
        name, work, against=dense, against_name='all pairs, masked', against_limit=0.01, **kwargs
    )


def _pscl(bench: Bench, images: int, classes: int, positives: int) -> Case:
    target = make_target(images, classes, positives, bench.device)
    z = torch.randn(images, classes, PROJECTION, device=bench.device, requires_grad=True)
    prototypes = torch.randn(classes, PROJECTION, device=bench.device, requires_grad=True)
    loss = PSCLLoss()
    work = _backward(lambda: loss(z, prototypes, target), z, prototypes)
    return Case(f'PSCL fwd+bwd, {_label(images, classes, positives)}', work)


def _bank(bench: Bench, images: int, classes: int, positives: int) -> Case:
    head, label_embeds, target = _make_head(bench, images, classes, positives)
    image, label = target.nonzero(as_tuple=True)
    score = torch.full((images, classes), 5.0, device=bench.device)  # all are confident

    return Case(
        f'bank update, {_label(images, classes, positives)}',
        lambda: head._update_bank(label_embeds, score, image, label),
        against=lambda: update_bank(head.memory_bank, label_embeds, score, target),
        against_name='one label after the other',
        against_limit=0.2,
    )


def _head(bench: Bench, images: int, classes: int, positives: int) -> Case:
    """Head with both losses: projector on all embeddings and on the active bank rows."""
    head, label_embeds, target = _make_head(bench, images, classes, positives)
    label_embeds.requires_grad_()
    image, label = target.nonzero(as_tuple=True)

    def work():
        label_embeds.grad = None
        head.zero_grad(set_to_none=False)
        losses = head._contrastive_losses(label_embeds, target, image, label)
        sum(losses.values()).backward()

    return Case(f'head, both contrastive losses, {_label(images, classes, positives)}', work)


def _make_head(bench: Bench, images: int, classes: int, positives: int) -> tuple:
    head = SADCLHead(num_classes=classes, in_channels=EMBED, bank_slots=images).to(bench.device)
    label_embeds = torch.randn(images, classes, EMBED, device=bench.device)
    return head, label_embeds, make_target(images, classes, positives, bench.device)


def dense_sscl(features: Tensor, target: Tensor) -> Tensor:
    """SSCL over all (V B C)^2 pairs, masked: (B, V, C, P), (B, C) → scalar."""
    num_images, num_views, num_classes, _ = features.shape
    z = F.normalize(features, dim=-1).transpose(0, 1).flatten(0, 2)  # (V B C, P)
    active = target.repeat(num_views, 1).flatten()  # (V B C,)
    classes = torch.arange(num_classes, device=z.device).repeat(num_views * num_images)
    similarity = z @ z.T / 0.2
    similarity = similarity - similarity.max(dim=1, keepdim=True).values.detach()
    others = active[:, None] * active * (1 - torch.eye(len(z), device=z.device))
    positives = (classes[:, None] == classes).float() * others
    log_prob = similarity - torch.log((similarity.exp() * others).sum(1, keepdim=True) + 1e-5)
    mean_log_prob = (positives * log_prob).sum(1) / (positives.sum(1) + 1e-5)
    return -(active * mean_log_prob).sum() / active.sum()


def repeated_pscl(z: Tensor, prototypes: Tensor, target: Tensor, temperature: float) -> Tensor:
    """PSCL with the prototypes repeated for each image: (B, C, P), (C, P), (B, C) → scalar."""
    repeated = prototypes[None].repeat(len(z), 1, 1)
    similarity = F.cosine_similarity(z, repeated, dim=-1) / temperature  # (B, C)
    similarity = similarity - similarity.max(dim=0).values.detach()
    numerator = (similarity.exp() * target).sum(0)
    numerator = torch.where(target.sum(0) > 0, numerator, torch.ones_like(numerator))
    return -(numerator.log() - similarity.exp().sum(0).log()).sum() / target.sum()


def plain_loss(head: SADCLHead, feats: tuple, data_samples: list) -> dict[str, Tensor]:
    """What ``head.loss`` does, with the whole bank projected with gradient."""
    label_embeds = feats[-1]
    cls_score = head.fc(label_embeds)
    target = target_of(data_samples, cls_score.shape[1], cls_score.dtype, cls_score.device)
    z = head.projector(label_embeds)
    head.fit_row_buffers(len(z))
    remembered = head.projector(head.memory_bank[: len(z)].clone())
    sscl = dense_sscl(torch.stack([z, remembered], dim=1).float(), target)
    pscl = repeated_pscl(z.float(), head.projector(head.prototypes).float(), target, 0.07)
    update_bank(head.memory_bank, label_embeds.float(), cls_score.sigmoid(), target)
    classification = head.loss_module(cls_score, target, avg_factor=len(target))
    return dict(loss_cls=classification, loss_contrast=100 * sscl + 50 * pscl)


@torch.no_grad()
def update_bank(bank: Tensor, label_embeds: Tensor, score: Tensor, target: Tensor) -> None:
    """One label after the other, each asking the device for its score."""
    for image in range(len(target)):
        for label in range(target.shape[1]):
            if target[image, label].item() > 0 and score[image, label].item() > 0.8:
                bank[image, label] = label_embeds[image, label]
