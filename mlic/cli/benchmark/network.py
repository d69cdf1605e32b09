"""Neck, whole training step and inference."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mlic.apis.folding import fold_batch_norm
from mlic.apis.open_run import build_model
from mlic.engine.runner.compiled_parts import compile_parts
from mlic.engine.runner.precision import autocast_to, prepare_for
from mlic.models.training_parts import for_prediction

from .measure import YARDSTICK_FLOPS, Bench, Case

LABELS_OF_AN_IMAGE = 2.9  # COCO


def count_flops(run) -> int:
    """Multiplications and additions of one call, both counted.

    Attention is done step by step: the counter does not know the CPU's kernel for all of it.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
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


def make_batch(images: int, size: int, classes: int, device: str) -> Callable[[], dict]:
    """What a loader hands to ``train_step``, with new data samples each time.

    The step writes into them, and would find its labels on the device the next time.
    """
    target = make_target(images, classes, round(LABELS_OF_AN_IMAGE * images), 'cpu')
    labels = [row.nonzero().flatten() for row in target]
    inputs = torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8).to(device)

    def batch():
        samples = [DataSample().set_gt_label(label) for label in labels]
        return dict(inputs=inputs, data_samples=samples)

    return batch


def make_step(model: nn.Module, batch: Callable[[], dict], autocast: bool = False):
    """A whole training step: preprocess, forward, backward, AdamW."""
    device = next(model.parameters()).device.type
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=device == 'cuda')
    wrapper = OptimWrapper(optimizer)
    model.train()

    def run():
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            model.train_step(batch(), wrapper)

    return run


def step_cases(bench: Bench, config: str, images: int, size: int) -> Iterator[Case]:
    """A method's step, relative to one of classification alone."""
    batch = make_batch(images, size, 80, bench.device)
    model = make_model(config, bench.device)
    method = type(model.head).__name__.removesuffix('Head')
    plain_model = make_model(config, bench.device, predicts=True)
    plain_step = make_step(plain_model, batch)
    where = f'R101, B {images}, {size} px'
    yield Case(
        f'{method} training step, {where}',
        make_step(model, batch),
        against=plain_step,
        against_name='step of loss_cls alone',
        against_limit=1.05,
        measure_memory=False,
    )
    yield _beside_matmuls(bench, f'step of loss_cls alone, {where}', plain_step)
    yield from _parts(bench, plain_model, images, size)


def gpu_step_cases(
    bench: Bench, config: str, images: int | None, size: int, plain_loss: Callable
) -> Iterator[Case]:
    """A method's step in bfloat16 on a GPU: the published algorithm, ours, and ours compiled."""
    ours = dict(channels_last=True)
    compiled = dict(ours, parts=('backbone', 'neck'))
    graphs = dict(compiled, mode='reduce-overhead')
    rows = [
        (32, 'the published algorithm', dict(plain_loss=plain_loss)),
        *((number, 'ours', ours) for number in (8, 32, 64)),
        *((number, 'compiled', compiled) for number in (32, 64)),
        (64, 'compiled, loss_cls alone', dict(compiled, predicts=True)),
        (8, 'compiled, CUDA graphs', graphs),
    ]
    for batch_size, name, options in rows:
        if images in (None, batch_size):
            yield Case(
                f'step of R101, {size} px, B {batch_size}: {name}',
                _gpu_step(bench.device, config, batch_size, size, **options),
                images=batch_size,
            )
            torch.cuda.empty_cache()


def _gpu_step(
    device: str,
    config: str,
    images: int,
    size: int,
    plain_loss: Callable | None = None,
    channels_last: bool = False,
    parts: tuple[str, ...] = (),
    predicts: bool = False,
    **options,
) -> Callable[[], None]:
    """One way to make the step."""
    with torch.device(device):  # its 200 million weights are drawn there
        model = make_model(config, device, predicts)
    if plain_loss is not None:
        model.head.loss = partial(plain_loss, model.head)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    compile_parts(model, parts, **options)
    return make_step(model, make_batch(images, size, 80, device), autocast=True)


def _beside_matmuls(bench: Bench, name: str, run) -> Case:
    """Work next to as many FLOPs of the matrix product."""
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


def gpu_inference_cases(bench: Bench, config: str, images: int, size: int) -> Iterator[Case]:
    """The config's network on a GPU, in each precision."""
    for precision in ('float32', 'bfloat16', 'float16'):
        with torch.device(bench.device):
            model = make_model(config, bench.device, predicts=True).eval()
            inputs = torch.randn(images, 3, size, size)
        model = prepare_for(precision, model)

        @torch.no_grad()
        def predict(model=model, inputs=inputs, precision=precision):
            with autocast_to(precision, model):
                model.head(model.extract_feat(inputs)).sigmoid()

        name = f'inference, R101, B {images}, {size} px, {precision}'
        yield Case(name, predict, images=images)


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
