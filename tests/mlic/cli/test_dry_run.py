"""train.py --dry-run, and weights that a run would have to fetch first."""

import http.server
import re
import threading
from contextlib import nullcontext
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from mmcv.transforms import BaseTransform, Normalize
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import LinearClsHead, MultiLabelLinearClsHead
from mmpretrain.registry import DATA_SAMPLERS, MODELS, TRANSFORMS
from torch import nn
from torch.utils.data import BatchSampler

from mlic.apis.open_run import build_model
from mlic.cli import dry_run
from mlic.engine.checkpoints.initial_weights import DownloadError, initial_weights, look_for_weights
from mlic.engine.config.launch_checks import (
    LaunchError,
    check_head,
    check_launch,
    cut_schedules,
)
from mlic.engine.runner.memory_guess import held_bytes, saved_bytes
from tests.helpers import ROOT, call_tool, run_process
from tests.tiny_runs import Stop, StopBefore, tiny_config, two_stage_config

RESNET101 = 'resnet101-63fe2227.pth'


@pytest.fixture
def config(tmp_path):
    """40 images to train and 16 to validate, in batches of 8, for 4 epochs."""
    cfg = two_stage_config(tmp_path / 'run')
    cfg.pop('experiment_name')
    cfg.dump(str(tmp_path / 'config.py'))
    return tmp_path / 'config.py'


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and an empty cache, which is returned."""
    for name in ('http_proxy', 'https_proxy'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    cache = tmp_path / 'cache' / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    return cache


# ---------------------------------------------------------------- what it says


def test_dry_run_says_what_it_found_and_leaves_nothing(config, capsys):
    with mock.patch.object(dry_run, 'build_model', wraps=dry_run.build_model) as build:
        assert call_tool('tools/train.py', config, '--dry-run') is None
    assert build.call_count == 1
    lines = capsys.readouterr().out.splitlines()
    lines = lines[lines.index('ok') + 1 :]
    number = sum(p.numel() for p in dry_run.build_model(Config.fromfile(config)).parameters())
    assert lines[:4] == [
        'images: 40 train, 16 val; 10 classes',
        'batch: 1 process x 8 images x 1 accumulated = 8 a step',
        'iterations: 5 an epoch, 4 epochs, 20 in all',
        f'parameters: {number:,}, {number:,} of them trained',
    ]
    assert lines[4].startswith('memory of a process (a guess): ')
    assert lines[5].startswith('warning: 1 process x batch 8') and len(lines) == 6
    assert not (config.parent / 'run').exists()


@pytest.mark.parametrize('drop_last, iterations', [(False, 2), (True, 1)])
def test_dry_run_counts_the_processes_that_would_start(
    config, monkeypatch, capsys, drop_last, iterations
):
    monkeypatch.setenv('WORLD_SIZE', '3')  # 14 images each
    options = [f'train_dataloader.drop_last={drop_last}', 'optim_wrapper.accumulative_counts=2']
    arguments = ['--launcher', 'pytorch', '--dry-run', '--epochs', 7, '--cfg-options', *options]
    assert call_tool('tools/train.py', config, *arguments) is None
    out = capsys.readouterr().out
    assert 'batch: 3 processes x 8 images x 2 accumulated = 48 a step\n' in out
    assert f'iterations: {iterations} an epoch, 7 epochs, {7 * iterations} in all\n' in out


@DATA_SAMPLERS.register_module()
class WholeEpoch:
    """One batch of all images; it does not say how many these are."""

    def __init__(self, sampler, batch_size):
        self.sampler = sampler

    def __iter__(self):
        yield [*self.sampler]

    def __len__(self):
        return 1


def test_dry_run_warns_of_no_batch_whose_size_nobody_knows(config, capsys):
    cfg = Config.fromfile(config)
    cfg.train_dataloader.update(batch_sampler=dict(type='WholeEpoch'), drop_last=False)
    dry_run.dry_run(cfg)
    out = capsys.readouterr().out
    assert 'iterations: 1 an epoch, 4 epochs, 4 in all\n' in out and 'warning' not in out


def test_dry_run_refuses_shares_of_images_and_parts_that_do_not_fit(config, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '41')
    error = call_tool('tools/train.py', config, '--launcher', 'pytorch', '--dry-run')
    assert error == (
        'error: train_dataloader has 40 images for 41 processes, so that some would have none: '
        'start at most 40, or check the list of images'
    )
    monkeypatch.setenv('WORLD_SIZE', '3')
    options = [f'train_dataloader.{key}=False' for key in ('sampler.round_up', 'drop_last')]
    options = '--launcher', 'pytorch', '--dry-run', '--cfg-options', *options
    error = call_tool('tools/train.py', config, *options)
    assert 'leaves 40 images on 3 processes uneven, 13 or 14 each' in error
    wrong = call_tool(
        'tools/train.py', config, '--dry-run', '--cfg-options', 'model.neck.in_channels=17'
    )
    assert wrong.startswith('error: SARLNeck(in_channels=17) takes a feature map')


@pytest.mark.parametrize(
    'options, message',
    [
        (['optim_wrapper.optimizer.lrr=1'], "takes no 'lrr'"),
        (['train_cfg.max_epoch=2'], "takes no 'max_epoch'; similar: max_epochs"),
        (['default_hooks.checkpoint.intervall=2'], "takes no 'intervall'; similar: interval"),
        (['randomness.sed=3'], "takes no 'sed'"),
        (['val_evaluator.protocols=foo'], "unknown protocol 'foo'"),
        (['train_cfg.max_epochs=2'], r'begin=3\) never starts: the run has 2 epochs'),
        (
            ['custom_hooks.2.next_stage=2'],
            r'Hook\(next_stage=2\) would not .* PrototypeHook\(begin=3\) .* next_stage=3\) instead',
        ),
        (['train_dataloader.sampler.type=InfiniteSampler'], 'InfiniteSampler.* never ends'),
        (['default_hooks.average.type=EMAHook'], 'ForeachEMAHook and EMAHook, .*: leave one'),
        (['model.head.num_classes=9'], r'10 classes .* head \(SADCLHead\) num_classes=9'),
        (
            [f'{part}.num_classes=9' for part in ('model.neck', 'model.head', 'data_preprocessor')],
            r'10 classes .* neck \(SARLNeck\) num_classes=9, head',
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else '',
)
def test_dry_run_refuses_what_the_training_would(config, options, message, tmp_path):
    before = sorted(tmp_path.rglob('*'))
    found = call_tool('tools/train.py', config, '--dry-run', '--cfg-options', *options)
    assert re.search(message, found) and len(found.splitlines()) == 1
    assert sorted(tmp_path.rglob('*')) == before


def test_dry_run_refuses_images_that_would_be_normalised_twice(config):
    cfg = Config.fromfile(config)
    cfg.val_dataloader.dataset.pipeline.insert(1, dict(type='Normalize', mean=[9.0], std=[9.0]))
    cfg.dump(str(config))
    error = call_tool('tools/train.py', config, '--dry-run')
    assert 'val_dataloader has Normalize in its pipeline' in error


def test_dry_run_loads_the_weights_that_a_run_starts_from(config, tmp_path):
    start = tmp_path / 'start.pth'
    options = ['--dry-run', '--cfg-options', f'load_from={start}']
    torch.save(dict(state_dict=build_model(Config.fromfile(config)).state_dict()), start)
    assert call_tool('tools/train.py', config, *options) is None
    start.write_text('text')
    assert 'start.pth is not a checkpoint' in call_tool('tools/train.py', config, *options)


def test_dry_run_refuses_weights_of_a_backbone_that_do_not_fit(config, tmp_path, capsys):
    start, key = tmp_path / 'start.pth', 'model.backbone.init_cfg'
    model = build_model(Config.fromfile(config))
    options = ['--dry-run', '--cfg-options', f'{key}.type=Pretrained', f'{key}.checkpoint={start}']
    torch.save(model.backbone.state_dict(), start)
    assert call_tool('tools/train.py', config, *options) is None
    assert 'has weights for' not in capsys.readouterr().out
    torch.save(dict([*model.backbone.state_dict().items()][:3]), start)
    assert call_tool('tools/train.py', config, *options) is None
    found = capsys.readouterr().out
    assert re.search(r'warning: \S+start.pth has weights for only 3 of \d+ of ResNet', found)
    torch.save(model.state_dict(), start)
    assert 'start.pth has no weight of' in call_tool('tools/train.py', config, *options)
    assert call_tool('tools/train.py', config, *options, f'{key}.prefix=backbone') is None
    said = call_tool('tools/train.py', config, *options, f'{key}.prefix=module')
    assert re.search('start.pth: module. is not in the pretrained model', said)


# ---------------------------------------------------------------- the guess at the memory


class TwoLayers(BaseModel):
    """What it saves is known: the images (B, 5), and the hidden values (B, 3) once."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 3), nn.Linear(3, 2)
        self.register_buffer('kept', torch.zeros(7))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.second(self.first(torch.stack(inputs)).relu()).sum())


@pytest.mark.parametrize('kind, size', [('OptimWrapper', 4), ('AmpOptimWrapper', 2)])
def test_what_a_batch_leaves_is_what_the_layers_save(kind, size):
    data = dict(inputs=[torch.rand(5) for _ in range(6)])
    cfg = dict(optim_wrapper=dict(type=kind))
    assert saved_bytes(cfg, TwoLayers(), data) == 6 * (5 + 3) * size


class WithMemory(TwoLayers):
    """Its loss reads a memory, which is changed after that."""

    copies = False

    def forward(self, inputs, data_samples=None, mode='loss'):
        hidden = self.first(torch.stack(inputs))  # (B, 3)
        memory = self.kept[:3]
        loss = (hidden * (memory.clone() if self.copies else memory)).sum()
        self.kept[:3] += 1
        return dict(loss=loss)


def test_a_memory_that_is_changed_after_the_loss_has_read_it_is_found():
    data, model = dict(inputs=[torch.rand(5)]), WithMemory()
    with pytest.raises(RuntimeError, match=r'tensor \(3,\) that was changed in place'):
        saved_bytes({}, model, data)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        model(**data)['loss'].backward()
    model.copies = True
    assert saved_bytes({}, model, data) == 4 * (5 + 3)


NORMALIZE, TO_TENSOR = dict(mean=[9.0] * 3, std=[9.0] * 3), dict(type='torchvision/ToTensor')


@TRANSFORMS.register_module()
class LikeAlbumentations(BaseTransform):
    """Holds its transforms as mmpretrain's ``Albumentations`` does, one inside another."""

    aug = SimpleNamespace(transforms=[SimpleNamespace(transforms=[Normalize(**NORMALIZE)])])

    def transform(self, results):
        return results


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(sampler=dict(type='InfiniteSampler')), 'InfiniteSampler.* never ends'),
        (dict(sampler=dict(type='InfiniteSampler'), drop_last=False,
              batch_sampler=dict(type=BatchSampler, drop_last=True)), 'Infinite.* never ends'),
        (dict(pipeline=[dict(NORMALIZE, type='Normalize')]),
         'train_dataloader has Normalize in its pipeline.* normalised twice'),
        (dict(pipeline=[TO_TENSOR, dict(NORMALIZE, type='torchvision/Normalize')]),
         'train_dataloader has Normalize in its pipeline.* normalised twice'),
        (dict(pipeline=[dict(type='LikeAlbumentations')]),
         'train_dataloader has Normalize in its pipeline.* normalised twice'),
        (dict(pipeline=[TO_TENSOR, dict(type='torchvision/RandomErasing')]),
         'train_dataloader has ToTensor in its pipeline.* 0 to 255'),
    ],
)  # fmt: skip
def test_what_would_never_end_or_be_done_twice_is_refused(tmp_path, changes, message):
    cfg = tiny_config(tmp_path)
    loader = cfg.train_dataloader
    loader.dataset.pipeline = [*changes.pop('pipeline', []), *loader.dataset.pipeline]
    loader.update(changes)
    with pytest.raises(LaunchError, match=message):
        check_launch(Runner.from_cfg(cfg))
    with pytest.raises(LaunchError, match=message):
        dry_run.dry_run(cfg)


def test_images_of_0_to_1_pass_where_the_model_takes_them_or_they_do_not_stay(tmp_path):
    cfg = tiny_config(tmp_path)
    inner = cfg.train_dataloader.dataset
    rest = inner.pipeline
    inner.pipeline = [TO_TENSOR, *rest]
    cfg.data_preprocessor.update(mean=[0.5] * 3, std=[0.25] * 3)
    check_launch(Runner.from_cfg(cfg))
    back = [dict(type='torchvision/ToPILImage'), dict(type='PILToNumpy', to_bgr=True)]
    inner.pipeline = [TO_TENSOR, *back, *rest]
    cfg.data_preprocessor.update(mean=[127.0] * 3, std=[128.0] * 3)
    check_launch(Runner.from_cfg(cfg))


@pytest.mark.parametrize(
    ('schedule', 'end'),
    [
        (dict(type='LinearLR', begin=0, end=10), 10),
        (dict(type='CosineAnnealingLR', begin=1, T_max=4), 5),
        (dict(type='CosineAnnealingLR', T_max=4), None),
        (dict(type='LinearLR', by_epoch=False, end=500), None),
        (dict(type='GroupOneCycleLR', end=4), None),
    ],
)
def test_a_schedule_that_the_end_of_the_run_cuts_off_is_told(schedule, end):
    said = cut_schedules(dict(train_cfg=dict(max_epochs=4), param_scheduler=[schedule]))
    assert len(said) == (end is not None)
    for line in said:
        assert line.startswith(f'{schedule["type"]} of param_scheduler goes on to epoch {end}, and')


def test_no_schedule_of_the_house_is_cut_off():
    for path in ROOT.glob('configs/*/*.py'):
        assert not cut_schedules(Config.fromfile(path)), path


@pytest.mark.parametrize(
    ('first', 'second'),
    [((0.0, 255.0), (0.5, 0.5)), ((9.0, 9.0), (0.0, 1.0))],
)
def test_images_may_be_scaled_before_they_are_normalised_or_after(tmp_path, first, second):
    cfg = tiny_config(tmp_path)
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline.insert(0, dict(type='Normalize', mean=[first[0]] * 3, std=[first[1]] * 3))
    cfg.data_preprocessor.update(mean=[second[0]] * 3, std=[second[1]] * 3)
    check_launch(Runner.from_cfg(cfg))


def test_a_run_of_iterations_may_have_a_sampler_without_end(tmp_path):
    cfg = tiny_config(tmp_path)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler')
    cfg.train_cfg = dict(by_epoch=False, max_iters=4)
    check_launch(Runner.from_cfg(cfg))


SOFTMAX = dict(type='CrossEntropyLoss')


@MODELS.register_module()
class DecidesForEach(LinearClsHead):
    """One that extends a head of one class an image, and trains and predicts otherwise."""

    def loss(self, feats, data_samples):
        target = torch.stack([sample.gt_score for sample in data_samples])
        return dict(loss=nn.functional.multilabel_soft_margin_loss(self(feats), target))

    def predict(self, feats, data_samples=None):
        for sample, score in zip(data_samples, self(feats).sigmoid()):
            sample.set_pred_score(score)
        return data_samples


@MODELS.register_module()
class WithoutLossModule(MultiLabelLinearClsHead):
    """One whose loss is no module."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_module = None


def test_a_head_that_cannot_predict_is_refused():
    model = ImageClassifier(backbone=dict(type='StoredFeatures'), head=dict(type='LinearClsHead',
                            num_classes=2, in_channels=3))  # fmt: skip
    check_head(model)
    model.head = None
    with pytest.raises(LaunchError, match='^model has no head'):
        check_head(model)
    own = type('WithItsOwnLoss', (ImageClassifier,), dict(loss=lambda self, *args: {}))
    check_head(own(backbone=dict(type='StoredFeatures')))
    model.head = nn.Linear(3, 2)
    model.head.loss = model.head.forward
    with pytest.raises(LaunchError, match=r'head \(Linear\) has no predict\(\): let it extend'):
        check_head(model)


@pytest.mark.parametrize(
    ('head', 'message'),
    [
        (dict(type='LinearClsHead'), r'head \(LinearClsHead\) gives each image one class'),
        (dict(type='MultiLabelLinearClsHead', loss=SOFTMAX), 'set its use_sigmoid=True'),
        (dict(type='MultiLabelLinearClsHead', loss=dict(type='WeakNegativeLoss', loss=SOFTMAX)),
         'set its use_sigmoid=True'),
        (dict(type='LabelEmbedHead', loss_cls=dict(type='LabelSmoothLoss', label_smooth_val=0.1)),
         'set its use_sigmoid=True'),
        (dict(type='MultiLabelLinearClsHead'), None),
        (dict(type='LabelEmbedHead'), None),
        (dict(type='MultiLabelLinearClsHead', loss=dict(SOFTMAX, use_soft=True)), None),
        (dict(type='DecidesForEach'), None),
        (dict(type='WithoutLossModule'), None),
    ],
)  # fmt: skip
def test_losses_of_one_label_an_image_are_refused(head, message):
    preprocessor = dict(type='MultiLabelDataPreprocessor', num_classes=2)
    head = dict(head, num_classes=2, in_channels=3)
    model = ImageClassifier(dict(type='StoredFeatures'), head=head, data_preprocessor=preprocessor)
    with pytest.raises(LaunchError, match=message) if message else nullcontext():
        check_head(model)


@pytest.mark.parametrize(
    'optimizer',
    [
        dict(type='AdamW', lr=0.1),
        dict(type='SGD', lr=0.1, momentum=0.9),
        dict(type='SGD', lr=0.1),
        dict(type='RMSprop', lr=0.1),
    ],
)
@pytest.mark.parametrize('hooks', [[], [dict(type='EMAHook', momentum=0.1)]])
def test_what_is_held_is_what_a_step_leaves(optimizer, hooks):
    model = TwoLayers()
    model.second.requires_grad_(False)
    settings = {key: value for key, value in optimizer.items() if key != 'type'}
    trained = [p for p in model.parameters() if p.requires_grad]
    step = getattr(torch.optim, optimizer['type'])(trained, **settings)
    model([torch.rand(5)])['loss'].backward()
    step.step()
    states = [t for state in step.state.values() for t in state.values() if torch.is_tensor(t)]
    tensors = [*model.parameters(), *model.buffers()] * (1 + len(hooks))
    tensors += [p.grad for p in trained] + [t for t in states if t.dim()]  # not the step counters
    cfg = dict(optim_wrapper=dict(optimizer=optimizer), custom_hooks=hooks)
    assert held_bytes(cfg, model) == sum(4 * t.numel() for t in tensors)


# ---------------------------------------------------------------- weights


def test_weights_are_found_anywhere_in_a_config():
    flagship = Config.fromfile(ROOT / 'configs/sadcl/sadcl_r101_coco448.py')
    assert initial_weights(flagship) == ['torchvision://resnet101']
    pretrained = dict(type='Pretrained', checkpoint='a.pth')
    model = dict(
        backbone=dict(init_cfg=[dict(type='Kaiming'), pretrained]),
        neck=[dict(init_cfg=None), dict(init_cfg=pretrained)],
        head=dict(pretrained=True),
        pretrained='b.pth',
    )
    assert initial_weights(dict(model=model, load_from='c.pth')) == ['a.pth', 'b.pth', 'c.pth']


def test_weights_are_looked_for_and_not_fetched(offline, tmp_path, monkeypatch):
    (tmp_path / 'net.pth').write_bytes(b'0' * 3_000_000)
    assert look_for_weights(str(tmp_path / 'net.pth')) == 'is there'
    assert look_for_weights('s3://bucket/net.pth') == 'is not checked'
    with pytest.raises(FileNotFoundError, match='no.pth is not a file'):
        look_for_weights('no.pth')
    handler = mock.Mock(wraps=http.server.SimpleHTTPRequestHandler)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        assert look_for_weights(f'{address}/net.pth') == f'will be downloaded to {offline} (3 MB)'
        with pytest.raises(DownloadError, match='no.pth is neither in .* File not found'):
            look_for_weights(f'{address}/no.pth')
        server.shutdown()
    assert list(offline.iterdir()) == []
    (offline / 'net.pth').touch()
    assert look_for_weights(f'{address}/net.pth') == f'is in {offline}'
    (offline / RESNET101).touch()
    assert look_for_weights('torchvision://resnet101') == f'is in {offline}'


def test_every_process_fails_alike_before_one_waits_for_anothers_download(offline):
    with pytest.raises(DownloadError, match='torchvision://resnet101 is neither in') as error:
        CheckpointLoader.load_checkpoint('torchvision://resnet101')
    assert 'Without a network' in str(error.value) and RESNET101 in str(error.value)


def test_dry_run_resumes_within_an_epoch_of_the_processes_that_would_start(
    config, monkeypatch, capsys
):
    cfg = Config.fromfile(config)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3)  # of 5 an epoch
    cfg.launcher = 'none'
    runner = Runner.from_cfg(cfg)
    runner.register_hook(StopBefore(iteration=4))
    with pytest.raises(Stop):
        runner.train()
    cfg.train_dataloader.batch_size //= 2
    cfg.dump(str(config))
    arguments = ['--launcher', 'pytorch', '--dry-run', '--resume']
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert call_tool('tools/train.py', config, *arguments) is None
    assert 'iterations: 5 an epoch' in capsys.readouterr().out


@pytest.fixture
def needs_download(config):
    """The config with a backbone whose weights are downloaded."""
    cfg = Config.fromfile(config)
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='torchvision://resnet101')
    cfg.dump(str(config))
    return config


@pytest.mark.parametrize('options', [[], ['--dry-run']])
def test_train_py_without_network_ends_before_it_begins(needs_download, offline, options, capsys):
    error = call_tool('tools/train.py', needs_download, *options)
    assert error.startswith('error: torchvision://resnet101 is neither in ')
    assert capsys.readouterr().out == '' and not (needs_download.parent / 'run').exists()


@pytest.mark.dist
def test_dist_train_without_network_says_one_line(needs_download, offline):
    result = run_process(ROOT / 'tools/dist_train.sh', needs_download, 2, cwd=ROOT)
    assert result.returncode == 1
    assert result.stdout == ''
    (line,) = [line for line in result.stderr.splitlines() if 'Warning' not in line]
    assert line.startswith('error: torchvision://resnet101 is neither in ')
