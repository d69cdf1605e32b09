"""A run watches metrics that its validations give, or does not start."""

import pytest
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from mlic.cli.train import main
from mlic.engine.checkpoints.search import has_saved
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
