"""Checkpoints as ``.safetensors``: tensors, and the rest of them as one text of JSON."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mlic.files import ESCAPED, check_regular, parse_json
from mlic.names import reason_of
from mlic.packages import require

SUFFIX = '.safetensors'
META = 'meta'  # the only key of the metadata: of several, safetensors changes the order


def to_safetensors(state_dict: Mapping[str, Tensor], meta: Mapping) -> bytes:
    """The content of a file that :func:`read_safetensors` reads; the same for the same values.

    Args:
        state_dict (Mapping): Tensors by name.
        meta (Mapping): Plain values; a tuple is read back as a list.

    Raises:
        ValueError: If ``meta`` holds what JSON cannot.
        MissingPackageError: Without the package safetensors.
    """
    require('safetensors', 'deploy', f'a {SUFFIX} file')
    from safetensors.torch import save

    try:
        text = json.dumps(_with_text_keys(meta), ensure_ascii=False)
    except TypeError as error:
        raise ValueError(f'a {SUFFIX} file holds plain values only: {error}') from error
    text = text.encode('utf-8', ESCAPED).decode()  # of half characters, which JSON reads back
    # clones: tensors that share their memory are refused
    return save({name: value.clone() for name, value in state_dict.items()}, {META: text})


def _with_text_keys(value: object) -> object:
    """The same; TypeError where JSON would turn a key into a text."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f'{key!r:.99} is the key of a dict, and not text')
        return {key: _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_text_keys(item) for item in value]
    return value


def read_safetensors(path: str | Path) -> dict:
    """``state_dict`` and ``meta`` of a file; nothing in it is executed.

    Of another program's file ``meta`` may be empty.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a regular file, or not such a file; one line.
        MissingPackageError: Without the package safetensors.
    """
    require('safetensors', 'deploy', f'a {SUFFIX} file')
    from safetensors import safe_open

    check_regular(path)
    try:
        with safe_open(path, 'pt') as file:
            text = (file.metadata() or {}).get(META, '{}')
            state_dict = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # of its own kinds
        reason = reason_of(error)
        raise ValueError(f'{path} is not a {SUFFIX} file that can be read ({reason})') from error
    return dict(meta=parse_json(text, f'{path}: its metadata'), state_dict=state_dict)
