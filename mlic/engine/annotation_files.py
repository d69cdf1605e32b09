"""Annotation files are data: whichever data set opens one, it runs no code."""

from typing import BinaryIO, TextIO

import yaml
from mmengine.fileio import PickleHandler, YamlHandler, register_handler

from mlic.names import reason_of

from .checkpoints.reading import TRUST, is_trusted
from .mmengine_internals import file_being_loaded


class UntrustedFileError(ValueError):
    """A file that is read as data and would run code; the message is one line and names it."""


class RefusingPickleHandler(PickleHandler):
    """mmengine's reader of pickles, which can run any code: only if the user trusts them."""

    def load_from_fileobj(self, file: BinaryIO, **kwargs) -> object:
        """The content of a trusted file."""
        if is_trusted():
            return super().load_from_fileobj(file, **kwargs)
        raise UntrustedFileError(
            f'{file_being_loaded()} is a pickle, and reading one can run any code: give a JSON '
            f'file, or set {TRUST}=1 if you trust it'
        )


class PlainYamlHandler(YamlHandler):
    """mmengine's reader of YAML, which can call any function; this one knows plain values only."""

    def load_from_fileobj(self, file: TextIO, **kwargs) -> object:
        """The content of a file, or whatever a trusted one makes of itself."""
        if is_trusted():
            return super().load_from_fileobj(file, **kwargs)
        try:
            return yaml.load(file, yaml.SafeLoader)
        except (yaml.YAMLError, RecursionError) as error:
            reason = reason_of(error)
            raise UntrustedFileError(
                f'{file_being_loaded()} cannot be read as YAML of plain values: {reason}. Correct '
                f'it, or set {TRUST}=1 if it is to call functions and you trust it'
            ) from error


def install_safe_handlers() -> None:
    """Let ``mmengine.load`` read with these, for data sets of any package and inside any wrapper.

    Importing ``mlic.engine`` calls this; a pickle of mmengine's own, in memory, is not a file.
    """
    register_handler(['pickle', 'pkl'])(RefusingPickleHandler)
    register_handler(['yaml', 'yml'])(PlainYamlHandler)
