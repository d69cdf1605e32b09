"""Losses, memory bank and head, at the sizes of COCO and Visual Genome."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mlic.cli.benchmark.measure import Bench, Case
from mlic.cli.benchmark.network import make_target
from projects.sadcl.models.contrastive_losses import PSCLLoss, sscl_loss_active
from projects.sadcl.models.sadcl_head import SADCLHead

from .published import dense_sscl, update_bank

PROJECTION, EMBED = 1024, 2048
# labels of an image: 2.9 on COCO, 13.6 on Visual Genome's 500 classes
COCO, GENOME = (32, 80, 93), (32, 500, 435)


def cases(bench: Bench, quick: bool) -> Iterator[Case]:
    """What the losses cost."""
    yield _sscl(bench, *COCO, limit=0.15, memory_limit_mb=20, published=not quick)
    yield _sscl(bench, *GENOME, limit=0.5, memory_limit_mb=60)
    for images in (16, 64, 256):
        growth = ('SSCL over B (2.9 labels an image)', images)
        yield _sscl(bench, images, 80, round(2.9 * images), growth=growth)
    for classes in (80, 320, 1280):
        yield _sscl(bench, 32, classes, 93, growth=('SSCL over C (93 labels)', classes))
    for size in (COCO, GENOME):
        yield _pscl(bench, *size)
    yield _bank(bench, *GENOME, limit=0.02)
    for size in (COCO, GENOME):
        yield _head(bench, *size)


def _label(images: int, classes: int, positives: int) -> str:
    return f'B {images}, C {classes}, {positives} positives'


def _sscl(bench: Bench, images: int, classes: int, positives: int, published=False, **kwargs):
    """Forward and backward of the core, over active vectors of both views."""
    target = make_target(images, classes, positives, bench.device)
    image, label = target.nonzero(as_tuple=True)
    z = torch.randn(2, positives, PROJECTION, device=bench.device, requires_grad=True)

    def run():
        z.grad = None
        sscl_loss_active(z, target, image, label, anchors='official').backward()

    name = f'SSCL fwd+bwd, {_label(images, classes, positives)}'
    if not published:
        return Case(name, run, **kwargs)
    shape = (images, 2, classes, PROJECTION)
    features = torch.randn(shape, device=bench.device, requires_grad=True)

    def dense():
        features.grad = None
        dense_sscl(features, target).backward()

    return Case(name, run, against=dense, against_name='all pairs, masked', **kwargs)


def _pscl(bench: Bench, images: int, classes: int, positives: int) -> Case:
    target = make_target(images, classes, positives, bench.device)
    z = torch.randn(images, classes, PROJECTION, device=bench.device, requires_grad=True)
    prototypes = torch.randn(classes, PROJECTION, device=bench.device, requires_grad=True)
    loss = PSCLLoss()

    def run():
        z.grad = prototypes.grad = None
        loss(z, prototypes, target).backward()

    return Case(f'PSCL fwd+bwd, {_label(images, classes, positives)}', run)


def _bank(bench: Bench, images: int, classes: int, positives: int, limit: float) -> Case:
    head, label_embeds, target = _make_head(bench, images, classes, positives)
    image, label = target.nonzero(as_tuple=True)
    score = torch.full((images, classes), 5.0, device=bench.device)  # all are confident

    return Case(
        f'bank update, {_label(images, classes, positives)}',
        lambda: head._update_bank(label_embeds, score, image, label),
        against=lambda: update_bank(head.memory_bank, label_embeds, score, target),
        against_name='one label after the other',
        limit=limit,
    )


def _head(bench: Bench, images: int, classes: int, positives: int) -> Case:
    """Head with both losses: projector on all embeddings and on the active bank rows."""
    head, label_embeds, target = _make_head(bench, images, classes, positives)
    label_embeds.requires_grad_()
    image, label = target.nonzero(as_tuple=True)

    def run():
        label_embeds.grad = None
        head.zero_grad(set_to_none=False)
        losses = head._contrastive_losses(label_embeds, target, image, label)
        sum(losses.values()).backward()

    return Case(f'head, both contrastive losses, {_label(images, classes, positives)}', run)


def _make_head(bench: Bench, images: int, classes: int, positives: int) -> tuple:
    head = SADCLHead(num_classes=classes, in_channels=EMBED, bank_slots=images).to(bench.device)
    label_embeds = torch.randn(images, classes, EMBED, device=bench.device)
    return head, label_embeds, make_target(images, classes, positives, bench.device)
