"""Sizes and losses that cannot work are refused when a model is built, alike in every method."""

import pytest
from mmpretrain.registry import MODELS

import tests.methods  # noqa: F401, whose parts are built
from mlic.models.checks import build_contrast

CLASSES = dict(num_classes=3)


def part(kind, in_channels=16, **settings):
    return dict(type=kind, in_channels=in_channels, **CLASSES, **settings)


@pytest.mark.parametrize(
    'settings',
    [
        part('SALGLNeck', num_heads=3),
        part('SARLNeck', embed_dims=16, num_heads=3),
        part('TDRGHead', (8, 16), embed_dims=16, num_heads=3),
        part('MLDecoderHead', embed_dims=16, num_heads=3),
        part('CTranHead', num_heads=3),
        part('MulConNeck', embed_dims=16, num_heads=3),
    ],
    ids=lambda settings: settings['type'],
)
def test_heads_that_do_not_share_out_the_width_are_refused(settings):
    with pytest.raises(ValueError, match='a width of 16 .* is no multiple of num_heads=3$'):
        MODELS.build(settings)
    with pytest.raises(ValueError, match='^num_heads must be at least 1, got 0$'):
        MODELS.build(dict(settings, num_heads=0))


@pytest.mark.parametrize(
    ('settings', 'name'),
    [
        (part('R101TFNeck', num_heads=0), 'num_heads'),
        (part('MCARHead', num_regions=0), 'num_regions'),
        (part('SALGLNeck', graph=dict(num_scenes=0)), 'num_scenes'),
        (part('SSGRLNeck', pool_size=0), 'pool_size'),
        (part('SARLNeck', num_decoder_layers=0), 'num_decoder_layers'),
        (part('CTranHead', num_layers=0), 'num_layers'),
        (part('MLDecoderHead', num_queries=0), 'num_queries'),
    ],
    ids=str,
)
def test_numbers_of_nothing_are_refused(settings, name):
    with pytest.raises(ValueError, match=f'^{name} must be at least 1, got 0$'):
        MODELS.build(settings)


@pytest.mark.parametrize('kind', ['MLDecoderHead', 'LabelEmbedHead', 'CTranHead', 'SADCLHead'])
@pytest.mark.parametrize('prior', [0, 1, 1.5, -0.1])
def test_a_prior_that_has_no_log_odds_is_refused(kind, prior):
    with pytest.raises(ValueError, match=f'prior_prob must lie between 0 and 1, got {prior}'):
        MODELS.build(part(kind, prior_prob=prior))


@pytest.mark.parametrize(
    ('kind', 'key', 'loss', 'taken'),
    [
        ('MulConHead', 'loss_con', 'ImageSupConLoss', 'z, target'),
        ('ImageContrastHead', 'loss_con', 'SupConLoss', 'z, target, image, label'),
        ('SADCLHead', 'loss_sscl', 'PSCLLoss', 'z, prototypes, target'),
        ('SADCLHead', 'loss_pscl', 'SSCLLoss', 'z, target, image, label'),
    ],
)
def test_a_contrast_of_something_else_is_refused(kind, key, loss, taken):
    with pytest.raises(ValueError, match=f'{loss} is not for this head.* takes {taken}$'):
        MODELS.build(part(kind, **{key: dict(type=loss)}))
    names = taken.split(', ')
    assert type(build_contrast(dict(type=loss), *names)).__name__ == loss


@pytest.mark.parametrize('kind', ['MultiLabelSoftMarginLoss', 'StopGradAsymmetricLoss'])
def test_a_reduction_that_there_is_not_is_refused(kind):
    with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none', got 'meen'"):
        MODELS.build(dict(type=kind, reduction='meen'))
