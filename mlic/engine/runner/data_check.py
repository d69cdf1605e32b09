"""Are the files of a data set there?"""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from mmengine.config import Config

from mlic.datasets.wrappers import inner_configs
from mlic.names import short


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Stop with one line if a data set's files are not there.

    Args:
        cfg (Config): With ``<split>_dataloader`` for each split.
        splits (tuple[str]): Of 'train', 'val' and 'test'.

    Raises:
        SystemExit: Naming the missing path and the document that says how to get it.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        if not isinstance(loader, Mapping) or not isinstance(loader.get('dataset'), Mapping):
            raise SystemExit(
                f'{split}_dataloader needs a dataset, such as dict(dataset=dict(type=...)): it is '
                f'{short(loader)}'
            )
        for path in chain(*map(_paths, inner_configs(loader.dataset))):
            if not path.exists():
                start = '' if path.is_absolute() else f' in {Path.cwd()}, where the command runs'
                raise SystemExit(
                    f'{split} data not found: {path} does not exist{start}. '
                    'docs/datasets.md says where files are expected, and where to get public ones.'
                )


def _paths(dataset: Config) -> list[Path]:
    """The files and folders that a data set's config names."""
    if '://' in (dataset.get('data_root') or ''):
        return []
    root = Path(dataset.get('data_root') or '.')
    names = [dataset.get('ann_file'), dataset.get('image_set_path')]
    prefix = dataset.get('data_prefix') or {}
    names += [prefix] if isinstance(prefix, str) else list(prefix.values())
    paths = [root] if dataset.get('data_root') else []
    return paths + [root / name for name in names if name and '://' not in name]
