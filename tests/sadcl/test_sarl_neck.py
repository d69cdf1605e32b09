"""SARLNeck against a plain forward, and the recordings of SADCL's transformer.

Shapes: B images, C classes, K input channels, D embed dims, h x w feature cells.
"""

import copy
import zlib

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn
from torch.testing import assert_close

from mlic.models.layers.position_encoding import sine_position_encoding
from projects.sadcl.models.sarl_neck import SARLNeck
from projects.sadcl.published_weights import NAMES, convert_state_dict
from tests import reference
from tests.helpers import recorded

# Some ten layers of normalised values of order 1, at float64 and float32
EXACT = {torch.float64: dict(rtol=1e-9, atol=1e-9), torch.float32: dict(rtol=1e-5, atol=1e-5)}


def make_neck(dtype=torch.float64, **kwargs):
    torch.manual_seed(0)
    settings = dict(
        in_channels=6, num_classes=5, embed_dims=8, num_heads=2, feedforward_channels=12
    )
    neck = SARLNeck(**{**settings, **kwargs}).to(dtype).eval()
    for parameter in neck.parameters():  # norms and biases start at 1 and 0, which hides errors
        nn.init.normal_(parameter, std=0.5)
    return neck


def make_feats(shape=(3, 6, 4, 3), dtype=torch.float64, seed=1):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype),)


def plain_forward(neck, feature_map):
    """The neck's positions are float32 whatever its dtype, and are tested on their own."""
    pos = sine_position_encoding(*feature_map.shape[-2:], neck.embed_dims).to(feature_map)
    return reference.sarl(neck, feature_map, pos)


# --- position encoding -----------------------------------------------------------------------


@pytest.mark.parametrize('size', [(1, 1, 4), (5, 5, 64), (3, 8, 10), (9, 2, 32)], ids=str)
def test_position_encoding_equals_loops(size):
    encoding = sine_position_encoding(*size)
    assert encoding.dtype == torch.float32
    # angles up to 2 pi are rounded by at most 2 ** -22, and the encoding's slope is at most 1
    expected = reference.position_encoding(*size)
    assert_close(encoding.double(), expected, rtol=0, atol=4 * 2**-22)


def test_position_encoding_is_the_published_one():
    data = recorded('position_encoding.npz')
    for name in ('pe_64_5', 'pe_256_7'):
        _, embed_dims, height, width = data[name].shape
        encoding = sine_position_encoding(height, width, embed_dims)
        assert_close(encoding, torch.tensor(data[name][0]), rtol=0, atol=0)
    encoding = sine_position_encoding(14, 14, 2048)
    expected = torch.tensor(data['pe_2048_14_ch::37'][0])
    assert_close(encoding[::37], expected, rtol=0, atol=0)
    # 401408 float32 values, each within one unit in the last place of 1
    expected = torch.tensor(float(data['pe_2048_14_sum']), dtype=torch.float64)
    assert_close(encoding.double().sum(), expected, rtol=0, atol=401408 * 2**-24)


def test_position_encoding_needs_even_dims():
    with pytest.raises(ValueError, match='even, got 7'):
        sine_position_encoding(2, 2, 7)


# --- against the plain forward ---------------------------------------------------------------


@pytest.mark.parametrize('num_encoder_layers', [0, 1, 2])
@pytest.mark.parametrize('in_channels', [6, 8])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_forward_and_gradients_equal_plain_ones(num_encoder_layers, in_channels, dtype):
    neck = make_neck(dtype, num_encoder_layers=num_encoder_layers, in_channels=in_channels)
    feats = make_feats((2, in_channels, 4, 3), dtype)
    (actual,), (expected, maps) = neck(feats), plain_forward(neck, feats[-1])
    assert actual.shape == (2, 5, 8)
    assert_close(actual, expected, **EXACT[dtype])
    assert_close(neck.attention_maps(feats), maps, **EXACT[dtype])
    if dtype == torch.float64:  # float32 gradients depend on the order of the sums
        weight = torch.randn_like(actual)
        grads = [
            torch.autograd.grad((embeds * weight).sum(), list(neck.parameters()))
            for embeds in (actual, expected)
        ]
        assert_close(*grads, **EXACT[dtype])


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (5, 2), (6, 6)], ids=str)
def test_any_feature_map_size(size):
    neck, feats = make_neck(), make_feats((2, 6, *size))
    assert_close(neck(feats)[0], plain_forward(neck, feats[-1])[0], **EXACT[torch.float64])
    assert neck.attention_maps(feats).shape == (2, 5, *size)


def test_last_feature_map_is_used():
    neck, feats = make_neck(), make_feats()
    assert_close(neck((torch.zeros(3, 99, 2, 2), *feats)), neck(feats), rtol=0, atol=0)


# --- tokens ----------------------------------------------------------------------------------


def as_tokens(feature_map, class_token=False):
    """(B, K, h, w) as (B, T, K), row by row, or (B, 1 + T, K)."""
    tokens = [feature_map[:, :, i, j] for i, j in np.ndindex(*feature_map.shape[-2:])]
    first = [torch.full_like(tokens[0], 7.0)] if class_token else []
    return torch.stack(first + tokens, dim=1)


@pytest.mark.parametrize('class_token', [False, True])
@pytest.mark.parametrize('side', [2, 3, 5])
def test_tokens_equal_the_map_they_are(side, class_token):
    neck, feats = make_neck(), make_feats((2, 6, side, side))
    tokens = (as_tokens(feats[0], class_token),)
    assert tokens[0].shape == (2, side * side + class_token, 6)
    assert_close(neck(tokens), neck(feats), **EXACT[torch.float64])
    assert_close(neck.attention_maps(tokens), neck.attention_maps(feats), **EXACT[torch.float64])


@pytest.mark.parametrize('count', [0, 3, 6, 12, 18])
def test_tokens_of_no_square_raise_with_the_numbers(count):
    message = rf'{count} tokens, \(2, {count}, 6\): neither {count} nor {count - 1} .*featmap'
    with pytest.raises(ValueError, match=message):
        make_neck()((torch.zeros(2, count, 6),))


# --- several feature maps --------------------------------------------------------------------


def make_levels(channels=(6, 8, 4), sizes=((4, 6), (2, 3), (1, 2)), dtype=torch.float64, **kwargs):
    """A neck over several feature maps, and the maps; 8 channels make an identity."""
    feats = [
        make_feats((2, width, *size), dtype, seed)[0]
        for seed, (width, size) in enumerate(zip(channels, sizes))
    ]
    return make_neck(dtype, in_channels=channels, **kwargs), tuple(feats)


def make_one_or_several(several, **kwargs):
    """A neck over one feature map or over several, and the maps, float32."""
    if several:
        return make_levels(dtype=torch.float32, **kwargs)
    return make_neck(torch.float32, **kwargs), make_feats(dtype=torch.float32)


def plain_levels(neck, feats):
    """One token after the other: projected, with its level's position and vector."""
    tokens, positions = [], []
    for level, feature_map in enumerate(feats):
        size, projection = feature_map.shape[-2:], neck.input_proj[level]
        pos = sine_position_encoding(*size, neck.embed_dims).to(feature_map)
        for i, j in np.ndindex(*size):
            token = feature_map[:, :, i, j]
            if isinstance(projection, nn.Conv2d):
                token = token @ projection.weight[:, :, 0, 0].T + projection.bias
            tokens.append(token)
            positions.append(pos[:, i, j] + neck.level_embed.weight[level])
    joined = copy.deepcopy(neck)
    joined.in_channels = neck.embed_dims  # projected already
    column = torch.stack(tokens, dim=-1)[..., None]  # (B, D, T, 1)
    embeds, maps = reference.sarl(joined, column, torch.stack(positions, dim=-1)[..., None])
    return embeds, maps[..., 0]  # (B, C, D), (B, C, T)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_several_maps_equal_the_joined_tokens(dtype):
    neck, feats = make_levels(dtype=dtype)
    assert isinstance(neck.input_proj[1], nn.Identity)
    (actual,), (expected, attention) = neck(feats), plain_levels(neck, feats)
    assert_close(actual, expected, **EXACT[dtype])
    finest = attention[..., :24].reshape(2, 5, 4, 6)
    assert_close(neck.attention_maps(feats), finest, **EXACT[dtype])
    share = neck.attention_maps(feats).sum(dim=(2, 3))
    assert_close(share + attention[..., 24:].sum(dim=2), torch.ones_like(share), **EXACT[dtype])
    assert (share < 1).all()


def test_one_map_in_a_list_equals_the_number():
    one, listed, feats = make_neck(), make_neck(in_channels=[6]), make_feats()
    assert_close(listed.state_dict(), one.state_dict(), rtol=0, atol=0)
    assert_close(listed(feats), one(feats), rtol=0, atol=0)
    assert_close(listed.attention_maps(feats), one.attention_maps(feats), rtol=0, atol=0)
    assert not any(name.startswith('level_embed') for name in one.state_dict())


def test_last_maps_are_used_and_each_may_be_tokens():
    neck, feats = make_levels(sizes=((4, 4), (3, 3), (2, 2)))
    given = (torch.zeros(2, 99, 7, 7), feats[0], as_tokens(feats[1], True), as_tokens(feats[2]))
    assert_close(neck(given), neck(feats), **EXACT[torch.float64])
    assert_close(neck.attention_maps(given), neck.attention_maps(feats), **EXACT[torch.float64])


# --- properties ------------------------------------------------------------------------------


@pytest.mark.parametrize('num_encoder_layers', [0, 1])
@pytest.mark.parametrize('in_channels', [6, 8, (6, 8, 4)], ids=str)
def test_every_parameter_gets_a_gradient(num_encoder_layers, in_channels):
    neck = make_neck(num_encoder_layers=num_encoder_layers, in_channels=in_channels).train()
    several = not isinstance(in_channels, int)
    feats = make_levels(in_channels)[1] if several else make_feats((2, in_channels, 4, 3))
    neck(feats)[0].square().sum().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.requires_grad, name
        assert parameter.grad is not None, name
        # every row of the keys' bias shifts all scores of a query alike: no effect
        if not name.endswith('in_proj_bias'):
            assert parameter.grad.abs().max() > 0, name
    assert not several or (neck.level_embed.weight.grad.abs().amax(dim=1) > 0).all()


def test_dropout_acts_in_training_only():
    neck, feats = make_neck(dropout=0.5), make_feats()
    assert_close(neck(feats), neck(feats), rtol=0, atol=0)
    expected = neck(feats)[0]
    assert (neck.train()(feats)[0] - expected).abs().max() > 0.1
    without = make_neck(dropout=0.0)
    assert_close(without.train()(feats)[0], expected, rtol=0, atol=0)


def test_checkpointed_layers_give_the_same_embeddings_and_gradients():
    outcomes = []
    for with_cp in (False, True):
        neck, feats = make_neck(with_cp=with_cp, dropout=0.3).train(), make_feats()
        feats[0].requires_grad_()
        torch.manual_seed(3)  # the same dropout
        embeds = neck(feats)[0]
        embeds.square().sum().backward()
        outcomes.append([embeds.detach(), feats[0].grad, *(p.grad for p in neck.parameters())])
    assert_close(outcomes[1], outcomes[0], rtol=0, atol=0)


@pytest.mark.parametrize('several', [False, True])
def test_exported_neck_leaves_nothing_behind(several):
    neck, feats = make_one_or_several(several)
    program = torch.export.export(neck, (feats,))
    assert neck._positions == {}
    assert_close(program.module()(feats), neck(feats), rtol=1e-5, atol=1e-6)


def test_input_projection_is_the_identity_if_the_widths_are_equal():
    assert isinstance(make_neck(in_channels=8).input_proj, nn.Identity)
    assert make_neck(in_channels=6).input_proj.weight.shape == (8, 6, 1, 1)


def test_number_of_parameters_of_the_published_configuration():
    with torch.device('meta'):
        neck = SARLNeck(in_channels=2048, num_classes=80)
    width, hidden = 2048, 8192
    attention = 4 * width * width + 4 * width  # query, key, value and output
    feed_forward = 2 * width * hidden + hidden + width
    norm = 2 * width
    layer = attention + feed_forward + 2 * norm
    count = sum(parameter.numel() for parameter in neck.parameters())
    assert count == 3 * layer + norm + 80 * width
    # The published log counts 193,579,088 trainable: with 80 scores of 2048 weights and a bias,
    # and the convolutions of ResNet-101's layers 2 to 4. Those are 3, 22 and 2 blocks
    # (4p -> p, 3x3, p -> 4p) behind one block each that halves the size and doubles the width.
    backbone = 0
    for planes, blocks in ((128, 4), (256, 23), (512, 3)):
        backbone += (blocks - 1) * (2 * 4 * planes**2 + 9 * planes**2)
        first = 2 * planes * planes + 9 * planes**2 + 4 * planes**2
        backbone += first + 2 * planes * 4 * planes  # and the shortcut
    assert backbone + count + 80 * (width + 1) == 193_579_088


@pytest.mark.parametrize('several', [False, True])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_autocast_is_finite_and_near_float32(dtype, several):
    neck, feats = make_one_or_several(several, dropout=0.0)
    expected = neck.train()(feats)[0]
    with torch.autocast('cpu', dtype):
        embeds = neck(feats)[0]
    embeds.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in neck.parameters())
    # three layers of normalised values, each a few units in the last place of the dtype
    error = (embeds.float() - expected).square().mean().sqrt()
    assert error < 10 * torch.finfo(dtype).eps


# --- errors ----------------------------------------------------------------------------------


def test_wrong_channels_name_both_and_the_key():
    with pytest.raises(ValueError, match=r'in_channels=6.*\(3, 7, 4, 3\).*neck.in_channels'):
        make_neck()(make_feats((3, 7, 4, 3)))
    with pytest.raises(ValueError, match=r'\(6, 4, 3\)'):
        make_neck()((torch.zeros(6, 4, 3),))
    with pytest.raises(ValueError, match=r'in_channels=8.*the backbone pools.*\(2, 8\)'):
        make_neck(in_channels=8)((torch.zeros(2, 8),))
    neck, feats = make_levels()
    with pytest.raises(ValueError, match=r'\(6, 8, 4\).*\(B, 6, h, w\).*\(2, 8, 2, 3\)'):
        neck((feats[1], feats[0], feats[2]))


def test_too_few_maps_name_both_numbers_and_the_key():
    neck, feats = make_levels()
    with pytest.raises(ValueError, match=r'takes 3 feature maps, got 2.*backbone\.out_indices'):
        neck(feats[1:])


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(embed_dims=9, num_heads=3), 'must be even, got 9'),
        (dict(embed_dims=10, num_heads=4), '10 .* no multiple of num_heads=4'),
        (dict(num_decoder_layers=0), 'got 0'),
        (dict(in_channels=[]), r'at least one feature map, got \[\]'),
    ],
)
def test_impossible_sizes_raise(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_neck(**kwargs)


# --- against the recordings ------------------------------------------------------------------


def build_published(weights, dtype, num_heads):
    """Neck and head with the published code's weights, a dict of arrays by its names."""
    hidden, width = weights['transformer.encoder.layers.0.linear1.weight'].shape
    num_classes = weights['query_embed.weight'].shape[0]
    settings = dict(embed_dims=width, num_heads=num_heads, feedforward_channels=hidden)
    neck = dict(type='SARLNeck', in_channels=width, num_classes=num_classes, **settings)
    head = dict(type='SADCLHead', num_classes=num_classes, in_channels=width)
    head.update(loss_sscl=None, loss_pscl=None)
    model = nn.ModuleDict(dict(neck=MODELS.build(neck), head=MODELS.build(head)))
    converted = convert_state_dict({name: torch.tensor(w) for name, w in weights.items()})
    model.load_state_dict(converted)  # nothing missing, nothing left over
    return model.to(dtype).eval()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_small_transformer_equals_the_published_one(dtype):
    data = recorded('sarl_small_std_e1d2.npz')
    weights = {key[3:]: value for key, value in data.items() if key.startswith('sd.')}
    model = build_published(weights, dtype, num_heads=4)
    feature_map = torch.tensor(data['input'], dtype=dtype, requires_grad=True)
    (embeds,) = model.neck((feature_map,))
    logits = model.head((embeds,))
    expected = torch.tensor(data['logits_f64'])
    assert_close(logits.double(), expected, **EXACT[dtype])
    assert_close(embeds.double(), torch.tensor(data['embed_f64']), **EXACT[dtype])
    if dtype == torch.float32:
        return
    scalar = (logits * torch.tensor(data['scalar_w_logits'])).sum()
    scalar = scalar + (embeds * torch.tensor(data['scalar_w_embed'])).sum()
    assert_close(scalar.detach(), torch.tensor(data['scalar_f64']), **EXACT[dtype])
    scalar.backward()
    expected = torch.tensor(data['grad_input_f64'])  # stored as float32
    assert_close(feature_map.grad.float(), expected, rtol=1e-6, atol=1e-7)
    norms = {name: parameter.grad.norm() for name, parameter in model.named_parameters()}
    expected = {
        NAMES.ours(key[9:]): torch.tensor(float(value), dtype=dtype)
        for key, value in data.items()
        if key.startswith('gradnorm.')
    }
    assert_close(norms, expected, **EXACT[dtype])


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_wide_transformer_equals_the_published_one(dtype):
    """512 wide, 14 x 14 cells; the weights are drawn anew by the recording's rule."""
    data = recorded('sarl_512_std.npz')
    seed = int(data['seed'])
    sizes = {'fc.W': (1, 20, 512), 'fc.b': (1, 20)}
    blank = SARLNeck(512, 20, embed_dims=512, num_heads=8, feedforward_channels=1024)
    shapes = {name: tuple(value.shape) for name, value in blank.state_dict().items()}
    weights = {}
    for name, total in zip(data['param_names'].tolist(), data['param_sums']):
        if name.endswith('.pe'):
            continue
        shape = sizes.get(name) or shapes[NAMES.ours(name).removeprefix('neck.')]
        state = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
        weight = state.standard_normal(shape)
        if len(shape) > 1:
            weight /= np.sqrt(shape[-1])
        else:
            weight = 0.1 * weight + ('norm' in name and name.endswith('weight'))
        weights[name] = weight.astype(np.float32)
        np.testing.assert_allclose(weights[name].sum(dtype=np.float64), total, rtol=1e-9)
    model = build_published(weights, dtype, num_heads=8)
    feature_map = np.random.RandomState(seed + 1).standard_normal((2, 512, 14, 14))
    with torch.no_grad():
        (embeds,) = model.neck((torch.tensor(feature_map.astype(np.float32), dtype=dtype),))
        logits = model.head((embeds,))
    assert_close(logits.double(), torch.tensor(data['logits_f64']), **EXACT[dtype])
    # stored as float32
    assert_close(embeds.float(), torch.tensor(data['embed_f64']), rtol=1e-5, atol=1e-5)
