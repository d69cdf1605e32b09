"""TensorBoard and Weights & Biases: what arrives, over the stage switch and a resume."""

import json
import re

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import VISUALIZERS

from mlic import packages
from mlic.engine.runner.errors import one_line_errors
from mlic.visualization import vis_backends as tracking
from tests.helpers import ROOT
from tests.tiny_runs import tiny_config

EXTRAS = {'TensorboardVisBackend': 'tensorboard', 'WandbVisBackend': 'wandb'}


def documented(tmp_path, backend):
    """The visualizer of the config in docs/running.md that has this backend."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/running.md').read_text(), re.S)
    (text,) = [block for block in blocks if backend in block]
    (tmp_path / 'tracked.py').write_text(text.replace("'configs/", f"'{ROOT}/configs/"))
    return Config.fromfile(tmp_path / 'tracked.py').visualizer


def train_and_resume(tmp_path, backend):
    """Two epochs, the second stage in the last; then one more epoch from the last checkpoint."""
    for folder, epochs, checkpoint in (('first', 2, None), ('second', 3, 'first/epoch_2.pth')):
        cfg = tiny_config(tmp_path, epochs=epochs)
        cfg.visualizer = documented(tmp_path, backend)
        cfg.work_dir = str(tmp_path / folder)
        if checkpoint:
            cfg.resume, cfg.load_from = True, str(tmp_path / checkpoint)
        Runner.from_cfg(cfg).train()


def check_curves(first, second):
    """Dicts of a scalar's name to its values in order, before and after the resume."""
    assert len(first['loss_cls']) == 4 and len(second['loss_cls']) == 2
    for name in ('loss_sscl', 'loss_pscl'):
        assert first[name][:2] == [0, 0] and min(first[name][2:] + second[name]) > 0, name
    assert len(first['multi-label/mAP']) == 2 and len(second['multi-label/mAP']) == 1
    assert first['epoch'] == [1, 1, 2, 2] and second['epoch'] == [3, 3]


@pytest.mark.parametrize('backend', EXTRAS)
def test_a_missing_package_is_said_in_one_line_that_names_the_extra(tmp_path, monkeypatch, backend):
    extra = EXTRAS[backend]
    importable = packages._is_importable
    monkeypatch.setattr(packages, '_is_importable', lambda name: name != extra and importable(name))
    visualizer = documented(tmp_path, backend)
    with pytest.raises(SystemExit) as stop, one_line_errors():
        VISUALIZERS.build({**visualizer, 'save_dir': str(tmp_path), 'name': 'missing'})
    assert str(stop.value) == (
        f"error: {backend} needs the extra '{extra}': pip install -e '.[{extra}]'"
    )
    assert re.search(rf'^{extra} = \["{extra}"\]', (ROOT / 'pyproject.toml').read_text(), re.M)


@pytest.mark.parametrize('name, expected', [(None, []), ('ours', ['ours'])])
def test_python_files_are_sent_only_if_asked_for(tmp_path, monkeypatch, name, expected):
    sent, configs = [], []

    class FakeRun:
        config = run = property(lambda self: self)
        update = staticmethod(lambda values, allow_val_change: configs.append(values))
        log_code = staticmethod(lambda name: sent.append(name))

    monkeypatch.setattr(tracking, 'require', lambda *_: None)
    backend = tracking.WandbVisBackend(str(tmp_path), init_kwargs={}, log_code_name=name)
    monkeypatch.setattr(backend, '_init_env', lambda: setattr(backend, '_wandb', FakeRun()))
    backend.add_config(Config(dict(lr=0.1)))
    assert configs == [dict(lr=0.1)] and sent == expected


@pytest.mark.slow
def test_tensorboard_gets_losses_and_map_of_both_stages(tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_and_resume(tmp_path, 'TensorboardVisBackend')
    curves, steps = [], []
    for folder in ('first', 'second'):
        (events,) = (tmp_path / folder).glob('*/vis_data/events.*')
        log = EventAccumulator(str(events)).Reload()
        scalars = {name: log.Scalars(name) for name in log.Tags()['scalars']}
        curves.append({name: [x.value for x in found] for name, found in scalars.items()})
        steps.append({name: [x.step for x in found] for name, found in scalars.items()})
        assert list((tmp_path / folder).glob('*/vis_data/scalars.json'))
    check_curves(*curves)
    assert steps[0]['loss'] + steps[1]['loss'] == [1, 2, 3, 4, 5, 6]
    assert steps[0]['multi-label/mAP'] + steps[1]['multi-label/mAP'] == [1, 2, 3]


@pytest.mark.slow
def test_wandb_gets_losses_and_map_of_both_stages(tmp_path, monkeypatch):
    wandb = pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    train_and_resume(tmp_path, 'WandbVisBackend')
    wandb.teardown()  # its writer is a process of its own, which may still write
    curves = []
    for folder in ('first', 'second'):
        (log,) = (tmp_path / folder).glob('*/vis_data/wandb/offline-run-*/*.wandb')
        found = list(records(log))
        rows = [row(record) for record in found if record.WhichOneof('record_type') == 'history']
        assert all('iter' in row for row in rows)  # mAP stands at the iteration before it
        measured = [row for row in rows if 'multi-label/mAP' in row]
        trained = [row for row in rows if 'loss_cls' in row]
        assert len(rows) == len(measured) + len(trained)
        curves.append({name: [row[name] for row in trained] for name in trained[0]})
        curves[-1]['multi-label/mAP'] = [row['multi-label/mAP'] for row in measured]
        # an artifact would be the working directory's Python files
        assert 'artifact' not in {record.WhichOneof('record_type') for record in found}
    check_curves(*curves)


def row(record):
    """The scalars of a record by their names."""
    items = record.history.item
    return {item.key or '.'.join(item.nested_key): json.loads(item.value_json) for item in items}


def records(path):
    """The records of an offline run's log: blocks of 32 KiB, pieces of 7 + n bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, pieces = path.read_bytes(), 7, b''
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        size, kind = int.from_bytes(data[position + 4 : position + 6], 'little'), data[position + 6]
        pieces += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(pieces)
            pieces = b''
