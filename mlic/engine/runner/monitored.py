"""What a run watches in its validations: for the best checkpoint, early stopping and schedules."""

from collections.abc import Collection, Iterator

from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.runner import Runner

from mlic.evaluation.mlic_metric import MLICMetric
from mlic.names import first_names


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
    schedulers = runner.param_schedulers or []
    several = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    for scheduler in (one for listed in several for one in listed):
        if getattr(scheduler, 'need_val_args', False):
            yield f'monitor of {type(scheduler).__name__}', scheduler.monitor
