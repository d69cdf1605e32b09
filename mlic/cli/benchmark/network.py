"""Neck, whole training step and inference."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mlic.apis.folding import fold_batch_norm
from mlic.apis.open_run import build_model
from mlic.models.training_parts import for_prediction

from .measure import YARDSTICK_FLOPS, Bench, Case

LABELS_OF_AN_IMAGE = 2.9  # COCO


def count_flops(run) -> int:
    """Multiplications and additions of one call, both counted."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def make_target(images: int, classes: int, positives: int, device: str) -> Tensor:
    """(B, C) with this many ones at random places, the same in every run."""
    target = torch.zeros(images, classes)
    chosen = torch.randperm(target.numel(), generator=torch.Generator().manual_seed(1))
    target.view(-1)[chosen[:positives]] = 1
    return target.to(device)


def neck_cases(bench: Bench, config: str, quick: bool) -> Iterator[Case]:
    """The config's neck over image sizes."""
    cfg = Config.fromfile(config).model.neck
    neck = MODELS.build(cfg).to(bench.device)
    for size in (224, 448) if quick else (224, 448, 576):
        cells = size // 32
        feats = (torch.randn(2, cfg.in_channels, cells, cells, device=bench.device),)

        def run(feats=feats):
            neck.zero_grad(set_to_none=False)  # its memory is the weights', not the work's
            neck(feats)[0].sum().backward()

        growth = ('neck over image side (80 classes)', size)
        yield Case(f'{cfg.type} fwd+bwd, B 2, {size} px', run, growth=growth)


def make_model(config: str, device: str, predicts: bool = False) -> nn.Module:
    """The classifier of a config, with random weights; without its parts for training alone."""
    cfg = Config.fromfile(config)
    cfg.model.backbone.init_cfg = None
    if predicts:
        cfg.model = for_prediction(cfg.model)
    return build_model(cfg).to(device)


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


def step_cases(
    bench: Bench, config: str, images: int, size: int, plain_loss: Callable
) -> Iterator[Case]:
    """A method's step, relative to one of classification alone and, on a GPU, its plain rival."""
    autocast = bench.device == 'cuda'
    batch = make_batch(images, size, 80, bench.device)
    model = make_model(config, bench.device)
    method = type(model.head).__name__.removesuffix('Head')
    step = make_step(model, batch, autocast)
    plain_model = make_model(config, bench.device, predicts=True)
    plain_step = make_step(plain_model, batch, autocast)
    where = f'R101, B {images}, {size} px'
    yield Case(
        f'{method} training step, {where}',
        step,
        against=plain_step,
        against_name='step of loss_cls alone',
        against_limit=1.05,
        measure_memory=autocast,
    )
    if autocast:
        rival = make_model(config, bench.device)
        rival.head.loss = partial(plain_loss, rival.head)
        yield Case(
            f'the published algorithm, {where}',
            make_step(rival, batch, autocast),
            against=step,
            against_name=f'{method} training step',
        )
        return
    yield _beside_matmuls(bench, f'step of loss_cls alone, {where}', plain_step)
    yield from _parts(bench, plain_model, images, size)


def _beside_matmuls(bench: Bench, name: str, run) -> Case:
    """Work beside as many FLOPs of the matrix product."""
    flops = count_flops(run)
    return Case(
        f'{name}: {flops / 1e9:.0f} GFLOP',
        run,
        against=lambda: [bench.yardstick() for _ in range(round(flops / YARDSTICK_FLOPS))],
        against_name='as many FLOPs of matmul',
        measure_memory=False,
    )


def _parts(bench: Bench, model: nn.Module, images: int, size: int) -> Iterator[Case]:
    """Where the step's time goes."""
    inputs = torch.randn(images, 3, size, size, device=bench.device)
    feats = (torch.randn(images, 2048, size // 32, size // 32, device=bench.device),)
    feats[0].requires_grad_()
    for name, part, given in (('backbone', model.backbone, inputs), ('neck', model.neck, feats)):

        def run(part=part, given=given):
            part.zero_grad()
            part(given)[-1].sum().backward()

        yield _beside_matmuls(bench, f'  of it the {name}, forward and backward', run)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    yield Case('  of it AdamW', optimizer.step, measure_memory=False)


def inference_cases(bench: Bench, config: str) -> Iterator[Case]:
    """ResNet-18 at 224 px with the config's neck at a quarter of its width, BatchNorm folded."""
    cfg = for_prediction(Config.fromfile(config).model)
    cfg.backbone = dict(type='ResNet', depth=18)
    cfg.neck.update(in_channels=512, embed_dims=512, feedforward_channels=2048)
    cfg.head.in_channels = 512
    model = fold_batch_norm(MODELS.build(cfg)).to(bench.device)
    inputs = torch.randn(8, 3, 224, 224, device=bench.device)

    def predict():
        return model.head(model.extract_feat(inputs)).sigmoid()

    def backbone():
        return model.backbone(inputs)

    share = count_flops(predict) / count_flops(backbone) - 1

    # neck and head at the backbone's rate: as many images more
    more = inputs[torch.arange(round(share * len(inputs))) % len(inputs)]

    @torch.no_grad()
    def backbone_and_neck_flops():
        backbone()
        if len(more):
            model.backbone(more)

    yield Case(
        'inference, R18, B 8, 224 px',
        torch.no_grad()(predict),
        against=backbone_and_neck_flops,
        against_name='backbone + FLOPs of the rest at its rate',
        against_limit=1.25,
    )
