"""SSCL and PSCL against loops over pairs, the recordings of SADCL's code, and their properties.

Shapes: B images, C classes, V views, P projection dims.
"""

import json
import math
import sys
from functools import partial

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from torch.testing import assert_close

from mlic.models.losses.supcon_loss import supcon_loss
from projects.sadcl.models.contrastive_losses import ANCHORS, PSCLLoss, SSCLLoss, pscl_loss
from tests import reference
from tests.helpers import ROOT, recorded, run_command
from tests.reference import sscl_loss

# Sums of some hundred terms of order 1: rounding of about 100 units in the last place.
EXACT = {torch.float64: dict(rtol=1e-9, atol=1e-12), torch.float32: dict(rtol=1e-5, atol=1e-5)}
SSCL_CASES = (
    'mid', 'no_positive', 'single_positive_in_batch', 'class_with_one_positive', 'all_positive',
    'batch_one', 'one_class', 'larger', 'coco_like', 'collapsed', 'negative_similarity_only',
    'zero_vector_memory', 'single_view', 'scaled_inputs', 'identical_labels', 'disjoint_labels',
)  # fmt: skip
PSCL_CASES = (
    'mid', 'single_positive_in_batch', 'all_positive', 'batch_one',
    'class_without_and_class_full', 'larger', 'coco_like', 'max_spread_pos_antialigned',
    'max_spread_pos_aligned', 'zero_prototype_and_zero_embedding', 'prototype_2d',
)  # fmt: skip


def make_sscl(views=2, seed=0, dtype=torch.float64, shape=(4, 5, 6), labels='random'):
    """Features (B, V, C, P) with gradient, and a target (B, C)."""
    generator = torch.Generator().manual_seed(seed)
    images, classes, dims = shape
    features = torch.randn(images, views, classes, dims, generator=generator).to(dtype)
    target = (torch.rand(images, classes, generator=generator) < 0.4).float()
    if labels == 'random':
        target[0, 0] = 1  # class 0 in two images: a single view has a partner, too
        target[-1, 0] = 1
    elif labels == 'none':
        target[:] = 0
    elif labels == 'all':
        target[:] = 1
    elif labels == 'same':
        target[:] = target[0] + (torch.arange(classes) == 0)
    return features.requires_grad_(), target.clamp(max=1)


def make_pscl(seed=0, dtype=torch.float64, shape=(4, 5, 6), labels='random'):
    """Embeddings (B, C, P), prototypes (C, P), both with gradient, and a target (B, C)."""
    features, target = make_sscl(1, seed, dtype, shape, labels)
    if labels == 'random':
        target[:, -1] = 0  # an absent class
    generator = torch.Generator().manual_seed(seed + 100)
    prototypes = torch.randn(shape[1:], generator=generator).to(dtype)
    return features.detach()[:, 0].requires_grad_(), prototypes.requires_grad_(), target


def value_and_grads(loss, *inputs):
    return [loss.detach(), *torch.autograd.grad(loss, inputs)]


def equals_loops(loss, by_loops, inputs, *settings, **tolerance):
    """Check value and gradients of both, and return them."""
    *tensors, _ = inputs  # the last is the target
    expected = value_and_grads(by_loops(*inputs, *settings), *tensors)
    actual = value_and_grads(loss(*inputs, *settings), *tensors)
    assert_close(actual, expected, **(tolerance or EXACT[torch.float64]))
    return actual


sscl_equals_loops = partial(equals_loops, sscl_loss, reference.sscl)
pscl_equals_loops = partial(equals_loops, pscl_loss, reference.pscl)


# --- against the loops -----------------------------------------------------------------------


@pytest.mark.parametrize('anchors', ANCHORS)
@pytest.mark.parametrize('views', [1, 2, 3])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('seed', [0, 1])
def test_sscl_equals_loops(anchors, views, dtype, seed):
    inputs = make_sscl(views, seed, dtype)
    assert sscl_equals_loops(inputs, 0.2, anchors, **EXACT[dtype])[0] > 0


@pytest.mark.parametrize('anchors', ANCHORS)
@pytest.mark.parametrize(
    'kwargs',
    [
        dict(labels='all'),
        dict(shape=(1, 4, 3)),
        dict(shape=(1, 1, 3)),
        dict(shape=(5, 1, 3)),
        dict(shape=(7, 3, 4)),
        dict(shape=(3, 4, 5), views=1),
    ],
    ids=str,
)
def test_sscl_edge_cases_equal_loops(anchors, kwargs):
    sscl_equals_loops(make_sscl(**kwargs), 0.1, anchors)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_pscl_equals_loops(dtype, seed):
    # similarities up to 1 / 0.07 = 14 before the exponential: ten times coarser than SSCL
    tolerance = EXACT[dtype] if dtype == torch.float64 else dict(rtol=1e-4, atol=1e-4)
    _, grad, _ = pscl_equals_loops(make_pscl(seed, dtype), 0.07, **tolerance)
    assert grad[:, -1].abs().max() > 0  # the absent class pushes


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(labels='all'),
        dict(shape=(1, 4, 3)),
        dict(shape=(6, 2, 3)),
        dict(shape=(3, 1, 4), labels='all'),
    ],
    ids=str,
)
def test_pscl_edge_cases_equal_loops(kwargs):
    pscl_equals_loops(make_pscl(**kwargs), 0.3)


# --- against the recordings ------------------------------------------------------------------


def case_of(file, case):
    """{field: array} of a case."""
    return {k[len(case) + 1 :]: v for k, v in recorded(file).items() if k.startswith(case + '.')}


def load_sscl(case):
    """Features with gradient, target, and a getter of recorded float64 results."""
    data = case_of('sscl.npz', case)
    views = [data[name] for name in ('view0', 'view1') if name in data]
    features = torch.tensor(np.stack(views, axis=1), dtype=torch.float64, requires_grad=True)

    def result(name):
        """The scalar or, of names ending in 'grad', the gradient (B, V, C, P)."""
        if not name.endswith('grad'):
            return torch.tensor(float(data[name + '_f64']), dtype=torch.float64)
        grads = [data[f'{name}{view}_f64'] for view in range(len(views))]
        return torch.tensor(np.stack(grads, axis=1), dtype=torch.float64)

    return features, torch.tensor(data['labels']), result


@pytest.mark.parametrize('case', SSCL_CASES)
def test_sscl_equals_published_but_for_its_eps_and_offsets(case):
    features, target, result = load_sscl(case)
    published = reference.sscl(features, target, 0.2, 'official', eps=1e-5, offsets=True)
    expected = [result('loss'), result('grad')]
    assert_close(value_and_grads(published, features), expected, **EXACT[torch.float64])
    value, _ = sscl_equals_loops((features, target), 0.2, 'official')
    expected = result('derived_anchormask_nooffset_loss')
    assert_close(value, expected, **EXACT[torch.float64])


@pytest.mark.parametrize('case', SSCL_CASES)
def test_sscl_gradient_is_the_published_one(case):
    """Published: the repulsion's gradient times Den / (Den + 1e-5). A vector v is turned by its
    own anchor and by M - 1 others, each divided by M: by at most 1 / (temperature |v|) in all.
    Den is at least 1, or exp(-1 / temperature) if no similarity is positive."""
    features, target, result = load_sscl(case)
    (grad,) = torch.autograd.grad(sscl_loss(features, target, 0.2, 'official'), features)
    least = np.exp(-1 / 0.2) if case == 'negative_similarity_only' else 1.0
    length = features.detach().norm(dim=-1).clamp(min=1e-12)  # (B, V, C)
    difference = (grad - result('grad')).norm(dim=-1) * length * 0.2
    assert difference.max() <= 1e-5 / least
    if case == 'negative_similarity_only':  # one pair attracts and repels itself alike
        assert_close(grad, torch.zeros_like(grad), rtol=0, atol=1e-15)


@pytest.mark.parametrize('case', SSCL_CASES)
def test_sscl_of_all_anchors_is_the_recorded_formula(case):
    features, target, result = load_sscl(case)
    loss, grad = value_and_grads(sscl_loss(features, target, 0.2, 'all'), features)
    assert_close(loss, result('derived_clean_loss'), **EXACT[torch.float64])
    # stored as float32
    assert_close(grad, result('derived_clean_grad'), rtol=1e-6, atol=1e-12)


def load_pscl(case):
    data = case_of('pscl.npz', case)
    z, prototypes = (
        torch.tensor(data[name], dtype=torch.float64, requires_grad=True)
        for name in ('embed', 'proto')
    )
    return z, prototypes, torch.tensor(data['labels']), data


@pytest.mark.parametrize('case', PSCL_CASES)
def test_pscl_is_the_published_one(case):
    z, prototypes, target, data = load_pscl(case)
    expected = [torch.tensor(data[f'{name}_f64']) for name in ('loss', 'grad_embed', 'grad_proto')]
    actual = value_and_grads(pscl_loss(z, prototypes, target, 0.07), z, prototypes)
    assert_close(actual, expected, **EXACT[torch.float64])


def test_pscl_is_zero_where_published_code_raises():
    z, prototypes, target, _ = load_pscl('no_positive_RAISES')
    for tensor in value_and_grads(pscl_loss(z, prototypes, target), z, prototypes):
        assert_close(tensor, torch.zeros_like(tensor), rtol=0, atol=0)


# --- properties ------------------------------------------------------------------------------


def test_order_of_images_and_classes_is_irrelevant():
    features, target = make_sscl()
    z, prototypes, _ = make_pscl()
    images, classes = torch.tensor([2, 0, 3, 1]), torch.tensor([4, 2, 0, 1, 3])
    shuffled = features[images][:, :, classes], target[images][:, classes]
    assert_close(sscl_loss(*shuffled), sscl_loss(features, target), **EXACT[torch.float64])
    shuffled = z[images][:, classes], prototypes[classes], target[images][:, classes]
    assert_close(pscl_loss(*shuffled), pscl_loss(z, prototypes, target), **EXACT[torch.float64])


@pytest.mark.parametrize('kwargs', [dict(labels='same'), dict(shape=(1, 6, 4))], ids=str)
def test_official_anchors_are_all_anchors_where_images_share_their_labels(kwargs):
    features, target = make_sscl(**kwargs)
    expected = value_and_grads(sscl_loss(features, target, anchors='all'), features)
    actual = value_and_grads(sscl_loss(features, target, anchors='official'), features)
    assert_close(actual, expected, **EXACT[torch.float64])


@pytest.mark.parametrize('anchors', ANCHORS)
@pytest.mark.parametrize(
    'kwargs',
    [
        dict(labels='none'),
        dict(labels='none', views=1),
        dict(views=1, labels='all', shape=(1, 4, 3)),
    ],
    ids=['no_label', 'no_label_single_view', 'no_partner'],
)
def test_sscl_without_partners_is_zero_with_a_graph(anchors, kwargs):
    features, target = make_sscl(**kwargs)
    loss, grad = value_and_grads(sscl_loss(features, target, anchors=anchors), features)
    assert_close(loss, torch.zeros_like(loss), rtol=0, atol=0)
    assert_close(grad, torch.zeros_like(grad), rtol=0, atol=0)


@pytest.mark.parametrize('anchors', ANCHORS)
def test_zero_vectors_have_the_guard_of_the_normalisation(anchors):
    features, target = make_sscl()
    features.data[0, 1, 0] = 0
    _, grad = sscl_equals_loops((features, target), 0.2, anchors)
    assert grad[0, 1, 0].abs().max() > 1e9
    z, prototypes, target = make_pscl()
    z.data[0, 0], prototypes.data[1] = 0, 0
    _, grad, _ = pscl_equals_loops((z, prototypes, target), 0.07)
    assert grad[0, 0].abs().max() > 1e5


@pytest.mark.filterwarnings('ignore:Anomaly Detection has been enabled')
@pytest.mark.parametrize('labels', ['random', 'none'])
def test_no_step_of_backward_makes_a_nan(labels):
    features, target = make_sscl(labels=labels)
    z, prototypes, absent = make_pscl(labels=labels)
    with torch.autograd.detect_anomaly():  # raises at the first one
        losses = [sscl_loss(features, target), pscl_loss(z, prototypes, absent)]
        grads = torch.autograd.grad(sum(losses), [features, z, prototypes])
    assert all(grad.isfinite().all() for grad in grads)


# --- precision -------------------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_to_float32(dtype):
    features, target = make_sscl(dtype=torch.float32)
    z, prototypes, _ = make_pscl(dtype=torch.float32)
    # each rounded vector turns by at most eps / 2 relative, so a cosine moves by at most eps
    for function, inputs, temperature in (
        (sscl_loss, [features], 0.2),
        (pscl_loss, [z, prototypes], 0.07),
    ):
        halves = [x.detach().to(dtype).requires_grad_() for x in inputs]
        loss = function(*halves, target, temperature)
        assert loss.dtype == torch.float32
        assert_close(loss, function(*[x.float() for x in halves], target, temperature))
        moved = 2 * torch.finfo(dtype).eps / temperature  # in numerator and denominator
        assert_close(loss, function(*inputs, target, temperature), rtol=0, atol=moved)
        for grad in torch.autograd.grad(loss, halves):
            assert grad.dtype == dtype
            assert grad.isfinite().all()


@pytest.mark.parametrize('anchors', ANCHORS)
def test_autocast_changes_nothing(anchors):
    features, target = make_sscl(dtype=torch.float32)
    z, prototypes, _ = make_pscl(dtype=torch.float32)
    results = []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            losses = sscl_loss(features, target, anchors=anchors), pscl_loss(z, prototypes, target)
        results.append(value_and_grads(sum(losses), features, z, prototypes))
    assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.bool, torch.int64, torch.float16, torch.float64])
def test_dtype_of_the_target_is_irrelevant(dtype):
    features, target = make_sscl(dtype=torch.float32)
    z, prototypes, _ = make_pscl(dtype=torch.float32)
    for anchors in ANCHORS:
        loss = sscl_loss(features, target.to(dtype), anchors=anchors)
        assert_close(loss, sscl_loss(features, target, anchors=anchors), rtol=0, atol=0)
    loss = pscl_loss(z, prototypes, target.to(dtype))
    assert_close(loss, pscl_loss(z, prototypes, target), rtol=0, atol=0)


# --- modules and errors ----------------------------------------------------------------------


@pytest.mark.parametrize('anchors', ANCHORS)
def test_modules_are_weighted_functions(anchors):
    features, target = make_sscl()
    settings = dict(temperature=0.3, anchors=anchors, loss_weight=100.0)
    module = MODELS.build(dict(type='SSCLLoss', **settings))
    image, label = target.nonzero(as_tuple=True)
    z = torch.stack([features[image, view, label] for view in range(2)])  # (V, K, P)
    expected = 100 * sscl_loss(features, target, 0.3, anchors)
    assert_close(module(z, target, image, label), expected, **EXACT[torch.float64])
    z, prototypes, target = make_pscl()
    module = MODELS.build(dict(type='PSCLLoss', temperature=0.1, loss_weight=50.0))
    expected = 50 * pscl_loss(z, prototypes, target, 0.1)
    assert_close(module(z, prototypes, target), expected, **EXACT[torch.float64])


def test_unknown_anchors_are_named():
    with pytest.raises(ValueError, match="'official'.*'some'"):
        SSCLLoss(anchors='some')


def test_pscl_of_present_classes_is_that_of_a_batch_without_the_others():
    z, prototypes, target = make_pscl()
    target = target.clone()
    target[:, [1, 3]] = 0
    present = target.any(dim=0)
    loss = pscl_loss(z, prototypes, target, present_only=True)
    assert_close(loss, pscl_loss(z[:, present], prototypes[present], target[:, present]))
    assert_close(PSCLLoss(present_only=True, loss_weight=2.0)(z, prototypes, target), 2 * loss)
    assert loss < pscl_loss(z, prototypes, target)  # each absent class adds log(B) or more
    (gradient,) = torch.autograd.grad(loss, z)
    assert (gradient[:, ~present] == 0).all() and (gradient[:, present] != 0).any()
    assert pscl_loss(z, prototypes, torch.zeros_like(target), present_only=True) == 0


def test_pscl_errors_name_what_is_wrong():
    z, prototypes, target = make_pscl()
    with pytest.raises(ValueError, match=r'\(4, 5, 6\), \(4, 6\) and \(4, 5\)'):
        pscl_loss(z, prototypes[:4], target)
    with pytest.raises(ValueError, match=r'\(4, 5, 6\), \(5, 6\) and \(3, 5\)'):
        pscl_loss(z, prototypes, target[:3])
    with pytest.raises(ValueError, match=r'\(4, 5, 6\), \(4, 5, 6\) and \(4, 5\)'):
        pscl_loss(z, z, target)
    with pytest.raises(ValueError, match=r'\(4, 5, 6, 1\), \(5, 6, 1\) and \(4, 5\)'):
        pscl_loss(z[..., None], prototypes[..., None], target)


@pytest.mark.parametrize(
    'made',
    [
        SSCLLoss,
        PSCLLoss,
        partial(supcon_loss, torch.ones(2, 3, 4), torch.arange(3)),
        partial(pscl_loss, torch.ones(2, 3, 4), torch.ones(3, 4), torch.ones(2, 3)),
    ],
    ids=['SSCLLoss', 'PSCLLoss', 'supcon_loss', 'pscl_loss'],
)
@pytest.mark.parametrize('temperature', [0, -0.1, math.nan])
def test_temperature_must_be_positive(made, temperature):
    with pytest.raises(ValueError, match=f'temperature must be positive, got {temperature}'):
        made(temperature=temperature)


# --- memory ----------------------------------------------------------------------------------

# Visual Genome's scale: 435 labels on 32 images. Prints the growth of the peak, in MB.
MEASURE = """
import json, resource, torch
from mlic.models.losses.supcon_loss import supcon_loss
from tests.reference import sscl_loss

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

torch.manual_seed(0)
target = torch.zeros(32, 500)
target.view(-1)[torch.randperm(target.numel())[:435]] = 1
image, label = target.nonzero(as_tuple=True)
z = torch.randn(2, 435, 1024, requires_grad=True)
supcon_loss(z[:, :9], label[:9]).backward()  # starts the libraries
before = peak()
supcon_loss(z, label).backward()
core = peak() - before
features = torch.randn(32, 2, 500, 1024, requires_grad=True)
features.grad = torch.ones_like(features)
before = peak()
sscl_loss(features, target, anchors='all').backward()
print(json.dumps([core, peak() - before, features.numel() * 4 / 2**20]))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='the unit of ru_maxrss is that of Linux')
def test_memory_grows_with_the_labels_and_not_with_the_classes():
    """Less than one more copy of the features, 125 MB; all (V B C)^2 = 32000^2 pairs: 3906 MB."""
    printed = run_command(sys.executable, '-c', MEASURE, cwd=ROOT).splitlines()
    (numbers,) = (line for line in printed if line.startswith('['))
    core, dense, copy = json.loads(numbers)
    assert core < copy
    assert dense - copy < copy  # autograd makes the features' gradient before it adds it
