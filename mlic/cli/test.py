"""Evaluate a checkpoint: tools/test.py CONFIG CHECKPOINT [--out FILE.npz | FILE.json] …"""

import argparse
import json
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process

from mlic.engine.checkpoints.search import find_checkpoint
from mlic.engine.hooks.checkpoint_fit_hook import CheckpointFitHook
from mlic.engine.runner.console import ConsoleRunner
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.device import adapt_to_device
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.thresholds import parse_threshold


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', help='checkpoint file, or a work directory: its best (else latest) one'
    )
    parser.add_argument(
        '--split', choices=['train', 'val', 'test'], default='test', help='which data (test)'
    )
    parser.add_argument('--work-dir', help='logs go here (work_dirs/<config>)')
    parser.add_argument('--out', help='save predictions (.npz) or metrics (.json) to this file')
    parser.add_argument(
        '--threshold',
        metavar='T|FILE',
        help="decide by a number, or by a .json or .csv file of each class's (the protocol's own)",
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='check config, checkpoint and data, and stop'
    )
    parser.add_argument('--amp', action='store_true', help='predict with mixed precision')
    parser.add_argument('--show-dir', help='save a picture of each prediction to this folder')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='config entries to replace, such as test_dataloader.batch_size=8',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    if args.out and Path(args.out).suffix not in ('.npz', '.json'):
        parser.error(f'--out takes a .npz file (predictions) or a .json file (metrics): {args.out}')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def load_config(args: argparse.Namespace) -> Config:
    """The config file with the command line's changes."""
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    cfg.load_from = find_checkpoint(args.checkpoint)
    cfg.resume = False  # the config in a resumed run's folder says True
    # Testing needs none of what only training has; averaged weights are in the checkpoint.
    cfg.custom_hooks = []
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.show_dir:
        cfg.default_hooks.visualization.update(enable=True, out_dir=args.show_dir, interval=1)
    if args.split != 'test':
        use_split(cfg, args.split)
    metrics = own_metrics(cfg)
    if not metrics and (args.threshold or (args.out or '').endswith('.npz')):
        raise SystemExit('--threshold and --out FILE.npz need an MLICMetric in test_evaluator')
    if args.threshold:
        parse_threshold(args.threshold)  # a bad file is better refused before the model is built
        for metric in metrics:
            metric.threshold = args.threshold
    if metrics:
        if args.out and args.out.endswith('.npz'):
            metrics[0].out_file = args.out
        if not metrics[0].get('per_class_file'):
            if args.out:
                out = Path(args.out)
                metrics[0].per_class_file = str(out.with_name(f'{out.stem}_per_class.csv'))
            else:
                metrics[0].per_class_file = str(per_class_path(cfg.load_from, cfg.work_dir))
    return cfg


def use_split(cfg: Config, split: str) -> None:
    """Test on the images of another split, under the test pipeline."""
    if cfg.get(f'{split}_dataloader') is None:
        raise SystemExit(f'--split {split}: the config has no {split}_dataloader')
    dataset = cfg[f'{split}_dataloader'].dataset
    if 'pipeline' not in dataset:
        raise SystemExit(f'--split {split}: {dataset.type} has no pipeline to replace')
    pipeline = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset = {**dataset, 'pipeline': pipeline, 'test_mode': True}


def own_metrics(cfg: Config) -> list:
    """The MLICMetrics of the test evaluators."""
    evaluators = cfg.test_evaluator
    evaluators = [evaluators] if isinstance(evaluators, dict) else evaluators
    return [metric for metric in evaluators if metric['type'] == 'MLICMetric']


def per_class_path(checkpoint: str, work_dir: str) -> Path:
    """Beside the checkpoint, or in the work directory if nothing can be written there."""
    name = f'{Path(checkpoint).stem}_per_class.csv'
    beside = Path(checkpoint).parent / name
    writable = os.access(beside if beside.exists() else beside.parent, os.W_OK)
    return beside if writable and '://' not in checkpoint else Path(work_dir) / name


def main() -> None:
    args = parse_args()
    with one_line_errors():
        evaluate(args)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate and say where things are."""
    cfg = load_config(args)
    check_data(cfg, ('test',))
    if args.dry_run:
        return
    adapt_to_device(cfg)
    runner = ConsoleRunner.from_cfg(cfg)
    runner.register_hook(CheckpointFitHook())
    metrics = runner.test()
    if not is_main_process():
        return
    if args.out and args.out.endswith('.json'):
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(json.dumps(metrics, indent=2) + '\n')
    print(f'checkpoint: {cfg.load_from}')
    if args.out:
        print(f'saved: {args.out}')
    for metric in own_metrics(cfg)[:1]:
        beside = args.out or Path(metric.per_class_file).parent == Path(cfg.load_from).parent
        note = '' if beside else ' (not next to the checkpoint)'
        print(f'of each class: {metric.per_class_file}{note}')
        protocols = metric.get('protocols', 'standard')
        protocol = protocols if isinstance(protocols, str) else protocols[0]
        prefix = metric.get('prefix') or 'multi-label'
        print(f'mAP {metrics[f"{prefix}/mAP"]:.1f} ({protocol})')
