"""The arguments that several tools share."""

from __future__ import annotations

import argparse

from mlic.engine.checkpoints.search import STAGES


def add_checkpoint_arguments(
    parser: argparse.ArgumentParser, name: str = 'checkpoint', **kwargs
) -> None:
    """The checkpoint, positional or the option of that name, and ``--stage``."""
    kwargs.setdefault('help', 'checkpoint file, or a work directory: its best (else latest) one')
    parser.add_argument(name, **kwargs)
    parser.add_argument(
        '--stage',
        choices=STAGES,
        default='best',
        help='of a work directory the best checkpoint of all stages, or of the last (%(default)s)',
    )
