"""Every config of the tree loads, builds, fits together, and keeps the naming grammar."""

import copy
import re

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import DATASETS, HOOKS, MODELS, OPTIMIZERS, PARAM_SCHEDULERS, TRANSFORMS
from mmpretrain.structures import DataSample

from mlic.comparison.tuning import own_rate
from mlic.engine.config.options import set_in_vain
from mlic.engine.config.values import misfits
from tests.helpers import ROOT
from tests.tiny_backbones import shrink

LEAVES = sorted((ROOT / 'configs' / 'sadcl').glob('*.py'))
METHODS = sorted(
    path.name for path in (ROOT / 'configs').iterdir() if path.name not in ('_base_', 'sadcl')
)
OTHERS = sorted(path for name in METHODS for path in (ROOT / 'configs' / name).glob('*.py'))
PREFIXES = '|'.join(['sadcl', 'sarl', 'baseline', 'linear', *METHODS]).replace('_', '-')
NAME = re.compile(
    rf'({PREFIXES})(-on-[a-z-]+)?_[a-z0-9-]+_'
    r'(coco|voc|nus|vg|corel5k|digits|fashion|own)(12-)?\d{3}(_[a-z0-9-]+)?'
)


BUILT = {}  # backbones, of which many configs have the same


def built(backbone):
    """A backbone in full width, its shapes only (meta device); not to be changed."""
    if backbone.type == 'LazyTIMMBackbone':
        pytest.importorskip('timm', reason="needs pip install -e '.[timm]'")
    key = repr(backbone)
    if key not in BUILT:
        BUILT[key] = MODELS.build(backbone).to('meta')
    return BUILT[key]


def build(cfg):
    """The model in full width, its shapes only."""
    backbone = copy.deepcopy(built(cfg.model.backbone))
    with torch.device('meta'):
        parts = dict(backbone=backbone, data_preprocessor=cfg.data_preprocessor)
        return MODELS.build({**cfg.model, **parts})


def trainable(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def leaf(name):
    return Config.fromfile(ROOT / 'configs' / 'sadcl' / f'{name}.py')


def image_size(cfg):
    """Side in pixels of the test images."""
    if cfg.test_dataloader.dataset.type == 'DigitScenes':
        return 128
    return next(t.scale[0] for t in cfg.test_dataloader.dataset.pipeline if t.type == 'Resize')


def build_the_rest(cfg, optimizer):
    """Hooks, transforms and schedules."""
    for hook in cfg.custom_hooks:
        HOOKS.build({name: value for name, value in hook.items() if name != 'priority'})
        for recipe in hook.get('schedule', ()):
            for transform in recipe.train_pipeline:
                TRANSFORMS.build(transform)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.type in DATASETS
        for transform in loader.dataset.pipeline:
            TRANSFORMS.build(transform)
    for scheduler in cfg.param_scheduler:
        scheduler = {k: v for k, v in scheduler.items() if k != 'convert_to_iter_based'}
        # as in iterations: a cycle of 5 steps has no warm-up
        scheduler['end'] = scheduler.get('end', 25) * 10
        PARAM_SCHEDULERS.build({**scheduler, 'optimizer': optimizer})


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_config_builds_and_its_parts_fit(path):
    cfg = Config.fromfile(path)
    assert not [*misfits(cfg.to_dict()), *set_in_vain(cfg.text)]
    model = build(cfg).eval()
    size = image_size(cfg)
    assert str(size) in path.stem
    num_classes = cfg.data_preprocessor.num_classes
    for module in (*model.neck.modules(), *model.head.modules()):  # as ClassCountCheckHook does
        assert getattr(module, 'num_classes', num_classes) == num_classes
    optimizer = {**cfg.optim_wrapper.optimizer, 'params': model.parameters()}
    build_the_rest(cfg, OPTIMIZERS.build(optimizer))
    # shapes at full size; test_backbones.py does the arithmetic
    feats = model.extract_feat(torch.zeros(1, 3, size, size, device='meta'))
    model.head.to_empty(device='cpu')  # it names its device's autocast
    logits = model.head(tuple(torch.zeros(feat.shape) for feat in feats))
    assert logits.shape == (1, num_classes)


@pytest.mark.parametrize('path', [*LEAVES, *OTHERS], ids=lambda path: path.stem)
def test_config_leaf_is_short_and_says_how_to_run_it(path):
    assert NAME.fullmatch(path.stem), f'{path.stem} is not method_backbone_dataset-size[_what]'
    text = path.read_text()
    docstring = re.match(r'"""(.*?)"""', text, re.DOTALL)
    assert docstring, 'a leaf starts with its command, hardware, time and result'
    assert path in LEAVES or str(path.relative_to(ROOT)) in docstring[1]
    assert re.search(r'tools/(dist_)?train\.(py|sh)', docstring[1])
    code = [line for line in text[docstring.end() :].splitlines() if line.strip()]
    assert len(code) <= 15, f'{len(code)} lines'


def test_sadcl_has_the_published_number_of_trainable_parameters():
    model = build(leaf('sadcl_r101_coco448'))
    assert trainable(model) == 200_037_456
    # SARL with its group-wise classifier, as the published log of Query2Label
    sarl = build(leaf('sarl_r101_coco448'))
    assert trainable(sarl) == 193_579_088


def test_the_flagship_is_the_paper_and_published_the_released_code():
    paper, released = leaf('sadcl_r101_coco448'), leaf('sadcl_r101_coco448_published')
    sscl, pscl = paper.model.head.loss_sscl, paper.model.head.loss_pscl
    assert (sscl.anchors, sscl.gather, pscl.gather) == ('all', True, True)
    assert paper.train_dataloader.batch_size * 8 == 64
    sscl, pscl = released.model.head.loss_sscl, released.model.head.loss_pscl
    assert (sscl.anchors, sscl.loss_weight) == ('official', 100)
    assert (sscl.gather, pscl.gather) == (False, False)
    assert released.train_dataloader.batch_size * 2 == 64
    assert released.optim_wrapper.dtype == 'float16'


def test_the_head_defaults_to_the_losses_of_the_flagship():
    head = leaf('sadcl_r101_coco448').model.head
    own = {key: head[key] for key in ('type', 'num_classes', 'in_channels')}
    default, configured = (MODELS.build({**own, **more}) for more in ({}, head))
    for name in ('loss_module', 'loss_sscl', 'loss_pscl'):
        losses = getattr(default, name), getattr(configured, name)
        ours, theirs = ({k: v for k, v in vars(loss).items() if k[0] != '_'} for loss in losses)
        if name == 'loss_module':
            assert (ours.pop('gamma_neg'), theirs.pop('gamma_neg')) == (0, 4)  # the first stage
        assert ours == theirs, name


def test_only_the_published_parts_of_the_backbone_are_frozen():
    model = build(leaf('sadcl_r101_coco448'))
    for name, parameter in model.named_parameters():
        frozen = name.startswith('backbone.') and (
            not re.match(r'backbone\.layer[234]\.', name)
            or parameter.dim() == 1  # BatchNorm: the only vectors in there
        )
        assert parameter.requires_grad != frozen, name


@pytest.mark.parametrize(
    'name',
    [
        'sadcl_r50_coco448',
        'sadcl_r101_coco448_multi-scale',
        'sadcl_resnext101_coco448',
        'sadcl_swin-l_coco384',
        'sadcl_vit-b_coco448',
        'sadcl_convnext-b_coco448',
        'sadcl_efficientnet-v2-s_coco448',
        'sadcl_tresnet-l_coco448',
    ],
)
def test_a_backbone_is_swapped_by_inheritance(name):
    cfg, base = leaf(name), leaf('sadcl_r101_coco448')
    assert cfg.model.head == base.model.head
    neck = {**cfg.model.neck, 'in_channels': None}
    assert neck == {**base.model.neck, 'in_channels': None}
    assert [hook.type for hook in cfg.custom_hooks] == [hook.type for hook in base.custom_hooks]


def test_the_recipe_changes_with_the_stage():
    cfg = leaf('sadcl_r101_coco448')
    (switch,) = [hook for hook in cfg.custom_hooks if hook.type == 'SwitchRecipeHook']
    (second,) = switch.schedule
    first = cfg.train_dataloader.dataset.pipeline
    assert second.action_epoch == 81
    assert [t.type for t in first][1:4] == ['Resize', 'Cutout', 'RandAugment']
    crop, flip = second.train_pipeline[1:3]
    assert crop == dict(type='MultiScaleCrop', scale=448, canvas=512)
    assert flip == dict(type='RandomFlip', prob=0.5, direction='horizontal')
    assert cfg.model.head.loss_cls.gamma_neg == 4
    bce = dict(type='StopGradAsymmetricLoss', mean_over_classes=True, loss_weight=1000)
    assert second.loss == bce
    sarl = leaf('sarl_r101_coco448')
    assert sarl.model.head.loss_cls == cfg.model.head.loss_cls
    assert sarl.train_dataloader.dataset.pipeline == first


def test_both_stages_have_a_cycle_of_their_own():
    cfg = leaf('sadcl_r101_coco448')
    spans = [(s.begin, s.end) for s in cfg.param_scheduler]
    assert spans == [(0, 80), (80, 160)]
    (hook,) = [hook for hook in cfg.custom_hooks if hook.type == 'PrototypeHook']
    assert hook.begin == 81
    assert cfg.train_cfg.max_epochs == 160
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 64


# --- configs of the compared methods -----------------------------------------------------------


def narrow(cfg):
    """The model with its own classes and few channels: seconds become milliseconds."""
    cfg = cfg.copy()
    if cfg.model.neck:
        shrink(cfg.model)
    if cfg.model.backbone.type == 'ResNet':
        built(cfg.model.backbone)
        cfg.model.backbone.depth = 50  # with the channels of 101
    if cfg.model.neck and cfg.model.neck.type == 'SARLNeck':
        cfg.model.neck.update(embed_dims=16, feedforward_channels=16, num_heads=2)
        cfg.model.head.update(in_channels=16, proj_channels=8, bank_slots=2)
    elif cfg.model.neck and cfg.model.neck.type == 'MulConNeck':
        cfg.model.neck.update(embed_dims=16, token_dims=16, num_heads=2)
        cfg.model.head.update(in_channels=16)
    elif cfg.model.neck and cfg.model.neck.type == 'ADDGCNNeck':
        cfg.model.neck.update(embed_dims=16)
        cfg.model.head.update(in_channels=16)
    elif cfg.model.neck and cfg.model.neck.type == 'SSGRLNeck':
        cfg.model.neck.update(node_channels=8, embed_dims=16, hidden_channels=8)
        cfg.model.head.update(in_channels=16)
    elif cfg.model.neck and cfg.model.neck.type == 'R101TFNeck':
        cfg.model.neck.update(embed_dims=16, num_layers=1, feedforward_channels=16)
        cfg.model.head.update(in_channels=16)
    elif cfg.model.neck and cfg.model.neck.type == 'SALGLNeck':
        cfg.model.neck.update(node_channels=8, feedforward_channels=8)
        cfg.model.neck.update(embed_dims=16, hidden_channels=8)
        cfg.model.head.update(in_channels=16)
    elif cfg.model.head.type == 'ImageContrastHead':
        cfg.model.head.update(proj_channels=8)
    elif cfg.model.head.type == 'TDRGHead':
        cfg.model.head.update(embed_dims=16, graph_dims=16, num_layers=1, feedforward_channels=16)
    elif cfg.model.head.type == 'MLDecoderHead':
        cfg.model.head.update(embed_dims=16, num_heads=2, feedforward_channels=16)
    cfg.model.pop('distillation', None)  # the teachers are files
    return MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})


def build_optimizer(model, cfg):
    """Without mixed precision, which needs a device."""
    names = 'constructor', 'optimizer', 'paramwise_cfg'
    kept = {k: v for k, v in cfg.optim_wrapper.items() if k in names}
    return build_optim_wrapper(model, ConfigDict(kept, type='OptimWrapper')).optimizer


def check_gradients(model, loss, name):
    """A gradient for all, or for neck and head and at most LoRA's updates of the backbone."""
    loss.backward()
    for key, parameter in model.named_parameters():
        trained = 'backbone.' not in key or 'frozen' not in name
        if name.endswith('lora'):
            trained = 'backbone.' not in key or '.lora_' in key
        assert parameter.requires_grad == trained, key
        assert (parameter.grad is not None) == trained, key
        assert not trained or parameter.grad.isfinite().all(), key


@pytest.mark.parametrize('path', OTHERS, ids=lambda path: path.stem)
def test_config_of_a_compared_method_builds_and_trains(path):
    cfg = Config.fromfile(path)
    assert not [*misfits(cfg.to_dict()), *set_in_vain(cfg.text)]
    cfg.model.setdefault('neck', None)
    num_classes = cfg.data_preprocessor.num_classes
    model = narrow(cfg)
    transforms = cfg.train_dataloader.dataset.pipeline
    views = next((t.num_views for t in transforms if t.type == 'MultiView'), 1)
    assert views == getattr(model.head, 'num_views', 2 if 'image-level' in path.stem else 1)
    assert (cfg.data_preprocessor.get('type') == 'MultiViewDataPreprocessor') == (views > 1)
    for name, module in model.named_modules():  # as ClassCountCheckHook does
        if not name.startswith('backbone.'):
            assert getattr(module, 'num_classes', num_classes) == num_classes
    image = torch.zeros(2, 3, 96, 96, dtype=torch.uint8)  # TDRG needs 3 x 3 cells
    samples = [DataSample().set_gt_label([0, 3]), DataSample().set_gt_label([1])]
    data = dict(inputs=[image] * views if views > 1 else image, data_samples=samples)
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())
    if path.parent.name == 'foundation':
        check_gradients(model, sum(losses.values()), path.stem)
    with torch.no_grad():
        assert model.eval()(image.float(), mode='tensor').shape == (2, num_classes)

    build_the_rest(cfg, build_optimizer(model, cfg))


def test_a_config_says_of_itself_on_what_its_rate_was_tuned():
    found = set()
    for path in LEAVES + OTHERS:
        if 'tuned_on' not in path.read_text():
            continue
        cfg = Config.fromfile(path)
        tuned_on = cfg.get('tuned_on') or {'config': None}
        if tuned_on['config'] != path.stem:  # of the config that this one inherits from
            continue
        found.add(path.stem)
        data = Config.fromfile(ROOT / 'configs/_base_/datasets/corel5k74_160.py')
        cfg.train_dataloader = data.train_dataloader
        cfg.model.backbone.frozen_stages = 8
        options = {'model.backbone.frozen_stages': 8}
        assert own_rate(path.stem, cfg, options).origin == 'chosen on these data'
        # the pretrained backbone's rate stays, where it is trained
        backbone = cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult
        assert cfg.optim_wrapper.optimizer.lr * backbone == pytest.approx(1e-4)
    assert {name.split('_')[0] for name in found} >= {'baseline', 'csra'}


@pytest.mark.parametrize('step,rates', [(1, (2e-5, 2e-4, 2e-4)), (2, (1e-3, 1e-3, 1e-2))])
def test_mulcon_trains_its_parts_at_the_published_rates(step, rates):
    cfg = Config.fromfile(ROOT / 'configs' / 'mulcon' / f'mulcon_r101_coco448_stage{step}.py')
    model = narrow(cfg)
    optimizer = build_optimizer(model, cfg)
    found = {id(p): g['lr'] for g in optimizer.param_groups for p in g['params']}
    backbone, neck, head = rates
    assert found[id(model.backbone.conv1.weight)] == pytest.approx(backbone)
    assert found[id(model.neck.query_embed)] == pytest.approx(neck)
    assert found[id(model.head.fc.weight)] == pytest.approx(head)
    if step == 2:  # the new projector
        assert found[id(model.head.projector[0].weight)] == pytest.approx(head)


@pytest.mark.parametrize(
    'name',
    [
        'add_gcn/add-gcn_r101_coco448',
        'ccd/ccd_r101_coco448',
        'cpcl/cpcl_r101_coco448',
        'cpsd/cpsd_r101_coco448',
        'cpsd/cpsd_r101_coco448_teacher',
        'csra/csra_r101_coco448',
        'dsdl/dsdl_r101_coco448',
        'mcar/mcar_r101_coco448',
        'ml_decoder/ml-decoder_r101_coco448',
        'ml_gcn/ml-gcn_r101_coco448',
        'tdrg/tdrg_r101_coco448',
    ],
)
def test_images_without_a_label_are_left_out_where_released_code_does_so(name):
    """In tests, too: some were tested on other images than the paper's."""
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.labelled_only


@pytest.mark.parametrize('name', ['c_tran/c-tran_r101_voc576', 'ssgrl/ssgrl_r101_voc576'])
def test_difficult_objects_are_negatives_in_tests_where_released_code_says_so(name):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    assert cfg.val_evaluator.difficult == cfg.test_evaluator.difficult == 'negative'


@pytest.mark.parametrize('name', ['cpsd/cpsd_r101_coco448', 'csra/csra_r101_coco448'])
def test_images_are_between_0_and_1_where_released_code_has_them_so(name):
    preprocessor = Config.fromfile(ROOT / f'configs/{name}.py').data_preprocessor
    assert (preprocessor.mean, preprocessor.std) == ([0.0] * 3, [255.0] * 3)


@pytest.mark.parametrize(
    'name, decay',
    [
        ('cpsd/cpsd_r101_coco448_teacher', 1e-4 / 24),
        ('ml_decoder/ml-decoder_r101_coco448', 1e-4 / 56),
    ],
)
def test_published_weight_decay_leaves_out_vectors(name, decay):
    """All with one dimension: the attention's bias has another name than others."""
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    with torch.device('meta'):
        parts = {key: MODELS.build(cfg.model[key]) for key in ('neck', 'head') if key in cfg.model}
    optimizer = build_optimizer(torch.nn.ModuleDict(parts), cfg)
    for group in optimizer.param_groups:
        for parameter in group['params']:
            assert group['weight_decay'] == (decay if parameter.dim() > 1 else 0)


@pytest.mark.parametrize('path', LEAVES + OTHERS, ids=lambda path: path.stem)
def test_parameters_of_equal_settings_share_a_group_of_the_optimizer(path):
    cfg = Config.fromfile(path)
    if not cfg.optim_wrapper.get('paramwise_cfg'):
        return
    cfg.optim_wrapper.paramwise_cfg.pop('layer_decay_rate', None)  # test_layer_decay.py
    model = torch.nn.ModuleDict(
        dict(
            backbone=torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)),
            neck=torch.nn.Linear(4, 4),
            head=torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)),
        )
    )

    def settings_of(optimizer):
        return {
            id(parameter): {key: value for key, value in group.items() if key != 'params'}
            for group in optimizer.param_groups
            for parameter in group['params']
        }

    ours = build_optimizer(model, cfg)
    cfg.optim_wrapper.constructor = 'DefaultOptimWrapperConstructor'
    theirs = build_optimizer(model, cfg)
    assert settings_of(ours) == settings_of(theirs)
    different = {repr(sorted(each.items())) for each in settings_of(ours).values()}
    assert len(ours.param_groups) == len(different) < len(theirs.param_groups)
    assert theirs.param_groups[0]['lr'] == ours.param_groups[0]['lr']  # the one in the log


BACKBONE = 42_500_160  # ResNet-101 without its linear layer


@pytest.mark.parametrize(
    'name, expected',
    [
        ('add_gcn/add-gcn_r101_coco448', 48_165_344 - BACKBONE),
        ('c_tran/c-tran_r101_coco576', 75_896_912 - 2048),  # the state unknown is no parameter
        ('ccd/ccd_r101_coco448', 4_524_032),
        ('cpcl/cpcl_r101_coco448', 50_828_352 - BACKBONE),
        ('cpsd/cpsd_r101_coco448', 59_052_033),  # 101.6 M with the backbone, counted by hand
        ('dsdl/dsdl_r101_coco448', 44_904_512 - BACKBONE),
        ('mcar/mcar_r101_coco448', 42_664_080 - BACKBONE),
        ('ml_gcn/ml-gcn_r101_coco448', 44_904_512 - BACKBONE),
        ('salgl/salgl_r101_coco448', 75_448_401),
        ('ssgrl/ssgrl_r101_coco576', 49_770_577 - 4_196_352),  # the reset gate's U is not used
        ('tdrg/tdrg_r101_coco448', 68_301_360 - 33_536 - BACKBONE),  # what has no gradient
    ],
)
def test_neck_and_head_are_as_large_as_the_published_ones(name, expected):
    model = Config.fromfile(ROOT / f'configs/{name}.py').model
    with torch.device('meta'):
        parts = [MODELS.build(model[part]) for part in ('neck', 'head') if model.get(part)]
    assert sum(p.numel() for part in parts for p in part.parameters()) == expected
