"""What the tools for label embeddings have in common: a run that has some, and its test set."""

import argparse
from pathlib import Path

from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

from mlic.apis.model_outputs import check_label_embeddings
from mlic.apis.open_run import OpenRun, open_run
from mlic.engine.hooks.stage_restart_hook import untrained_warnings
from mlic.engine.runner.data_check import check_data


def open_embeddings(
    args: argparse.Namespace, config: str | Path, checkpoint: str
) -> tuple[OpenRun, Dataset]:
    """Open a run and its test set; lines name the checkpoint, and parts that are not trained yet.

    Args:
        args (argparse.Namespace): With ``stage`` and ``cfg_options``.
        config (str | Path): Its file.
        checkpoint (str): File or work directory.

    Raises:
        ValueError: If the model has no label embeddings.
    """
    options = dict(stage=args.stage, cfg_options=args.cfg_options, training_parts=True)
    run = open_run(checkpoint, config, **options)
    print(f'checkpoint: {run.checkpoint}')
    for line in untrained_warnings(run.checkpoint, run.meta, run.model.state_dict()):
        print(line)
    check_data(run.config, ('test',))
    dataset = DATASETS.build(run.config.test_dataloader.dataset)
    check_label_embeddings(run.model, dataset)
    return run, dataset
