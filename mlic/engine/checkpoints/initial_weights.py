"""Weights that a run begins with: are they on this machine, or can they be fetched?"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import urlopen

import torch
from mmengine.runner.checkpoint import (
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)

SECONDS = 20  # to wait for a server
ZOOS = {
    'torchvision://': get_torchvision_models,
    'modelzoo://': get_torchvision_models,
    'open-mmlab://': get_external_models,
    'openmmlab://': get_external_models,
    'mmcls://': get_mmcls_models,
}
INSTEAD_OF_A_DOWNLOAD = (
    'Without a network, get it elsewhere and give its path: model.backbone.init_cfg.checkpoint for '
    'a backbone (to try a run without weights: model.backbone.init_cfg=None), load_from for a model'
)


class DownloadError(OSError):
    """Weights that are not on this machine and cannot be fetched; the message is one line."""


def initial_weights(cfg: Mapping) -> list[str]:
    """The checkpoints that a run begins with: of ``init_cfg`` anywhere in the model, and its own.

    Not among them: weights that a backbone fetches itself, such as timm's.
    """
    return list(dict.fromkeys([*_in_model(cfg['model']), *filter(None, [cfg.get('load_from')])]))


def look_for_weights(name: str) -> str:
    """Where a checkpoint is, in words for people; nothing is downloaded.

    Args:
        name (str): Path or address, also one of mmengine's such as ``torchvision://resnet101``.

    Raises:
        DownloadError: If it is not on this machine and its server does not answer.
        FileNotFoundError: If it is a path without a file.
    """
    if '://' not in name:
        if not Path(name).expanduser().is_file():
            raise FileNotFoundError(f'checkpoint not found: {name} is not a file')
        return 'is there'
    address = _http_address(name)
    if address is None:
        return 'is not checked'
    # where torch.hub puts it, through which mmengine downloads
    file = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(address).path).name)
    if file.is_file():
        return f'is in {file.parent}'
    try:
        with urlopen(address, timeout=SECONDS) as answer:
            size = int(answer.headers.get('Content-Length') or 0)
    except OSError as error:
        reason = getattr(error, 'reason', None) or error
        raise DownloadError(
            f'{name} is neither in {file.parent} nor could {address} be reached: {reason}. '
            f'{INSTEAD_OF_A_DOWNLOAD}'
        ) from error
    return f'will be downloaded to {file.parent}' + f' ({size / 1e6:.0f} MB)' * (size > 0)


def _in_model(part: object) -> Iterator[str]:
    """The checkpoints that parts of a model's config name, at any depth."""
    if isinstance(part, (list, tuple)):
        for item in part:
            yield from _in_model(item)
    elif isinstance(part, Mapping):
        for key, value in part.items():
            if key == 'pretrained' and isinstance(value, str):
                yield value
            for one in value if key == 'init_cfg' and isinstance(value, list) else [value]:
                if key == 'init_cfg' and one and one.get('checkpoint'):
                    yield one['checkpoint']
                else:
                    yield from _in_model(one)


def _http_address(name: str) -> str | None:
    """What is fetched for a name; None if it does not come through HTTP."""
    prefix, _, model = name.partition('://')
    models = ZOOS.get(f'{prefix}://', dict)()
    address = models.get(model, name)
    return address if address.startswith(('http://', 'https://')) else None
