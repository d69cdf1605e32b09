"""Evaluate a checkpoint: tools/test.py CONFIG CHECKPOINT [--out FILE.npz | FILE.json] …"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from projects.sadcl.engine import adapt_to_device, check_data, find_checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', help='checkpoint file, or a work directory: its best (else latest) one'
    )
    parser.add_argument('--work-dir', help='logs go here (work_dirs/<config>)')
    parser.add_argument('--out', help='save predictions (.npz) or metrics (.json) to this file')
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
    # Testing needs none of what only training has; averaged weights are in the checkpoint.
    cfg.custom_hooks = []
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.show_dir:
        cfg.default_hooks.visualization.update(enable=True, out_dir=args.show_dir, interval=1)
    if args.out and args.out.endswith('.npz'):
        metric = first_metric(cfg)
        if metric is None:
            raise SystemExit('--out FILE.npz needs an MLICMetric in test_evaluator')
        metric.out_file = args.out
    return cfg


def first_metric(cfg: Config) -> Optional[dict]:
    """The first MLICMetric of the test evaluators."""
    evaluators = cfg.test_evaluator
    evaluators = [evaluators] if isinstance(evaluators, dict) else evaluators
    return next((metric for metric in evaluators if metric['type'] == 'MLICMetric'), None)


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    check_data(cfg, ('test',))
    if args.dry_run:
        return
    adapt_to_device(cfg)
    metrics = Runner.from_cfg(cfg).test()
    if not is_main_process():
        return
    if args.out and args.out.endswith('.json'):
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(json.dumps(metrics, indent=2) + '\n')
    print(f'checkpoint: {cfg.load_from}')
    if args.out:
        print(f'saved: {args.out}')
    metric = first_metric(cfg)
    if metric is not None:
        protocols = metric.get('protocols', 'standard')
        protocol = protocols if isinstance(protocols, str) else protocols[0]
        prefix = metric.get('prefix') or 'multi-label'
        print(f'mAP {metrics[f"{prefix}/mAP"]:.1f} ({protocol})')


if __name__ == '__main__':
    main()
