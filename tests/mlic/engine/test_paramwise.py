"""Settings of single parameters that nothing reads do not pass for obeyed."""

import numpy as np
import pytest
from torch import nn

import mlic  # noqa: F401
from mlic.engine.optimizers.paramwise import check_clipping, check_paramwise

MODEL = nn.ModuleDict(dict(backbone=nn.Linear(2, 2), head=nn.Identity()))
OURS = 'SharedGroupsConstructor'


def check(paramwise_cfg, **changes):
    wrapper = dict(optimizer=dict(type='AdamW', lr=0.1), paramwise_cfg=paramwise_cfg)
    return check_paramwise({**wrapper, **changes}, MODEL)


def test_layer_wise_decay_of_mmpretrain_without_weight_decay_is_refused():
    constructor = 'LearningRateDecayOptimWrapperConstructor'
    with pytest.raises(ValueError, match=r'reads optim_wrapper\.optimizer\.weight_decay'):
        check(dict(layer_decay_rate=0.7), constructor=constructor)
    optimizer = dict(type='AdamW', lr=0.1, weight_decay=0)
    assert check(dict(of_its_own=1), constructor=constructor, optimizer=optimizer) == []


@pytest.mark.parametrize(
    ('paramwise_cfg', 'said'),
    [
        (dict(custom_key={}), r'nothing reads optim_wrapper\.paramwise_cfg\.custom_key; did you '),
        (
            dict(custom_keys=dict(backbone=dict(lr_mul=1))),
            r'\.backbone\.lr_mul; did you mean lr_mu',
        ),
        (dict(norm_decay_mult='0.0'), r"norm_decay_mult must be a number, got '0.0'"),
        (dict(custom_keys=dict(head='0.1')), r"\.head must be a dict, such as .*, got '0.1'"),
        (dict(custom_keys=dict(head=dict(lr_mult=None))), r'head\.lr_mult must be a number'),
        (dict(layer_decay_rate=0.5), r"layer_decay_rate is read by .*='SharedGroupsConstructor' a"),
    ],
)
def test_a_key_that_nothing_reads_is_refused(paramwise_cfg, said):
    with pytest.raises(ValueError, match=said):
        check(paramwise_cfg)


@pytest.mark.parametrize(
    ('clip_grad', 'said'),
    [
        (dict(max_nrm=1), r"^optim_wrapper\.clip_grad={'max_nrm': 1}: .* argument 'max_nrm'"),
        (dict(norm_type=2), "missing .* 'max_norm'"),
        (dict(max_norm='one'), 'could not convert'),
        (dict(type='value', max_norm=1), "unexpected keyword argument 'max_norm'"),
    ],
)
def test_clipping_that_would_fail_after_an_iteration_is_refused(clip_grad, said):
    with pytest.raises(ValueError, match=said):
        check_clipping(dict(clip_grad=clip_grad))


def test_clipping_passes():
    infinite = dict(max_norm=1, norm_type='inf')
    for clip_grad in (None, dict(max_norm=1), dict(type='value', clip_value=1.0), infinite):
        check_clipping(dict(clip_grad=clip_grad))
    check_clipping(dict(type='OwnWrapper', clip_grad=dict(share=0.1)))


def test_a_name_that_no_parameter_has_is_told():
    keys = {'backbone': dict(lr_mult=0.1), 'head': dict(weight_decay=0.0), '.gamma': {}}
    (line,) = check(dict(custom_keys=keys))
    assert line.endswith("custom_keys: no parameter has '.gamma' in its name")
    (line,) = check(dict(custom_keys={'backbone.wieght': dict(lr_mult=0.1)}))
    assert line.endswith("no parameter has 'backbone.wieght' in its name")


def test_the_second_name_of_shared_weights_is_one():
    tied = nn.ModuleDict(dict(backbone=nn.Linear(2, 2), head=nn.Linear(2, 2)))
    tied['head'].weight = tied['backbone'].weight
    settings = dict(custom_keys={'d.weight': dict(lr_mult=0.1)})
    wrapper = dict(optimizer=dict(type='AdamW', lr=0.1), paramwise_cfg=settings)
    assert check_paramwise(wrapper, tied) == []


def test_what_a_constructor_reads_passes():
    assert check(dict(norm_decay_mult=0.0, layer_decay_rate=0.5), constructor=OURS) == []
    assert check(dict(of_its_own=1), constructor='SomeOptimWrapperConstructor') == []
    of_a_schedule = dict(
        backbone=dict(lr_mult=0.1, peak=2.0, min_lr_mult=[0.01], weight_decay_end=0.1)
    )
    assert check(dict(custom_keys=of_a_schedule)) == []
    assert check(dict(norm_decay_mult=None, bias_lr_mult=np.float32(2))) == []
    assert check(None) == []
