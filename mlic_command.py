"""The command ``mlic NAME …``: finds a tool by its name and runs it.

A module of its own: listing the commands imports nothing of ``mlic``, whose import takes seconds.
"""

import ast
import atexit
import contextlib
import ctypes
import difflib
import gc
import importlib
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

GROUP = 'mlic.commands'  # of entry points: what methods add
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # mallopt's names of its options
SIGNAL_AT_PARENTS_END = 1  # prctl's PR_SET_PDEATHSIG


def find_commands() -> dict[str, str]:
    """Name and module of each command: those of the toolkit, then those of the methods."""
    folder = source_of('mlic').parent / 'cli'
    commands = {
        path.stem: f'mlic.cli.{path.stem}'
        for path in sorted(folder.glob('*.py'))
        if '\ndef main(' in path.read_text(encoding='utf-8')
    }
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        commands.setdefault(entry.name, entry.module)
    return commands


def source_of(module: str) -> Path | None:
    """A module's file, found without importing its package; None if there is none."""
    top, *rest = module.split('.')
    spec = importlib.util.find_spec(top)
    if spec and not rest:
        return Path(spec.origin)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, *rest)
        for file in (path / '__init__.py', path.with_suffix('.py')):
            if file.is_file():
                return file
    return None


def summary(module: str) -> str:
    """What a command does: the first words of its module's docstring."""
    file = source_of(module)
    text = ast.get_docstring(ast.parse(file.read_text(encoding='utf-8'))) if file else ''
    return re.split(r'[:;.](?:\s|$)', text or '', maxsplit=1)[0]


def describe(commands: dict[str, str]) -> str:
    """The help text."""
    width = max(map(len, commands))
    lines = [f'  {name:{width}}  {summary(module)}' for name, module in commands.items()]
    return '\n'.join(
        ['usage: mlic COMMAND …', '', *lines, '', 'mlic COMMAND --help says more; mlic --version']
    )


def main(argv: list[str] | None = None) -> None:
    """Run a command; its status is 0 if all was done, 1 if something was wrong, 2 for usage.

    Args:
        argv (list[str], optional): A command's name, with - or _, and its arguments. Defaults to
            None: those of the process.
    """
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ['--help']
    if name == '--version':
        source = source_of('mlic').read_text(encoding='utf-8')
        print('mlic', re.search(r"^__version__ = '(.*)'", source, re.MULTILINE)[1])
        return
    commands = find_commands()
    if name in ('-h', '--help'):
        print(describe(commands))
        return
    module = commands.get(name.replace('-', '_'))
    if module is None:
        close = difflib.get_close_matches(name.replace('-', '_'), commands, n=1)
        hint = f'did you mean {close[0]}?' if close else 'mlic alone lists them'
        print(f'mlic: no command {name!r}; {hint}', file=sys.stderr)
        sys.exit(2)
    sys.argv = [f'mlic {name}', *arguments]  # the name that help texts show
    run(module, arguments)


def run(module: str, arguments: list[str] | None = None) -> None:
    """Import a tool's module, which takes seconds, and call its ``main``.

    Args:
        module (str): Such as 'mlic.cli.train'.
        arguments (list[str], optional): Defaults to None: those of the process.
    """
    atexit.register(end_quietly)  # the first to register is the last to be called
    keep_freed_memory()
    end_with_torchrun()
    end_by_sigterm()
    check_folder()
    gc.disable()  # the collector would look through all imports, and find nothing
    try:
        with ended_at_once():
            from mlic.engine.runner.errors import one_line_errors
    except (ImportError, MemoryError) as error:
        if isinstance(error, ImportError) and 'failed to map segment' not in str(error):
            raise
        sys.exit(f'error: not enough memory to import what is needed (ulimit -v?): {error}')
    with one_line_errors():
        with ended_at_once():
            tool = importlib.import_module(module)
        gc.freeze()  # so that it does not do that later, nor at the end
        gc.enable()
        tool.main(arguments)


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """While this holds, Ctrl+C and SIGTERM end the process without more ado, as nothing is at work.

    As exceptions they may be lost in imports, where libraries try what there is.
    """

    def end(number: int, frame: object) -> None:
        if 'TORCHELASTIC_RUN_ID' not in os.environ:  # torchrun.sh says it once for all ranks
            os.write(2, b'interrupted\n')
        os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    with contextlib.suppress(ValueError):  # in a thread
        for number in handlers:
            signal.signal(number, end)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            for number, handler in handlers.items():
                signal.signal(number, handler)


def check_folder() -> None:
    """End in one line where the working directory was deleted: torch's libraries would not load."""
    try:
        os.getcwd()
    except FileNotFoundError:
        sys.exit('error: the working directory was deleted: change to another')


def keep_freed_memory() -> None:
    """Let malloc use freed memory again, up to 1 GiB, instead of giving it back at once.

    A tensor of a CPU would else be made of new pages, which the system clears one by one: up to
    two thirds of the time of a convolutional network. Where the C library is not glibc, nothing
    changes.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows has no library of no name
        return
    for option in (MMAP_THRESHOLD, TRIM_THRESHOLD):
        set_option(option, 2**30)


def end_quietly() -> None:
    """Say nothing after the exit handlers, where triton would count what :func:`run` froze.

    Since 3.9, which comes with PyTorch 2.15, its 28 lines take for leaks what nobody freed.
    """
    if 'triton._C.libtriton' in sys.modules:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def end_with_torchrun() -> None:
    """Under Linux, let this process end when torchrun, which started it, is killed.

    Nobody else would end it: torchrun cannot when it gets SIGKILL, as of a system without memory.
    """
    if sys.platform == 'linux' and 'TORCHELASTIC_RUN_ID' in os.environ:
        ctypes.CDLL(None).prctl(SIGNAL_AT_PARENTS_END, signal.SIGTERM)


def end_by_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl+C does, with a shell's status, 143.

    What it has printed is shown then, and no half-written file stays. Not under torchrun, which
    ends ranks by it: one that waits for others would not hear it.
    """
    own = os.getpid()

    def interrupt(number: int, frame: object) -> None:
        if os.getpid() != own:  # a copy of this process
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            return  # it tidies up: timeout sends it to all, and compare.py to its runs as well
        raise KeyboardInterrupt(128 + number)

    if 'TORCHELASTIC_RUN_ID' not in os.environ:
        with contextlib.suppress(ValueError):  # in a thread
            signal.signal(signal.SIGTERM, interrupt)


if __name__ == '__main__':
    main()
