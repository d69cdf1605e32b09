"""SADCL's head, losses and second stage on SALGL's label embeddings, by config alone."""

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mlic.engine.checkpoints.search import find_checkpoint
from tests.helpers import ROOT
from tests.tiny_runs import IMAGES, logged_losses, tiny_config

LEAVES = sorted((ROOT / 'configs/sadcl').glob('sadcl-on-salgl_*.py'))


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_only_neck_and_classifier_differ_from_sadcl(path):
    found = Config.fromfile(path)
    sadcl = Config.fromfile(path.with_name(path.name.replace('-on-salgl', '')))
    assert found.model.neck.type == 'SALGLNeck'
    assert found.model.neck.num_classes == sadcl.model.neck.num_classes
    for cfg, classifier in ((found, 'NeckLossClassifier'), (sadcl, 'ImageClassifier')):
        assert cfg.model.pop('type') == classifier
        cfg.model.pop('neck')
        cfg.pop('custom_imports')
    assert {key: found[key] for key in sadcl} == sadcl.to_dict()


@pytest.mark.slow
def test_both_stages_train(tmp_path):
    """The first without contrast; then prototypes are computed, and everything moves."""
    cfg = tiny_config(tmp_path, begin=2, epochs=2)
    neck = dict(Config.fromfile(LEAVES[0]).model.neck, num_classes=10, in_channels=40)
    neck.update(node_channels=16, feedforward_channels=8, embed_dims=16, hidden_channels=8)
    cfg.model.update(type='NeckLossClassifier', neck=neck)
    runner = Runner.from_cfg(cfg)
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
    runner.train()
    losses = logged_losses(cfg.work_dir)
    assert all(sscl == pscl == 0 for epoch, sscl, pscl in losses if epoch == 1)
    assert all(sscl > 0 and pscl > 0 for epoch, sscl, pscl in losses if epoch == 2)
    new = [n for n, p in runner.model.named_parameters() if not torch.equal(p, before[n])]
    assert [n for n in before if n.startswith(('neck.', 'head.')) and n not in new] == []
    stored = torch.load(find_checkpoint(cfg.work_dir).path, weights_only=False)
    counts = stored['state_dict']['neck.graph.counts']
    # each image once an epoch, and neither validation nor the pass for the prototypes
    labels = [runner.train_dataloader.dataset.get_data_info(i)['gt_label'] for i in range(IMAGES)]
    assert counts.diagonal(dim1=1, dim2=2).sum() == 2 * sum(map(len, labels))
