"""Losses, gradients and memory bank do not depend on how the batch is split over processes.

Shapes: W processes, N images in all, B = N / W on each, C classes, D embed dims.
"""

import copy

import pytest
import torch
import torch.distributed as torch_dist
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from mlic.models.layers.gather import gather_active, gather_rows
from projects.sadcl.models.sadcl_head import SADCLHead
from tests.helpers import run_ranks

IMAGES, CLASSES, DIMS, STEPS = 12, 5, 6, 3
WORLDS = (2, 3, 4)
# anchors, gather, momentum of averaged prototypes, which images have labels
CASES = {
    'official': ('official', True, None, 'many'),
    'all': ('all', True, None, 'many'),
    'averaged prototypes': ('all', True, 0.7, 'many'),
    'a process without a positive label': ('official', True, 0.7, 'first'),
    'no positive label': ('all', True, None, 'none'),
    'published': ('official', False, None, 'many'),
    'unknown labels': ('official', True, 0.7, 'unknown'),
    'unknown labels, trained prototypes': ('all', True, None, 'unknown'),
}
ASYMMETRIC = dict(type='StopGradAsymmetricLoss')
EXPECTED_POSITIVES = dict(type='ExpectedPositiveLoss', loss=ASYMMETRIC, expected=2.0, weight=9.0)
# float64; sums of some hundred terms in another order
EXACT = dict(rtol=1e-9, atol=1e-12)


class Model(nn.Module):
    """An embedding of each class from one linear layer, and the head."""

    def __init__(self, anchors, gather, momentum, labels='many'):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(7, CLASSES * DIMS)
        self.head = SADCLHead(
            num_classes=CLASSES,
            in_channels=DIMS,
            proj_channels=4,
            bank_slots=IMAGES,
            bank_threshold=0.4,
            prototype_momentum=momentum,
            loss_cls=EXPECTED_POSITIVES if labels == 'unknown' else ASYMMETRIC,
            loss_sscl=dict(type='SSCLLoss', anchors=anchors, gather=gather),
            loss_pscl=dict(type='PSCLLoss', gather=gather),
        )

    def forward(self, inputs, target):
        label_embeds = self.embed(inputs).unflatten(1, (CLASSES, DIMS))
        samples = [DataSample().set_gt_score(row) for row in target]
        return self.head.loss((label_embeds,), samples)


def make_batch(step, labels):
    """Inputs (N, 7) and target (N, C) of the whole batch."""
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(IMAGES, 7, generator=generator, dtype=torch.float64)
    target = torch.rand(IMAGES, CLASSES, generator=generator, dtype=torch.float64) < 0.4
    target = target.double()
    if labels == 'first':
        target[[n for n in range(IMAGES) if n % 12 != 0]] = 0  # rank 0 alone, for each W
        target[0, 1] = 1
    elif labels == 'none':
        target[:] = 0
    elif labels == 'unknown':  # of class 4 and of the images of rank 1 in 2 and in 4 much
        unknown = torch.rand(IMAGES, CLASSES, generator=generator) < 0.4
        unknown[:, 4] = unknown[5] = True
        target[unknown] = torch.nan
    return inputs, target


def train(name, rank=0, world=1):
    """Losses of each step, the parameters after the last, and the bank."""
    labels = CASES[name][-1]
    torch.set_default_dtype(torch.float64)
    model = Model(*CASES[name])
    network = DistributedDataParallel(model, broadcast_buffers=False) if world > 1 else model
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    history = []
    for step in range(STEPS):
        inputs, target = (rows[rank::world] for rows in make_batch(step, labels))
        losses = network(inputs, target)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({key: value.detach() for key, value in losses.items()})
    torch.set_default_dtype(torch.float32)
    return history, copy.deepcopy(model.state_dict())


def worker(rank, folder):
    """Run every case on 2, 3 and 4 processes; the last ones rest while fewer are needed."""
    for world in WORLDS:
        if rank >= world:
            continue
        torch_dist.init_process_group(
            'gloo', init_method=f'file://{folder}/store{world}', rank=rank, world_size=world
        )
        outcome = {name: train(name, rank, world) for name in CASES}
        rows = torch.arange(3.0) * world + rank
        outcome['rows'] = gather_rows(rows)
        vectors = torch.full((1, rank, 1), float(rank))  # rank r has r of them
        target = torch.zeros(3, 4)
        target[0, :rank] = 1
        image, label = target.nonzero(as_tuple=True)
        outcome['active'] = gather_active(vectors, target, image, label)
        torch.save(outcome, f'{folder}/{world}_{rank}.pt')
        torch_dist.destroy_process_group()


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    """What each rank of each world size found: {(world, rank): outcome}."""
    folder = tmp_path_factory.mktemp('gather')
    run_ranks(max(WORLDS), worker, folder)
    return {
        (world, rank): torch.load(folder / f'{world}_{rank}.pt', weights_only=True)
        for world in WORLDS
        for rank in range(world)
    }


@pytest.mark.dist
@pytest.mark.parametrize('world', WORLDS)
@pytest.mark.parametrize('name', [name for name, case in CASES.items() if case[1]])
def test_split_batches_train_as_one(outcomes, name, world):
    history, state = train(name)
    ranks = [outcomes[world, rank][name] for rank in range(world)]
    for step, losses in enumerate(history):
        for key in ('loss_sscl', 'loss_pscl'):
            for rank_history, _ in ranks:
                assert_close(rank_history[step][key], losses[key], **EXACT)
        mean = sum(rank_history[step]['loss_cls'] for rank_history, _ in ranks) / world
        assert_close(mean, losses['loss_cls'], **EXACT)
    bank = state.pop('head.memory_bank')
    for rank, (_, rank_state) in enumerate(ranks):
        rank_bank = rank_state.pop('head.memory_bank')
        assert_close(rank_bank[: IMAGES // world], bank[rank::world], **EXACT)
        assert_close(rank_state, state, **EXACT)
    if name in ('official', 'all'):
        prototypes = Model(*CASES[name][:3]).head.prototypes
        assert not torch.equal(bank[0, 0], prototypes[0])  # the bank took part


@pytest.mark.dist
def test_without_gather_a_process_contrasts_its_own_images(outcomes):
    values = [outcomes[2, rank]['published'][0][0]['loss_sscl'] for rank in range(2)]
    assert not torch.allclose(values[0], values[1])
    inputs, target = (rows[1::2] for rows in make_batch(0, 'many'))
    torch.set_default_dtype(torch.float64)
    expected = Model(*CASES['published'][:3])(inputs, target)['loss_sscl']
    torch.set_default_dtype(torch.float32)
    assert_close(values[1], expected.detach(), **EXACT)


@pytest.mark.dist
@pytest.mark.parametrize('world', WORLDS)
def test_gathered_rows_stand_in_the_order_of_the_sampler(outcomes, world):
    for rank in range(world):
        assert outcomes[world, rank]['rows'].tolist() == list(range(3 * world))


@pytest.mark.dist
@pytest.mark.parametrize('world', WORLDS)
def test_gathered_vectors_keep_their_image_and_class(outcomes, world):
    for rank in range(world):
        z, target, image, label = outcomes[world, rank]['active']
        assert target.shape == (3 * world, 4)
        assert z.flatten().tolist() == image.tolist()  # row 0 of rank r is image r of the batch
        assert label.tolist() == [c for r in range(world) for c in range(r)]
        assert bool(target[image, label].all()) and int(target.sum()) == len(label)


def test_one_process_gathers_nothing():
    rows, z, target = torch.rand(3, 2), torch.rand(2, 4, 3), torch.rand(3, 2)
    image, label = torch.arange(4), torch.arange(4)
    assert gather_rows(rows) is rows
    assert all(
        a is b for a, b in zip(gather_active(z, target, image, label), (z, target, image, label))
    )


def test_active_vectors_without_their_images_are_refused_on_one_process_too():
    image, label = torch.tensor([0, 1]), torch.tensor([2, 0])
    with pytest.raises(ValueError, match=r'got \(2, 3, 4\) for 2 images and 2 labels'):
        gather_active(torch.zeros(2, 3, 4), torch.zeros(2, 3), image, label)
