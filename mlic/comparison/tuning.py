"""A learning rate for each config, chosen by training images that it is not trained on."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from mlic.evaluation.matrices import apply_difficult_rule
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.evaluation.predictions import read_predictions

from . import LEAST_TO_TUNE
from .recipes import entry_of, hold_out
from .runs import NOT_FINITE, Run, run_all

# of the config's own rate: three are tried, then more while the best is the first or the last
FACTORS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
OWN = FACTORS.index(1)
RATE_KEY = 'optim_wrapper.optimizer.lr'
TRAINED_PART = 0.8
TUNED, CHOSEN, NOT_TUNED = 'tuned', 'chosen on these data', 'not tuned for these data'


@dataclass
class Rate:
    """The learning rate of a config, for the table.

    Args:
        value (float | None): ``optim_wrapper.optimizer.lr``, None if there is none.
        origin (str): ``TUNED`` here, ``CHOSEN`` by the config's author, or ``NOT_TUNED``.
        tried (list): Pairs of a rate and its mAP in percent on held-out training images, None
            where training gave numbers that are not finite.
    """

    value: float | None
    origin: str
    tried: list = field(default_factory=list)

    def __str__(self) -> str:
        return '–' if self.value is None else f'{self.value:g} ({self.origin})'


def own_rate(name: str, cfg: Config, options: dict) -> Rate:
    """The rate in a config; takes ``tuned_on`` out of ``cfg``.

    ``tuned_on`` says with what the rate was chosen: ``config``, its file's name, which configs that
    inherit from it do not have, and entries such as ``train_dataloader.dataset.ann_file``.

    Args:
        name (str): Of the config.
        cfg (Config): As it will be run.
        options (dict): Entries that the user has replaced; the rate counts as chosen only where
            ``tuned_on`` has them, too.
    """
    tuned_on = cfg.pop('tuned_on', None) or {'config': None}
    entries = {key: value for key, value in tuned_on.items() if key != 'config'}
    chosen = (
        tuned_on['config'] == name
        and options.keys() <= entries.keys()
        and all(entry_of(cfg, key) == value for key, value in entries.items())
    )
    return Rate(entry_of(cfg, RATE_KEY), CHOSEN if chosen else NOT_TUNED)


def held_out(name: str, cfg: Config) -> Config:
    """A copy that trains on 80 % of the training images, and is tested on the others.

    Raises:
        ValueError: If the rate is not ``optim_wrapper.optimizer.lr``, or the images are too few.
    """
    rate = entry_of(cfg, RATE_KEY)
    if type(rate) not in (int, float) or rate <= 0:
        raise ValueError(f'--tune: {name} has no {RATE_KEY} above 0, but {rate}')
    schedules = cfg.get('param_scheduler') or []
    for schedule in schedules if isinstance(schedules, list) else [schedules]:
        if schedule.get('eta_max') is not None:
            raise ValueError(
                f'--tune: eta_max of {schedule.type} in {name} outranks {RATE_KEY}: '
                'GroupOneCycleLR needs none'
            )
    cfg = copy.deepcopy(cfg)
    hold_out(cfg, TRAINED_PART)
    count = len(cfg.test_dataloader.dataset.indices)
    total = count + len(cfg.train_dataloader.dataset.indices)
    if total < LEAST_TO_TUNE:
        raise ValueError(
            f'--tune holds out a fifth of the training images, and {count} of {total} are too few '
            f'to choose by: {LEAST_TO_TUNE} training images are needed'
        )
    return cfg


def choose_rates(
    recipes: dict[str, Config],
    out: Path,
    seed: int,
    slots: Sequence[dict],
    log: Callable[[str], None] = print,
) -> tuple[dict[str, Rate], dict[Run, str]]:
    """The rate with the best mAP (``standard``) of each config, by runs with one seed.

    Tried are 0.3, 1 and 3 times the config's own; as long as the best is the lowest or the highest
    of those tried, the next one, from 0.01 to 100 times. The last checkpoints are tested.

    Args:
        recipes (dict[str, Config]): Of :func:`held_out`, by name.
        out (Path): Folder of the runs; those that are done are not done again.
        seed (int): Of the runs.
        slots (Sequence[dict]): Of :func:`run_all`.
        log (callable): Takes a line of progress.

    Returns:
        tuple[dict[str, Rate], dict[Run, str]]: The rates, and the runs that failed; their configs
        have no rate. A run whose numbers are not finite has not failed: its rate is a bad one.
    """
    tried: dict[str, dict[int, float]] = {name: {} for name in recipes}
    failed: dict[Run, str] = {}
    wanted = [(name, OWN + i) for name in recipes for i in (-1, 0, 1)]
    while wanted:
        runs = {}
        for name, i in wanted:
            cfg = copy.deepcopy(recipes[name])
            cfg.optim_wrapper.optimizer.lr = rate = _rate(recipes[name], i)
            # the best was chosen by the held-out images
            runs[name, i] = Run.of(f'{name}_lr{rate:g}', seed, cfg, out, 'last')
        bad = {run for run in runs.values() if run.is_known_not_to_be_finite()}
        reasons = run_all([run for run in runs.values() if run not in bad], slots, log)
        failed |= {run: reason for run, reason in reasons.items() if not NOT_FINITE.search(reason)}
        for (name, i), run in runs.items():
            tried[name][i] = -math.inf if run in bad | reasons.keys() else _score(run)
        for name in {name for (name, _), run in runs.items() if run in failed}:
            tried.pop(name)
        wanted = [(name, i) for name in tried for i in _next(tried[name])]
    rates = {}
    for name, scores in tried.items():
        pairs = [(_rate(recipes[name], i), scores[i]) for i in sorted(scores)]
        best = _rate(recipes[name], _best(scores))
        if scores[_best(scores)] == -math.inf:
            raise ValueError(
                f'--tune: {name} has no finite mAP on held-out training images at any learning '
                f'rate from {best:g} to {pairs[-1][0]:g}'
            )
        words = ', '.join(f'{rate:g}: {score:.2f}' for rate, score in pairs)
        edge = ' (the limit)' if _best(scores) in (0, len(FACTORS) - 1) else ''
        log(f'{name}: mAP on held-out training images {words}; learning rate {best:g}{edge}')
        known = [(rate, score if math.isfinite(score) else None) for rate, score in pairs]
        rates[name] = Rate(best, TUNED, known)
    return rates, failed


def _best(scores: dict[int, float]) -> int:
    """The place of the best score; of equal ones that nearest to the config's own."""
    return max(scores, key=lambda i: (scores[i], -abs(i - OWN) if scores[i] > -math.inf else -i))


def _next(scores: dict[int, float]) -> list[int]:
    """The place beyond the best one, if nothing there was tried."""
    best = _best(scores)
    return [i for i in (best - 1, best + 1) if 0 <= i < len(FACTORS) and i not in scores]


def _rate(cfg: Config, i: int) -> float:
    """The config's own rate, or two digits of another."""
    if i == OWN:
        return cfg.optim_wrapper.optimizer.lr
    return float(f'{cfg.optim_wrapper.optimizer.lr * FACTORS[i]:.2g}')


def _score(run: Run) -> float:
    """Its mAP in percent; -inf if no class has a positive."""
    block, _ = read_predictions(run.predictions)
    target, ignore = apply_difficult_rule(block, 'ignore')
    score = MLICMetric.calculate(block.pred, target, 'standard', ignore=ignore)
    return score['mAP'] if math.isfinite(score['mAP']) else -math.inf
