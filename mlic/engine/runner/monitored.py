"""The metrics of an evaluation, and what a run watches: best checkpoint, stopping, schedules."""

from collections.abc import Collection, Iterator, Sequence

from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.runner import Runner
from mmpretrain.evaluation import AveragePrecision

from mlic.evaluation.mlic_metric import MLICMetric
from mlic.names import first_names


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
        kind = type(metric).__name__
        for name in _names_given(metric):
            if name in givers:
                raise ValueError(
                    f'the metrics {givers[name]} and {kind} of one evaluation both give {name}: '
                    f"let one of them have a prefix of its own, such as prefix='{kind}'"
                )
            givers[name] = kind


def _names_given(metric: BaseMetric) -> list[str]:
    """The names of its results, where they are known before."""
    if type(metric) is MLICMetric:
        return metric.metric_names()
    is_mean = isinstance(metric, AveragePrecision) and metric.average is not None
    return [f'{metric.prefix}/mAP'] if is_mean else []


def check_monitored(runner: Runner, metrics: Collection[str] | None = None) -> None:
    """Refuse a run that watches what its validations do not give.

    Args:
        runner (Runner): With its loops, hooks and schedules.
        metrics (Collection[str], optional): What a validation has given. Defaults to None: what it
            will give, where all metrics are ``MLICMetric``; others say so only then.

    Raises:
        ValueError: One line with the metrics that there are.
    """
    if metrics is None:
        evaluated = getattr(getattr(runner.val_loop, 'evaluator', None), 'metrics', ())
        if not evaluated or not all(type(metric) is MLICMetric for metric in evaluated):
            return
        metrics = [name for metric in evaluated for name in metric.metric_names()]
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
    every = [scheduler for listed in several for scheduler in listed]
    return [scheduler for scheduler in every if getattr(scheduler, 'need_val_args', False)]
