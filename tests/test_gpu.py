"""On a GPU: steps, runs, resume, export and inference, against the CPU's. `pytest -m gpu`."""

import copy
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from PIL import Image

import tests.methods  # noqa: F401
from mlic.apis import MultiLabelInferencer
from mlic.engine.checkpoints.search import find_resumable
from mlic.engine.config.device import adapt_to_device
from mlic.engine.runner.precision import (
    autocast_to,
    device_of,
    predict_on_host,
    prepare_for,
)
from mlic.engine.runner.tool_runners import ConsoleRunner
from projects.mcar.mcar_head import MCARHead
from tests.helpers import ROOT, call_tool, run_command
from tests.tiny_runs import (
    EPOCHS,
    LENGTH,
    Stop,
    StopBefore,
    assert_same_end,
    every_model,
    sarl_model,
    two_stage_config,
    write_run,
)

DEVICE = 'cuda'
pytestmark = pytest.mark.gpu
CLASSES = 10


@pytest.fixture(autouse=True)
def gpu():
    if not torch.cuda.is_available():
        pytest.skip('needs CUDA')


METHODS = {
    **every_model(CLASSES),
    'sadcl': sarl_model(CLASSES, proj_channels=8, bank_slots=4),
    'query2label': sarl_model(CLASSES),
}
# of the loss, relative, and of the whole gradient's cosine with the CPU's
BOUNDS = {
    torch.float32: (1e-3, 0.999),
    torch.bfloat16: (5e-2, 0.95),
    torch.float16: (1e-2, 0.98),
}


def two_boxes(head, feats, size):
    """As many regions as MCAR takes, of the same places in all images."""
    box = torch.tensor([8, 40, 8, 56], device=feats[-1].device)
    return box + torch.arange(head.num_regions, device=box.device)[:, None].expand(
        len(feats[-1]), -1, 4
    )


def step(cfg, device, dtype):
    """Loss and gradients of one batch of a model without dropout, on the CPU."""
    torch.manual_seed(0)
    preprocessor = dict(type='MultiLabelDataPreprocessor', num_classes=CLASSES, to_onehot=True)
    cfg = dict(copy.deepcopy(cfg), data_preprocessor=dict(preprocessor, mean=[127], std=[64]))
    model = MODELS.build(cfg)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, 'dropout') and isinstance(module.dropout, float):
            module.dropout = 0.0
    model = model.to(device).train()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8).repeat(2, 1, 1, 1)
    samples = [DataSample().set_gt_label([i % 2, 5]) for i in range(4)]
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        batch = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
        losses = model(**batch, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    grads = [p.grad.float().cpu().flatten() for p in model.parameters() if p.grad is not None]
    return loss.item(), torch.cat(grads)


@pytest.mark.parametrize('dtype', BOUNDS, ids=str)
@pytest.mark.parametrize('method', METHODS)
def test_a_step_is_the_cpus(method, dtype, monkeypatch):
    # where MCAR looks again is a matter of rounding
    monkeypatch.setattr(MCARHead, 'locate', two_boxes)
    expected, gradient = step(METHODS[method], 'cpu', torch.float32)
    loss, found = step(METHODS[method], DEVICE, dtype)
    relative, cosine = BOUNDS[dtype]
    assert abs(loss - expected) <= relative * abs(expected)
    assert torch.cosine_similarity(found, gradient, dim=0) >= cosine


class NoWaits(Hook):
    """torch raises where the host waits between the start of a step and the hooks after it."""

    priority = 'HIGHEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch + 1 == EPOCHS and batch_idx > 0:
            torch.cuda.set_sync_debug_mode('error')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        torch.cuda.set_sync_debug_mode('default')


class Losses(Hook):
    """The loss of each iteration."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(outputs['loss'].item())


def run(folder, hook=None, **changes):
    """Two stages on digits, deterministic, in mixed precision; the last checkpoint."""
    settings = {'optim_wrapper.type': 'AmpOptimWrapper', **changes}
    cfg = two_stage_config(folder, **settings)
    adapt_to_device(cfg)
    if hook is None and (found := find_resumable(folder)):
        cfg.load_from, cfg.resume = found, True
    runner = ConsoleRunner.from_cfg(cfg)
    if hook is not None:
        runner.register_hook(hook)
    try:
        runner.train()
    finally:
        runner.visualizer.close()
    return torch.load(Path(folder) / f'epoch_{EPOCHS}.pth', 'cpu', weights_only=False)


def test_the_losses_of_a_run_are_the_cpus(tmp_path, monkeypatch):
    """Of its first epoch, and of the first iterations of each epoch from the CPU's checkpoint.

    Over more iterations rounding grows: within 20 of them to 5 % on an H200.
    """
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    changes = {
        'optim_wrapper.type': 'OptimWrapper',
        'model.neck.dropout': 0.0,
        'default_hooks.checkpoint.max_keep_ckpts': -1,
    }

    def losses_of(device, folder, **more):
        monkeypatch.setattr('mmengine.device.utils.DEVICE', device)
        losses = Losses()
        run(tmp_path / folder, losses, **changes, **more)
        return np.array(losses.seen)

    # a device draws other weights from the same seed
    torch.manual_seed(0)
    model = MODELS.build(two_stage_config(tmp_path).model)
    start = tmp_path / 'start.pth'
    torch.save(dict(state_dict=model.state_dict()), start)
    expected = losses_of('cpu', 'cpu', load_from=str(start))
    assert len(expected) == EPOCHS * LENGTH
    found = losses_of(DEVICE, 'gpu', load_from=str(start))
    np.testing.assert_allclose(found[:LENGTH], expected[:LENGTH], rtol=1e-5)
    for epoch in range(1, EPOCHS):
        checkpoint = tmp_path / 'cpu' / f'epoch_{epoch}.pth'
        found = losses_of(DEVICE, f'gpu_{epoch}', load_from=str(checkpoint), resume=True)
        begin = epoch * LENGTH
        np.testing.assert_allclose(found[:2], expected[begin : begin + 2], rtol=1e-4)


COMPILED = dict(compiled_parts=['backbone', 'neck'])


@pytest.mark.parametrize(
    'dtype, more',
    [
        ('bfloat16', {}),
        ('float16', {}),
        ('bfloat16', COMPILED),
        ('bfloat16', dict(COMPILED, compile_options=dict(mode='reduce-overhead'))),
    ],
)
def test_a_killed_and_resumed_run_ends_as_the_other(tmp_path, dtype, more):
    changes = {'optim_wrapper.dtype': dtype, **more}
    straight = run(tmp_path / 'straight', **changes)
    assert all(value.isfinite().all() for value in straight['state_dict'].values())
    assert straight['message_hub']['runtime_info']['stage'] == 2
    with pytest.raises(Stop):
        run(tmp_path / 'stopped', StopBefore(3 * LENGTH + 2), **changes)
    assert_same_end(run(tmp_path / 'stopped', **changes), straight)


@pytest.mark.parametrize(
    'optimizer, clip', [('Adam', None), ('AdamW', None), ('AdamW', dict(max_norm=1.0))]
)
def test_the_host_does_not_wait_in_a_step_of_the_second_stage(tmp_path, optimizer, clip):
    hook = NoWaits()
    changes = {
        'optim_wrapper.dtype': 'float16',
        'optim_wrapper.optimizer.type': optimizer,
        'optim_wrapper.clip_grad': clip,
    }
    try:
        run(tmp_path, hook, **changes)
    finally:
        torch.cuda.set_sync_debug_mode('default')


@pytest.mark.parametrize('dtype', BOUNDS, ids=str)
@pytest.mark.parametrize('method', METHODS)
@torch.no_grad()
def test_evaluation_gives_the_cpus_scores_and_waits_once(method, dtype):
    preprocessor = dict(type='MultiLabelDataPreprocessor', num_classes=CLASSES, to_onehot=True)
    cfg = dict(METHODS[method], data_preprocessor=dict(preprocessor, mean=[127], std=[64]))
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg)).eval()
    model.init_weights()
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    precision = str(dtype).removeprefix('torch.')

    def scores():
        samples = [DataSample().set_gt_label([i, 5]) for i in range(4)]
        with autocast_to(precision if device_of(model).type == DEVICE else 'float32', model):
            samples = model.test_step(dict(inputs=images, data_samples=samples))
        assert not any(sample.gt_score.is_cuda for sample in samples)
        return torch.stack([sample.pred_score for sample in samples])

    expected = scores()
    model = prepare_for(precision, model.to(DEVICE))
    predict_on_host(model)
    scores()  # cuDNN and cuBLAS start
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            found = scores()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    waits = [line for line in caught if 'synchronizing' in str(line.message)]
    assert len(waits) == 1, [str(line) for line in waits]
    assert found.dtype == torch.float32
    atol = {torch.float32: 2e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}[dtype]
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def test_inference_and_export_give_the_cpus_scores(tmp_path):
    config = write_run(tmp_path, sarl_model(CLASSES))
    checkpoint = tmp_path / 'best_mAP.pth'
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / 'photo.png')
    scores = [
        MultiLabelInferencer(str(checkpoint), str(config), device)([str(tmp_path / 'photo.png')])
        for device in ('cpu', DEVICE)
    ]
    cpu, gpu = (list(found.scores.values()) for [found] in scores)
    np.testing.assert_allclose(gpu, cpu, atol=2e-3)
    out = tmp_path / 'model.onnx'
    arguments = [config, checkpoint, '--size', 64, 64]
    assert call_tool('tools/deploy/export.py', *arguments, '--out', out) is None
    assert out.is_file()


SCRIPT = """
import sys
from mmengine import dist
from mmengine.config import Config
from mmengine.runner import Runner
from mlic.engine import adapt_to_device
from tests.tiny_runs import two_stage_config

cfg = two_stage_config(sys.argv[1], **{'optim_wrapper.type': 'AmpOptimWrapper'})
cfg.launcher = 'pytorch'
adapt_to_device(cfg)
runner = Runner.from_cfg(cfg)
runner.train()
assert dist.get_backend() == 'nccl' and type(runner.model).__name__ == 'MMDistributedDataParallel'
assert all(p.isfinite().all() for p in runner.model.parameters())
"""


def test_one_process_of_nccl_trains(tmp_path):
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=1']
    code = ['--no-python', sys.executable, '-c', SCRIPT, str(tmp_path)]
    run_command(*command, *code, cwd=ROOT)
