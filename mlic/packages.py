"""Are the packages there that `mlic` stands on? Asked before any of them is imported."""

import gc
import importlib.util
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from unittest.mock import patch

# module: the oldest version that was run, of torch that is safe; and what brings it, ours first
STACK = {
    # its weights_only=True could be made to run code up to 2.5.1 (CVE-2025-32434)
    'torch': ('2.6', ('torch',)),
    'mmengine': ('0.9.1', ('onedl-mmengine', 'mmengine')),
    'mmcv': ('2.0.0', ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full')),
    'mmpretrain': ('1.0.2', ('onedl-mmpretrain', 'mmpretrain')),
}


class MissingPackageError(ImportError):
    """A package that is missing or too old; the message is one line with pip's command."""


def check_stack() -> None:
    """Ask for torch, and for mmengine, mmcv and mmpretrain in the onedl-* or the stock edition.

    Two editions of one module share its folder, so that the later installation has overwritten
    part of the earlier: that is a warning.

    Raises:
        MissingPackageError: If one is missing, or older than what was tried.
    """
    for module, (oldest, packages) in STACK.items():
        installed = {name: version for name in packages if (version := _version(name))}
        if not installed and not _is_importable(module):
            raise MissingPackageError(
                f'mlic needs {module}, which is not installed: pip install {packages[0]}'
            )
        for name, version in installed.items():
            if _numbers(version) < _numbers(oldest):
                raise MissingPackageError(
                    f'mlic needs {module} {oldest} or later, and {name} {version} is '
                    f"installed: pip install -U '{name}>={oldest}'"
                )
        if len(installed) > 1:
            warnings.warn(
                f'{" and ".join(installed)} are both installed and overwrite each other in '
                f'{module}/: pip uninstall -y {" ".join(installed)}, then pip install '
                f'{packages[0]}',
                stacklevel=3,
            )


@contextmanager
def no_garbage() -> Iterator[None]:
    """While this holds, Python does not look for cycles: its passes over imports find none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def only_models_that_import() -> Iterator[None]:
    """While this holds, mmpretrain is imported without its models of images and text, if need be.

    It imports them wherever transformers is installed, and with transformers 5 or later they end in
    a TypeError (mmpretrain 1.3.6). Nothing here uses them; mmpretrain says that they are missing.
    """
    version = _version('transformers')
    if version is None or _numbers(version) < _numbers('5'):
        yield
        return
    find = metadata.distribution

    def without_transformers(name: str) -> metadata.Distribution:
        if name == 'transformers':
            raise metadata.PackageNotFoundError(name)
        return find(name)

    with patch.object(metadata, 'distribution', without_transformers):
        yield


def require(package: str, extra: str, who: str) -> None:
    """Ask for a package of one of this project's extras.

    Args:
        package (str): The module that is to be imported.
        extra (str): The extra of ``pyproject.toml`` that brings it.
        who (str): What needs it, for the message.

    Raises:
        MissingPackageError: Naming the extra.
    """
    if not _is_importable(package):
        raise MissingPackageError(f"{who} needs the extra '{extra}': pip install -e '.[{extra}]'")


def _version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _is_importable(module: str) -> bool:
    """Whether there is such a module; a plain folder of that name (as W&B's runs) is none."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def _numbers(version: str) -> tuple[int, ...]:
    """The first three numbers of a version, for comparison."""
    return tuple(int(part) for part in re.findall(r'\d+', version)[:3])
