"""Draw the pictures of docs/figures.md from a run of the demo, work_dirs/demo.

make demo && python tools/docs_site/draw_figures.py
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIG, RUN = 'configs/sadcl/sadcl_efficientnet-lite0_digits128.py', 'work_dirs/demo'
IMAGES, PREDICTIONS = 'docs/images', f'{RUN}/figures'
FIRST, LAST = f'{PREDICTIONS}/early.npz', f'{PREDICTIONS}/late.npz'
TOOLS = 'tools/analysis_tools'
# a picture, and what draws it (with --out)
COMMANDS = {
    'attention.jpg': f'{TOOLS}/show_attention.py {CONFIG} {RUN} --indices 0 499',
    'training.png': f'{TOOLS}/plot.py training {RUN}',
    'pr.png': f'{TOOLS}/plot.py pr {LAST} --classes zero two six eight nine',
    'compare.png': f'{TOOLS}/plot.py compare {FIRST} {LAST}',
    'cooccurrence.png': f'{TOOLS}/plot.py cooccurrence {LAST}',
    'embeddings.png': f'{TOOLS}/plot_embeddings.py {CONFIG} {RUN} --num 300',
    'prototypes.png': f'{TOOLS}/show_prototypes.py {RUN} --projected',
    'sheet.jpg': f'tools/dataset_tools/browse_dataset.py {CONFIG} --num 5 --seed 1',
}


def run(command: str, *more: str) -> None:
    """One tool of this checkout."""
    print(command)
    subprocess.run([sys.executable, *command.split(), *more], cwd=ROOT, check=True)


def photograph(page: str, picture: str) -> None:
    """The top of an HTML page, by Chromium."""
    browser = shutil.which('chromium') or shutil.which('google-chrome')
    if browser is None:
        print(f'no Chromium: {picture} stays as it was')
        return
    flags = ['--headless', '--no-sandbox', '--hide-scrollbars', '--window-size=1200,860']
    address = (ROOT / page).resolve().as_uri()
    subprocess.run([browser, *flags, f'--screenshot={ROOT / picture}', address], check=True)


def main() -> None:
    best = sorted((ROOT / RUN).glob('best_*.pth'))  # of either stage
    for checkpoint, predictions in ((best[0], FIRST), (best[-1], LAST)):
        where = ('--out', predictions, '--work-dir', PREDICTIONS)
        run(f'tools/test.py {CONFIG} {checkpoint}', *where)
    for picture, command in COMMANDS.items():
        made = f'{PREDICTIONS}/{picture}'
        run(command, '--out', made)
        shutil.copy(ROOT / made, ROOT / IMAGES / picture)
    page = f'{PREDICTIONS}/report.html'
    run(f'{TOOLS}/report.py {CONFIG} {RUN} --pred {LAST}', '--out', page)
    photograph(page, f'{IMAGES}/report.png')


if __name__ == '__main__':
    main()
