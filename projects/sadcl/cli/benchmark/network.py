"""SADCL's neck, training step and inference."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmpretrain.registry import MODELS
from torch import nn

from mlic.apis.folding import fold_batch_norm
from mlic.cli.benchmark.measure import Bench, Case
from mlic.cli.benchmark.network import (
    beside_matmuls,
    count_flops,
    make_batch,
    make_model,
    make_step,
    part_cases,
)
from projects.sadcl.models.sarl_neck import SARLNeck

from .published import contrastive_losses, update_bank


def neck_cases(bench: Bench, quick: bool) -> Iterator[Case]:
    """The published neck over image sizes."""
    neck = SARLNeck(in_channels=2048, num_classes=80).to(bench.device)
    for size in (224, 448) if quick else (224, 448, 576):
        cells = size // 32
        feats = (torch.randn(2, 2048, cells, cells, device=bench.device),)

        def run(feats=feats):
            neck.zero_grad(set_to_none=False)  # its memory is the weights', not the work's
            neck(feats)[0].sum().backward()

        growth = ('neck over image side (80 classes)', size)
        yield Case(f'SARL neck fwd+bwd, B 2, {size} px', run, growth=growth)


def step_cases(bench: Bench, config: str, images: int, size: int) -> Iterator[Case]:
    """SADCL's step beside SARL's and, on a GPU, beside the published algorithm's."""
    autocast = bench.device == 'cuda'
    batch = make_batch(images, size, 80, bench.device)
    sadcl = make_step(make_model(config, bench.device), batch, autocast)
    plain_sarl = make_model(config, bench.device, loss_sscl=None, loss_pscl=None)
    sarl = make_step(plain_sarl, batch, autocast)
    where = f'R101, B {images}, {size} px'
    yield Case(
        f'SADCL training step, {where}',
        sadcl,
        against=sarl,
        against_name='SARL training step',
        against_limit=1.05,
        measure_memory=autocast,
    )
    if autocast:
        plain = make_step(make_plain(config, bench.device), batch, autocast)
        yield Case(
            f'the published algorithm, {where}',
            plain,
            against=sadcl,
            against_name='SADCL training step',
        )
        return
    yield beside_matmuls(bench, f'SARL training step, {where}', sarl)
    yield from part_cases(bench, plain_sarl, images, size)


def make_plain(config: str, device: str) -> nn.Module:
    """The same network with the contrast written plainly."""
    model = make_model(config, device)
    head = model.head

    def loss(feats, data_samples):
        label_embeds = feats[-1]
        cls_score = head.fc(label_embeds)
        target = head._target(data_samples, cls_score)
        bank = head.memory_bank.clone()
        contrast = contrastive_losses(head.projector, label_embeds, bank, head.prototypes, target)
        update_bank(head.memory_bank, label_embeds.float(), cls_score.sigmoid(), target)
        classification = head.loss_module(cls_score, target, avg_factor=len(target))
        return dict(loss_cls=classification, loss_contrast=contrast)

    head.loss = loss
    return model


def inference_cases(bench: Bench) -> Iterator[Case]:
    """ResNet-18 at 224 px with a small neck, BatchNorm folded."""
    model = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18),
        neck=dict(type='SARLNeck', in_channels=512, num_classes=80, embed_dims=512,
                  feedforward_channels=2048),
        head=dict(type='SADCLHead', num_classes=80, in_channels=512),
    )  # fmt: skip
    model = fold_batch_norm(MODELS.build(model)).to(bench.device)
    inputs = torch.randn(8, 3, 224, 224, device=bench.device)

    def predict():
        return model.head(model.extract_feat(inputs)).sigmoid()

    def backbone():
        return model.backbone(inputs)

    share = count_flops(predict) / count_flops(backbone) - 1

    @torch.no_grad()
    def backbone_and_neck_flops():
        # neck and head at the backbone's rate: this share of its time more
        backbone()
        remaining = share * len(inputs)
        whole, part = divmod(remaining, len(inputs))
        for _ in range(int(whole)):
            backbone()
        if round(part):
            model.backbone(inputs[: round(part)])

    yield Case(
        'inference, R18, B 8, 224 px',
        torch.no_grad()(predict),
        against=backbone_and_neck_flops,
        against_name='backbone + FLOPs of the rest at its rate',
        against_limit=1.25,
    )
