"""What tools open: the checkpoint of the command line, and a split of its config."""

import argparse
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS

from mlic.apis.model_outputs import check_label_embeddings
from mlic.apis.open_run import OpenRun, open_run
from mlic.engine.config.errors import UNREGISTERED, describe_fault
from mlic.engine.hooks.stage_restart_hook import untrained_warnings
from mlic.engine.runner.data_check import check_data
from mlic.names import reason_of


def open_checkpoint(
    args: argparse.Namespace,
    config: str | Path | None = None,
    checkpoint: str | None = None,
    **options,
) -> OpenRun:
    """Open a run, as :func:`open_run` does; a line names the checkpoint.

    Args:
        args (argparse.Namespace): With ``stage`` and ``cfg_options``.
        config (str | Path, optional): Its file. Defaults to None: ``args.config``.
        checkpoint (str, optional): File or work directory. Defaults to None: ``args.checkpoint``.
        **options: Others of :func:`open_run`.
    """
    options.update(stage=args.stage, cfg_options=args.cfg_options)
    run = open_run(checkpoint or args.checkpoint, config or args.config, **options)
    print(f'checkpoint: {run.checkpoint}')
    return run


def open_embeddings(
    args: argparse.Namespace, config: str | Path, checkpoint: str
) -> tuple[OpenRun, BaseDataset]:
    """Open a run and its test set; lines name the checkpoint, and parts that are not trained yet.

    Raises:
        ValueError: If the model has no label embeddings.
    """
    run = open_checkpoint(args, config, checkpoint, training_parts=True)
    for line in untrained_warnings(run.checkpoint, run.meta, run.model.state_dict()):
        print(line)
    dataset = build_dataset(run.config, 'test')
    check_label_embeddings(run.model, dataset)
    return run, dataset


def build_dataset(cfg: Config, split: str) -> BaseDataset:
    """The data set of a split.

    Raises:
        ValueError: If it cannot be built; with one line of reason.
    """
    dataset_cfg = cfg[f'{split}_dataloader'].dataset
    try:
        check_data(cfg, (split,))
        return DATASETS.build(dataset_cfg)
    except (Exception, SystemExit) as error:  # whatever a data set of any kind finds amiss
        is_of_config = isinstance(error, TypeError) or UNREGISTERED.search(str(error))
        fault = describe_fault(error) if is_of_config else None
        kind = '' if fault or isinstance(error, SystemExit) else f'{type(error).__name__}: '
        place = dataset_cfg.get('ann_file') or dataset_cfg.type
        reason = fault or reason_of(error)
        if 'need at least one array' in reason:  # numpy, packing the list of images
            kind, reason = '', '0 images'
        raise ValueError(f'{split} ({place}) cannot be read: {kind}{reason}') from error


def spread(length: int, number: int) -> list[int]:
    """Up to ``number`` indices of ``length`` items, spread evenly from the first to the last."""
    return np.linspace(0, length - 1, min(number, length)).round().astype(int).tolist()
