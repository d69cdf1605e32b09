"""Train a model: tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] [--amp] …"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from projects.sadcl.engine import adapt_to_device, check_data


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='logs and checkpoints go here (work_dirs/<config>)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a name, from the latest in the work directory',
    )
    parser.add_argument('--amp', action='store_true', help='train with mixed precision')
    parser.add_argument(
        '--dry-run', action='store_true', help='check config and data, and stop before training'
    )
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate in training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the batch size over auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='config entries to replace, such as optim_wrapper.optimizer.lr=1e-4',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def load_config(args: argparse.Namespace) -> Config:
    """The config file with the command line's changes."""
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.pop('save_best', None)
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
    if args.resume:
        # with nothing to resume yet, a load_from counts: jobs may always be started with --resume
        if args.resume != 'auto':
            cfg.load_from = args.resume
        elif (Path(cfg.work_dir) / 'last_checkpoint').exists():
            cfg.load_from = None
        cfg.resume = args.resume != 'auto' or cfg.load_from is None
    if args.auto_scale_lr:
        cfg.auto_scale_lr.enable = True
    return cfg


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    check_data(cfg, ('train', 'val'))
    if args.dry_run:
        return
    adapt_to_device(cfg)
    Runner.from_cfg(cfg).train()


if __name__ == '__main__':
    main()
