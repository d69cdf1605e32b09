"""What tests of several modules need."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# what the published code was seen to compute; the small ones are part of the repository
RECORDINGS = Path(os.environ.get('MLIC_RECORDINGS', ROOT / 'tests' / 'recordings'))
