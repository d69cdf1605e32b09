"""Losses, gradients and counts do not depend on how a batch is split over processes."""

import pytest
import torch
import torch.distributed as torch_dist
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from mlic.models.heads.label_embed_head import LabelEmbedHead
from projects.salgl.salgl_neck import SALGLNeck
from tests.helpers import run_ranks

WORLD, IMAGES, CLASSES, STEPS = 2, 8, 5, 3
# float64; sums of some terms in another order
EXACT = dict(rtol=1e-9, atol=1e-12)


class Model(nn.Module):
    """Neck and head."""

    def __init__(self, soft):
        super().__init__()
        torch.manual_seed(0)
        widths = dict(hidden_channels=3, num_heads=2, feedforward_channels=5, vectors=dict(dims=2))
        graph = dict(num_scenes=3, soft=soft)
        self.neck = SALGLNeck(6, CLASSES, 4, graph=graph, dropout=0.0, **widths)
        nn.init.normal_(self.neck.scene.weight)
        self.head = LabelEmbedHead(CLASSES, 4)

    def forward(self, feature_map, samples):
        feats, losses = self.neck.loss((feature_map,), samples)
        return {**losses, **self.head.loss(feats, samples)}


def train(soft, rank=0, world=1):
    """Losses of each step, and the state after the last."""
    model = Model(soft).double()
    network = DistributedDataParallel(model, broadcast_buffers=False) if world > 1 else model
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    history = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        maps = torch.randn(IMAGES, 6, 2, 2, generator=generator).double()[rank::world]
        target = torch.rand(IMAGES, CLASSES, generator=generator)
        target = (target < 0.5).double()[rank::world]
        losses = network(maps, [DataSample().set_gt_score(row) for row in target])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: loss.detach() for name, loss in losses.items()})
    return history, model.state_dict()


def worker(rank, folder):
    torch_dist.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=WORLD
    )
    torch.save([train(soft, rank, WORLD) for soft in (False, True)], f'{folder}/{rank}.pt')
    torch_dist.destroy_process_group()


@pytest.mark.dist
def test_split_batches_train_as_one(tmp_path):
    run_ranks(WORLD, worker, tmp_path)
    ranks = [torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in range(WORLD)]
    for soft in (False, True):
        history, state = train(soft)
        assert state['neck.graph.counts'].flatten(1).any(1).all()  # all scenes took part
        for rank_history, rank_state in (rank[soft] for rank in ranks):
            assert_close(rank_state, state, **EXACT)
            for found, losses in zip(rank_history, history):
                assert_close(found['loss_batch_entropy'], losses['loss_batch_entropy'], **EXACT)
