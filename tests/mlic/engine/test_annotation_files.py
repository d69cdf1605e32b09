"""Annotation files are data: a pickle or a YAML file that would run code is refused."""

import json
import os
import pickle
import shutil
from pathlib import Path

import mmengine
import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from mlic.cli import train
from mlic.engine import UntrustedFileError, install_safe_handlers
from mlic.engine.checkpoints.reading import TRUST


@pytest.fixture(autouse=True)
def trust_nobody(monkeypatch):
    monkeypatch.delenv(TRUST, raising=False)
    init_default_scope('mmpretrain')


class Recorder:
    """Leaves a folder behind if it is unpickled, and is a list of two images."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        made = f'__import__("os").mkdir({self.trace!r})'
        return eval, (f'[{made}, {annotations()!r}][1]',)


def annotations():
    images = [dict(img_path='a.jpg', gt_label=[0]), dict(img_path='b.jpg', gt_label=[1])]
    return dict(metainfo=dict(classes=['x', 'y']), data_list=images)


def evil_yaml(trace):
    return f'data_list: !!python/object/apply:os.mkdir [{str(trace)!r}]\n'


def write_evil(folder, suffix, trace):
    path = folder / f'evil.{suffix}'
    is_yaml = suffix in ('yaml', 'yml')
    path.write_bytes(evil_yaml(trace).encode() if is_yaml else pickle.dumps(Recorder(trace)))
    return path


def data_set(path):
    return dict(type='MultiLabelDataset', ann_file=str(path), pipeline=[])


WRAPPERS = {
    'plain': data_set,
    'repeat': lambda path: dict(type='RepeatDataset', times=2, dataset=data_set(path)),
    'concat': lambda path: dict(type='ConcatDataset', datasets=[data_set(path)]),
    'balanced': lambda path: dict(
        type='ClassBalancedDataset', oversample_thr=0.1, dataset=data_set(path)
    ),
    'folds': lambda path: dict(type='KFoldDataset', fold=0, num_splits=2, dataset=data_set(path)),
    'nested': lambda path: dict(type='RepeatDataset', times=2, dataset=WRAPPERS['concat'](path)),
}


@pytest.mark.parametrize('suffix', ['pkl', 'pickle', 'yaml', 'yml'])
@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_a_list_of_images_that_runs_code_is_refused_inside_any_wrapper(tmp_path, wrapper, suffix):
    path = write_evil(tmp_path, suffix, tmp_path / 'executed')
    with pytest.raises(UntrustedFileError, match=rf'evil.{suffix} .*{TRUST}=1'):
        DATASETS.build(WRAPPERS[wrapper](path)).full_init()
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize('suffix', ['pkl', 'yaml'])
def test_a_download_that_runs_code_is_refused(tmp_path, monkeypatch, suffix):
    path = write_evil(tmp_path, suffix, tmp_path / 'executed')

    class Backend:
        def get(self, name):
            return path.read_bytes()

        def get_text(self, name):
            return path.read_text()

        def join_path(self, *parts):
            return '/'.join(parts)

    monkeypatch.setattr('mmengine.fileio.io.get_file_backend', lambda *a, **k: Backend())
    with pytest.raises(UntrustedFileError, match=f'http://localhost/evil.{suffix}'):
        DATASETS.build(data_set(f'http://localhost/evil.{suffix}')).full_init()
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize('how', ['path', 'string', 'format', 'open'])
def test_every_way_to_load_a_pickle_is_refused(tmp_path, how):
    path = write_evil(tmp_path, 'pkl', tmp_path / 'executed')
    shutil.copy(path, tmp_path / 'evil.json')
    with path.open('rb') as file, pytest.raises(UntrustedFileError, match='is a pickle'):
        {
            'path': lambda: mmengine.load(path),
            'string': lambda: mmengine.load(str(path)),
            'format': lambda: mmengine.load(tmp_path / 'evil.json', file_format='pkl'),
            'open': lambda: mmengine.load(file, file_format='pickle'),
        }[how]()
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize('suffix', ['pkl', 'yaml'])
def test_the_variable_lets_a_trusted_file_run(tmp_path, monkeypatch, suffix):
    path = write_evil(tmp_path, suffix, tmp_path / 'executed')
    monkeypatch.setenv(TRUST, '1')
    mmengine.load(path)
    assert (tmp_path / 'executed').exists()


def test_training_on_a_wrapped_pickle_ends_in_one_line(tmp_path, capsys):
    path = write_evil(tmp_path, 'pkl', tmp_path / 'executed')
    good = tmp_path / 'good.json'
    good.write_text(json.dumps(annotations()))
    config = tmp_path / 'config.py'
    config.write_text(
        f"""
_base_ = {str(Path(train.CONFIGS) / 'sadcl/sadcl_efficientnet-lite0_digits128.py')!r}
model = dict(backbone=dict(pretrained=False))
train_dataloader = dict(num_workers=0, persistent_workers=False,
    dataset=dict(_delete_=True, **{WRAPPERS['repeat'](path)!r}))
"""
    )
    with pytest.raises(SystemExit) as end:
        train.main([str(config), '--work-dir', str(tmp_path / 'work')])
    assert str(end.value).startswith(f'error: {path} is a pickle') and '\n' not in str(end.value)
    assert not (tmp_path / 'executed').exists()


def test_plain_files_are_read_as_before(tmp_path):
    for suffix in ('json', 'yaml', 'yml'):
        mmengine.dump(annotations(), tmp_path / f'good.{suffix}')
        assert mmengine.load(tmp_path / f'good.{suffix}') == annotations()
        built = DATASETS.build(data_set(tmp_path / f'good.{suffix}'))
        assert [built.get_data_info(i)['gt_label'] for i in range(2)] == [[0], [1]]


def test_damaged_yaml_is_one_line_with_its_name(tmp_path):
    (tmp_path / 'cut.yaml').write_text('a: [1, 2')
    with pytest.raises(UntrustedFileError, match='cut.yaml cannot be read as YAML'):
        mmengine.load(tmp_path / 'cut.yaml')


def test_what_mmengine_keeps_pickled_in_memory_goes_on_working(tmp_path):
    (tmp_path / 'good.json').write_text(json.dumps(annotations()))
    built = DATASETS.build(dict(data_set(tmp_path / 'good.json'), serialize_data=True))
    assert isinstance(built, BaseDataset) and len(built.data_bytes) > 0
    assert built.get_data_info(1)['gt_label'] == [1]


def test_installing_the_handlers_twice_changes_nothing(tmp_path):
    install_safe_handlers()
    path = write_evil(tmp_path, 'pkl', tmp_path / 'executed')
    with pytest.raises(UntrustedFileError):
        mmengine.load(path)
    assert not os.path.exists(tmp_path / 'executed')
