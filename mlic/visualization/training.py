"""The course of a training, from the rows that mmengine's LoggerHook writes."""

from typing import TYPE_CHECKING, NamedTuple

from .page import (
    COLOURS,
    HALF,
    LEGEND,
    PLAIN_COLOUR,
    TEXT,
    add_axes,
    fit_text,
    legend_label,
    new_page,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, PANEL, GAP, LEFT, RIGHT, BOTTOM, TOP = 9.8, 1.9, 0.42, 0.75, 2.7, 0.55, 0.35  # inches
ENTRY = 0.205  # inches, of the legend
VAL_METRICS = ('mAP', 'CF1', 'OF1')


class TrainingLog(NamedTuple):
    """What a run logged.

    Args:
        train (list[dict]): A row per logged iteration, with ``x`` next to the logged values.
        val (list[dict]): A row per validation, the same.
        unit (str): Of ``x``: 'epoch' (a fraction of it is passed) or 'iteration'.
        switch (float, optional): x at which a loss that had been zero was switched on.
    """

    train: list
    val: list
    unit: str
    switch: float | None


def arrange_log(train: list[dict], val: list[dict]) -> TrainingLog:
    """The log of a run from its rows, in order: of iterations (``iter``), and of validations.

    Until two epochs are logged nothing says how long one is. Then ``x`` counts iterations; but if
    there is a validation, which has no iteration, the last one before it counts as its epoch's end.
    """
    per_epoch = _iterations_per_epoch(train)
    if not val and len({row.get('epoch') for row in train}) == 1:
        per_epoch = 1
    for row in train:
        row['x'] = row['iter'] / per_epoch
    for row in val:
        row['x'] = row['step']
    unit = 'epoch' if per_epoch > 1 else 'iteration'
    return TrainingLog(train, val, unit, _stage_switch(train, unit))


def _iterations_per_epoch(train: list) -> float:
    """From the first rows of two epochs, which lie at the same place in them; 1 without epochs."""
    if 'epoch' not in train[0]:
        return 1
    firsts = {row['epoch']: row['iter'] for row in reversed(train)}
    first, last = min(firsts), max(firsts)
    if first == last:
        return max(row['iter'] for row in train) / first
    return (firsts[last] - firsts[first]) / (last - first)


def _stage_switch(train: list, unit: str) -> float | None:
    """Where a loss that was exactly zero from the start first is not; the earliest of several."""
    switches = []
    for name in {name for row in train for name in row if name.startswith('loss_')}:
        rows = [row for row in train if name in row]
        on = next((index for index, row in enumerate(rows) if row[name] != 0), 0)
        if on:
            row = rows[on]
            switches.append(float(row['epoch'] - 1) if unit == 'epoch' else rows[on - 1]['x'])
    return min(switches, default=None)


def series(rows: list, name: str) -> tuple[list, list]:
    """x and the values of a name, where it was logged."""
    points = [(row['x'], row[name]) for row in rows if isinstance(row.get(name), (int, float))]
    return [x for x, _ in points], [value for _, value in points]


def draw_training(log: TrainingLog) -> 'Figure':
    """Draw losses, metrics of the validation, and learning rate, one panel below the other.

    A dashed line marks the switch to the second stage, a ring the best validation by mAP. A loss
    that is off (zero) is not drawn; of more than 16 losses, the title says how many are left out.
    The figure is 980 px wide at 100 dpi.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    panels = [(title, curves) for title, curves in _panels(log) if curves]
    # as high as its legend, which names one more, the best validation
    heights = [max(PANEL, (len(curves) + 1) * ENTRY) for _, curves in panels]
    height = BOTTOM + sum(heights) + (len(panels) - 1) * GAP + TOP
    figure = new_page(WIDTH, height)
    last = max(row['x'] for row in log.train + log.val)
    side = WIDTH - LEFT - RIGHT
    for number, (title, curves) in enumerate(panels):
        is_validation = title.startswith('validation')
        bottom = BOTTOM + sum(heights[number + 1 :]) + (len(panels) - 1 - number) * GAP
        axes = add_axes(figure, LEFT, bottom, side, heights[number])
        for row, (label, x, y) in enumerate(curves):
            style = dict(color=COLOURS[row], linestyle='--' if row >= HALF else '-', linewidth=1.6)
            marker = 'o' if is_validation or len(x) == 1 else None
            label = legend_label(label, RIGHT - 0.6)
            axes.plot(x, y, **style, marker=marker, markersize=3.5, label=label)
        if is_validation:
            _mark_best(axes, *curves[0], log.unit)
        low = min(min(y) for _, _, y in curves)
        if title.startswith('losses') and 0 < low < max(max(y) for _, _, y in curves) / 20:
            axes.set_yscale('log')
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter('{x:g}')
            axes.yaxis.set_minor_formatter(NullFormatter())
        if log.switch is not None:
            axes.axvline(log.switch, color=PLAIN_COLOUR, linewidth=1, linestyle=(0, (5, 3)))
            if number == 0:
                place = dict(transform=axes.get_xaxis_transform(), va='bottom', fontsize=9)
                axes.text(log.switch, 1.01, ' stage 2', color=PLAIN_COLOUR, **place)
        axes.set_xlim(0, last * 1.01)
        axes.set_title(fit_text(title, side), loc='left', pad=5, **TEXT)
        axes.grid(color='#e3e7eb', linewidth=0.6)
        is_last = number == len(panels) - 1
        axes.tick_params(labelsize=9, labelcolor=PLAIN_COLOUR, labelbottom=is_last)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(**LEGEND, bbox_to_anchor=(1.02, 1), fontsize=9)
    axes.set_xlabel(log.unit, **TEXT)
    return figure


def _mark_best(axes: 'Axes', label: str, x: list, y: list, unit: str) -> None:
    """A ring around the highest value, the first of equal ones, as save_best keeps it."""
    best = y.index(max(y))
    ring = dict(markersize=10, markerfacecolor='none', markeredgecolor=PLAIN_COLOUR, clip_on=False)
    text = f'best {label}: {y[best]:.1f}, {unit} {x[best]:g}'
    axes.plot(x[best], y[best], 'o', **ring, label=text)


def _panels(log: TrainingLog) -> list:
    """Titles, and the curves (label, x, y) below each."""
    losses = sorted({name for row in log.train for name in row if name.startswith('loss_')})
    curves = []
    for name in losses or ['loss']:
        rows = [row for row in log.train if row.get(name) != 0]
        curves.append((name, *series(rows, name)))
    curves = [curve for curve in curves if curve[1]]
    most = len(COLOURS)
    title = 'losses' if len(curves) <= most else f'losses, {most} of {len(curves)}'
    panels = [(title, curves[:most])]
    prefixes = dict.fromkeys(name.split('/')[0] for row in log.val for name in row if '/' in name)
    for prefix in prefixes:
        found = [(name, *series(log.val, f'{prefix}/{name}')) for name in VAL_METRICS]
        panels.append((f'validation: {prefix}, in percent', [one for one in found if one[1]]))
    # 'lr' is that of the first parameter group: the backbone's, if it has one of its own
    first, base = series(log.train, 'lr'), series(log.train, 'base_lr')
    rates = [('base rate', *base), ('backbone’s rate', *first)]
    if not base[0]:
        rates = [('all parameters', *first)]
    elif base == first:
        rates = rates[:1]
    return [*panels, ('learning rate', [rate for rate in rates if rate[1]])]
