"""Everything is declared in pyproject.toml; here mlic/.mim, as in OpenMMLab's wheels, is added."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithAssets(build_py):
    """Configs, tools and model index go into the wheel, where mim and mlic.installation look."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, 'mlic', '.mim')
        shutil.rmtree(target, ignore_errors=True)  # of an earlier build
        for folder in ('configs', 'tools'):
            ignored = shutil.ignore_patterns('__pycache__', 'docs_site')
            shutil.copytree(ROOT / folder, target / folder, ignore=ignored)
        for file in ('model-index.yml', *ROOT.glob('projects/*/metafile.yml')):
            copy = target / (ROOT / file).relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, copy)


setup(cmdclass=dict(build_py=BuildWithAssets))
