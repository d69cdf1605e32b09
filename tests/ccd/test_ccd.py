"""CCDHead and its second stage against loops and recordings. B images, C classes, K channels."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models.backbones import ResNet
from mmpretrain.registry import PARAM_SCHEDULERS
from mmpretrain.structures import DataSample
from torch import nn
from torch.testing import assert_close

from mlic.engine.config.device import adapt_to_device
from mlic.engine.runner.class_means import class_means
from mlic.engine.runner.epochs import set_epochs
from mlic.models.layers.cosine_classifier import CosineClassifier
from projects.ccd import CCDHead, ContextMemoryHook
from projects.ccd.published_weights import CCD, NAMES
from tests.helpers import RECORDINGS, ROOT, run_ranks
from tests.peer_recordings import PeerRecording
from tests.tiny_runs import Stop, StopBefore, assert_same, assert_same_end, two_stage_config

EXACT = dict(rtol=1e-9, atol=1e-12)  # float64
FUSIONS = ('none', 'selector', 'mlp', 'concat')
CASES = ['stage1_selector', *(f'stage2_{fusion}' for fusion in FUSIONS)]


def recorded_head(case, **settings):
    """The head of a recorded case with its weights, in float64, and the recording."""
    recording = PeerRecording('ccd')
    widths = json.loads((RECORDINGS / 'peers/index.json').read_text())['ccd']['widths']
    cosine = dict(num_heads=widths['heads'], scale=widths['tau'], offset=widths['beta'])
    released = {f'clf.{key}': x for key, x in recording.weights(f'{case}.sd.').items()}
    weights = {k.removeprefix('head.'): x for k, x in CCD.convert(released).items()}
    weights['second_stage'] = torch.tensor(case.startswith('stage2'))
    stage, fusion = case.split('_')
    head = CCDHead(*weights['memory'].shape, fusion, cosine, **settings).double()
    head.load_state_dict(weights)
    return head, recording


def released_name(name):
    return NAMES.theirs(f'head.{name}').removeprefix('clf.')


@pytest.mark.parametrize('case', CASES)
def test_scores_losses_and_gradients_are_those_of_the_re_implementation(case):
    head, recording = recorded_head(case)
    for mode in ('eval', 'train'):
        head.train(mode == 'train')
        feature = recording.double('feature').requires_grad_()
        recording.check(head((feature,)), f'{case}.{mode}.score.f64')
        loss = head.loss((feature,), recording.samples())['loss_cls']
        recording.check(loss, f'{case}.{mode}.loss.total.f64')
    loss.backward()
    found = {released_name(name): p.grad for name, p in head.named_parameters()}
    if case.startswith('stage1'):  # what the first stage does not train has no gradient there
        assert not any(found.pop(name).any() for name in list(found) if 'context' not in name)
    recording.check_gradients({**found, 'in.feature': feature.grad}, f'{case}.grad.')
    for mode in ('eval', 'train'):
        score = head.float().train(mode == 'train')((recording['feature'],))
        recording.check(score, f'{case}.{mode}.score.f32')


@pytest.mark.parametrize('case', CASES)
def test_the_other_recorded_loss_is_that_of_the_re_implementation(case):
    images = len(PeerRecording('ccd')['target'])  # whose losses are added there
    soft_margin = dict(type='MultiLabelSoftMarginLoss', loss_weight=float(images))
    head, recording = recorded_head(case, loss_cls=soft_margin)
    loss = head.loss((recording.double('feature'),), recording.samples())['loss_cls']
    recording.check(loss, f'{case}.train.loss.mlsm_sum.f64')


def test_class_means_are_those_of_the_re_implementation():
    head, recording = recorded_head('stage1_selector')
    batch = dict(
        inputs=recording.double('confounder.feature'),
        data_samples=recording.samples('confounder.labels'),
    )
    sums, counts, _ = class_means(Maps(head), [batch], None, of=head.mean_feature)
    assert_close(sums / counts[:, None], recording['confounder.memory'], rtol=1e-5, atol=1e-6)


class Maps(torch.nn.Module):
    """A model whose images are feature maps."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def data_preprocessor(self, batch, training):
        return batch

    def extract_feat(self, inputs):
        return (inputs,)


def small_head(fusion='selector', second_stage=True, **settings):
    torch.manual_seed(0)
    head = CCDHead(3, 4, fusion, dict(num_heads=2, scale=5.0, offset=0.3), **settings).double()
    if second_stage:
        head.start_second_stage(torch.randn(3, 4))
    return head


def cosine_by_loops(x, weight):
    """Logits (B, C) of two groups of two channels."""
    rows = []
    for image in x:
        row = []
        for vector in weight:
            score = 0.0
            for part in (slice(0, 2), slice(2, 4)):
                own, others = image[part], vector[part]
                length = sum(v * v for v in own) ** 0.5
                other = sum(v * v for v in others) ** 0.5 + 0.3
                score += 5.0 / 2 * sum(a * b for a, b in zip(own, others)) / length / other
            row.append(score)
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def linear_by_loops(layer, x):
    return [sum(w * v for w, v in zip(row, x)) + b for row, b in zip(layer.weight, layer.bias)]


def taken_out_by_loops(head, largest, context):
    """r (K,) of one image."""
    if head.fusion == 'none':
        return context
    if head.fusion == 'selector':
        chosen = linear_by_loops(head.selector, largest)
        return [torch.tanh(a) * c for a, c in zip(chosen, context)]
    inputs = context if head.fusion == 'mlp' else [*largest, *context]
    hidden = [max(a, 0.0 * a) for a in linear_by_loops(head.selector[0], inputs)]
    return linear_by_loops(head.selector[2], hidden)


@pytest.mark.parametrize('fusion', FUSIONS)
@torch.no_grad()
def test_head_equals_loops(fusion):
    head, feature_map = small_head(fusion), torch.randn(2, 4, 3, 3).double()
    mean = [[channel.sum() / 9 for channel in image] for image in feature_map]
    first = cosine_by_loops(mean, head.context_fc.weight)
    left = []
    for image, score in zip(feature_map, first):
        largest = [channel.max() for channel in image]
        share = [s.exp() / sum(t.exp() for t in score) for s in score]
        context = [sum(p * row[k] for p, row in zip(share, head.memory)) for k in range(4)]
        taken = taken_out_by_loops(head, largest, context)
        left.append([f - r for f, r in zip(largest, taken)])
    assert_close(head((feature_map,)), cosine_by_loops(left, head.logit_fc.weight), **EXACT)
    head.second_stage.fill_(False)
    assert_close(head((feature_map,)), first, **EXACT)


def test_a_part_of_zeros_adds_nothing_and_has_a_finite_gradient():
    layer, x = CosineClassifier(3, 6, num_heads=3).double(), torch.randn(2, 6).double()
    x[0, 2:4] = 0
    x.requires_grad_()
    score = layer(x)
    score.sum().backward()
    assert x.grad.isfinite().all() and layer.weight.grad.isfinite().all()
    without = CosineClassifier(3, 4, num_heads=2, scale=32 * 2 / 3).double()
    kept = [0, 1, 4, 5]
    without.load_state_dict(dict(weight=layer.weight[:, kept]))
    assert_close(score[:1], without(x[:1, kept]), **EXACT)


def test_logits_do_not_depend_on_the_length_of_an_images_parts():
    layer, x = CosineClassifier(3, 6, num_heads=3).double(), torch.randn(2, 6).double()
    longer = x * torch.tensor([2.0, 2.0, 9.0, 9.0, 0.1, 0.1])
    assert_close(layer(longer), layer(x), **EXACT)


def test_cosine_weights_are_drawn_up_to_one_over_the_root_of_their_number():
    largest = CosineClassifier(100, 16).weight.abs().max().item()
    assert 0.99 / 4 < largest <= 1 / 4


def test_channels_that_cannot_be_cut_and_an_unknown_fusion_are_refused():
    with pytest.raises(ValueError, match='a width of 10 .* no multiple of num_heads=4'):
        CCDHead(3, 10)
    with pytest.raises(ValueError, match="'concat', got 'sum'"):
        CCDHead(3, 8, fusion='sum')


def test_each_score_may_have_a_loss():
    head = small_head(loss_weights=dict(cls=1.0, context=0.5))
    feats, samples = (torch.randn(2, 4, 2, 2).double(),), [DataSample().set_gt_score(torch.ones(3))]
    assert set(head.loss(feats, samples * 2)) == {'loss_cls', 'loss_context'}


@pytest.mark.parametrize('fusion, stage', [('selector', 1), *((fusion, 2) for fusion in FUSIONS)])
def test_a_released_checkpoint_says_fusion_and_stage(fusion, stage):
    head = small_head(fusion, second_stage=stage == 2)
    weights = {f'head.{name}': value for name, value in head.state_dict().items()}
    released = NAMES.rename(weights, back=True)
    assert 'clf.memory' in released and 'clf.second_stage' not in released
    assert_same(CCD.convert(released), weights, 'weights')
    released['backbone.resnet_layer.7.2.bn3.running_var'] = torch.ones(2)
    assert 'backbone.layer4.2.bn3.running_var' in CCD.convert(released)


# ---------------------------------------------------------------- recipe


def published_run():
    """A small model, and its optimizer and schedules by the published recipe."""
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / 'configs/ccd/ccd_r101_coco448.py')
    backbone = ResNet(18, stem_channels=8, base_channels=8)
    model = nn.ModuleDict(dict(backbone=backbone, head=CCDHead(3, 8)))
    optimizer = build_optim_wrapper(model, dict(cfg.optim_wrapper, type='OptimWrapper'))
    schedules = []
    for settings in cfg.param_scheduler:
        settings = dict(settings, optimizer=optimizer, epoch_length=642)  # batches of 128
        schedules.append(PARAM_SCHEDULERS.build(settings))
    return model, optimizer, schedules


def test_rates_of_the_published_recipe_are_those_of_its_log():
    """By epoch, counted from 0, and iteration."""
    _, optimizer, schedules = published_run()
    logged = {  # as rounded there
        (0, 0): 4.0e-6,
        (1, 0): 4.9e-6,
        (3, 300): 1.5e-5,
        (5, 600): 3.3e-5,
        (6, 0): 4.0e-6,  # the second stage
        (7, 600): 7.4e-6,
        (16, 300): 7.4e-5,
    }
    optimizer.step()  # before the schedules' first
    for epoch in range(17):
        for iteration in range(642):
            if (epoch, iteration) in logged:
                rate = max(group['lr'] for group in optimizer.param_groups)
                assert f'{rate:.1e}' == f'{logged[epoch, iteration]:.1e}', (epoch, iteration)
            for schedule in schedules:
                schedule.step()


def test_published_weight_decay_leaves_out_vectors_and_the_stem_is_not_trained():
    model, optimizer, _ = published_run()
    assert type(optimizer.optimizer) is torch.optim.Adam  # whose decay is L2
    groups = {id(p): group for group in optimizer.param_groups for p in group['params']}
    for name, parameter in model.named_parameters():
        group = groups[id(parameter)]
        stem = name.startswith(('backbone.conv1.', 'backbone.bn1.'))
        assert (group['initial_lr'] == 0) == stem, name
        if not stem:
            assert group['weight_decay'] == (0.01 if parameter.dim() > 1 else 0), name


# ---------------------------------------------------------------- stages


def two_stages(work_dir, images=12, **changes):
    """An epoch of each stage on digit scenes, three iterations each on one process."""
    cfg = two_stage_config(work_dir)
    cfg.model.neck = None
    cfg.model.head = dict(type='CCDHead', in_channels=16, num_classes=10)
    cfg.custom_hooks[1] = dict(type='ContextMemoryHook', begin=cfg.custom_hooks[1].begin)
    cfg.train_dataloader.dataset.num_images = images
    cfg.train_dataloader.batch_size = 4
    set_epochs(cfg, 2)
    cfg.merge_from_dict(changes)
    return cfg


def train(cfg, hooks=()):
    """A run of a process whose generators stand anywhere."""
    torch.rand(1 + len(hooks))
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def saved(work_dir, name):
    return torch.load(work_dir / f'{name}.pth', map_location='cpu', weights_only=False)


def test_the_second_stage_starts_from_the_class_means_of_the_last_weights(tmp_path):
    settings = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.0, _delete_=True))
    cfg = two_stages(tmp_path, optim_wrapper=settings, param_scheduler=[])
    cfg.model.backbone.norm_eval = True  # nothing but the start of the stage changes anything
    runner = train(cfg)
    first, second = (saved(tmp_path, f'epoch_{epoch}') for epoch in (1, 2))
    for checkpoint, started in ((first, False), (second, True)):
        for prefix, key in (('', 'state_dict'), ('module.', 'ema_state_dict')):
            assert checkpoint[key][f'{prefix}head.second_stage'] == started
            assert checkpoint[key][f'{prefix}head.memory'].any() == started
    new = {k for k, x in first['state_dict'].items() if not x.equal(second['state_dict'][k])}
    drawn = {'logit_fc.weight', 'selector.weight', 'selector.bias'}
    assert new == {f'head.{name}' for name in ('memory', 'second_stage', *drawn)}
    assert second['message_hub']['runtime_info']['stage'] == 2

    loader = dict(cfg.train_dataloader)
    loader['dataset'] = dict(loader['dataset'], pipeline=cfg.val_dataloader.dataset.pipeline)
    sums, counts = torch.zeros(10, 16), torch.zeros(10)
    model = runner.model.eval()
    with torch.no_grad():
        for batch in Runner.build_dataloader(loader):
            batch = model.data_preprocessor(batch, False)
            for image, sample in zip(batch['inputs'], batch['data_samples']):
                mean = model.extract_feat(image[None])[-1][0].mean((1, 2))
                for label in sample.gt_label.tolist():
                    sums[label] += mean
                    counts[label] += 1
    expected = sums / counts.clamp(min=1)[:, None]
    assert_close(second['state_dict']['head.memory'], expected, rtol=1e-4, atol=1e-5)


def test_the_hook_needs_the_head_and_trained_weights(tmp_path):
    cfg = two_stages(tmp_path)
    cfg.model.head = dict(type='CSRAClsHead', in_channels=16, num_classes=10, num_heads=1, lam=0.1)
    with pytest.raises(TypeError, match='ContextMemoryHook needs a CCDHead, got CSRAClsHead'):
        train(cfg)
    model = SimpleNamespace(head=small_head(), data_preprocessor=nn.Module())
    with pytest.raises(ValueError, match='ContextMemoryHook needs data_preprocessor.to_onehot=Tr'):
        ContextMemoryHook(begin=7).before_train(SimpleNamespace(model=model))
    cfg = two_stages(tmp_path)
    cfg.custom_hooks[1].begin = 1
    with pytest.raises(RuntimeError, match='without ContextMemoryHook'):
        train(cfg)
    assert ContextMemoryHook(begin=7).start_from == 'last'
    with pytest.raises(ValueError, match="is 'ema', 'best' or 'last', got 'first'"):
        ContextMemoryHook(begin=7, start_from='first')


@pytest.mark.slow
@pytest.mark.parametrize('before', [2, 3, 4])
def test_a_run_stopped_around_the_second_stage_ends_where_the_other_does(before, tmp_path):
    """Iterations 0 to 2 are the first stage, 3 to 5 the second; a checkpoint comes after each."""
    often = {
        f'default_hooks.checkpoint.{k}': x for k, x in dict(by_epoch=False, interval=1).items()
    }
    train(two_stages(tmp_path / 'straight', **often))
    with pytest.raises(Stop):
        train(two_stages(tmp_path / 'stopped', **often), [StopBefore(before)])
    train(two_stages(tmp_path / 'stopped', resume=True, **often))
    stopped, straight = (saved(tmp_path / run, 'iter_6') for run in ('stopped', 'straight'))
    assert straight['state_dict']['head.memory'].any()
    assert_same_end(stopped, straight)


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_have_the_memory_of_one_and_train_what_it_does(tmp_path):
    for number in (1, 2):
        run_ranks(number, run_on, number, tmp_path / str(number))
    one, two = (saved(tmp_path / str(number), 'epoch_2')['state_dict'] for number in (1, 2))
    assert one['head.second_stage'] and one['head.memory'].any()
    assert_close(two, one, rtol=1e-4, atol=1e-5)


def run_on(rank, number, work_dir):
    """Both stages with the same images an iteration, whatever the number of processes."""
    cfg = two_stages(work_dir)
    cfg.train_dataloader.batch_size = 4 // number
    cfg.model.backbone.norm_eval = True
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-4))
    cfg.param_scheduler = []
    cfg.launcher = 'pytorch'
    adapt_to_device(cfg)
    train(cfg)
