"""Train a model: tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] [--amp] …"""

import argparse
import shlex
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from mlic.cli import arguments
from mlic.cli.dry_run import dry_run
from mlic.cli.resume_check import check_resume
from mlic.engine.checkpoints.initial_weights import initial_weights, look_for_weights
from mlic.engine.checkpoints.search import (
    STAGES,
    check_resumable,
    find_checkpoint,
    find_resumable,
    has_saved,
)
from mlic.engine.config.device import adapt_to_device
from mlic.engine.config.launch_checks import check_launch, scale_for_accumulation
from mlic.engine.config.values import check_values
from mlic.engine.runner.data_check import check_data
from mlic.engine.runner.epochs import set_epochs
from mlic.engine.runner.errors import one_line_errors
from mlic.engine.runner.precision import eval_precision
from mlic.engine.runner.tool_runners import TrainingRunner
from mlic.image_reader import ImageReadError
from mlic.installation import CONFIGS, command_words


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    arguments.add_config_argument(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint; without a name, from the latest in the work directory '
        'that can be read',
    )
    arguments.add_epochs_argument(parser)
    parser.add_argument('--amp', action='store_true', help='train with mixed precision')
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='check config, data, model and weights; say what would be trained',
    )
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate in training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the batch (processes x batch_size x accumulative_counts) '
        'over auto_scale_lr.base_batch_size',
    )
    arguments.add_cfg_options(parser, 'optim_wrapper.optimizer.lr=1e-4')
    arguments.add_launch_arguments(parser)
    return parser.parse_args(argv)


def config_of(args: argparse.Namespace) -> Config:
    """The config file with the command line's changes."""
    needed = 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper'
    cfg = arguments.read_run_config(args, *needed)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    check_values(cfg)
    if args.epochs:
        set_epochs(cfg, args.epochs)
    if args.no_validate:
        cfg.get('default_hooks', {}).get('checkpoint', {}).pop('save_best', None)
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
    resume = args.resume or (cfg.get('resume') and (cfg.get('load_from') or 'auto'))
    if resume:
        # with nothing to resume yet, a load_from counts: jobs may always be started with --resume
        found = find_resumable(cfg.work_dir) if resume == 'auto' else resume
        cfg.resume = found is not None
        cfg.load_from = found or cfg.get('load_from')
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise SystemExit(
                '--auto-scale-lr: the config does not say which batch its learning rate is for, '
                'such as auto_scale_lr=dict(base_batch_size=64)'
            )
        cfg.auto_scale_lr.enable = True
        scale_for_accumulation(cfg)
    eval_precision(cfg)  # a wrong one is refused now, not after an epoch
    return cfg


def print_end(args: argparse.Namespace, work_dir: str) -> None:
    """Where the result is, and what to type next."""
    if not has_saved(work_dir):  # saving may be switched off
        return
    # the copy that the Runner writes has the changes of the command line
    config = Path(work_dir, Path(args.config).name) if args.cfg_options else Path(args.config)
    name = config.stem if CONFIGS in config.parents else str(config)
    best, last = (find_checkpoint(work_dir, stage) for stage in STAGES)
    print(f'checkpoint: {best}')
    if last != best:
        print(f'of the last stage, with --stage last: {last}')
    print(f'test it: {shlex.join([*command_words("test.py"), name, work_dir])}')


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    cfg = config_of(args)
    check_data(cfg, ('train', 'val'))
    start = cfg.get('load_from') or ''
    if start and '://' not in start and not Path(start).is_file():
        raise SystemExit(f'checkpoint not found: {start} is not a file')
    if cfg.get('resume'):
        if start and '://' not in start:
            check_resumable(start)
        check_resume(cfg, args.config)
    if args.dry_run:
        dry_run(cfg)
        return
    for name in initial_weights(cfg):  # before anything is built, or one process waits for another
        look_for_weights(name)
    adapt_to_device(cfg)
    runner = TrainingRunner.from_cfg(cfg)
    check_launch(runner)
    try:
        runner.train()
    except ImageReadError as error:  # of how many?
        command = shlex.join([*command_words('dataset_tools/verify_dataset.py'), args.config])
        raise ImageReadError(
            f'{str(error).strip()}. All such images are listed by: {command}'
        ) from error
    if is_main_process():
        print_end(args, cfg.work_dir)
