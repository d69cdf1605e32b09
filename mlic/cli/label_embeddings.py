"""What the tools for label embeddings have in common: a run that has some, and its test set."""

import argparse
from pathlib import Path

from torch.utils.data import Dataset

from mlic.apis.model_outputs import check_label_embeddings
from mlic.apis.open_run import OpenRun
from mlic.cli.run_data import build_dataset, open_checkpoint
from mlic.engine.hooks.stage_restart_hook import untrained_warnings


def open_embeddings(
    args: argparse.Namespace, config: str | Path, checkpoint: str
) -> tuple[OpenRun, Dataset]:
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
