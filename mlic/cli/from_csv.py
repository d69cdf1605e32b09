"""Turn tables of labels into a data set and a config.

    python tools/dataset_tools/from_csv.py labels.csv --images photos --out data/pets

Three forms are read, as text or JSON, and the tool says which it found:

- ``image,labels``: the labels in one cell, separated by ``;``, ``|``, a comma (the cell in quotes),
  blanks or line breaks, or a list as JSON and Python write it. An empty cell is an image without a
  label.
- ``image,label``: a row for each label.
- ``image,beach,boat,person``: a column for each class, of 0 and 1, True and False, or -1 and 1.
  ``?``, and a blank next to 0 or False, is unknown: nobody looked. ``--unknown`` says which values
  are, and then no other is.

The first row names the columns. The column of images is the one whose cells are files of
``--images``; a column ``split`` (train, val, test) or ``is_valid`` is used if there is one, and so
are several tables called train, valid and test, or in such folders. What can be taken in more than
one way is refused, with the command that decides. A file in COCO's form gives an image the labels
of its boxes. Written to OUT: ``train.json``, ``val.json``, ``test.json`` (of mmpretrain's
MultiLabelDataset), ``classes.txt``, and a config.
"""

import argparse
from pathlib import Path

from mlic.cli.own_data import SEPARATOR_HELP, finish, parse_options, say_command
from mlic.datasets.own_data.choices import Choices, unspell
from mlic.datasets.own_data.rows import read_images
from mlic.datasets.own_data.table import read_tables
from mlic.engine.runner.errors import one_line_errors


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description='Turn tables of labels into a data set and a config'
    )
    parser.add_argument('csv', type=Path, nargs='+', help='tables with a header, or JSON')
    parser.add_argument('--images', type=Path, required=True, help='folder of the images')
    parser.add_argument('--sep', type=unspell, help=SEPARATOR_HELP)
    parser.add_argument('--image-column', metavar='NAME', help='column of the images')
    columns = dict(nargs='+', metavar='NAME', default=())
    parser.add_argument(
        '--label-columns', **columns, help='columns of labels, or one for each label'
    )
    parser.add_argument('--ignore-columns', **columns, help='columns that are not labels')
    parser.add_argument('--split-column', metavar='NAME', help='column of train, val and test')
    parser.add_argument(
        '--group-column', metavar='NAME', help='images with the same value here share a split'
    )
    values = dict(nargs='+', metavar='VALUE', default=())
    parser.add_argument('--present', **values, help='values that mean present (1 True)')
    parser.add_argument('--absent', **values, help="values that mean absent (0 False); '' is blank")
    parser.add_argument(
        '--unknown', **values, help="values that mean unknown (? and, next to 0 or False, '')"
    )
    args = parse_options(parser, argv)
    choices = Choices(
        image=args.image_column,
        labels=args.label_columns,
        ignored=args.ignore_columns,
        split=args.split_column,
        group=args.group_column,
        present=args.present,
        absent=args.absent,
        unknown=args.unknown,
        sep=args.sep,
        unlisted=args.unlisted,
    )
    with say_command('dataset_tools/from_csv.py', argv):
        table = read_tables(args.csv)
        images, classes, lines = read_images(table, args.images, choices, args.skip_missing)
    print(*lines, sep='\n')
    finish(args, images, args.images, None if args.classes else classes)
