"""The command ``mlic``: what it lists, how it is typed, how errors end, which configs it finds."""

import errno
import gc
import io
import json
import os
import platform
import re
import subprocess
import sys
import threading
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmpretrain.models import ImageClassifier, MultiLabelLinearClsHead, ResNet
from mmpretrain.registry import HOOKS, MODELS
from mmpretrain.structures import DataSample

import mlic_command
from mlic import __version__
from mlic.engine.runner.errors import one_line_errors
from mlic.installation import CONFIGS, find_config
from mlic.registries import load_config
from tests.helpers import ROOT, call_tool, run_command, run_tool
from tests.photo_run import make_config

EVAL = 'tools/analysis_tools/eval_metric.py'
DIGITS = 'sadcl_efficientnet-lite0_digits128'


def python(*arguments, path=(ROOT,), **kwargs):
    """A Python of its own; modules are found in these folders first."""
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, env=environment, **kwargs,
    )  # fmt: skip


def test_the_list_imports_neither_torch_nor_mlic():
    code = (
        'import sys, mlic_command; mlic_command.main([]); '
        'print({"torch", "numpy", "mlic"} & set(sys.modules))'
    )
    *lines, imported = python('-c', code).stdout.splitlines()
    assert imported == 'set()'
    assert ['train', 'Train', 'a', 'model'] in [line.split() for line in lines]


def test_every_tool_is_a_command_with_a_summary_of_one_line():
    commands = mlic_command.find_commands()
    tools = {
        path.stem
        for path in (ROOT / 'tools').rglob('*.py')
        if 'docs_site' not in path.parts and 'mlic.cli' in path.read_text()
    }
    # deploy/verify.py has a folder that tells more than its name
    assert tools - {'verify'} <= commands.keys()
    assert 'verify_export' in commands
    for name, module in commands.items():
        assert 10 < len(mlic_command.summary(module)) <= 75, name


def test_the_garbage_collector_leaves_what_a_tool_imports_alone(monkeypatch):
    seen = []
    tool = types.ModuleType('a_tool')
    tool.main = lambda arguments: seen.append(gc.get_freeze_count())
    monkeypatch.setitem(sys.modules, 'a_tool', tool)
    before, imported = gc.get_freeze_count(), [[] for _ in range(1000)]
    mlic_command.run('a_tool')
    assert seen[0] >= before + len(imported)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another malloc')
def test_memory_that_is_freed_is_used_again_in_a_command():
    code = [
        'import mlic_command, resource, torch',
        'pages = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt',
        'layer = torch.nn.Conv2d(8, 8, 3)',
        'inputs = torch.zeros(8, 8, 512, 512)',  # 64 MiB, and so is what comes out
        'def new_pages():',
        '    for _ in range(3):',
        '        before = pages()',
        '        layer(inputs)',
        '    return pages() - before',
        'print(inputs.nbytes // resource.getpagesize(), new_pages())',
        'mlic_command.keep_freed_memory()',
        'print(new_pages())',
    ]
    in_a_tensor, plain, kept = map(int, python('-c', '\n'.join(code)).stdout.split())
    assert kept < in_a_tensor / 10 < plain


def test_a_command_keeps_freed_memory(monkeypatch):
    seen, tool = [], types.ModuleType('a_tool')
    tool.main = lambda arguments: seen.append('tool')
    monkeypatch.setitem(sys.modules, 'a_tool', tool)
    monkeypatch.setattr(mlic_command, 'keep_freed_memory', lambda: seen.append('memory'))
    mlic_command.run('a_tool')
    assert seen == ['memory', 'tool']


def test_another_c_library_has_no_options_to_set(monkeypatch):
    monkeypatch.setattr(mlic_command.ctypes, 'CDLL', lambda name: object())
    mlic_command.keep_freed_memory()


def test_what_triton_says_of_frozen_objects_at_the_end_is_not_shown():
    """With torch 2.15 it took them for leaks, in 28 lines after the tool's own."""
    code = (
        'import atexit, os, sys, mlic_command\n'
        'class Late:\n    def __del__(self, write=os.write): write(2, b"leaked")\n'
        'late = Late()\n'
        'sys.modules.update({name: sys for name in sys.argv[1:]})\n'
        'atexit.register(mlic_command.end_quietly)\n'
        'atexit.register(print, "the last word", file=sys.stderr)'
    )
    assert python('-c', code).stderr == 'the last word\nleaked'
    assert python('-c', code, 'triton._C.libtriton').stderr == 'the last word\n'


@pytest.mark.parametrize('name', ['eval_metric', 'eval-metric'])
def test_help_shows_the_command_as_it_was_typed(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/bin/mlic'])
    with pytest.raises(SystemExit) as end:
        mlic_command.main([name, '--help'])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f'usage: mlic {name} [-h]')


def test_an_unknown_command_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as end:
        mlic_command.main(['trian'])
    assert end.value.code == 2
    assert capsys.readouterr().err == "mlic: no command 'trian'; did you mean train?\n"


def test_the_version(capsys):
    mlic_command.main(['--version'])
    assert capsys.readouterr().out == f'mlic {__version__}\n'


def test_methods_add_commands_by_entry_point(tmp_path, monkeypatch, capsys):
    (tmp_path / 'others_tool.py').write_text(
        '"""Count sheep: one, two."""\ndef main(argv=None):\n    print("counted", *argv)\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint('count_sheep', 'others_tool:main', 'mlic.commands')
    monkeypatch.setattr(mlic_command, 'entry_points', lambda group: [entry])
    monkeypatch.setattr(sys, 'argv', ['mlic'])
    mlic_command.main(['--help'])
    assert re.search(r'\n  count_sheep +Count sheep\n', capsys.readouterr().out)
    mlic_command.main(['count-sheep', '3'])
    assert capsys.readouterr().out == 'counted 3\n'


# ---------------------------------------------------------------- configs by name


def test_a_config_is_found_by_name_and_a_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = str(CONFIGS / 'sadcl' / f'{DIGITS}.py')
    assert find_config(DIGITS) == find_config(f'{DIGITS}.py') == ours
    (tmp_path / f'{DIGITS}.py').touch()
    assert find_config(f'{DIGITS}.py') == f'{DIGITS}.py'
    assert find_config(ours) == ours
    data = CONFIGS / '_base_' / 'datasets' / 'digits128.py'
    assert find_config('digits128', '_base_/datasets') == str(data)


def test_a_config_inherits_from_ours_wherever_they_are(tmp_path):
    found = f"__import__('mlic.installation').installation.find_config('{DIGITS}')"
    (tmp_path / 'mine.py').write_text(f'_base_ = {found}\ntrain_cfg = dict(max_epochs=77)\n')
    cfg, ours = (Config.fromfile(path) for path in (tmp_path / 'mine.py', find_config(DIGITS)))
    assert cfg.train_cfg.max_epochs == 77 and cfg.model == ours.model


def test_an_unknown_config_is_one_line_with_similar_names(tmp_path):
    done = python('-m', 'mlic', 'train', DIGITS.replace('digits', 'digit'), cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith('error: sadcl_efficientnet-lite0_digit128: config not found (in ')
    assert f'similar names: {DIGITS}' in line


def test_the_file_that_hides_the_methods_is_named(tmp_path):
    (tmp_path / 'projects').mkdir()
    (tmp_path / 'projects' / '__init__.py').touch()
    code = (
        'import sys, mlic_command\n'
        # an editable installation finds the methods all the same
        'sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in str(f).lower()]\n'
        f'mlic_command.main(["train", "{DIGITS}", "--dry-run"])'
    )
    done = python('-c', code, path=(ROOT, tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f'error: {tmp_path}/projects/__init__.py hides the methods of mlic: '
        'take its folder off the path'
    ]


# ---------------------------------------------------------------- errors


@pytest.fixture
def users_method(tmp_path, monkeypatch):
    """A module with a registered head, as a user writes it."""
    (tmp_path / 'users_method.py').write_text(
        'from mmpretrain.registry import MODELS\n'
        '@MODELS.register_module()\n'
        'class UsersHead:\n'
        '    def __init__(self, size):\n'
        '        if size < 1:\n'
        '            raise ValueError(f"size must be positive,\\n got {size}")\n'
        '        if size == 1:\n'
        '            return [][size]\n'
        '        if size == 2:\n'
        '            self.width, self.height = [size]\n'
        '        self.layer = dict.fromkeys(keys=size)\n'
        '    def forward(self, x):\n'
        '        return UsersHead(width=x)\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    MODELS.module_dict.pop('UsersHead', None)


def test_an_error_of_a_users_method_is_one_line(users_method):
    import users_method  # noqa: F401

    with pytest.raises(SystemExit, match='^error: size must be positive, got 0$'):
        one_line_errors()(MODELS.build)(dict(type='UsersHead', size=0))
    # faults, whose place matters
    for size, kind in ((1, IndexError), (2, ValueError), (3, TypeError)):
        with pytest.raises(kind):
            one_line_errors()(MODELS.build)(dict(type='UsersHead', size=size))
    with pytest.raises(TypeError, match="unexpected keyword argument 'width'"):
        one_line_errors()(users_method.UsersHead.forward)(None, 1)
    with pytest.raises(SystemExit, match="^error: UsersHead takes no 'sise'; similar: size"):
        one_line_errors()(MODELS.build)(dict(type='UsersHead', sise=1))


def test_a_users_own_fault_within_what_mmengine_builds_keeps_its_traceback(users_method):
    import users_method  # noqa: F401

    def loses_a_key():
        return Config(dict(a=1))['no key']

    def needs_more():
        return users_method.UsersHead()

    class Forgetful(Hook):
        def __init__(self):
            needs_more()

    faults = ((loses_a_key, KeyError), (needs_more, TypeError), (lambda: dict()['a'], KeyError))
    for fault, kind in (*faults, (lambda: HOOKS.build(dict(type=Forgetful)), TypeError)):
        with pytest.raises(kind):
            one_line_errors()(fault)()


def test_what_a_users_own_part_makes_of_a_librarys_keeps_its_traceback():
    class Slices(MultiLabelLinearClsHead):
        def forward(self, feats):
            return super().forward((feats[-1][:, :3],))

    class Locks(BaseDataset):
        def load_data_list(self):
            return [dict(img_path='a.jpg', lock=threading.Lock())]

    head = Slices(num_classes=2, in_channels=5)
    with pytest.raises(RuntimeError, match='cannot be multiplied'), one_line_errors():
        head((torch.zeros(2, 5),))
    with pytest.raises(TypeError, match='cannot pickle'):
        one_line_errors()(Locks)()


def test_what_a_config_cannot_do_is_told_with_its_file(tmp_path):
    faults = {
        "base = 'x.py'\n_base_ = [base]": '_base_ is read alone, without the rest of the file, and',
        'first = 1\nmodel = dict(neck=second)': ("line 2: NameError: name 'second' is not defined"),
        "custom_imports = 'package'": 'custom_imports must be a dict, such as dict(imports=',
    }
    path = tmp_path / 'fault.py'
    for text, said in faults.items():
        path.write_text(text)
        with pytest.raises(SystemExit) as ended, one_line_errors():
            load_config(path)
        assert str(ended.value).startswith(f'error: {path}') and said in str(ended.value)


def test_similar_arguments_are_those_that_a_class_takes():
    cfg = dict(type='LabelEmbedHead', num_classes=2, in_channels=3, loss=dict(type='FocalLoss'))
    with pytest.raises(SystemExit, match="takes no 'loss'; similar: loss_cls. If"):
        one_line_errors()(MODELS.build)(cfg)


def test_what_a_model_made_of_library_parts_lacks_is_one_line():
    cfg = dict(type='MultiLabelLinearClsHead', num_classes=2, in_channels=9)
    head = MODELS.build(cfg)
    with pytest.raises(SystemExit, match=r'in_channels=9\) got features \(4, 5\): set 5$'):
        one_line_errors()(head)((torch.zeros(4, 5),))
    arch = dict(embed_dims=8, depths=[1] * 4, num_heads=[1] * 4)
    backbone = MODELS.build(dict(type='SwinTransformer', arch=arch))
    said = r'SwinTransformer: The input shape \(4, 4\) is smaller than the window size \(7\)'
    with pytest.raises(SystemExit, match=said):
        one_line_errors()(backbone)(torch.zeros(1, 3, 128, 128))
    for losses, said in (
        (torch.zeros(()), r"head's loss\(\) must return a dict of losses, such as dict\(loss_cls="),
        (dict(loss_cls=1.0), 'loss_cls is not a tensor or list of tensors'),
    ):
        with pytest.raises(SystemExit, match=said), one_line_errors():
            ImageClassifier(backbone=dict(type='StoredFeatures')).parse_losses(losses)


LINEAR = dict(type='MultiLabelLinearClsHead', num_classes=2, in_channels=9)
CSRA = dict(type='CSRAClsHead', num_classes=2, in_channels=9, num_heads=1, lam=0.1)
ARCH = dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8)
MISFITS = {
    'images': (
        dict(type='BEiTViT', arch=ARCH),
        torch.zeros(1, 3, 64, 32),
        r'BEiTViT: The size of tensor a \(9\) must .*; it was given images of 32 x 64 px: use ',
    ),
    'a map': (
        LINEAR,
        [torch.zeros(4, 9, 2, 2)],
        r'pooled features \(B, 9\), got \(4, 9, 2, 2\): set ',
    ),
    'tokens': (
        LINEAR,
        [torch.zeros(4, 1)],
        r'pooled features \(B, 9\), got \(4, 1\): set neck=dict\(',
    ),
    'a list': (
        LINEAR,
        [[torch.zeros(4, 9)]],
        r'pools: it gives a list, \[\(4, 9\)\]; set out_type=',
    ),
    'tokens for CSRA': (
        CSRA,
        [torch.zeros(4, 5, 9)],
        r'CSRA.* backbone gives \(4, 5, 9\); set out_type=',
    ),
    'pooled': (
        dict(type='GlobalAveragePooling'),
        (torch.zeros(4, 9),),
        r"the backbone pools: it gives \(4, 9\); set out_type='featmap' .*; or set neck=None",
    ),
}


@pytest.mark.parametrize('given', MISFITS)
def test_what_does_not_fit_a_librarys_part_is_one_line(given):
    part, feats, said = MISFITS[given]
    with pytest.raises(SystemExit, match=said), one_line_errors():
        MODELS.build(part)(feats)


def test_wrong_labels_and_one_image_are_not_told_as_features_that_do_not_fit():
    head = MODELS.build(dict(type='LinearClsHead', num_classes=2, in_channels=9))
    with pytest.raises(AttributeError, match='gt_label'):
        one_line_errors()(head.loss)((torch.zeros(4, 9),), [DataSample()])
    neck = MODELS.build(dict(type='LinearNeck', in_channels=9, out_channels=2, gap_dim=0))
    with pytest.raises(SystemExit, match=r'^error: LinearNeck: Expected more than 1 value [^;]*$'):
        one_line_errors()(neck)((torch.zeros(1, 9),))
    with pytest.raises(SystemExit, match=r'pools: it gives a int, \[\]'):
        one_line_errors()(head)(3)
    with pytest.raises(TypeError, match='conv2d'):  # not one of what the message is made from
        one_line_errors()(MODELS.build(dict(type='ResNet', depth=18)))(None)


def test_what_a_class_of_ones_own_forgets_keeps_its_traceback():
    class NoStem(ResNet):
        def _make_stem_layer(self, *args):
            pass

    with pytest.raises(AttributeError, match='conv1'):
        one_line_errors()(NoStem(18))(torch.zeros(1, 3, 64, 64))


def test_a_data_set_without_images_is_one_line():
    class NoImages(BaseDataset):
        def load_data_list(self):
            return []

    with pytest.raises(SystemExit, match='^error: NoImages has 0 images: check its files'):
        one_line_errors()(NoImages)()


SLIPS = {
    "optim_wrapper = dict(optimizer=dict(type='AdamM'))": (
        "'AdamM' is not a registered optimizer; similar names: Adam, "
    ),
    "train_dataloader = dict(collate_fn=dict(type='default_colate'))": (
        "'default_colate' is not a registered class; similar names: default_collate"
    ),
    "model = dict(head=dict(_delete_=True, type='MultiLabelLinearClsHead', in_channels=8))": (
        "MultiLabelLinearClsHead needs 'num_classes', which the config does not give it"
    ),
    "custom_hooks = [dict(type='StageEarlyStoppingHook')]": (
        "StageEarlyStoppingHook needs 'next_stage', which the config does not give it"
    ),
    'custom_hooks = dict(a=1)': (
        "slip.py: custom_hooks={'a': 1} in child config cannot inherit from base because "
        "custom_hooks is a dict in the child config but is of type <class 'list'> in base config."
    ),
    'custom_hooks = [dict(a=1)]': "custom_hooks.0={'a': 1} has no type",
    "custom_hooks = [dict(type='SyncBuffersHook', priority='HUGE')]": (
        "'HUGE' is not known, in the config's {'type': 'SyncBuffersHook'}"
    ),
    'train_dataloader = dict(batch_size=0)': 'batch_size should be a positive integer value',
    "data_preprocessor = dict(type='MultiLabelDataPreprocessor', mean=[1, 2])": (
        'mean must have a value for each of 3 channels, got [1, 2]'
    ),
    'optim_wrapper = dict(clip_grad=dict(max_nrm=1))': (
        "optim_wrapper.clip_grad={'max_nrm': 1}: clip_grad_norm_() got an unexpected keyword "
        "argument 'max_nrm'"
    ),
    'model = None': 'slip.py: the config has no model',
    "_base_ = 'mlic::sadcl/no_config.py'": (
        "slip.py: _base_ takes paths, not 'mlic::': write __import__('mlic.installation')."
        "installation.find_config('NAME'), or"
    ),
}


@pytest.mark.parametrize('slip', SLIPS)
def test_a_slip_in_a_config_is_one_line(tmp_path, monkeypatch, slip):
    monkeypatch.chdir(tmp_path)
    make_config(tmp_path / 'run')
    base = '' if '_base_' in slip else "_base_ = 'run/config.py'\n"
    (tmp_path / 'slip.py').write_text(base + slip)
    ended = call_tool('tools/train.py', 'slip.py', '--epochs', '2')
    assert ended.startswith('error: ') and SLIPS[slip] in ended and '\n' not in ended
    assert SLIPS[slip] in call_tool('tools/train.py', 'slip.py', '--dry-run')


@pytest.mark.parametrize(
    'tool, lacking',
    [
        (['test.py'], 'model, test_dataloader, test_evaluator, test_cfg'),
        (['train.py'], 'model, train_dataloader, train_cfg, optim_wrapper'),
        (['publish_model.py', 'published'], 'model'),
        (['deploy/export.py', '--out', 'a.onnx'], 'model'),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else '',
)
def test_an_empty_config_is_one_line(tmp_path, monkeypatch, tool, lacking):
    monkeypatch.chdir(tmp_path)
    Path('empty.py').touch()
    torch.save(dict(state_dict={}), 'run.pth')
    name, *options = tool
    given = dict(train=['empty.py'], publish_model=['--config', 'empty.py', 'run.pth'])
    arguments = given.get(Path(name).stem, ['empty.py', 'run.pth'])
    message = call_tool(f'tools/{name}', *arguments, *options)
    assert message.startswith('error: ') and message.endswith(f'the config has no {lacking}')


def test_a_reason_to_stop_is_an_error_line_and_a_status_is_left_alone():
    for code, expected in (('no data', 'error: no data'), ('error: x', 'error: x'), (2, 2)):
        with pytest.raises(SystemExit) as end, one_line_errors():
            sys.exit(code)
        assert end.value.code == expected


def buffered(writer):
    return os.fdopen(writer, 'w')


def unbuffered(writer):
    """As with PYTHONUNBUFFERED=1."""
    return io.TextIOWrapper(os.fdopen(writer, 'wb', 0), write_through=True)


def without_file(writer):
    os.close(writer)
    return io.StringIO()


@pytest.mark.parametrize('open_stream', [buffered, unbuffered])
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path, monkeypatch, capsys, open_stream):
    """Such as head: the tool ends quietly, and has written its files."""
    np.savez(tmp_path / 'p.npz', pred=np.random.default_rng(0).random((8, 3)), target=np.eye(8, 3))
    arguments = ['p.npz', '--out', 'metrics.json', '--per-class', 'classes.csv']
    monkeypatch.chdir(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    stream = open_stream(writer)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, 'stdout', stream)
        run_tool(EVAL, *arguments)
    stream.close()  # what is left goes nowhere, without an error
    assert end.value.code == 1  # no message
    assert capsys.readouterr().err == ''
    assert 'multi-label/mAP' in json.loads((tmp_path / 'metrics.json').read_text())
    assert (tmp_path / 'classes.csv').read_text().startswith('protocol,class,')


def test_streams_that_are_closed_from_the_start_are_no_error(monkeypatch):
    """As a daemon's may be, or after ``>&- 2>&-``."""
    for name in ('stdout', 'stderr'):
        monkeypatch.setattr(sys, name, None)
    with one_line_errors():
        sys.stdout.write('a line\n')
        assert not sys.stderr.isatty()


@pytest.mark.parametrize('has_poll', [True, False])
@pytest.mark.parametrize('open_stream', [buffered, unbuffered, without_file])
def test_another_pipe_that_breaks_is_an_error(monkeypatch, open_stream, has_poll):
    if not has_poll:
        monkeypatch.delattr('select.poll', raising=False)
    reader, writer = os.pipe()
    stream = open_stream(writer)
    with monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', stream)
        with pytest.raises(SystemExit, match=r'^error: .*Broken pipe'), one_line_errors():
            sys.stdout.write('a line\n')
            raise BrokenPipeError(errno.EPIPE, 'Broken pipe')
    stream.close()
    os.close(reader)


def test_a_method_registers_its_models_and_nothing_is_imported_that_is_not_needed():
    code = (
        'import gc, sys, projects.sadcl\n'
        'parts = {m.split(".")[1] for m in sys.modules if m.startswith("mlic.")}\n'
        'tools = parts & {"apis", "cli", "comparison", "demo"}\n'
        'print(sorted(tools), gc.isenabled(), gc.get_freeze_count())\n'
        'import mlic.cli.infer, mlic.cli.train, mlic.cli.verify_dataset\n'
        'print("matplotlib" in sys.modules)\n'
        'from mmpretrain import get_model, list_models\n'
        'names = list_models("sadcl*")\n'
        'model = get_model("sadcl_r50_coco448")\n'
        'print(len(names) > 30, type(model.head).__name__)'
    )
    done = python('-c', code)
    expected = ['[] True 0', 'False', 'True SADCLHead']
    assert done.stdout.splitlines()[-3:] == expected, done.stderr


@pytest.mark.parametrize('tool', ['train.py', pytest.param('test.py', marks=pytest.mark.slow)])
def test_tools_start_from_any_directory_without_pythonpath(tool, tmp_path, monkeypatch):
    monkeypatch.delenv('PYTHONPATH', raising=False)
    printed = run_command(sys.executable, ROOT / 'tools' / tool, '--help', cwd=tmp_path)
    assert '--cfg-options' in printed


@pytest.mark.skipif(os.name != 'posix', reason='a folder in use cannot be deleted')
def test_a_deleted_working_directory_is_one_line(tmp_path):
    """A library that torch loads ended the process with a message about itself."""
    code = 'import os, mlic_command; os.rmdir(os.getcwd()); mlic_command.main(["train"])'
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr == 'error: the working directory was deleted: change to another\n'
