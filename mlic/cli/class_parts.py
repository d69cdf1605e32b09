"""Divide the classes of a data set into parts, one for each teacher.

    python tools/dataset_tools/class_parts.py CONFIG --parts 5 --out data/parts/coco

OUT gets a text file for each part: co-0.txt, co-1.txt, … of classes that occur together, and
dis-0.txt, dis-1.txt, … of classes that do not (CPSD's two partitions). What is printed for each are
the options with which the config trains it alone.
"""

import argparse
from pathlib import Path

import numpy as np
from mmengine.config import Config
from sklearn.cluster import SpectralClustering

from mlic.class_info import ClassInfo
from mlic.cli import arguments
from mlic.cli.run_data import build_dataset
from mlic.datasets.wrappers import classes_of
from mlic.engine.runner.errors import one_line_errors
from mlic.files import write_texts
from mlic.registries import load_config, set_scope


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Divide classes by how often they occur together')
    arguments.add_config_argument(parser, help='config whose training data are counted')
    arguments.add_number(parser, '--parts', 5, 'parts of each partition', least=2)
    arguments.add_seed(parser, 'of the clustering')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    return parser.parse_args(argv)


def similarities(together: np.ndarray) -> dict[str, np.ndarray]:
    """Of classes that occur together, 'co', and that do not, 'dis'.

    Args:
        together (np.ndarray): (C, C), images with both classes; the diagonal has those with one.

    Returns:
        dict[str, np.ndarray]: Symmetric (C, C), float64, from 0 to 1: the mean of sqrt(n_ij / n_j)
        in both directions, and of 1 - sqrt(n_ij / n_j). A class without an image is near to none
        by the first, and to all by the second.
    """
    share = np.sqrt(together / np.maximum(together.diagonal(), 1))
    return dict(co=(share + share.T) / 2, dis=1 - (share + share.T) / 2)


def divide(similarity: np.ndarray, parts: int, seed: int) -> list[list[int]]:
    """Classes of each part, by spectral clustering of a matrix (C, C); parts by first class."""
    clusters = SpectralClustering(
        parts, affinity='precomputed', n_init=20, random_state=seed
    ).fit_predict(similarity)
    found = [np.flatnonzero(clusters == part).tolist() for part in np.unique(clusters)]
    return sorted(found)


def options(cfg: Config, path: Path, number: int) -> list[str]:
    """--cfg-options of a training of a part: its data, and every ``num_classes`` of the config."""
    found = ['--cfg-options']
    for split in ('train', 'val', 'test'):
        if cfg.get(f'{split}_dataloader'):
            key = f'{split}_dataloader.dataset'
            kind = cfg[f'{split}_dataloader'].dataset.type
            found += [f'{key}.type=ClassPart', f'{key}.of={kind}', f'{key}.part={path}']

    def walk(part: dict, name: str) -> None:
        for key, value in part.items():
            if key == 'num_classes':
                found.append(f'{name}.{key}={number}')
            elif isinstance(value, dict):
                walk(value, f'{name}.{key}')

    walk(cfg.model, 'model')
    walk(cfg.get('data_preprocessor') or {}, 'data_preprocessor')
    return found


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    """Write the files, and print a line for each."""
    args = parse_args(argv)
    cfg = load_config(args.config)
    set_scope(cfg)
    dataset = build_dataset(cfg, 'train')
    names = classes_of(dataset)
    if not names or args.parts >= len(names):
        raise ValueError(
            f'--parts {args.parts}: {args.config} has {len(names or ())} classes: use fewer '
            'parts than classes'
        )
    info = ClassInfo(dataset, names)
    texts = {
        args.out / f'{kind}-{number}.txt': '\n'.join(names[label] for label in part) + '\n'
        for kind, similarity in similarities(info.counts[0]).items()
        for number, part in enumerate(divide(similarity, args.parts, args.seed))
    }
    write_texts(texts)
    for path, text in texts.items():
        print(f'{path}:', *options(cfg, path, len(text.splitlines())))
