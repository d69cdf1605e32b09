"""What mim runs: mmpretrain's own train.py and test.py, with a config of this project."""

import json
import os
import re
import runpy
import sys
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine.config import Config

from mlic.engine.checkpoints.initial_weights import DownloadError
from mlic.engine.checkpoints.reading import CheckpointError
from mlic.engine.checkpoints.search import find_checkpoint
from tests.helpers import ROOT, run_command
from tests.tiny_runs import logged_losses, tiny_config

TOOLS = Path(mmpretrain.__file__).parent / '.mim' / 'tools'


class MakesFolder:
    """Reading a pickle of it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory that is not the repository, next to a tiny config."""
    cfg = tiny_config(tmp_path)
    del cfg._cfg_dict['work_dir']
    cfg.dump(str(tmp_path / 'tiny.py'))
    folder = tmp_path / 'elsewhere'
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def start(monkeypatch, tool, *arguments):
    """A tool of mmpretrain, as the main program."""
    monkeypatch.setattr(sys, 'argv', [tool, *arguments, '--launcher', 'none'])
    monkeypatch.setenv('LOCAL_RANK', '0')
    runpy.run_path(str(TOOLS / tool), run_name='__main__')


def check_run(folder):
    """Two epochs, the second stage in the last, and what the hooks leave in a checkpoint."""
    losses = logged_losses(folder)
    assert [epoch for epoch, *_ in losses] == [1, 1, 2, 2]
    assert losses[1][1] == 0 and losses[2][1] > 0 and losses[3][2] > 0
    assert (folder / 'last_checkpoint').read_text().endswith('epoch_2.pth')
    saved = torch.load(folder / 'epoch_2.pth', weights_only=False)
    assert 'rank_buffers' in saved and 'ema_state_dict' in saved


@pytest.mark.slow
def test_mmpretrains_train_py_runs_both_stages(elsewhere, monkeypatch):
    start(monkeypatch, 'train.py', '../tiny.py')
    check_run(elsewhere / 'work_dirs' / 'tiny')


def test_mmpretrains_train_py_without_network_ends_with_what_to_do(elsewhere, monkeypatch):
    monkeypatch.setenv('https_proxy', 'http://127.0.0.1:9')
    monkeypatch.setenv('TORCH_HOME', str(elsewhere))
    cfg = Config.fromfile('../tiny.py')
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='torchvision://resnet18')
    cfg.model.backbone.pretrained = False
    cfg.dump('../download.py')
    with pytest.raises(DownloadError, match='torchvision://resnet18 .* give its path'):
        start(monkeypatch, 'train.py', '../download.py')


def test_mmpretrains_test_py_runs_no_code_of_a_checkpoint(elsewhere, monkeypatch):
    torch.save({'state_dict': MakesFolder(elsewhere / 'executed')}, 'evil.pth')
    with pytest.raises(CheckpointError, match='evil.pth holds'):
        start(monkeypatch, 'test.py', '../tiny.py', 'evil.pth')
    assert not (elsewhere / 'executed').exists()


@pytest.mark.slow
def test_processes_as_mim_starts_them_score_as_our_tools_do(elsewhere):
    def start(tool, *arguments):
        command = (sys.executable, tool, '../tiny.py', *arguments, '--launcher', 'none')
        return run_command(*command, cwd=elsewhere)

    start(TOOLS / 'train.py')
    run = elsewhere / 'work_dirs' / 'tiny'
    check_run(run)
    best = find_checkpoint(run).path
    [theirs] = re.findall(r'Epoch\(test\).*mAP: ([\d.]+)', start(TOOLS / 'test.py', best))
    start(ROOT / 'tools' / 'test.py', best, '--out', 'ours.json')
    ours = json.loads((elsewhere / 'ours.json').read_text())['multi-label/mAP']
    assert float(theirs) == pytest.approx(ours, abs=1e-4) and ours > 0
