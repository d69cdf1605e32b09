"""SADCL's head, losses and second stage on other methods' label embeddings, by config alone."""

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mlic.engine.checkpoints.search import find_checkpoint
from tests.helpers import ROOT
from tests.tiny_runs import IMAGES, logged_losses, tiny_config

LEAVES = sorted((ROOT / 'configs/sadcl').glob('sadcl-on-*.py'))
GRAPH = dict(hidden_channels=8, node_channels=16)
WIDTHS = {'add-gcn': {}, 'salgl': dict(GRAPH, feedforward_channels=8), 'ssgrl': GRAPH}


def method_of(path):
    return path.stem.partition('_')[0].removeprefix('sadcl-on-')


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_only_neck_and_classifier_differ_from_sadcl(path):
    found = Config.fromfile(path)
    sadcl = Config.fromfile(path.with_name(path.name.replace(f'-on-{method_of(path)}', '')))
    assert found.model.neck.type == method_of(path).replace('-', '').upper() + 'Neck'
    assert found.model.neck.num_classes == sadcl.model.neck.num_classes
    has_loss = found.model.neck.type == 'SALGLNeck'
    assert found.model.type == ('NeckLossClassifier' if has_loss else 'ImageClassifier')
    for cfg in (found, sadcl):
        for key in ('type', 'neck'):
            cfg.model.pop(key)
        cfg.model.head.pop('in_channels')
        cfg.pop('custom_imports')
    assert {key: found[key] for key in sadcl} == sadcl.to_dict()


@pytest.mark.parametrize('method', WIDTHS)
def test_both_stages_train(tmp_path, method):
    """The first without contrast; then prototypes are computed, and everything moves."""
    cfg = tiny_config(tmp_path, begin=2, epochs=2)
    model = Config.fromfile(next(path for path in LEAVES if method_of(path) == method)).model
    sizes = dict(num_classes=10, in_channels=40, embed_dims=16, **WIDTHS[method])
    cfg.model.type, cfg.model.neck = model.type, dict(model.neck, **sizes)
    runner = Runner.from_cfg(cfg)
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
    runner.train()
    losses = logged_losses(cfg.work_dir)
    assert all(sscl == pscl == 0 for epoch, sscl, pscl in losses if epoch == 1)
    assert all(sscl > 0 and pscl > 0 for epoch, sscl, pscl in losses if epoch == 2)
    new = [n for n, p in runner.model.named_parameters() if not torch.equal(p, before[n])]
    assert [n for n in before if n.startswith(('neck.', 'head.')) and n not in new] == []
    assert all(p.isfinite().all() for p in runner.model.parameters())
    stored = torch.load(find_checkpoint(cfg.work_dir).path, weights_only=False)['state_dict']
    prototypes = runner.model.head.prototypes
    assert stored['head.prototypes'].shape == prototypes.shape == (10, 16)
    assert prototypes.any(dim=1).all()  # each class has a mean
    if method == 'salgl':
        data = runner.train_dataloader.dataset
        # each image once an epoch, and neither validation nor the pass for the prototypes
        labels = [data.get_data_info(i)['gt_label'] for i in range(IMAGES)]
        counted = stored['neck.graph.counts'].diagonal(dim1=1, dim2=2).sum()
        assert counted == 2 * sum(map(len, labels))
    if method == 'ssgrl':
        # drawn from N(0, 1) before the stage; means of what tanh gives, moved a little since
        assert prototypes.abs().max() < 1
        matrix = stored['neck.graph.matrix']
        assert (matrix.diagonal() == 1).all() and not torch.equal(matrix, torch.eye(10))
