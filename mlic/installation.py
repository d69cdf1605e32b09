"""What lies next to the code, in a checkout or in the wheel: configs, tools, model index."""

import difflib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# the wheel carries them in mlic/.mim, as OpenMMLab's packages do
ASSETS = PACKAGE / '.mim' if (PACKAGE / '.mim').is_dir() else PACKAGE.parent
CONFIGS = ASSETS / 'configs'


def find_config(name: str, folder: str = '*') -> str:
    """A config's path, of a path or of a name such as ``sadcl_efficientnet-lite0_digits128``.

    A file of that path comes first; ``.py`` may be left out of a name. ``folder`` is where names
    are looked up, in ``configs``.

    Raises:
        FileNotFoundError: One line, with similar names.
    """
    if Path(name).is_file():
        return name
    ours = {path.stem: path for path in CONFIGS.glob(f'{folder}/*.py')}
    stem = name.removesuffix('.py')
    if stem in ours:
        return str(ours[stem])
    close = difflib.get_close_matches(Path(stem).name, ours, cutoff=0.75)
    similar = f'; similar names: {", ".join(close)}' if close else ''
    raise FileNotFoundError(f'{name}: config not found (in {Path.cwd()}){similar}')


def command_words(tool: str) -> list[str]:
    """How to type another tool, in the way that this one was started.

    Args:
        tool (str): Below ``tools``, such as 'dataset_tools/from_csv.py'.

    Returns:
        list[str]: ``mlic from_csv``, or ``python tools/dataset_tools/from_csv.py``.
    """
    if ASSETS.name == '.mim' or Path(sys.argv[0]).suffix != '.py':
        return ['mlic', Path(tool).stem]
    inside = Path.cwd() == ASSETS or ASSETS in Path.cwd().parents

    def typed(path: Path) -> str:
        return os.path.relpath(path) if inside and ASSETS in path.parents else str(path)

    found = shutil.which('python')
    same = found and os.path.realpath(found) == os.path.realpath(sys.executable)
    return ['python' if same else typed(Path(sys.executable)), typed(ASSETS / 'tools' / tool)]


def methods_hidden_by() -> str | None:
    """The ``projects/__init__.py`` of another repository that hides the methods, or None.

    ``projects`` is a namespace package, and a regular one anywhere on the path comes first.
    """
    spec = importlib.util.find_spec('projects')
    return spec.origin if spec else None


def is_method_here(name: str) -> bool:
    """Whether ``projects.METHOD`` (or a module in it) is of this installation.

    Not of another ``projects`` folder on the path, such as one in the working directory. Nothing
    of a folder that is not ours is imported to find out.
    """
    package, *parts = name.split('.')
    if package != 'projects' or not parts or methods_hidden_by():
        return False
    spec = importlib.util.find_spec(f'projects.{parts[0]}')
    ours = PACKAGE.parent / 'projects' / parts[0]
    return bool(spec and spec.origin) and Path(spec.origin).resolve().parent == ours.resolve()


def is_ours(module: str) -> bool:
    """Whether a module is of this package, or of a method that comes with it.

    A user's own methods are in ``projects``, too; only those that come with it have a metafile.
    """
    package, method, *_ = f'{module}..'.split('.')
    of_method = ASSETS / 'projects' / method / 'metafile.yml'
    return package == 'mlic' or (package == 'projects' and of_method.is_file())


def method_modules(name: str) -> list[str]:
    """The modules ``projects.METHOD.NAME`` of this installation, of the methods that have one."""
    if methods_hidden_by():
        return []
    files = sorted((PACKAGE.parent / 'projects').glob(f'*/{name}.py'))
    return [f'projects.{file.parent.name}.{name}' for file in files]


def register_models(method: str) -> None:
    """Tell mmpretrain's ``get_model`` and ``list_models`` the models of a method's metafile."""
    from mmpretrain.apis.model import ModelHub

    ModelHub.register_model_index(
        ASSETS / 'projects' / method / 'metafile.yml', config_prefix=ASSETS
    )
