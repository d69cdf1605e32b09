"""The metrics of an evaluation, and what a run watches: best checkpoint, stopping, schedules."""

import itertools
from collections.abc import Collection, Iterator, Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.runner import Runner
from mmpretrain.evaluation import AveragePrecision, MultiLabelMetric

from mlic.evaluation.mlic_metric import MLICMetric
from mlic.names import first_names, short


def check_names(metrics: Sequence[BaseMetric]) -> None:
    """Refuse metrics of which two give the same name: mmengine does so after a whole evaluation.

    Args:
        metrics (Sequence[BaseMetric]): Of an evaluation. Those that name their results only then
            are left to mmengine.

    Raises:
        ValueError: One line with both, and what to do.
    """
    givers: dict[str, str] = {}
    for metric in metrics:
        if not hasattr(metric, 'evaluate'):
            raise ValueError(
                "an evaluator is made of metrics, such as dict(type='MLICMetric'), and has "
                f'{short(metric)}'
            )
        kind = type(metric).__name__
        for name in _names_given(metric) or ():
            if name in givers:
                raise ValueError(
                    f'the metrics {givers[name]} and {kind} of one evaluation both give {name}: '
                    f"let one of them have a prefix of its own, such as prefix='{kind}'"
                )
            givers[name] = kind


def _names_given(metric: BaseMetric) -> list[str] | None:
    """The names of its results; None for one of your own, which says them only then.

    mmpretrain's say them of two images, and refuse settings that they do not know.
    """
    if type(metric) is MLICMetric:
        return metric.metric_names()
    if type(metric) not in (AveragePrecision, MultiLabelMetric):
        return None
    score = torch.linspace(0, 1, 2 + (getattr(metric, 'topk', None) or 0))
    results = metric.compute_metrics([dict(pred_score=score, gt_score=score.round())] * 2)
    return [f'{metric.prefix}/{name}' if metric.prefix else name for name in results]


def check_monitored(runner: Runner, metrics: Collection[str] | None = None) -> None:
    """Refuse a run that watches what its validations do not give.

    Args:
        runner (Runner): With its loops, hooks and schedules.
        metrics (Collection[str], optional): What a validation has given. Defaults to None: what it
            will give, where all metrics are ``MLICMetric`` or mmpretrain's for several labels;
            others say so only then.

    Raises:
        ValueError: One line with the metrics that there are.
    """
    if metrics is None:
        evaluated = getattr(getattr(runner.val_loop, 'evaluator', None), 'metrics', ())
        given = [_names_given(metric) for metric in evaluated]
        if not given or None in given:
            return
        metrics = [name for names in given for name in names]
    for place, key in _monitored(runner):
        if key not in metrics:
            raise ValueError(
                f'{place}={key!r} is none of the metrics of a validation: '
                f'{first_names(metrics) or "there are none"}'
            )


def _monitored(runner: Runner) -> Iterator[tuple[str, str]]:
    """Where a metric is named, and which."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            yield from (('save_best', key) for key in hook.key_indicators if key != 'auto')
        elif isinstance(hook, EarlyStoppingHook):
            yield f'monitor of {type(hook).__name__}', hook.monitor
    for scheduler in watching_schedules(runner):
        yield f'monitor of {type(scheduler).__name__}', scheduler.monitor


def watching_schedules(runner: Runner) -> list[ReduceOnPlateauParamScheduler]:
    """The schedules that a metric of the validations moves."""
    schedulers = runner.param_schedulers or []
    several = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    every = itertools.chain(*several)
    return [one for one in every if getattr(one, 'need_val_args', False)]
