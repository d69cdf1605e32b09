"""A run watches metrics that its validations give, each once, or does not start."""

import re
from types import SimpleNamespace

import pytest
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import CheckpointHook
from mmpretrain.evaluation import AveragePrecision, MultiLabelMetric
from mmpretrain.registry import METRICS

from mlic.cli.train import main
from mlic.engine.checkpoints.search import has_saved
from mlic.engine.config.monitored import check_monitored, check_names
from tests.helpers import call_tool
from tests.photo_run import make_config

WATCHED = {
    'default_hooks.checkpoint': dict(save_best=['multi-label/mAP', 'mAP']),
    'custom_hooks': [dict(type='EarlyStoppingHook', monitor='mAP', rule='greater')],
    'param_scheduler': [dict(type='ReduceOnPlateauLR', monitor='mAP', rule='greater')],
}
REFUSED = r"='mAP' is none of the metrics of a validation: {}[^\n]*$"


@pytest.fixture
def train(tmp_path):
    """A training of one epoch with changes of its config; a validation ends it."""
    cfg = make_config(tmp_path / 'run')
    cfg.train_cfg.val_interval = 1

    def run(changes, *options):
        cfg.merge_from_dict(changes)
        cfg.dump(tmp_path / 'config.py')
        main([str(tmp_path / 'config.py'), *options])
        return has_saved(cfg.work_dir)

    run.work_dir = cfg.work_dir
    return run


@METRICS.register_module(force=True)
class CountOfImages(BaseMetric):
    """Its keys show only in a validation."""

    default_prefix = 'images'

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return dict(maxcount=len(results))


@pytest.mark.parametrize('place', WATCHED)
@pytest.mark.parametrize('options', [[], ['--dry-run']], ids=str)
def test_a_metric_that_there_is_not_is_refused_before_the_first_iteration(train, place, options):
    given = 'multi-label/mAP, multi-label/CP, .*multi-label/CF1_top3'
    with pytest.raises(SystemExit, match=REFUSED.format(given)):
        train({place: WATCHED[place]}, *options)
    assert not has_saved(train.work_dir)


@pytest.mark.parametrize('place', WATCHED)
def test_metrics_of_ones_own_are_looked_at_in_the_first_validation(train, place):
    own = dict(val_evaluator=[dict(type='MLICMetric'), dict(type='CountOfImages')])
    with pytest.raises(SystemExit, match=REFUSED.format('.*multi-label/OF1')):
        train({**own, place: WATCHED[place]})
    assert has_saved(train.work_dir)  # the epoch before it


@pytest.mark.parametrize('best', ['auto', ['multi-label/OF1_top3', 'images/maxcount']], ids=str)
def test_metrics_that_there_are_may_be_watched(train, best):
    key = 'images/maxcount'
    checkpoint = dict(save_best=best, rule='greater')
    assert train(
        {
            'val_evaluator': [dict(type='MLICMetric'), dict(type='CountOfImages')],
            'custom_hooks': [dict(type='EarlyStoppingHook', monitor=key, rule='greater')],
            'param_scheduler': [dict(type='ReduceOnPlateauLR', monitor=key, rule='greater')],
            'default_hooks.checkpoint': checkpoint,
        }
    )


def test_without_validation_nothing_is_watched(train):
    assert train({'default_hooks.checkpoint': dict(save_best='mAP')}, '--no-validate')


def test_a_metric_without_a_rule_says_so_in_one_line(train):
    with pytest.raises(SystemExit, match='^error: Cannot infer the rule for key images/maxcount'):
        train({'default_hooks.checkpoint': dict(save_best='images/maxcount')})


OURS = dict(type='MLICMetric')
SAME_NAME = {
    'MLICMetric': dict(type='MLICMetric', protocols='asl'),
    'AveragePrecision': dict(type='AveragePrecision'),
}
TWICE = (
    '^error: the metrics MLICMetric and {0} of one evaluation both give multi-label/mAP: let one '
    "of them have a prefix of its own, such as prefix='{0}'$"
)


@pytest.mark.parametrize('kind', SAME_NAME)
@pytest.mark.parametrize('options', [[], ['--dry-run']], ids=str)
def test_metrics_that_give_the_same_name_are_refused_before_the_first_iteration(
    train, kind, options
):
    with pytest.raises(SystemExit, match=TWICE.format(kind)):
        train({'val_evaluator': [OURS, SAME_NAME[kind]]}, *options)
    assert not has_saved(train.work_dir)


def test_metrics_of_a_test_that_give_the_same_name_are_refused_before_it(train, tmp_path):
    assert train({'test_evaluator': [OURS, SAME_NAME['AveragePrecision']]})
    error = call_tool('tools/test.py', tmp_path / 'config.py', train.work_dir)
    assert re.match(TWICE.format('AveragePrecision'), error)


def test_metrics_of_one_prefix_and_other_names_stand_together(train):
    others = [
        dict(type='MultiLabelMetric'),
        dict(type='MultiLabelMetric', average='micro'),
        dict(type='AveragePrecision', average=None),
        dict(type='AveragePrecision', prefix='mmpretrain'),
        dict(type='MLICMetric', protocols='asl', prefix='asl'),
    ]
    assert train({'val_evaluator': [OURS, *others]})


def test_the_same_name_of_metrics_of_ones_own_is_one_line_after_the_validation(train):
    own = dict(type='CountOfImages')
    with pytest.raises(SystemExit, match='^error: There are multiple .* name images/maxcount.*$'):
        train({'val_evaluator': [own, own]})


@pytest.mark.parametrize(
    'settings, names',
    [
        ({}, ['multi-label/precision', 'multi-label/recall', 'multi-label/f1-score']),
        (dict(topk=3, items=['recall'], average='micro'), ['multi-label/recall_top3_micro']),
        (dict(thr=0.2, items=['recall'], prefix='a'), ['a/recall_thr-0.20']),
    ],
)
def test_what_metrics_of_mmpretrain_give_is_known_before(settings, names):
    mean = AveragePrecision()
    loop = SimpleNamespace(evaluator=Evaluator([MultiLabelMetric(**settings), mean]))
    best = SimpleNamespace(val_loop=loop, hooks=[], param_schedulers=[])
    for name in (*names, 'multi-label/mAP'):
        best.hooks = [CheckpointHook(save_best=name, rule='greater')]
        check_monitored(best)
    best.hooks = [CheckpointHook(save_best='multi-label/map', rule='greater')]
    with pytest.raises(ValueError, match=f"save_best='multi-label/map' is none .*: {names[0]}"):
        check_monitored(best)


def test_what_is_no_metric_is_refused():
    with pytest.raises(
        ValueError, match=r"made of metrics, such as dict\(.*, and has 'MLICMetric'"
    ):
        check_names(['MLICMetric'])
