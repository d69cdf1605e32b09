"""See ``python tools/benchmark/run.py --help``."""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mlic.cli.benchmark.run import GROUPS, main
from projects.sadcl.cli.benchmark import GROUPS as SADCL

main = partial(main, groups={**SADCL, **GROUPS})

if __name__ == '__main__':
    main()
