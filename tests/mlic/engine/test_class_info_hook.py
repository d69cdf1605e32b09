"""What a run learns of its classes before it starts: from the training set, and from a file."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.testing import assert_close

from mlic.apis.open_run import build_model
from mlic.class_info import ClassInfo
from mlic.datasets import DigitScenes
from mlic.engine.checkpoints.class_transfer import take_over_weights
from mlic.engine.hooks.class_info_hook import ClassInfoHook, learn_classes
from tests.helpers import call_tool
from tests.tiny_runs import every_model, tiny_config

DIGITS = DigitScenes.METAINFO['classes']
GRAPH, VECTORS = 'neck.graph.matrix', 'neck.vectors.vectors'


@pytest.fixture
def vectors(tmp_path):
    """A file with 4 numbers for each digit, and those."""
    rows = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    text = '\n'.join(' '.join([name, *map(str, row)]) for name, row in zip(DIGITS, rows))
    path = tmp_path / 'vectors.txt'
    path.write_text(text)
    return path, torch.from_numpy(rows)


def config(work_dir, file=None, epochs=1, **changes):
    """A run of SSGRL on digit scenes of 32 px, its vectors learned or of a file."""
    cfg = tiny_config(work_dir, epochs=epochs)
    cfg.model = every_model(10)['ssgrl']
    cfg.model.neck.vectors.file = file and str(file)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.image_size = 32
    cfg.custom_hooks, cfg.param_scheduler = [dict(type='ForeachEMAHook', momentum=0.1)], []
    cfg.merge_from_dict(changes)
    return cfg


def train(cfg, *hooks):
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


class AtStart(Hook):
    """The entries of the model and its average where the first iteration begins."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0 and runner.epoch == 0:
            average = next(h.ema_model for h in runner.hooks if hasattr(h, 'ema_model')).module
            self.found = [dict(m.state_dict()) for m in (runner.model, average)]


@pytest.mark.slow
def test_graph_and_vectors_are_in_the_checkpoint_and_a_resumed_run_needs_no_file(vectors, tmp_path):
    path, rows = vectors
    hook = AtStart()
    runner = train(config(tmp_path, path), hook)
    expected = torch.from_numpy(ClassInfo(runner.train_dataloader.dataset, DIGITS).conditional)
    expected.fill_diagonal_(1)
    assert 1 < (expected > 0).sum() / 10 < 10  # some edges, not all
    stored = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)
    for entries in (*hook.found, stored['state_dict'], average_of(stored)):
        assert_close(entries[VECTORS], rows, rtol=0, atol=0)
        assert_close(entries[GRAPH], expected.float())
    path.unlink()
    train(config(tmp_path, path, 2, resume=True, **{'train_dataloader.dataset.seed': 9}))
    resumed = torch.load(tmp_path / 'work/epoch_2.pth', weights_only=False)
    for name in (GRAPH, VECTORS):
        for entries in (resumed['state_dict'], average_of(resumed)):
            assert_close(entries[name], stored['state_dict'][name], rtol=0, atol=0)


def average_of(checkpoint):
    """The other weights of a run with an average, by the model's names."""
    entries = checkpoint['ema_state_dict']
    return {name.removeprefix('module.'): value for name, value in entries.items()}


def test_a_file_that_is_missing_ends_a_run_before_it_begins(tmp_path, capsys):
    cfg = config(tmp_path, tmp_path / 'none.txt')
    with pytest.raises(FileNotFoundError, match='none.txt'):
        train(cfg)
    assert not list((tmp_path / 'work').glob('*.pth'))
    cfg.pop('experiment_name')
    cfg.dump(tmp_path / 'config.py')
    assert 'none.txt' in call_tool('tools/train.py', tmp_path / 'config.py', '--dry-run')
    assert 'ok' not in capsys.readouterr().out.split()


def test_a_dry_run_says_what_the_training_set_gives(vectors, tmp_path, capsys):
    cfg = config(tmp_path, vectors[0])
    cfg.pop('experiment_name')
    cfg.dump(tmp_path / 'config.py')
    call_tool('tools/train.py', tmp_path / 'config.py', '--dry-run')
    lines = capsys.readouterr().out.splitlines()
    assert f'Label vectors: 10 of 4 numbers from {vectors[0]}' in lines
    assert any(line.startswith('Label graph (conditional): ') for line in lines)


@pytest.mark.parametrize('learned', [True, False])
def test_other_classes_have_the_graph_and_vectors_of_their_own(vectors, tmp_path, learned):
    """Learned vectors are a class's own and follow its name; those of a file are the file's."""
    path, rows = vectors
    old, new = (build_model(config(tmp_path, None if learned else path)) for _ in range(2))
    stored = dict(old.state_dict())
    stored[GRAPH] = torch.rand(10, 10)
    content = dict(state_dict=stored, meta=dict(dataset_meta=dict(classes=DIGITS[::-1])))
    take_over_weights(content, new, DIGITS, {}, 'old.pth')
    new.load_state_dict(content['state_dict'])
    images = [dict(gt_label=[i, (i * i) % 10]) for i in range(10)]
    learn_classes(new, Images(images))
    if learned:
        assert_close(new.neck.vectors(), old.neck.vectors().flip(0), rtol=0, atol=0)
    else:
        assert_close(new.neck.vectors(), rows, rtol=0, atol=0)
    expected = torch.from_numpy(ClassInfo(Images(images), DIGITS).conditional).float()
    assert_close(new.neck.graph(), expected.fill_diagonal_(1))


def test_a_loss_learns_how_many_of_the_images_have_a_class():
    class RareClasses(nn.Module):
        def learn_classes(self, info):
            self.share = info.counts[0].diagonal() / info.num_images
            return [f'rarest: {info.names[self.share.argmin()]}']

    model = nn.ModuleDict(dict(loss_module=RareClasses()))
    images = [dict(gt_label=[0, 1]), dict(gt_label=[1], gt_label_unknown=[0]), dict(gt_label=[])]
    assert learn_classes(model, Images(images)) == [f'rarest: {DIGITS[2]}']
    assert_close(model.loss_module.share[:3], np.array([1 / 3, 2 / 3, 0]))


@pytest.mark.parametrize('resume,loaded', [(True, True), (True, False), (False, True)])
def test_a_run_that_has_resumed_learns_nothing_again(tmp_path, resume, loaded):
    """One that found nothing to resume starts, and one that loads weights (load_from) does."""
    model = build_model(config(tmp_path))
    loader = SimpleNamespace(dataset=Images([dict(gt_label=[0, 1])]))
    state = dict(_resume=resume, _has_loaded=loaded, logger=logging.getLogger())
    ClassInfoHook().before_train(SimpleNamespace(model=model, train_dataloader=loader, **state))
    assert torch.equal(model.neck.graph(), torch.eye(10)) == (resume and loaded)


class Images:
    """A data set of these images."""

    CLASSES = DIGITS

    def __init__(self, images):
        self.get_data_info = images.__getitem__
        self.images = images

    def __len__(self):
        return len(self.images)


def test_data_without_names_are_refused_by_the_module_that_asks(tmp_path):
    model, data = build_model(config(tmp_path)), Images([])
    data.CLASSES = None
    with pytest.raises(ValueError, match='LabelVectors needs the names of the classes, and Images'):
        learn_classes(model, data)
    assert learn_classes(torch.nn.Linear(1, 1), data) == []  # nobody asks
