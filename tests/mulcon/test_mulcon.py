"""MulCon against loops over its formulas. V views, B images, C classes, D embed dims."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.distributed as torch_dist
from mmengine.dataset import default_collate
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

import projects.mulcon  # noqa: F401
from projects.mulcon.attention_block import AttentionBlock
from projects.mulcon.hard_negatives import hard_negative_term
from projects.mulcon.mulcon_neck import MulConNeck
from tests import reference
from tests.helpers import run_ranks

# float64, some ten layers of values of order 1
EXACT = dict(rtol=1e-9, atol=1e-9)
TARGET = torch.tensor([[1, 0, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1]])
PARTLY_KNOWN = TARGET.double().index_fill(1, torch.tensor([0]), torch.nan)
PARTLY_KNOWN[1] = torch.tensor([1.0, 1, 0, torch.nan, torch.nan])


def randomise(module, seed=0):
    """Norms and biases start at 1 and 0, which hides errors."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double().eval()


def make_head(**kwargs):
    torch.manual_seed(0)
    settings = dict(num_classes=5, in_channels=8, proj_channels=6)
    return MODELS.build(dict(type='MulConHead', **{**settings, **kwargs})).double()


def make_samples(target, views=2):
    samples = [DataSample().set_gt_score(row.double()) for row in target]
    return samples * views


def make_embeds(views=2, target=TARGET, seed=1):
    generator = torch.Generator().manual_seed(seed)
    embeds = torch.randn(views * len(target), target.shape[1], 8, generator=generator).double()
    return embeds.requires_grad_()


# --- attention block and neck ----------------------------------------------------------------


def block_by_loops(block, queries, keys):
    """MAB of one image, row by row and head by head, from the formula."""
    projections = (queries, block.query_proj), (keys, block.key_proj), (keys, block.value_proj)
    q, k, v = (rows @ linear.weight.T + linear.bias for rows, linear in projections)
    width = q.shape[1]
    part = width // block.num_heads
    rows = []
    for i in range(len(q)):
        joined = []
        for head in range(block.num_heads):
            cut = slice(head * part, (head + 1) * part)
            weights = [
                math.exp(float((q[i, cut] * k[j, cut]).sum().detach()) / math.sqrt(width))
                for j in range(len(k))
            ]
            mixed = sum(w * v[j, cut] for j, w in enumerate(weights)) / sum(weights)
            joined.append(q[i, cut] + mixed)
        rows.append(torch.cat(joined))
    output = reference.layer_norm(torch.stack(rows), block.attn_norm)
    hidden = output @ block.output_proj.weight.T + block.output_proj.bias
    return reference.layer_norm(output + hidden.clamp(min=0), block.output_norm)


@pytest.mark.parametrize('heads', [1, 2, 4])
def test_attention_block_equals_loops(heads):
    block = randomise(AttentionBlock(6, 3, 8, heads))
    queries, keys = torch.randn(2, 5, 6).double(), torch.randn(2, 7, 3).double()
    expected = torch.stack([block_by_loops(block, q, k) for q, k in zip(queries, keys)])
    assert_close(block(queries, keys), expected, **EXACT)


@pytest.mark.parametrize('token_dims', [None, 4])
def test_neck_equals_loops(token_dims):
    neck = randomise(MulConNeck(6, 5, embed_dims=8, token_dims=token_dims, num_heads=2))
    feature_map = torch.randn(2, 6, 3, 2).double()
    expected = []
    for image in feature_map:
        tokens = torch.stack([image[:, i, j] for i in range(3) for j in range(2)])
        for block in neck.token_blocks:
            tokens = block_by_loops(block, tokens, tokens)
        embeds = block_by_loops(neck.label_from_tokens, neck.query_embed, tokens)
        expected.append(block_by_loops(neck.label_block, embeds, embeds))
    (label_embeds,) = neck((feature_map,))
    assert_close(label_embeds, torch.stack(expected), **EXACT)


def test_neck_has_the_published_widths():
    with torch.device('meta'):
        neck = MulConNeck(in_channels=2048, num_classes=80)
    block = lambda q, k, d: 3 * d + d * (q + 2 * k) + d * d + d + 4 * d  # noqa: E731
    expected = 80 * 1024 + 2 * block(2048, 2048, 2048) + block(1024, 2048, 1024)
    assert sum(p.numel() for p in neck.parameters()) == expected + block(1024, 1024, 1024)


def test_neck_takes_any_number_of_cells():
    neck = MulConNeck(in_channels=6, num_classes=5, embed_dims=8, num_heads=2)
    for size in (1, 4):
        (label_embeds,) = neck((torch.randn(2, 6, size, size),))
        assert label_embeds.shape == (2, 5, 8)


# --- head and loss ---------------------------------------------------------------------------


@pytest.mark.parametrize('views', [2, 3])
def test_loss_equals_sscl_over_the_views_and_mean_bce(views):
    head, embeds = make_head(num_views=views), make_embeds(views)
    losses = head.loss((embeds,), make_samples(TARGET, views))
    features = head.projector(embeds).unflatten(0, (views, 3)).transpose(0, 1)  # (B, V, C, P)
    by_loops = reference.sscl(features, TARGET, 0.2)
    assert_close(losses['loss_con'], 0.5 * by_loops, **EXACT)

    probability = head((embeds,)).sigmoid().detach()
    target = TARGET.repeat(views, 1)
    terms = [
        -math.log(float(p if y else 1 - p)) for p, y in zip(probability.flatten(), target.flatten())
    ]
    # mmpretrain adds float32's epsilon to the divisor
    assert_close(float(losses['loss_cls'].detach()), sum(terms) / len(terms), rtol=1e-7, atol=0.0)


def test_each_class_has_its_own_linear_map():
    head, embeds = make_head(), make_embeds()
    expected = reference.group_linear(embeds, head.fc.weight, head.fc.bias)
    assert head.fc.weight.shape == (5, 8)
    assert_close(head((embeds,)), expected, **EXACT)


def contrast_by_loops(z, labels, negatives, temperature):
    """Supervised contrast of active vectors; the negatives stand in denominators only."""
    unit = [row / row.norm() for row in z]
    others = [row / row.norm() for row in negatives]
    total = 0.0
    for i, anchor in enumerate(unit):
        partners = [p for p in range(len(unit)) if p != i and labels[p] == labels[i]]
        if not partners:
            continue
        rest = [unit[a] for a in range(len(unit)) if a != i] + others
        denominator = sum(torch.exp(anchor @ other / temperature) for other in rest)
        for p in partners:
            term = torch.log(denominator) - anchor @ unit[p] / temperature
            total = total + term / len(partners)
    return total / len(unit)


@pytest.mark.parametrize('target', [TARGET, PARTLY_KNOWN], ids=['known', 'partly known'])
@pytest.mark.parametrize('denominator_size', [3, 12, 14, 30, 1000])
def test_hard_negatives_enter_denominators_only(denominator_size, target):
    head, embeds = make_head(denominator_size=denominator_size), make_embeds()
    loss = head.loss((embeds,), make_samples(target))['loss_con']

    z, score = head.projector(embeds), head((embeds,))
    target = target.repeat(2, 1)
    active = [(n, c) for n in range(6) for c in range(5) if target[n, c] == 1]
    inactive = [(n, c) for n in range(6) for c in range(5) if target[n, c] == 0]
    inactive.sort(key=lambda entry: -float(score[entry].detach()))
    chosen = inactive[: max(denominator_size - len(active), 0)]
    vectors, negatives = ([z[entry] for entry in entries] for entries in (active, chosen))
    expected = 0.5 * contrast_by_loops(vectors, [c for _, c in active], negatives, 0.2)
    assert_close(loss, expected, **EXACT)
    grads = (torch.autograd.grad(x, embeds, retain_graph=True)[0] for x in (loss, expected))
    assert_close(*grads, **EXACT)


def test_hard_negatives_need_two_views():
    with pytest.raises(ValueError, match='two views'):
        hard_negative_term(torch.randn(1, 3, 4), torch.randn(2, 4))
    with pytest.raises(ValueError, match='num_views'):
        make_head(num_views=1)
    with pytest.raises(ValueError, match='loss_con'):
        make_head(loss_con=None, denominator_size=10)


@pytest.mark.parametrize('autocast', [False, True])
def test_hard_negatives_of_half_precision_are_raised(autocast):
    torch.manual_seed(0)
    z, negatives = torch.randn(2, 3, 4).bfloat16(), torch.randn(5, 4).bfloat16()
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        loss = hard_negative_term(z, negatives)
    assert_close(loss, hard_negative_term(z.float(), negatives.float()))


@pytest.mark.parametrize('denominator_size', [0, 8])
def test_no_label_gives_a_zero_contrast_with_a_graph(denominator_size):
    head = make_head(denominator_size=denominator_size)
    embeds = make_embeds()
    loss = head.loss((embeds,), make_samples(torch.zeros(3, 5)))['loss_con']
    assert loss == 0
    loss.backward()
    assert all(p.grad is not None for p in head.projector.parameters())


@pytest.mark.parametrize('denominator_size', [0, 40])
def test_half_precision_stays_finite_and_every_parameter_learns(denominator_size):
    head = make_head(denominator_size=denominator_size).float()
    embeds = (100 * make_embeds().detach()).float()
    with torch.autocast('cpu', torch.bfloat16):
        losses = head.loss((embeds,), make_samples(TARGET))
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().sum() > 0, name


def test_the_first_step_has_no_projector_and_its_weights_start_the_second():
    first, second = make_head(num_views=1, loss_con=None), make_head()
    assert list(first.loss((make_embeds(1),), make_samples(TARGET, 1))) == ['loss_cls']
    missing, unexpected = second.load_state_dict(first.state_dict(), strict=False)
    assert not unexpected and all(name.startswith('projector.') for name in missing)


def test_one_view_for_two_is_refused():
    head, embeds = make_head(), make_embeds()
    with pytest.raises(ValueError, match='MultiView'):
        head.loss((embeds[:3],), make_samples(TARGET, 1))
    # image-major rows: the views of an image side by side
    samples = [sample for sample in make_samples(TARGET, 1) for _ in range(2)]
    with pytest.raises(ValueError, match='MultiView'):
        head.loss((embeds,), samples)


def split_step(rank, world, denominator_size, unknown, init_method):
    """Loss, and gradients of a layer before the head and of the head, of a rank's images."""
    torch.set_default_dtype(torch.float64)
    if world > 1:
        torch_dist.init_process_group('gloo', init_method=init_method, rank=rank, world_size=world)
    head = make_head(denominator_size=denominator_size)
    embed = nn.Linear(3, 40)
    model = nn.ModuleDict(dict(embed=embed, head=head))
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(index)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    generator = torch.Generator().manual_seed(100)
    inputs = torch.randn(2, 6, 3, generator=generator)[:, rank::world]
    target = (torch.rand(6, 5, generator=generator) < 0.3).double()
    target[3] = 0  # an image without a label
    target[torch.rand(6, 5, generator=generator) < unknown] = torch.nan
    target = target[rank::world]
    embeds = embed(inputs.flatten(0, 1)).unflatten(1, (5, 8))
    losses = head.loss((embeds,), make_samples(target))
    sum(losses.values()).backward()
    if world > 1:
        for parameter in model.parameters():  # what DDP does
            torch_dist.all_reduce(parameter.grad)
            parameter.grad /= world
        torch_dist.destroy_process_group()
    torch.set_default_dtype(torch.float32)
    return losses['loss_con'].detach(), [p.grad for p in model.parameters()]


def save_split_step(rank, world, folder, cases):
    for number, case in enumerate(cases):
        result = split_step(rank, world, *case, f'file://{folder}/start{number}')
        torch.save(result, f'{folder}/{number}_{rank}.pt')


@pytest.mark.dist
def test_loss_does_not_depend_on_how_the_batch_is_split(tmp_path):
    # size of the denominators, and share of the labels that are unknown
    cases = ((0, 0.0), (30, 0.0), (1000, 0.0), (0, 0.4), (30, 0.4), (1000, 0.4))
    run_ranks(2, save_split_step, 2, tmp_path, cases)
    for number, case in enumerate(cases):
        expected = split_step(0, 1, *case, None)
        for rank in range(2):
            found = torch.load(tmp_path / f'{number}_{rank}.pt', weights_only=True)
            assert_close(tuple(found), expected, **EXACT)


# --- two views of each image -------------------------------------------------------------------


def make_views(num_images=3):
    generator = torch.Generator().manual_seed(0)
    views = torch.randint(256, (2, num_images, 3, 8, 8), generator=generator, dtype=torch.uint8)
    samples = [DataSample().set_gt_label([i]) for i in range(num_images)]
    return list(views), samples


def test_views_become_rows_view_by_view():
    settings = dict(mean=[1.0, 2, 3], std=[2.0, 2, 2], to_rgb=True, to_onehot=True, num_classes=5)
    preprocess = MODELS.build(dict(type='MultiViewDataPreprocessor', **settings))
    single = MODELS.build(dict(type='ClsDataPreprocessor', **settings))
    views, samples = make_views()
    batch = preprocess(dict(inputs=list(views), data_samples=samples), training=True)
    assert_close(batch['inputs'], torch.cat([single(dict(inputs=v))['inputs'] for v in views]))
    target = torch.stack([sample.gt_score for sample in batch['data_samples']])
    assert_close(target, torch.eye(3, 5).repeat(2, 1), check_dtype=False)
    # the test pipeline's batches pass as they are, stacked or not
    for inputs in (views[0], list(views[0])):
        plain = preprocess(dict(inputs=inputs, data_samples=copy.deepcopy(samples)))
        assert_close(plain['inputs'], single(dict(inputs=views[0]))['inputs'])
        assert len(plain['data_samples']) == 3


def test_views_of_stored_features_are_joined_under_autocast():
    preprocess = MODELS.build(dict(type='MultiViewDataPreprocessor', num_classes=3))
    views = [torch.rand(2, 4, 3, 3).half() for _ in range(2)]
    with torch.autocast('cpu', torch.bfloat16):
        inputs = preprocess(dict(inputs=views))['inputs']
    assert torch.equal(inputs, torch.cat(views).float())


def test_the_pipeline_reaches_the_loss_with_two_augmented_views():
    """From MultiView through the collate function and the preprocessor into ImageClassifier."""
    flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
    pipeline = [
        TRANSFORMS.build(dict(type='MultiView', num_views=2, transforms=[[flip]])),
        TRANSFORMS.build(dict(type='PackInputs')),
    ]
    rng = np.random.default_rng(0)
    items = []
    for i in range(4):
        item = dict(img=rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), gt_label=[i, 4])
        for transform in pipeline:
            item = transform(item)
        items.append(item)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            data_preprocessor=dict(type='MultiViewDataPreprocessor', num_classes=5, to_onehot=True),
            backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
            neck=dict(type='MulConNeck', in_channels=64, num_classes=5, embed_dims=8),
            head=dict(type='MulConHead', num_classes=5, in_channels=8, proj_channels=4),
        )
    )
    data = model.data_preprocessor(default_collate(items), True)
    assert data['inputs'].shape == (8, 3, 8, 8)
    losses = model(**data, mode='loss')
    assert set(losses) == {'loss_cls', 'loss_con'}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    prediction = model.eval()(data['inputs'][:2], data['data_samples'][:2], mode='predict')
    assert prediction[0].pred_score.shape == (5,)
