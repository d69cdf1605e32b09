"""Files are not trusted: what a checkpoint holds is never executed, whichever door it comes by."""

import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleLR
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmpretrain import ImageClassificationInferencer, get_model
from mmpretrain.registry import MODELS
from torch import nn

from mlic import files
from mlic.engine.checkpoints import reading
from mlic.engine.checkpoints.matching import check_fit
from mlic.engine.checkpoints.reading import (
    TRUST,
    CheckpointError,
    install_safe_loading,
    load_from_local,
    read_checkpoint,
)
from mlic.engine.checkpoints.search import find_resumable
from tests.helpers import Recorder

SMALL = dict(
    type='ImageClassifier',
    backbone=dict(type='LeNet5'),
    head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss')),
)


@pytest.fixture(autouse=True)
def trust_nobody(monkeypatch):
    monkeypatch.delenv(TRUST, raising=False)


save_legacy = partial(torch.save, _use_new_zipfile_serialization=False)


def save_pickle(content, path):
    Path(path).write_bytes(pickle.dumps(content))


def save_tar(content, path):
    """The container of torch before 0.4: a tar of pickles."""
    with tarfile.open(path, 'w') as tar:
        for name in ('sys_info', 'pickle', 'tensors', 'storages'):
            data = pickle.dumps(content)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


FORMATS = [
    ('evil.pth', torch.save),
    ('evil.pth', save_legacy),
    ('evil.pkl', save_pickle),
    ('evil.pth.tar', torch.save),
    ('evil.pth.tar', save_tar),
]


def through_runner(path, tmp_path, resume):
    """A Runner reads its checkpoint before it trains."""
    Runner(
        model=SMALL,
        work_dir=str(tmp_path / 'work'),
        train_dataloader=torch.utils.data.DataLoader([0]),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        experiment_name=f'door_{tmp_path.name}',
        default_scope='mmpretrain',
        load_from=str(path),
        resume=resume,
    ).train()


def through_init_cfg(path, tmp_path, **prefix):
    init_cfg = dict(type='Pretrained', checkpoint=str(path), **prefix)
    head = dict(type='LinearClsHead', num_classes=2, in_channels=2, init_cfg=init_cfg)
    MODELS.build(head).init_weights()


def through_http(path, tmp_path):
    """A download that is in torch's cache already, so that nothing is fetched."""
    cache = tmp_path / 'hub' / 'checkpoints'
    cache.mkdir(parents=True, exist_ok=True)
    (cache / path.name).write_bytes(path.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
        load_checkpoint(nn.Linear(1, 1), f'https://localhost/{path.name}')


def through_zoo(path, tmp_path):
    """A name that mmengine's list of models maps to a local file."""
    home = tmp_path / 'home'
    home.mkdir(exist_ok=True)
    (home / path.name).write_bytes(path.read_bytes())
    (home / 'open_mmlab.json').write_text(f'{{"evil": "{path.name}"}}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MMENGINE_HOME', str(home))
        load_checkpoint(nn.Linear(1, 1), 'open-mmlab://evil')


def through_object_store(path, tmp_path):
    class Backend:
        def get(self, name):
            return path.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.runner.checkpoint.get_file_backend', lambda *a, **k: Backend())
        load_checkpoint(nn.Linear(1, 1), f's3://bucket/{path.name}')


DOORS = {
    'load_from': partial(through_runner, resume=False),
    'resume': partial(through_runner, resume=True),
    'init_cfg': through_init_cfg,
    'init_cfg_with_prefix': partial(through_init_cfg, prefix='backbone'),
    'get_model': lambda path, tmp_path: get_model(Config(dict(model=SMALL)), pretrained=str(path)),
    'inferencer': lambda path, tmp_path: ImageClassificationInferencer(
        Config(dict(model=SMALL)), pretrained=str(path), device='cpu'
    ),
    'load_checkpoint': lambda path, tmp_path: load_checkpoint(nn.Linear(1, 1), str(path)),
    'read_checkpoint': lambda path, tmp_path: read_checkpoint(path),
    'https': through_http,
    'open-mmlab': through_zoo,
    's3': through_object_store,
}


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('name, save', FORMATS, ids=['zip', 'legacy', 'pickle', 'pth_tar', 'tar'])
@pytest.mark.parametrize('door', DOORS)
def test_nothing_in_a_checkpoint_is_executed(door, name, save, tmp_path):
    trace = tmp_path / 'executed'
    save(dict(state_dict={}, meta={}, extra=Recorder(trace)), tmp_path / name)
    with pytest.raises(CheckpointError) as stop:
        DOORS[door](tmp_path / name, tmp_path)
    assert not trace.exists()
    assert 'evil' in str(stop.value) and '\n' not in str(stop.value)


@pytest.mark.parametrize('save', [torch.save, save_legacy], ids=['zip', 'legacy'])
def test_the_refusal_says_what_is_inside_and_what_to_do(save, tmp_path):
    save(dict(state_dict={}, extra=Recorder(tmp_path / 'executed')), tmp_path / 'evil.pth')
    with pytest.raises(CheckpointError, match=rf'evil.pth holds \w+\.mkdir .*{TRUST}=1'):
        load_checkpoint(nn.Linear(1, 1), str(tmp_path / 'evil.pth'))


def test_a_loader_may_name_the_file_and_give_its_path_as_any_type(tmp_path):
    class Named:
        def __fspath__(self):
            return str(tmp_path / 'run.pth')

    torch.save(dict(weight=torch.ones(2)), tmp_path / 'run.pth')
    load = reading._make_safe(lambda *_: torch.load(f=Named()))
    torch.testing.assert_close(load('own://run'), dict(weight=torch.ones(2)))


@pytest.mark.parametrize('door', DOORS)
def test_an_archive_that_would_fill_the_memory_is_refused_before_it_is_unpacked(
    door, tmp_path, monkeypatch
):
    torch.save(dict(state_dict=dict(weight=torch.zeros(10_000))), tmp_path / 'run.pth')
    whole = read_checkpoint(tmp_path / 'run.pth')
    with (
        zipfile.ZipFile(tmp_path / 'run.pth') as source,
        zipfile.ZipFile(tmp_path / 'packed.pth', 'w', zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    torch.testing.assert_close(read_checkpoint(tmp_path / 'packed.pth'), whole)
    monkeypatch.setattr(reading, 'SMALL', 30_000)
    torch.testing.assert_close(read_checkpoint(tmp_path / 'run.pth'), whole)
    monkeypatch.setattr(torch, 'load', lambda *_, **__: pytest.fail('was unpacked'))
    with pytest.raises(CheckpointError, match=r': its parts would have 4\d{4} bytes'):
        DOORS[door](tmp_path / 'packed.pth', tmp_path)


@pytest.mark.parametrize('door', ['load_checkpoint', 'read_checkpoint', 'https'])
def test_one_variable_opens_every_door(door, tmp_path, monkeypatch):
    trace = tmp_path / 'executed'
    torch.save(dict(state_dict={}, extra=Recorder(trace)), tmp_path / 'own.pth')
    monkeypatch.setenv(TRUST, '1')
    DOORS[door](tmp_path / 'own.pth', tmp_path)
    assert trace.exists()
    monkeypatch.setenv(TRUST, 'yes')
    with pytest.raises(CheckpointError, match="must be 0 or 1, got 'yes'"):
        DOORS[door](tmp_path / 'own.pth', tmp_path)


def test_the_environment_is_as_before_a_download(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    torch.save(dict(state_dict={}, extra=Recorder(tmp_path / 'executed')), tmp_path / 'evil.pth')
    before = dict(os.environ)
    with pytest.raises(CheckpointError):
        through_http(tmp_path / 'evil.pth', tmp_path)
    assert dict(os.environ) == before and not (tmp_path / 'executed').exists()


def test_config_text_of_a_checkpoint_is_not_executed_on_resume(tmp_path):
    trace = tmp_path / 'executed'
    config = f'import os; os.mkdir({str(trace)!r})'
    torch.save(dict(state_dict={}, meta=dict(config=config, epoch=0)), tmp_path / 'evil.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'evil.pth'))
    assert loaded['meta'] == dict(epoch=0)
    with pytest.raises(KeyError):  # it has nothing else that a resumed run needs
        through_runner(tmp_path / 'evil.pth', tmp_path, resume=True)
    assert not trace.exists()


@pytest.mark.parametrize('trust', ['0', '1'])
@pytest.mark.parametrize('way', [through_http, through_zoo, through_object_store])
def test_weights_that_others_publish_are_read_from_anywhere(tmp_path, monkeypatch, way, trust):
    monkeypatch.setenv(TRUST, trust)
    torch.save(dict(model=nn.Linear(1, 1).state_dict(), epoch=1), tmp_path / 'published.pth')
    way(tmp_path / 'published.pth', tmp_path)  # refused where no weight fits


def test_what_our_runs_save_is_read(tmp_path):
    buffer = HistoryBuffer()
    for value in (np.float64(1.5), 3, 4.5):
        buffer.update(value)
    content = dict(
        meta=dict(epoch=1, iter=2, dataset_meta=dict(classes=('a', 'b')), time='now', seed=None),
        state_dict=OrderedDict(weight=torch.ones(2, dtype=torch.bfloat16)),
        ema_state_dict=OrderedDict(steps=torch.tensor(3)),
        message_hub=dict(
            log_scalars=OrderedDict(loss=buffer),
            runtime_info=OrderedDict(
                best_score=np.float64(85.6),
                count=np.int64(3),
                flag=np.bool_(True),
                array=np.arange(3, dtype=np.float32),
                keep_ckpt_ids=[1, 2],
            ),
            resumed_keys={'loss': True},
        ),
        optimizer=dict(state={0: dict(step=torch.tensor(1.0))}, param_groups=[dict(lr=0.1)]),
        rank_states=[dict(generator=torch.get_rng_state()) for _ in range(2)],
    )
    for save in (torch.save, save_legacy):
        save(content, tmp_path / 'ours.pth')
        loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'ours.pth'), map_location='cpu')
        hub = loaded['message_hub']
        np.testing.assert_array_equal(hub['log_scalars']['loss'].data[0], buffer.data[0])
        assert hub['log_scalars']['loss'].mean() == buffer.mean()
        info = hub['runtime_info']
        assert info['best_score'] == 85.6 and info['count'] == 3 and info['flag']
        np.testing.assert_array_equal(info['array'], [0, 1, 2])
        assert torch.equal(loaded['rank_states'][1]['generator'], torch.get_rng_state())


def test_many_threads_read_at_once(tmp_path):
    log = HistoryBuffer()
    log.update(1.0)
    path = tmp_path / 'a.pth'
    content = dict(state_dict={}, message_hub=dict(log_scalars=dict(loss=log)))
    torch.save(content, path)
    doors = [lambda: read_checkpoint(path), lambda: CheckpointLoader.load_checkpoint(str(path))]
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(doors[i % 2]) for i in range(200)]
    assert all(one.result()['message_hub']['log_scalars']['loss'].current() == 1 for one in found)
    assert HistoryBuffer not in torch.serialization.get_safe_globals()


def test_arrays_written_under_the_other_numpy_are_read(tmp_path):
    torch.save(dict(score=np.float64(1.5), array=np.ones(2)), tmp_path / 'new.pth')
    content = pickle.dumps(dict(score=np.float64(1.5), array=np.ones(2)), protocol=2)
    renamed = content.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
    assert renamed != content
    writer = torch._C.PyTorchFileWriter(str(tmp_path / 'old.pth'))  # a torch file around a pickle
    writer.write_record('data.pkl', renamed, len(renamed))
    writer.write_end_of_file()
    loaded = read_checkpoint(tmp_path / 'old.pth')
    assert loaded['score'] == 1.5
    np.testing.assert_array_equal(loaded['array'], np.ones(2))


def test_a_stock_schedule_is_refused_by_name(tmp_path):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    schedule = OneCycleLR(optimizer, eta_max=1.0, total_steps=10)
    torch.save(dict(param_schedulers=[schedule.state_dict()]), tmp_path / 'stock.pth')
    with pytest.raises(CheckpointError, match='OneCycleParamScheduler'):
        read_checkpoint(tmp_path / 'stock.pth')


@pytest.mark.parametrize(
    'content', [b'', b'no checkpoint', b'PK\x03\x04', bytes(100)], ids=['empty', 'text', 'zip', '0']
)
def test_damaged_files_are_an_error_of_one_line(content, tmp_path):
    (tmp_path / 'damaged.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match='damaged.pth is not a checkpoint') as stop:
        load_checkpoint(nn.Linear(1, 1), str(tmp_path / 'damaged.pth'))
    assert '\n' not in str(stop.value)
    with pytest.raises(FileNotFoundError, match='absent.pth'):
        load_checkpoint(nn.Linear(1, 1), str(tmp_path / 'absent.pth'))


def test_an_error_of_the_system_within_a_file_names_it(tmp_path, monkeypatch):
    """Such as of a seek to a place that a damaged index names, or of a disk that fails."""
    path = tmp_path / 'run.pth'
    torch.save({}, path)

    def fail(*_, **__):
        raise OSError(5, 'Input/output error')

    monkeypatch.setattr(torch, 'load', fail)
    with pytest.raises(CheckpointError, match=r'run\.pth cannot be read .*Input/output error'):
        read_checkpoint(path)
    monkeypatch.setattr(reading, 'look_for_weights', lambda name: None)
    monkeypatch.setattr(torch.hub, 'download_url_to_file', fail)
    with pytest.raises(OSError, match='Input/output error'):  # the tools say what to do instead
        CheckpointLoader.load_checkpoint('http://localhost/x/run.pth')
    monkeypatch.setattr(Path, 'read_bytes', fail)
    with pytest.raises(OSError, match=r'Input/output error.*run\.pth'):
        files.read_bytes(path)


@pytest.mark.parametrize(
    'error',
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError('unable to mmap 9 bytes from file <run.pth>: Cannot allocate memory (12)'),
        torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 bytes.'),
    ],
)
def test_a_checkpoint_is_not_called_damaged_where_memory_ran_out(error, tmp_path, monkeypatch):
    """``--resume`` would take an older one."""
    torch.save({}, tmp_path / 'epoch_1.pth')

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch, 'load', fail)
    with pytest.raises(MemoryError, match=r'epoch_1\.pth: '):
        find_resumable(tmp_path)


def test_every_cut_of_a_checkpoint_is_refused(tmp_path):
    torch.save(dict(state_dict=dict(weight=torch.ones(50))), tmp_path / 'whole.pth')
    whole = (tmp_path / 'whole.pth').read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / 'cut.pth').write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / 'cut.pth', mmap=True)


def test_installing_twice_changes_nothing():
    before = dict(CheckpointLoader._schemes)
    install_safe_loading()
    assert dict(CheckpointLoader._schemes) == before


def test_a_folder_is_no_checkpoint_to_load_from(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'{tmp_path.name} is not a file$'):
        load_from_local(str(tmp_path))


@pytest.mark.parametrize(
    'state_dict, message',
    [
        ({'weight': 'text', 'bias': torch.ones(1)}, r'weight str for \(1, 2\)'),
        ({'weight': torch.ones(1, 2), 'bias': None}, r'bias NoneType for \(1,\)'),
        ({0: torch.ones(1), 'weight': torch.ones(1, 2), 'bias': torch.ones(1)}, 'no place for: 0'),
    ],
)
@pytest.mark.parametrize('is_bare', [False, True])
def test_weights_that_are_none_are_named(state_dict, message, is_bare):
    content = state_dict if is_bare else dict(state_dict=state_dict)
    with pytest.raises(CheckpointError, match=f'run.pth has weights .*{message}'):
        check_fit(content, nn.Linear(2, 1), None, 'run.pth')
