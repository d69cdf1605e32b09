"""Compare configs under one protocol, over seeds: tools/compare.py CONFIG… --seeds 0 1 2 --out DIR

Trains and tests each config with each seed, and writes to DIR a table (table.md, .csv, .tex) with
mean, standard deviation over seeds and the paired bootstrap interval (over test images) of the
mAP difference to the first config, all numbers (results.json) and the difference of each class
(per_class.png); with --sweep WORD, mAP over the number after that word in the configs' names
(sweep.png). With --vary, each config is also run with other values of some entries; each other
config is compared with the first one at the same value, and its gain is drawn (gains.png). With
--tune, each config's learning rate is chosen first, on training images that are held out. Started
again, it resumes: what is done is not done again.
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger

from mlic.cli import arguments
from mlic.cli.comparison_files import draw_figures, write_groups
from mlic.cli.image_checks import CHOSEN_BY, is_chosen_on_test_images
from mlic.comparison.feature_configs import store_features
from mlic.comparison.processes import device_slots
from mlic.comparison.recipes import (
    check_recipe,
    check_tested_alike,
    classes_by_images,
    count_positives,
    entry_of,
    hold_out,
    load_recipe,
    recipe_text,
    replace_data,
)
from mlic.comparison.runs import Run, run_all
from mlic.comparison.tables import remove_older, sort_out
from mlic.comparison.tuning import RATE_KEY, Rate, choose_rates, held_out, own_rate
from mlic.comparison.variants import Variation, vary
from mlic.engine.config.options import merge_options, set_in_vain
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.epochs import set_epochs
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.matrices import class_indices
from mlic.evaluation.protocols import PROTOCOLS
from mlic.files import read_class_file, write_text
from mlic.names import counted
from mlic.registries import load_config, set_scope
from mlic.visualization.sweep import split_name


class AppendVariation(arguments.OptionsAction):
    """Keeps a ``Variation`` for each time the option is given."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        word, *entries = values
        found = argparse.Namespace()
        super().__call__(parser, found, entries, option_string)
        try:
            variation = Variation(word, getattr(found, self.dest))
        except ValueError as error:
            parser.error(str(error))
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), variation])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Compare configs over seeds')
    arguments.add_config_argument(
        parser, 'configs', nargs='+', metavar='CONFIG', help='all are compared with the first'
    )
    parser.add_argument(
        '--seeds', nargs='+', type=arguments.seed, default=[0], help='seeds of the runs (0)'
    )
    out = arguments.out_file()
    parser.add_argument('--out', type=out, required=True, metavar='DIR', help='folder of results')
    arguments.add_config_argument(
        parser,
        '--data',
        '_base_/datasets',
        metavar='FILE',
        help='config whose data replace those of all configs: a path, or a name in '
        'configs/_base_/datasets',
    )
    parser.add_argument(
        '--set',
        nargs='+',
        action=arguments.OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='config entries to replace in every config; {seed} in load_from becomes the seed',
    )
    arguments.add_epochs_argument(parser)
    parser.add_argument(
        '--train-part',
        type=arguments.at_least(0, float, below=1),
        metavar='P',
        help='train on this part of the training images, test on the rest, to choose settings',
    )
    parser.add_argument(
        '--tune',
        action='store_true',
        help='choose the learning rates first, on a fifth of the training images',
    )
    parser.add_argument(
        '--cache-features',
        action='store_true',
        help='train on stored features of the images and their mirror images: for frozen backbones',
    )
    parser.add_argument(
        '--checkpoint',
        choices=['last', 'best'],
        default='last',
        help='checkpoint to test (--tune: always the last); "best": by the validation set (last)',
    )
    what = 'processes at once (one per GPU or free core)'
    parser.add_argument('--jobs', type=arguments.at_least(1), help=what)
    add_table_arguments(parser)
    args = parser.parse_args(argv)
    check_args(parser, args)
    if 'standard' not in args.protocols:
        args.protocols.insert(0, 'standard')
    return args


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """What is put into tables and figures."""
    parser.add_argument(
        '--protocols',
        nargs='+',
        choices=PROTOCOLS,
        default=['standard'],
        help='protocols of the metrics (standard)',
    )
    parser.add_argument('--classes', metavar='FILE', help='evaluate these only, one name a line')
    parser.add_argument(
        '--by-images',
        nargs='+',
        type=arguments.at_least(1),
        default=[],
        metavar='N',
        help='add a table for classes with fewer than N training images, with N or more, …',
    )
    parser.add_argument(
        '--sweep', metavar='WORD', help="draw mAP over the number after this word in configs' names"
    )
    parser.add_argument(
        '--vary',
        nargs='+',
        action=AppendVariation,
        default=[],
        metavar=('WORD', 'KEY=VALUE,VALUE,…'),
        help='also run each config with each of these values, compare at equal ones, and draw the '
        "differences; of several keys, the first one's values are drawn; can be repeated",
    )
    arguments.add_number(parser, '--resamples', 1000, 'draws of the bootstrap')


def check_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with the parser's error where arguments do not go together."""
    names = [Path(config).stem for config in args.configs]
    if len(set(names)) < len(names):
        parser.error(f'two configs have the same name: {", ".join(sorted(names))}')
    if args.tune and args.train_part is not None:
        parser.error('--tune holds out training images of its own: leave --train-part out')
    if args.train_part is not None and args.checkpoint == 'best':
        parser.error('--train-part validates on the images it tests: leave --checkpoint best out')
    for name in ('seeds', 'protocols'):
        values = getattr(args, name)
        if len(set(values)) < len(values):
            parser.error(f'--{name}: a value is given twice: {" ".join(map(str, values))}')
    if args.sweep is not None and not any(split_name(name, args.sweep) for name in names):
        parser.error(f'--sweep {args.sweep}: no config has this and a number in its name')
    if args.by_images and (args.classes or args.by_images != sorted({*args.by_images})):
        parser.error('--by-images takes increasing numbers, and does not go with --classes')
    words = [variation.word for variation in args.vary]
    if len(set(words)) < len(words):
        parser.error(f'--vary: a word is given twice: {", ".join(sorted(words))}')
    if args.tune and any(next(iter(each.entries)) == RATE_KEY for each in args.vary):
        parser.error(f'--tune chooses {RATE_KEY}: leave it or --vary out')


def prepare(path: str, args: argparse.Namespace) -> Config:
    """A config as it will be run."""
    cfg = load_recipe(path, args.set)
    set_scope(cfg)
    for line in set_in_vain(cfg.text):
        print(f'warning: {line}')
    if args.data:
        replace_data(cfg, load_config(args.data))
        merge_options(cfg, args.set)
        check_recipe(cfg, f'{path} with {args.data}')
    saves_best = entry_of(cfg, 'default_hooks.checkpoint.save_best')
    if args.checkpoint == 'best' and not (cfg.get('val_dataloader') and saves_best):
        raise ValueError(
            f'{path}: --checkpoint best needs val_dataloader and default_hooks.checkpoint.save_best'
        )
    if args.checkpoint == 'best' and is_chosen_on_test_images(cfg):
        print(f'warning: {path}: {CHOSEN_BY}')
    if args.epochs:
        try:
            set_epochs(cfg, args.epochs)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
    check_data(cfg, ('train', 'val', 'test'))
    if args.train_part is not None:
        hold_out(cfg, args.train_part)
    return cfg


def tune(
    recipes: dict[str, Config], args: argparse.Namespace, slots: list[dict]
) -> tuple[dict[str, Rate], dict[Run, str]]:
    """Give each config the rate that is best on held-out training images, but those that start
    from weights, which know these images; takes those out that failed."""
    parts = {}
    for name, cfg in recipes.items():
        if cfg.get('load_from'):
            print(f'{name} keeps its learning rate: load_from may have seen the held-out images')
        else:
            parts[name] = held_out(name, cfg)
    for part in parts.values():
        if args.cache_features:
            store_features(part, args.out / 'features')
    rates, failed = choose_rates(parts, args.out / 'tuning', args.seeds[0], slots)
    for name, rate in rates.items():
        recipes[name].optim_wrapper.optimizer.lr = rate.value
    for name in parts.keys() - rates.keys():
        recipes.pop(name)
    return rates, failed


def check_tested(cfg: Config, groups: dict[str, list[str]], classes: list[str] | None) -> None:
    """Take out the groups of classes that no test image has.

    Raises:
        ValueError: If a class is none of the data's, or no test image has one of them.
    """
    tested = count_positives(cfg.test_dataloader)
    chosen = [list(tested)[i] for i in class_indices(classes, list(tested)) or ()]
    if chosen and not any(tested[name] for name in chosen):
        raise ValueError(f'no test image has one of the {len(chosen)} classes of --classes')
    for title, group in list(groups.items()):
        if not any(tested[name] for name in group):
            print(f'no table of classes with {title} training images: no test image has one')
            groups.pop(title)


def run_seeds(
    recipes: dict[str, Config], args: argparse.Namespace, slots: list[dict]
) -> tuple[list[Run], dict[Run, str]]:
    """Run each config with each seed: the runs that are done, by config, and those that failed."""
    whole = {name: recipe_text(cfg) for name, cfg in recipes.items()}
    for cfg in recipes.values():
        if args.cache_features:
            store_features(cfg, args.out / 'features')
    # seed by seed: an interrupted comparison has the same seeds of every config
    runs = [
        Run.of(name, seed, cfg, args.out, args.checkpoint)
        for seed in args.seeds
        for name, cfg in recipes.items()
    ]
    if args.cache_features:
        for run in runs:
            write_text(run.folder / 'images.py', whole[run.name])
    failed = run_all(runs, slots)
    return [run for name in recipes for run in runs if run.name == name and run.is_done()], failed


def compare(args: argparse.Namespace) -> tuple[int, int]:
    """Run, and write; how many runs failed, and how many were left out of the tables."""
    args.out.mkdir(parents=True, exist_ok=True)
    classes = read_class_file(args.classes) if args.classes else None
    recipes = {Path(path).stem: prepare(path, args) for path in args.configs}
    configs = list(recipes)
    recipes, against, places = vary(recipes, args.vary)
    check_tested_alike(recipes, classes)
    changed = args.set | ({'train_cfg.max_epochs': args.epochs} if args.epochs else {})
    rates = {name: own_rate(name, cfg, changed) for name, cfg in recipes.items()}
    groups = classes_by_images(recipes[configs[0]], args.by_images) if args.by_images else {}
    if groups or classes is not None:
        check_tested(recipes[configs[0]], groups, classes)
    slots, untuned = device_slots(args.jobs), {}
    if args.tune:
        tuned, untuned = tune(recipes, args, slots)
        rates |= tuned
    done, failed = run_seeds(recipes, args, slots)
    failed = untuned | failed
    for run, reason in failed.items():
        print(f'failed: {run.name} seed {run.seed}: {reason}')
    done, left_out = sort_out(done, classes)
    for run, reason in left_out.items():
        print(f'left out: {run.name} seed {run.seed}: {reason}')
    if done:
        if not args.vary and done[0].name != configs[0]:
            print(f'no run of {args.configs[0]} is done: compared with {done[0].name}')
        pairs = against if args.vary else None
        summaries, names = write_groups(done, {**groups, '': classes}, rates, pairs, args)
        drawn = draw_figures(summaries, names, configs, places, args)
        remove_older(args.out, groups, drawn)
    return len(failed), len(left_out)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    # a backbone's start would be told parameter by parameter
    MMLogger.get_instance('compare', log_level='WARNING')
    try:
        failed, left_out = compare(args)
    except KeyboardInterrupt:
        print('stopped; the same command resumes', file=sys.stderr)
        raise
    if failed:
        sys.exit(f'{counted(failed, "run")} failed; the same command tries them again')
    if left_out:
        sys.exit(f'{counted(left_out, "run")} left out of the table')
