"""What benchmarks of networks share: models, batches, steps, floating point operations."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .measure import YARDSTICK_FLOPS, Bench, Case

LABELS_OF_AN_IMAGE = 2.9  # COCO


def count_flops(run) -> int:
    """Multiplications and additions of one call, both counted."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def make_model(config: str, device: str, **head) -> nn.Module:
    """The classifier of a config, with random weights."""
    cfg = Config.fromfile(config)
    cfg.model.backbone.init_cfg = None
    cfg.model.data_preprocessor = cfg.data_preprocessor
    cfg.model.head.update(head)
    return MODELS.build(cfg.model).to(device)


def make_target(images: int, classes: int, positives: int, device: str) -> Tensor:
    """(B, C) with this many ones at random places, the same in every run."""
    target = torch.zeros(images, classes)
    chosen = torch.randperm(target.numel(), generator=torch.Generator().manual_seed(1))
    target.view(-1)[chosen[:positives]] = 1
    return target.to(device)


def make_batch(images: int, size: int, classes: int, device: str) -> dict:
    """What a loader hands to ``train_step``."""
    target = make_target(images, classes, round(LABELS_OF_AN_IMAGE * images), 'cpu')
    inputs = torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8)
    samples = [DataSample().set_gt_label(row.nonzero().flatten()) for row in target]
    return dict(inputs=list(inputs.to(device)), data_samples=samples)


def make_step(model: nn.Module, batch: dict, autocast: bool = False):
    """A whole training step: preprocess, forward, backward, AdamW."""
    device = next(model.parameters()).device.type
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=device == 'cuda')
    wrapper = OptimWrapper(optimizer)
    model.train()

    def run():
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            model.train_step(batch, wrapper)

    return run


def beside_matmuls(bench: Bench, name: str, run) -> Case:
    """Work beside as many FLOPs of the matrix product."""
    flops = count_flops(run)
    return Case(
        f'{name}: {flops / 1e9:.0f} GFLOP',
        run,
        against=lambda: [bench.yardstick() for _ in range(round(flops / YARDSTICK_FLOPS))],
        against_name='as many FLOPs of matmul',
        measure_memory=False,
    )


def part_cases(bench: Bench, model: nn.Module, images: int, size: int) -> Iterator[Case]:
    """Where the step's time goes."""
    inputs = torch.randn(images, 3, size, size, device=bench.device)
    feats = (torch.randn(images, 2048, size // 32, size // 32, device=bench.device),)
    feats[0].requires_grad_()
    for name, part, given in (('backbone', model.backbone, inputs), ('neck', model.neck, feats)):

        def run(part=part, given=given):
            part.zero_grad()
            part(given)[-1].sum().backward()

        yield beside_matmuls(bench, f'  of it the {name}, forward and backward', run)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    yield Case('  of it AdamW', optimizer.step, measure_memory=False)
