"""Data that is not there is one line, before anything is built."""

import pytest
from mmengine.config import Config

from mlic.engine.runner.data_check import check_data


def train_config(dataset):
    return Config(dict(train_dataloader=dict(dataset=dataset)))


def test_missing_data_is_one_line_with_path_and_document(tmp_path):
    dataset = dict(data_root=str(tmp_path / 'coco'), ann_file='instances_train2014.json')
    with pytest.raises(SystemExit) as stop:
        check_data(train_config(dataset), ('train', 'val'))
    message = str(stop.value)
    assert str(tmp_path / 'coco') in message
    assert 'docs/datasets.md' in message and message.startswith('train data')
    assert '\n' not in message and 'where the command runs' not in message


def test_a_missing_relative_path_is_said_to_start_where_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        check_data(train_config(dict(ann_file='data/pets/train.json')), ('train',))
    start = f'data/pets/train.json does not exist in {tmp_path}, where the command runs. '
    assert start in str(stop.value)


@pytest.mark.parametrize('loader', [dict(batch_size=2), dict(dataset='CIFAR10'), [1]], ids=str)
def test_a_loader_without_a_data_set_is_one_line(loader):
    with pytest.raises(SystemExit, match='^train_dataloader needs a dataset, such as'):
        check_data(Config(dict(train_dataloader=loader)), ('train',))


def test_data_that_is_there_passes(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'train.json').write_text('{}')
    dataset = dict(data_root=str(tmp_path), ann_file='train.json', data_prefix='images')
    check_data(train_config(dataset), ('train',))
    dataset['data_prefix'] = dict(img_path='pictures')
    with pytest.raises(SystemExit, match='pictures'):
        check_data(train_config(dataset), ('train',))
