"""The config inside a checkpoint: every door that could run something of it, or fetch something."""

import copy
import pprint
import shutil
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmpretrain.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from PIL import Image

from mlic.apis.inferencer import MultiLabelInferencer
from mlic.apis.open_run import open_run
from mlic.apis.stored_config import read_stored_config, refuse_stored
from mlic.engine.checkpoints.reading import CheckpointError
from mlic.engine.mmengine_internals import registered_names_only
from mlic.image_reader import ImageReadError
from mlic.installation import is_method_here
from mlic.models.training_parts import for_prediction
from tests.helpers import ROOT, call_tool

CLASSES = list('abc')
PIPELINE = [dict(type='LoadImageStrict'), dict(type='Resize', scale=(32, 32))]
STORED = dict(
    custom_imports=dict(imports=['projects.sadcl'], allow_failed_imports=False),
    default_scope='mmpretrain',
    model=dict(
        type='ImageClassifier',
        backbone=dict(
            **dict(type='ResNet', depth=18, stem_channels=8, base_channels=8, num_stages=1),
            **dict(strides=(1,), dilations=(1,), out_indices=(0,)),
            init_cfg=dict(type='Pretrained', checkpoint='https://a.b/c'),
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=8),
    ),
    data_preprocessor=dict(num_classes=3, mean=[120.0] * 3, std=[60.0] * 3, to_onehot=True),
    test_dataloader=dict(
        batch_size=1,
        dataset=dict(type='MultiLabelDataset', pipeline=[*PIPELINE, dict(type='PackInputs')]),
    ),
    test_evaluator=dict(type='MLICMetric'),
    default_hooks=dict(param_scheduler=dict(type='ParamSchedulerHook')),
    custom_hooks=[dict(type='EMAHook', momentum=0.5)],
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
)
# of modules in the working directory, all of which touch `ran`
MODULES = ('notes/__init__', 'notes/registry', 'work_dirs/theirs/notes/registry', 'projects/evil')
MODULES += ('SGD', 'ResNet', 'Pretrained', 'mc', 'petrel_client', 'projects/evil/__init__')
VIT = dict(type='VisionTransformer', arch='s', img_size=32, patch_size=32)


def save(path, text):
    """A checkpoint with that text as its config, and weights that fit."""
    meta = dict(cfg=text, dataset_meta=dict(classes=CLASSES))
    weights = MODELS.build(STORED['model']).state_dict()
    torch.save(dict(meta=meta, state_dict=weights), path)
    return str(path)


def text_of(config):
    return ''.join(f'{key} = {pprint.pformat(value)}\n' for key, value in config.items())


def changed(changes):
    """STORED with other entries; a key such as 'model.head.type' leads to one."""
    config = copy.deepcopy(STORED)
    for key, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in key.split('.')]
        target = config
        for part in parents:
            target = target[part]
        target[last] = value
    return config


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A downloaded folder, the working directory, on the path; any import from it leaves `ran`."""
    marker = tmp_path / 'ran'
    for module in MODULES:
        file = tmp_path / f'{module}.py'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'open({str(marker)!r}, "w").close()\nclass Thing(dict): pass\n')
    Image.new('RGB', (40, 40)).save(tmp_path / 'photo.png')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def refuse(*args, **kwargs):
        marker.touch()
        raise OSError('the network was asked for')

    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setattr(socket.socket, 'connect', refuse)
    yield tmp_path
    assert not marker.exists()
    mine = ('notes', 'projects.evil', 'SGD', 'ResNet', 'Pretrained', 'mc', 'petrel_client')
    assert not {*mine} & (set(sys.modules) - before)


def assert_refused(checkpoint, reason=None):
    """In one line with the checkpoint's name, by all that opens a stored config."""
    with pytest.raises(ValueError, match=reason) as from_python:
        MultiLabelInferencer(checkpoint, device='cpu')
    messages = {str(from_python.value)}
    for tool in (['tools/publish_model.py', checkpoint, 'published'], INFER + [checkpoint]):
        messages.add(call_tool(*tool).removeprefix('error: '))
    (message,) = {' '.join(message.split()) for message in messages}
    assert '\n' not in str(from_python.value) and checkpoint in message
    assert message.endswith('give its config file')


INFER = ['tools/infer.py', 'photo.png', '--out', 'result', '--no-pictures', '--workers', '0']
INFER += ['--checkpoint']
DATASET, PIPE = 'test_dataloader.dataset.', 'test_dataloader.dataset.pipeline.1.'
LOCAL = dict(backend='local')
EVIL = "__import__('pathlib').Path('ran').touch()"
DOORS = [
    # a scope is a package that mmengine imports
    *({f'{place}_scope_': 'work_dirs.theirs.notes'} for place in ('', 'model.', PIPE, DATASET)),
    *({f'{place}_scope_': 'notes'} for place in ('model.head.', 'custom_hooks.0.')),
    {'model.backbone.norm_cfg': dict(type='BN', _scope_=['notes'])},
    {'default_scope': 'notes'},
    # a name that is not registered is a module
    *({f'{place}type': 'notes'} for place in ('model.', 'model.backbone.', PIPE, DATASET)),
    *({f'{place}type': 'notes'} for place in ('test_evaluator.', 'optim_wrapper.optimizer.')),
    *({'model.type': kind} for kind in ('notes.Thing', 'os.mkdir', 'a b', '', 3, None, ['notes'])),
    {'model.type': dict(type='notes')},
    # ... also one that another registry has
    {'model.head.type': 'SGD'},
    {f'{DATASET}type': 'ResNet'},
    {'custom_hooks.0.type': 'ResNet'},
    {'default_hooks.param_scheduler.type': 'SGD'},
    # ... also in an argument that is a name
    {'model.backbone': {**VIT, 'patch_cfg': dict(conv_type='notes')}},
    {'model.backbone': {**VIT, 'patch_cfg': dict(conv_type='notes.Thing')}},
    {'test_dataloader.dataset.pipeline.1': dict(type='RandomResize', scale=4, resize_type='notes')},
    {'custom_hooks.0.ema_type': 'notes'},
    {'optim_wrapper.constructor': 'notes'},
    {'runner_type': 'notes'},
    # a module or package to import
    *({'custom_imports': dict(imports=name)} for name in ('notes', ['notes'], ('mlic', 'notes'))),
    *({'custom_imports': name} for name in ('notes', ['notes'], dict(imports=3), 3, [3], ['a b'])),
    *({'custom_imports': [name]} for name in ('projects.evil', 'projects', 'projects.evil.deep')),
    # backends of storage import modules, one of them from a folder that it is told
    {f'{PIPE}backend_args': dict(backend='memcached', sys_path='.')},
    {'test_dataloader.dataset.pipeline.0.backend_args': dict(backend='petrel')},
    {'test_dataloader.dataset.pipeline.0.file_client_args': dict(backend='disk', prefix='s3')},
    # what evaluates text, unpickles a file, or fetches one
    {f'{PIPE}type': 'torchvision/ConvertImageDtype', f'{PIPE}dtype': f'float or {EVIL}'},
    {'custom_hooks.0': dict(type='RFSearchHook', config=dict(search=dict(op=EVIL)))},
    *({PIPE + 'type': name} for name in ('Albu', 'Albumentations')),
    *({f'{DATASET}type': name} for name in ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST')),
    {'custom_hooks.0.type': 'SwAVHook'},
    {'model.type': 'HuggingFaceClassifier', 'model.model_name': 'a/b'},
    {'model.type': 'TimmClassifier', 'model.model_name': 'a', 'model.pretrained': True},
    {'model.backbone': dict(type='TIMMBackbone', model_name='resnet18', pretrained=True)},
    {'model.backbone': dict(type='LazyTIMMBackbone', model_name='hf-hub:a/b')},
    {'model.backbone': dict(type='LazyTIMMBackbone', model_name='a', checkpoint_path='b.pth')},
    {'model.head': dict(type='ArcFaceClsHead', margins='https://a.b/c')},
    {'model.head.margins': 'https://a.b/c'},
    {'model.type': 'ImageToImageRetriever', 'model.prototype': 'https://a.b/c.pth'},
    {'model.type': 'RAM'},
    {'_base_': 'notes/__init__.py'},
]


@pytest.mark.parametrize('changes', DOORS, ids=lambda changes: str(changes)[:60])
def test_nothing_that_a_stored_config_names_is_executed_or_fetched(theirs, changes):
    assert_refused(save(theirs / 'best_x.pth', text_of(changed(changes))))


def test_what_it_does_not_run_includes_published_configs(theirs):
    """The same config is published and predicts, once nothing strange is in it."""
    local = {f'{DATASET}pipeline.0.backend_args': None, f'{DATASET}backend_args': LOCAL}
    checkpoint = save(theirs / 'best_x.pth', text_of(changed(local)))
    assert call_tool('tools/publish_model.py', checkpoint, 'published') is None
    assert call_tool(*INFER, checkpoint) is None
    (published,) = theirs.glob('published/*.py')
    assert Config.fromfile(published).model.backbone.type == 'ResNet'


@pytest.mark.parametrize('changes', [{}, {'model.pretrained': 'c.pth'}], ids=['init_cfg', 'file'])
@pytest.mark.parametrize('note', ['', "note = 'StoredFeatures'\n"])
def test_weights_that_a_stored_config_names_are_not_looked_for(theirs, changes, note):
    """Also where the checkpoint has none of the backbone, as those of stored features."""
    path = theirs / 'best_x.pth'
    save(path, text_of(changed(changes)) + note)
    content = torch.load(path)
    head = {k: v for k, v in content['state_dict'].items() if k.startswith('head.')}
    torch.save(dict(content, state_dict=head), path)
    for tool in (['tools/publish_model.py', path, 'published'], INFER + [path]):
        message = call_tool(*tool)
        assert message.startswith(f'error: {path} lacks weights of the config: backbone.')
    with pytest.raises(CheckpointError, match='lacks weights of the config: backbone'):
        open_run(path)


def test_publishing_writes_no_code_from_a_key(theirs):
    """`test.py` executes the published config; the literals of a stored one must stay literals."""
    for key in (f"a': {EVIL}, 'b", "'", '{{$HOME:x}}'):
        checkpoint = save(theirs / 'best_x.pth', text_of({**STORED, 'a': {key: 1}}))
        message = call_tool('tools/publish_model.py', checkpoint, 'published')
        if '{{' in key:  # which mmengine would replace
            assert message.startswith(f'error: the config of {checkpoint}') and '\n' not in message
            continue
        (config,) = Path('published').glob('*.py')
        assert message is None and Config.fromfile(config).a == {key: 1}
        shutil.rmtree('published')
    assert not list(theirs.glob('published/*'))
    # odd, and right
    checkpoint = save(theirs / 'best_x.pth', text_of({**STORED, 'a': {'b c': (1, [2])}}))
    assert call_tool('tools/publish_model.py', checkpoint, 'published') is None
    (config,) = theirs.glob('published/*.py')
    assert Config.fromfile(config).a == {'b c': (1, [2])}
    meta = torch.load(config.with_suffix('.pth'), weights_only=True)['meta']
    assert meta['cfg'] == config.read_text(encoding='utf-8')


@pytest.mark.parametrize(
    'text, reason',
    [
        (EVIL, 'line 1 is not an assignment'),
        (f'a = {EVIL}', 'line 1 calls something'),
        ("a = dict(b=dict, c=[open('ran', 'w')])", 'malformed|calls'),
        ("a = dict(**{'b': open('ran', 'w')})", 'calls something'),
        ('a = dict([(1, 2)])', 'calls dict with a value'),
        ("import os\nos.mkdir('ran')", 'line 1 is not'),
        ("a = f'{open(chr(101))}'", 'calls something'),
        ('a.b = 1', 'does not assign to a name'),
        ('a = (', 'never closed|EOF'),
        ('a = {[]: 1}', 'unhashable'),
        ('a = "\0"', 'null bytes|malformed'),
        ('a = "\ud800"', 'surrogates'),
        ('a = ' + '[' * 5000 + ']' * 5000, 'nested'),
        ('a = ' + '[' * 90 + ']' * 90 + '\nb = ' + '-' * 50000 + '1', 'nested'),
        ('', 'has no model'),
        ('model = [dict(type="LeNet5")]', 'a strange model'),
        ('model = "LeNet5"', 'a strange model'),
        ('model = dict(depth=3)', 'a model without type'),
        ('model = dict(type="LeNet5")\nfilename = "a"', 'filename'),
    ],
    ids=lambda value: str(value)[:40].encode('unicode_escape').decode(),
)
def test_text_that_is_no_config_is_refused(theirs, text, reason):
    assert_refused(save(theirs / 'best_x.pth', text), reason)


@pytest.mark.parametrize(
    'changes',
    [
        {'model.head.num_classes': 10**12},
        {'model.head.num_classes': 'three'},
        {'model.head.weird': 1},
        {'model.backbone': None},
        {'test_dataloader': 3},
        {'test_dataloader': [1]},
        {'test_dataloader.dataset': 3},
        {'test_dataloader.dataset': [dict(type='VOC')]},
        {'test_dataloader.dataset.pipeline': 3},
        {'test_dataloader.dataset.pipeline': [3]},
        {'test_dataloader.dataset.pipeline': [{}]},
        {'test_dataloader.dataset': dict(type='ConcatDataset', datasets=3)},
        {'test_dataloader.dataset.dataset': dict(pipeline=[{}])},
        {'data_preprocessor': 'x'},
    ],
    ids=str,
)
def test_a_config_of_another_shape_is_refused(theirs, changes):
    assert_refused(save(theirs / 'best_x.pth', text_of(changed(changes))))


@pytest.mark.parametrize('meta', [{}, None, [], 3, dict(cfg=3), dict(cfg=None), dict(cfg=b'a = 1')])
def test_a_checkpoint_without_config_says_so(meta):
    with pytest.raises(ValueError, match='^run.pth holds no config: give its config file$'):
        read_stored_config(meta, 'run.pth')


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(
            st.sampled_from(['type', 'imports', '_scope_', 'dataset', 'pipeline', 'model'])
            | st.text(max_size=4)
            | st.integers(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
KEYS = [*STORED, '_base_', '_delete_', 'filename', 'text', 'a']


@given(st.dictionaries(st.sampled_from(KEYS), LITERALS, max_size=4))
@settings(deadline=None)
def test_any_literals_are_a_config_or_one_line(values):
    text = text_of({**STORED, **values})
    try:
        assert isinstance(read_stored_config(dict(cfg=text), 'run.pth'), Config)
    except ValueError as error:
        assert 'run.pth' in str(error) and '\n' not in str(error)


def test_every_config_here_may_be_stored():
    """In plain form; mmengine's takes long, and is that of the test below."""
    for path in ROOT.glob('configs/[a-z]*/*.py'):
        values = Config.fromfile(path).to_dict()
        assert read_stored_config(dict(cfg=text_of(values)), path).to_dict() == values


@pytest.mark.parametrize(
    'name', ['sadcl_r101_coco448', 'sadcl_r101_voc448', 'sadcl_efficientnet-lite0_corel5k160']
)
def test_a_dumped_config_is_read_without_executing_it(name):
    cfg = Config.fromfile(ROOT / 'configs/sadcl' / f'{name}.py')
    assert read_stored_config(dict(cfg=cfg.pretty_text), name).to_dict() == cfg.to_dict()


OWN = """
from mmpretrain.models.heads import MultiLabelLinearClsHead
from mmpretrain.registry import MODELS

@MODELS.register_module(force=True)
class {name}(MultiLabelLinearClsHead):
    pass
"""


def test_a_package_that_the_user_names_is_imported_and_no_other(theirs):
    (theirs / 'ownmethod').mkdir()
    (theirs / 'ownmethod/__init__.py').write_text(OWN.format(name='OwnMethodHead'))
    changes = {'custom_imports.imports': ['ownmethod'], 'model.head.type': 'OwnMethodHead'}
    checkpoint = save(theirs / 'best_x.pth', text_of(changed(changes)))
    assert_refused(checkpoint, "imports 'ownmethod'.*--allow-import ownmethod, in Python allow_im")
    assert 'ownmethod' not in sys.modules
    publish = ['tools/publish_model.py', checkpoint, 'published', '--allow-import']
    assert call_tool(*publish, 'own') == call_tool(*publish[:-1])
    assert call_tool(*publish, 'other', '--allow-import', 'ownmethod') is None
    assert ' --out result --allow-import ownmethod\n' in Path('published/README.md').read_text()
    assert call_tool(*INFER, checkpoint, '--allow-import', 'ownmethod') is None
    assert (
        type(open_run(checkpoint, allow_imports=['ownmethod']).model.head).__name__
        in changes['model.head.type']
    )
    # registered by now, but not by a package that may be named
    assert_refused(checkpoint)
    changes['custom_imports.imports'] = ['mlic']
    assert_refused(save(theirs / 'best_x.pth', text_of(changed(changes))), 'of ownmethod')


def test_methods_are_those_of_the_installation(theirs):
    assert is_method_here('projects.sadcl') and is_method_here('projects.mulcon.mulcon_head')
    for name in ('projects', 'projects.evil', 'projects.absent', 'projects_sadcl', 'mlic'):
        assert not is_method_here(name)


def test_a_registry_imports_no_name_while_it_builds_a_stored_config(theirs):
    for registry in (MODELS, TRANSFORMS, DATASETS, HOOKS):
        for name in ('notes', 'notes.Thing', 'notes.registry.Thing'):
            refused = pytest.raises(ValueError, match='^the config in run.pth cannot be built')
            with refused, refuse_stored('run.pth'):
                registry.build(dict(type=name))


def test_an_initialisation_is_not_looked_for_among_modules(theirs):
    """A config file's, too: `Pretrained` is of another registry than the models."""
    model = STORED['model']
    assert for_prediction(Config(dict(model=model)).model) == model


def test_a_pipeline_without_what_a_model_takes_is_the_images_fault(theirs):
    """An empty one, or one that ends before PackInputs."""
    for pipeline in ([], PIPELINE):
        stored = text_of(changed({DATASET + 'pipeline': pipeline}))
        inferencer = MultiLabelInferencer(save('run.pth', stored), device='cpu')
        ((_, outcome),) = inferencer.stream(['photo.png'])
        assert isinstance(outcome, ImageReadError) and 'photo.png' in str(outcome)


def test_what_is_published_names_no_service_that_takes_logs(theirs):
    """Their addresses and keys are of one run; the published config would send to them."""
    wandb = dict(type='WandbVisBackend', init_kwargs=dict(project='secret'))
    local = dict(type='LocalVisBackend')
    stored = changed({'vis_backends': (wandb,)})
    stored['visualizer'] = dict(type='UniversalVisualizer', vis_backends=[local, wandb])
    call_tool('tools/publish_model.py', save('run.pth', text_of(stored)), 'published')
    (config,) = Path('published').glob('*.py')
    (checkpoint,) = Path('published').glob('*.pth')
    texts = torch.load(checkpoint)['meta']
    for text in (config.read_text(), texts['cfg'], texts['training_cfg']):
        assert 'Wandb' not in text and 'secret' not in text
    assert Config.fromfile(config).visualizer.vis_backends == [local]


def test_the_guard_is_of_its_thread_alone():
    linear = dict(type='torch.nn.Linear', in_features=2, out_features=2)
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first():
        with registered_names_only():
            first_is_in.set()
            second_is_in.wait()
        first_is_out.set()

    def second():
        first_is_in.wait()
        with registered_names_only():
            second_is_in.set()
            first_is_out.wait()
            with pytest.raises(Exception, match='torch.nn.Linear'):
                MODELS.build(linear)

    with ThreadPoolExecutor(2) as pool:
        threads = [pool.submit(one) for one in (first, second)]
        second_is_in.wait()
        assert isinstance(MODELS.build(linear), torch.nn.Linear)
    for thread in threads:
        thread.result()
    assert isinstance(MODELS.build(linear), torch.nn.Linear)
