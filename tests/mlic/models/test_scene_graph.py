"""SceneGraph against loops. B images, C classes, S scenes."""

import pytest
import torch
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from mlic.models.layers.scene_graph import SceneGraph

NAN = float('nan')
EXACT = dict(rtol=1e-12, atol=1e-12)  # float64
# the sum of blended labels may leave halves; nothing is known of the last class
TARGET = torch.tensor(
    [[1, 0, 1, 0.7, NAN], [0, 1, NAN, 0.4, NAN], [1, 1, 0, NAN, NAN], [0.5, 1, 1, 1, NAN]]
).double()


def samples(target=TARGET):
    return [DataSample().set_gt_score(row) for row in target]


def draw(images=4, scenes=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, scenes, generator=generator).double().softmax(-1)


def count_by_loops(p, target, soft):
    """How often each pair of classes was present in each scene."""
    number = target.shape[1]
    counts = torch.zeros(p.shape[1], number, number).double()
    for image, labels in zip(p.tolist(), target.tolist()):
        for s, share in enumerate(image):
            weight = share if soft else float(s == image.index(max(image)))
            for i in range(number):
                for j in range(number):
                    if labels[i] >= 0.5 and labels[j] >= 0.5:
                        counts[s, i, j] += weight
    return counts


def graphs_by_loops(counts, normalise, ignore_self):
    """The graph of each scene."""
    graphs = torch.zeros_like(counts)
    for s, scene in enumerate(counts.tolist()):
        for i, row in enumerate(scene):
            shares = [n / (row[i] + 1e-8) for n in row]
            if ignore_self:
                shares[i] = 0.0
            total = sum(shares) + 1e-8 if normalise else 1.0
            graphs[s, i] = torch.tensor([share / total for share in shares])
    return graphs


@pytest.mark.parametrize('soft', [False, True])
def test_pairs_of_known_present_classes_are_counted_in_the_scenes_of_their_images(soft):
    graph, p = SceneGraph(5, 3, soft=soft).double(), draw()
    graph.count(p, samples())
    assert_close(graph.counts, count_by_loops(p, TARGET, soft), **EXACT)
    graph.count(p.flip(1), samples())
    both = count_by_loops(p, TARGET, soft) + count_by_loops(p.flip(1), TARGET, soft)
    assert_close(graph.counts, both, **EXACT)


@pytest.mark.parametrize('normalise', [False, True])
@pytest.mark.parametrize('ignore_self', [False, True])
@pytest.mark.parametrize('soft', [False, True])
def test_graph_of_an_image_equals_loops(soft, ignore_self, normalise):
    graph, p = SceneGraph(5, 3, soft, normalise, ignore_self).double(), draw()
    graph.count(p, samples())
    graphs = graphs_by_loops(graph.counts, normalise, ignore_self)
    if soft:
        expected = [sum(share * g for share, g in zip(image, graphs)) for image in p]
    else:
        expected = [graphs[image.argmax()] for image in p]
    assert_close(graph(p), torch.stack(expected), rtol=1e-7, atol=1e-12)


def test_a_class_that_no_image_of_a_scene_has_has_no_edges_there():
    graph, p = SceneGraph(5, 3), draw().float()
    assert_close(graph(p), torch.zeros(4, 5, 5))  # nothing counted yet
    graph.count(p, samples())
    graphs = graph.graphs()
    assert graphs.isfinite().all()
    absent = graph.counts.diagonal(dim1=1, dim2=2) == 0
    assert absent[:, 4].all() and not absent.all()
    assert not graphs[absent].any() and not graphs.mT[absent].any()
    assert_close(graphs.sum(-1), (~absent).float())


def test_counts_are_exact_in_mixed_precision():
    graph, p = SceneGraph(2, 2), torch.tensor([[0.9, 0.1]]).expand(301, -1)
    with torch.autocast('cpu', dtype=torch.bfloat16):  # in which 301 is 300
        graph.count(p, samples(torch.ones(301, 2)))
    assert_close(graph.counts, torch.tensor([301.0, 0.0])[:, None, None].expand(2, 2, 2))


def test_soft_counts_and_graphs_have_a_gradient_to_the_scenes_and_the_buffer_has_none():
    graph, p = SceneGraph(5, 3, soft=True).double(), draw().requires_grad_()

    def total(p):
        graph.counts.fill_(1.0)
        return (graph(p, graph.count(p, samples())) ** 2).sum()

    assert torch.autograd.gradcheck(total, p)
    assert not graph.counts.requires_grad
