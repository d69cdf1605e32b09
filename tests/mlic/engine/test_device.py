"""What a config gets for the device that the run is on."""

import os

import pytest
import torch
from mmengine.config import Config

from mlic.engine.config.device import adapt_to_device


def gpu_config(**changes):
    return Config(
        dict(
            launcher='none',
            optim_wrapper=dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic'),
            env_cfg=dict(dist_cfg=dict(backend='nccl')),
            **changes,
        )
    )


def test_mixed_precision_falls_back_to_the_cpu_with_one_notice(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg, lines = gpu_config(), []
    adapt_to_device(cfg, lines.append)
    assert cfg.optim_wrapper == dict(type='AutocastOptimWrapper')
    assert len(lines) == 1 and 'bfloat16' in lines[0]


@pytest.mark.parametrize(
    'setting', [dict(dtype='bf16'), dict(loss_scale='512'), dict(loss_scale=512)], ids=str
)
def test_mixed_precision_that_a_gpu_would_refuse_is_refused_without_one(monkeypatch, setting):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = gpu_config()
    cfg.optim_wrapper.update(setting)
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f'^optim_wrapper.{name}={value!r}: AmpOptimWrapper takes'):
        adapt_to_device(cfg, print)


def test_loaders_without_workers_keep_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    loaders = {
        f'{split}_dataloader': dict(num_workers=workers, persistent_workers=True)
        for split, workers in dict(train=0, val=2).items()
    }
    cfg = gpu_config(**loaders)
    adapt_to_device(cfg)
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.val_dataloader.persistent_workers is True


@pytest.mark.parametrize('has_cuda', [True, False])
@pytest.mark.parametrize('setting', [{}, dict(pin_memory=True), dict(pin_memory=False)])
def test_memory_is_pinned_for_a_gpu_only(monkeypatch, has_cuda, setting):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_cuda)
    cfg = gpu_config(train_dataloader=dict(num_workers=2, **setting))
    adapt_to_device(cfg, lambda line: None)
    pins = cfg.train_dataloader.get('pin_memory', False)
    assert pins is (has_cuda and setting != dict(pin_memory=False))


@pytest.mark.parametrize('has_cuda', [True, False])
@pytest.mark.parametrize(
    'backbone, on_gpu, on_cpu',
    [
        ('ResNet', True, True),
        ('EfficientNetLite', False, True),
        ('TResNet', False, False),
        ('SwinTransformer', False, False),
    ],
)
def test_channels_come_last_where_that_is_faster(monkeypatch, has_cuda, backbone, on_gpu, on_cpu):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_cuda)
    cfg = gpu_config(model=dict(backbone=dict(type=backbone)))
    adapt_to_device(cfg, lambda line: None)
    expected = on_gpu if has_cuda else on_cpu
    assert cfg.channels_last is expected
    cfg.channels_last = not expected
    adapt_to_device(cfg, lambda line: None)
    assert cfg.channels_last is not expected


@pytest.mark.parametrize('deterministic', [True, False])
def test_cublas_is_told_of_deterministic_runs(monkeypatch, deterministic):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    adapt_to_device(gpu_config(randomness=dict(seed=0, deterministic=deterministic)))
    assert os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None) == (':4096:8' if deterministic else None)


def test_config_is_left_alone_where_there_is_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = gpu_config(channels_last=False)
    before = cfg.to_dict()
    adapt_to_device(cfg, pytest.fail)
    assert cfg.to_dict() == before


@pytest.mark.parametrize('has_bfloat16', [True, False])
@pytest.mark.parametrize('optimizer', ['Adam', 'AdamW'])
def test_adam_is_fused_and_bfloat16_used_where_the_gpu_has_it(monkeypatch, optimizer, has_bfloat16):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    capability = (8, 0) if has_bfloat16 else (7, 5)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: capability)
    cfg, lines = gpu_config(), []
    cfg.optim_wrapper.update(dtype='bfloat16', optimizer=dict(type=optimizer, lr=1.0))
    adapt_to_device(cfg, lines.append)
    assert cfg.optim_wrapper.optimizer == dict(type=optimizer, lr=1.0, fused=True)
    assert cfg.optim_wrapper.dtype == ('bfloat16' if has_bfloat16 else 'float16')
    assert len(lines) == int(not has_bfloat16)
    cfg.optim_wrapper.optimizer = other = dict(type=optimizer, lr=1.0, foreach=True)
    adapt_to_device(cfg, lines.append)  # torch takes one of them
    assert cfg.optim_wrapper.optimizer == other
