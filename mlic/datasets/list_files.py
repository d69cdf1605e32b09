"""Lists of images and labels as text files, read line by line."""

from pathlib import Path


def read_lines(path: str | Path) -> list[str]:
    """Lines of a text file, stripped, whatever their endings and with or without a last one."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} not found; docs/datasets.md shows where it belongs')
    lines = [line.strip() for line in path.read_text(encoding='utf-8-sig').split('\n')]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError(f'{path}: found 0 lines, expected at least 1')
    if '' in lines:
        raise ValueError(f'{path}, line {lines.index("") + 1} of {len(lines)}: is empty')
    return lines


def check_images(img_prefix: str, img_path: str, num_images: int, source: str) -> None:
    """Look for the image folder and the first image in it."""
    if not Path(img_prefix).is_dir():
        raise FileNotFoundError(f'{img_prefix} not found; docs/datasets.md shows where it belongs')
    if not Path(img_path).is_file():
        raise FileNotFoundError(
            f'{img_path} not found: is {img_prefix} the folder of the {num_images} images of '
            f'{source}? See docs/datasets.md'
        )
