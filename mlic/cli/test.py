"""Evaluate a checkpoint: tools/test.py CONFIG CHECKPOINT [--out FILE.npz | FILE.json] …"""

import argparse
import os
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from mlic.cli import arguments
from mlic.cli.image_checks import CHOSEN_BY, is_chosen_on_test_images
from mlic.datasets.wrappers import change_inner, inner_configs, pipeline_of
from mlic.engine.checkpoints.search import find_checkpoint
from mlic.engine.config.device import adapt_to_device
from mlic.engine.hooks.class_count_check_hook import ClassCountCheckHook
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.errors import one_line_errors
from mlic.engine.runner.tool_runners import ConsoleRunner
from mlic.engine.runner.tta import parse_tta
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.evaluation.thresholds import parse_score_threshold
from mlic.files import write_json


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    arguments.add_config_argument(parser)
    arguments.add_checkpoint_arguments(parser)
    arguments.add_split_argument(parser)
    parser.add_argument(
        '--out',
        type=arguments.out_file('.npz', '.json'),
        help='save predictions (.npz) or metrics (.json) to this file',
    )
    arguments.add_threshold_argument(parser, 'what decides', None)
    parser.add_argument(
        '--dry-run', action='store_true', help='check config, checkpoint and data, and stop'
    )
    precision = parser.add_mutually_exclusive_group()
    arguments.add_precision_argument(precision)
    precision.add_argument(
        '--amp',
        action='store_const',
        const='bfloat16',
        dest='precision',
        help='the same as --precision bfloat16',
    )
    arguments.add_tta_argument(parser)
    parser.add_argument(
        '--known',
        nargs='+',
        type=percent,
        metavar='PERCENT',
        help='give the model this percentage of the labels of each image, and measure the others; '
        'several, such as 0 25 50 75, are measured one after the other',
    )
    parser.add_argument('--show-dir', help='save a picture of each prediction to this folder')
    arguments.add_cfg_options(parser, 'test_dataloader.batch_size=8')
    arguments.add_launch_arguments(parser)
    args = parser.parse_args(argv)
    if args.show_dir and len(args.known or ()) > 1:
        parser.error('--show-dir has the pictures of one evaluation: give --known one share')
    return args


def percent(text: str) -> int:
    """The ``type`` of ``--known``."""
    value = int(text)
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(
            f'takes percentages from 0 to 99, which leave labels to measure, got {text}'
        )
    return value


def config_of(args: argparse.Namespace) -> Config:
    """The config file with the command line's changes."""
    needed = 'model', 'test_dataloader', 'test_evaluator', 'test_cfg'
    cfg = arguments.read_run_config(args, *needed)
    args.found = find_checkpoint(args.checkpoint, args.stage)
    cfg.load_from = args.found.path
    cfg.resume = False  # the config in a resumed run's folder says True
    # Testing needs none of what only training has; averaged weights are in the checkpoint.
    cfg.custom_hooks = []
    if args.precision:
        cfg.eval_precision = args.precision
    if args.split != 'test':
        use_split(cfg, args.split)
    args.tta = parse_tta(args.tta)
    args.tta.dataset(cfg.test_dataloader.dataset)  # refused before the model is built
    metrics = own_metrics(cfg)
    saves_predictions = args.out is not None and args.out.suffix == '.npz'
    if not metrics and (args.threshold or saves_predictions):
        raise SystemExit('--threshold and --out FILE.npz need an MLICMetric in test_evaluator')
    # a bad one is refused before the model is built
    threshold = parse_score_threshold(args.threshold)
    arguments.keep_inputs([args.out], args.threshold)
    if args.show_dir:
        show_in(cfg, args.show_dir, getattr(threshold, 'values', threshold))
    if args.threshold:
        for metric in metrics:
            metric.threshold = args.threshold
    if metrics:
        if saves_predictions:
            metrics[0].out_file = str(args.out)
        if not metrics[0].get('per_class_file'):
            file = args.out and args.out.with_name(f'{args.out.stem}_per_class.csv')
            kind = '_tta' * bool(args.tta) + f'_{args.split}' * (args.split != 'test')
            file = file or per_class_path(cfg.load_from, cfg.work_dir, kind)
            metrics[0].per_class_file = str(file)
    return cfg


def show_in(cfg: Config, folder: str, threshold: float | dict | None) -> None:
    """Draw each prediction, in the toolkit's look, whatever the config draws with."""
    cfg.visualizer.type = 'MultiLabelVisualizer'
    hook = cfg.default_hooks.get('visualization') or {}
    cfg.default_hooks.visualization = dict(
        dict(type='MultiLabelVisualizationHook', enable=True, out_dir=folder, interval=1),
        attention=hook.get('attention', False),
        draw_args=dict(threshold=threshold),
    )


def use_split(cfg: Config, split: str) -> None:
    """Test on the images of another split, under the test pipeline."""
    if cfg.get(f'{split}_dataloader') is None:
        raise SystemExit(f'--split {split}: the config has no {split}_dataloader')
    dataset = cfg[f'{split}_dataloader'].dataset
    for one in inner_configs(dataset):
        if 'pipeline' not in one:
            raise SystemExit(f'--split {split}: {one.type} has no pipeline to replace')
    own = dict(pipeline=pipeline_of(cfg), test_mode=True)
    cfg.test_dataloader.dataset = change_inner(dataset, lambda one: {**one, **own})


def own_metrics(cfg: Config) -> list:
    """The MLICMetrics of the test evaluators."""
    evaluators = cfg.test_evaluator
    evaluators = [evaluators] if isinstance(evaluators, dict) else evaluators
    return [metric for metric in evaluators if metric['type'] == 'MLICMetric']


def per_class_path(checkpoint: str, work_dir: str, kind: str = '') -> Path:
    """Next to the checkpoint, or in the work directory if nothing can be written there."""
    name = f'{Path(checkpoint).stem}{kind}_per_class.csv'
    file = Path(checkpoint).parent / name
    writable = os.access(file if file.exists() else file.parent, os.W_OK)
    return file if writable and '://' not in checkpoint else Path(work_dir) / name


def save_metrics(args: argparse.Namespace, metrics: dict) -> None:
    """Write them if ``--out`` is a JSON file."""
    if args.out and args.out.suffix == '.json' and is_main_process():
        write_json(args.out, dict(metrics, tta=str(args.tta)) if args.tta else metrics)


def evaluate(runner: ConsoleRunner, args: argparse.Namespace) -> dict[int | None, dict]:
    """The metrics by the percentage of labels that is known, each with files of its own; None is
    the key without ``--known``. Those of a share are saved before the next is measured.
    """
    if not args.known:
        found = {None: runner.test()}
        save_metrics(args, found[None])
        return found
    metrics = [x for x in runner.test_loop.evaluator.metrics if isinstance(x, MLICMetric)]
    files = [
        (metric, key, getattr(metric, key))
        for metric in metrics
        for key in ('out_file', 'per_class_file')
        if getattr(metric, key) and (key != 'out_file' or len(args.known) > 1)
    ]
    found = {}
    for share in args.known:
        runner.known = share
        for metric, key, file in files:
            setattr(metric, key, str(known_file(file, share)))
        if is_main_process():
            print(f'known: {share} % of the labels of each image')
        found[share] = runner.test()
        save_metrics(args, dict(known=found))
    return found


def known_file(file: str | Path, share: int) -> Path:
    """The file of a share of known labels, next to that of all."""
    return Path(file).with_stem(f'{Path(file).stem}_known{share}')


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    cfg = config_of(args)
    check_data(cfg, ('test',))
    if args.dry_run:
        return
    adapt_to_device(cfg)
    runner = ConsoleRunner.from_cfg(cfg)
    runner.tta = args.tta
    runner.register_hook(ClassCountCheckHook())  # whatever the config has: weights must fit
    if is_main_process():
        print(f'checkpoint: {args.found}', flush=True)
        is_best = Path(args.found.path).name.startswith('best_')
        if is_best and args.split == 'test' and is_chosen_on_test_images(cfg):
            print(f'warning: {CHOSEN_BY}', flush=True)
    found = evaluate(runner, args)
    if not is_main_process():
        return
    precision = getattr(runner.test_loop, 'precision', 'float32')  # one's own loop has none
    if precision != 'float32':
        print(f'predicted in {precision}')
    if args.tta:
        print(f'test-time augmentation: {args.tta} (views of an image: {args.tta.num_views})')
    if args.out:
        several = args.out.suffix == '.npz' and len(found) > 1
        files = [known_file(args.out, share) for share in found] if several else [args.out]
        print(f'saved: {", ".join(map(str, files))}')
    for metric in own_metrics(cfg)[:1]:
        file = metric.per_class_file
        expected = args.out or Path(file).parent == Path(cfg.load_from).parent
        note = '' if expected else ' (not next to the checkpoint)'
        files = [known_file(file, share) for share in found] if args.known else [file]
        print(f'of each class: {", ".join(map(str, files))}{note}')
        if len(found) > 1:  # of one, the table says it
            protocols = metric.get('protocols', 'standard')
            protocol = protocols if isinstance(protocols, str) else protocols[0]
            prefix = metric.get('prefix') or 'multi-label'
            for share, metrics in found.items():
                value = metrics[f'{prefix}/mAP']
                print(f'mAP {value:.1f} ({protocol}) of the other labels, {share} % known')
