"""What compare.py writes of the runs that are done: tables and figures."""

import argparse
from collections.abc import Mapping, Sequence

from mlic.comparison.runs import Run
from mlic.comparison.tables import (
    Summary,
    draw_class_differences,
    draw_over_number,
    draw_varied,
    summarise,
    write_tables,
)
from mlic.comparison.tuning import Rate
from mlic.names import counted


def write_groups(
    done: Sequence[Run],
    groups: Mapping[str, list[str] | None],
    rates: Mapping[str, Rate],
    pairs: dict[str, str] | None,
    args: argparse.Namespace,
) -> tuple[list[Summary], list[str]]:
    """Write and print the tables of each group of classes; of '', the last, in ``--out`` itself.

    Args:
        done (Sequence[Run]): The runs, config by config.
        groups (Mapping[str, list[str] | None]): Names of classes, None for all, by title.
        rates (Mapping[str, Rate]): By config.
        pairs (dict[str, str], optional): Config to the one it is compared with; None: the first.
        args (argparse.Namespace): With ``out``, ``protocols`` and ``resamples``.

    Returns:
        tuple[list[Summary], list[str]]: Those of the last group, and the names of its classes.
    """
    for title, group in groups.items():
        folder = args.out / f'images_{title}' if title else args.out
        summaries, names = summarise(done, args.protocols, group, args.resamples, pairs)
        for summary in summaries:
            summary.rate = rates[summary.name]
        write_tables(summaries, names, folder)
        if title:
            print(f'{counted(len(names), "class")} with {title} training images ({folder}):')
        print((folder / 'table.md').read_text(encoding='utf-8'))
    return summaries, names


def draw_figures(
    summaries: Sequence[Summary],
    names: Sequence[str],
    configs: Sequence[str],
    places: Mapping[str, dict[float, str]],
    args: argparse.Namespace,
) -> list[str]:
    """Draw what there is to draw; the names of the files."""
    drawn = []
    if any(summary.against for summary in summaries):
        drawn.append('per_class.png')
        draw_class_differences(summaries, names, args.out / 'per_class.png')
        print(f'of each class: {args.out / "per_class.png"}')
        if args.vary:
            drawn.append('gains.png')
            draw_varied(summaries, configs, places, args.out / 'gains.png')
            print(f'gains: {args.out / "gains.png"}')
    if args.sweep is not None:
        drawn.append('sweep.png')
        draw_over_number(summaries, args.sweep, args.out / 'sweep.png')
        print(f'over {args.sweep}: {args.out / "sweep.png"}')
    return drawn
