"""Classes in configs: a config that gives them as types is the config that gives their names."""

import pprint
import re
import sys

import mmengine.hooks
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmpretrain.engine import EMAHook
from torch import nn

from mlic.apis.stored_config import read_stored_config
from mlic.engine import ForeachEMAHook
from mlic.engine.runner.settings import changed_settings
from mlic.registries import (
    REGISTRIES,
    find_registered,
    load_config,
    name_classes,
    registered_name,
)
from tests.helpers import ROOT, call_tool
from tests.photo_run import make_config
from tests.tiny_runs import two_stage_config

CONFIGS = [
    *('sadcl/sadcl_efficientnet-lite0_digits128', 'c_tran/c-tran_r101_coco576'),
    *('sadcl/sadcl_vit-b_coco448', 'sadcl/baseline_efficientnet-lite0_digits128_hidden-prior'),
]


def in_classes(path, style):
    """The text of a config, with an imported class wherever it has the name of one."""
    values = Config.fromfile(path).to_dict()
    text = '\n'.join(f'{key} = {pprint.pformat(value)}' for key, value in values.items())
    imports = []
    for name in sorted(set(re.findall(r"'type': '(\w+)'", text))):
        found = {find_registered(registry, name) for registry in REGISTRIES.values()} - {None}
        (kind,) = found
        if getattr(kind, '__name__', '') == name:  # none of the other names, such as 'BN'
            imports.append(f'from {kind.__module__} import {name}')
            text = text.replace(f"'type': '{name}'", f"'type': {name}")
    assert imports
    # with a base, mmengine executes the file; else it reads imports by itself, one by one
    start = '_base_ = []' if style == 'executed' else ''
    return '\n'.join([start, *imports, text])


def plain(value):
    """With lists for tuples, which mmengine exchanges when it dumps a config."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize('style', ['lazy', 'executed'])
@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_of_classes_is_the_config_of_their_names(tmp_path, name, style):
    path = ROOT / f'configs/{name}.py'
    (tmp_path / 'classes.py').write_text(in_classes(path, style))
    cfg = load_config(tmp_path / 'classes.py')
    expected = Config.fromfile(path)
    assert plain(cfg.to_dict()) == plain(expected.to_dict())
    stored = read_stored_config(dict(cfg=cfg.pretty_text), 'a.pth')
    assert plain(stored.to_dict()) == plain(expected.to_dict())
    assert changed_settings(stored, cfg, (1, 1)) == []


@pytest.mark.parametrize(
    'kind, name',
    [
        (ForeachEMAHook, 'ForeachEMAHook'),
        ('mlic.engine.ForeachEMAHook', 'ForeachEMAHook'),
        ('mlic.engine.hooks.foreach_ema_hook.ForeachEMAHook', 'ForeachEMAHook'),
        ('mmpretrain.ForeachEMAHook', None),  # it is of another package
        (torch.optim.AdamW, 'AdamW'),
        ('torch.optim.AdamW', 'AdamW'),
        (default_collate, 'default_collate'),
        (nn.BatchNorm2d, 'BN'),
        (nn.BatchNorm1d, 'BN1d'),
        (EMAHook, 'EMAHook'),
        (mmengine.hooks.EMAHook, None),  # the name is mmpretrain's
        ('mmengine.hooks.EMAHook', None),
        (nn.Sequential, None),
        (dict, None),
        ('nowhere.at.all.Nothing', None),
        ('torchvision/Resize', None),
    ],
)
def test_a_class_has_the_name_under_which_a_config_would_find_it(kind, name):
    assert registered_name(kind) == name


def test_what_a_name_is_found_for_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / 'stranger.py').write_text("open('ran', 'w')\nclass ForeachEMAHook: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    values = dict(custom_hooks=[dict(type='stranger.ForeachEMAHook')])
    assert not name_classes(values)
    with pytest.raises(ValueError, match=r"has type 'stranger\.ForeachEMAHook', which is not"):
        read_stored_config(dict(cfg=f'{values=}\nmodel = dict(type="A")'), 'a.pth')
    assert not (tmp_path / 'ran').exists() and 'stranger' not in sys.modules


@pytest.mark.parametrize('scope', ['mmengine', 'mmpretrain', None])
def test_names_are_those_of_one_scope(tmp_path, scope):
    path = tmp_path / 'config.py'
    path.write_text(
        'from mlic.engine import ForeachEMAHook\n'
        f'default_scope = {scope!r}\ncustom_hooks = [dict(type=ForeachEMAHook)]\n'
    )
    cfg = load_config(path)
    named = scope != 'mmengine'
    assert cfg.custom_hooks[0].type == ('ForeachEMAHook' if named else ForeachEMAHook)
    assert cfg.default_scope == ('mmpretrain' if named else 'mmengine')


MINE = """
from mmcv.transforms import BaseTransform
from mmengine.hooks import EMAHook

class MyEMAHook(EMAHook):
    pass

class MyTransform(BaseTransform):
    def transform(self, results):
        return results
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A lazy config, in which some classes are registered and some are not; its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'my_classes', raising=False)
    (tmp_path / 'my_classes.py').write_text(MINE)
    cfg = make_config(tmp_path / 'run')
    cfg.work_dir = 'work_dirs/own'
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.pipeline.insert(1, dict(type='MyTransform'))
    cfg.custom_hooks[0].type = 'MyEMAHook'
    cfg.dump('named.py')
    text = (tmp_path / 'named.py').read_text()
    for name in ('MyTransform', 'MyEMAHook', 'MLICMetric', 'SADCLHead'):
        text = text.replace(f"type='{name}'", f'type={name}')
    (tmp_path / 'own.py').write_text(
        'from my_classes import MyEMAHook, MyTransform\n'
        'from mlic.evaluation import MLICMetric\n'
        f'from projects.sadcl import SADCLHead\n{text}'
    )
    return tmp_path


def test_tools_take_classes_whether_they_are_registered_or_not(own, capsys):
    assert call_tool('tools/train.py', 'own.py', '--dry-run') is None
    assert call_tool('tools/train.py', 'own.py') is None
    assert call_tool('tools/test.py', 'own.py', 'work_dirs/own', '--out', 'out.npz') is None
    assert (own / 'out.npz').is_file()
    assert call_tool('tools/train.py', 'own.py', '--resume') is None
    changed = ('--resume', '--cfg-options', 'custom_hooks.0.momentum=0.2')
    assert '1 of its settings' in call_tool('tools/train.py', 'own.py', *changed)
    assert 'MyEMAHook.momentum: 0.5 in the checkpoint, 0.2 in' in capsys.readouterr().out
    verified = call_tool('tools/dataset_tools/verify_dataset.py', 'own.py')
    assert 'to fix before training' in verified  # one split is all of them
    export = ('tools/deploy/export.py', 'own.py', 'work_dirs/own', '--format', 'torch-export')
    assert call_tool(*export, '--out', 'own.pt2') is None
    (run,) = (own / 'work_dirs/own').glob('*.py')
    assert "type='MLICMetric'" in run.read_text() and 'my_classes.MyEMAHook' in run.read_text()


def test_a_checkpoint_with_classes_says_which_entry_cannot_be_read():
    text = 'model = dict(type="A")\ncustom_hooks = [dict(\n  type=my.Hook)]'
    with pytest.raises(ValueError, match=r'plain values \(custom_hooks: malformed.* on line 3\)'):
        read_stored_config(dict(cfg=text), 'a.pth')


@pytest.mark.parametrize(
    'tool, options, end',
    [
        ('dataset_tools/verify_dataset.py', (), 'OK'),
        ('train.py', ('--dry-run',), 'ok'),
        ('train.py', ('--no-validate',), 'checkpoint: '),
    ],
    ids=['verify', 'dry run', 'train'],
)
def test_a_config_without_a_scope_has_the_one_of_the_toolkit(tmp_path, capsys, tool, options, end):
    two_stage_config(tmp_path / 'run', default_scope=None).dump(str(tmp_path / 'config.py'))
    assert call_tool(f'tools/{tool}', tmp_path / 'config.py', *options) is None
    assert f'\n{end}' in '\n' + capsys.readouterr().out
