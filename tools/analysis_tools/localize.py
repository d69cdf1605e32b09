import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from mlic_command import run

if __name__ == '__main__':
    run('mlic.cli.localize')
