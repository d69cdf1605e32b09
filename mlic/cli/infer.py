"""Predict the labels of images: tools/infer.py photos/ --checkpoint work_dirs/run --out result

Writes to the folder of --out:
    predictions.json    the labels of each image with their scores, and the images that failed;
                        rewritten every few seconds; "finished" says whether it is complete
    scores.csv          a row per image, at once: its labels, and the score of every class
    pictures/           each image with its labels and scores (--no-pictures: none)
"""

import argparse
import csv
import os
import re
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample
from rich.progress import track

from mlic.apis.image_inputs import picture_name
from mlic.apis.image_sources import collect_images
from mlic.apis.inferencer import MultiLabelInferencer
from mlic.cli import arguments
from mlic.datasets.own_data.known import read_known
from mlic.engine.runner.errors import one_line_errors
from mlic.engine.runner.folder_lock import lock_folder
from mlic.evaluation.thresholds import ThresholdFile, of_classes, parse_score_threshold
from mlic.files import (
    ESCAPED,
    FileWriteError,
    parse_json,
    read_text,
    write_json,
    write_picture,
)
from mlic.image_reader import ImageReadError
from mlic.models.given_labels import check_takes_given
from mlic.names import counted, reason_of

SECONDS = 10  # from one writing of predictions.json to the next, at least

EXIT_STATUS = (
    'The exit status is 1 if anything went wrong with an image, although the others are done: a '
    'script that continues would otherwise mistake a part for the whole. The images that failed '
    'are listed at the end and in predictions.json.'
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Predict the labels of images', epilog=EXIT_STATUS)
    parser.add_argument(
        'sources',
        nargs='+',
        metavar='SRC',
        help='image file, folder (at any depth), quoted pattern such as "a/**/*.jpg", or address',
    )
    what = 'checkpoint or .onnx file; or a work directory: its best (else latest) checkpoint'
    arguments.add_checkpoint_arguments(parser, '--checkpoint', required=True, help=what)
    arguments.add_stored_config_arguments(parser)
    decision = parser.add_mutually_exclusive_group()
    arguments.add_own_threshold_argument(decision, 'lowest score of a predicted label')
    decision.add_argument(
        '--topk',
        type=arguments.at_least(1),
        help='predict this many labels, the best, whatever their scores',
    )
    parser.add_argument(
        '--out', required=True, help='folder of the results; those of an earlier run are replaced'
    )
    parser.add_argument('--no-pictures', action='store_true', help='write no pictures')
    parser.add_argument(
        '--attention', action='store_true', help='pictures show where the model looks, by label'
    )
    arguments.add_number(parser, '--batch-size', 32, 'images at a time')
    arguments.add_number(parser, '--workers', 2, 'threads that read images', least=0)
    parser.add_argument(
        '--known',
        type=Path,
        metavar='FILE.csv',
        help='table of known labels: a column image and a column for each class, of 1 '
        '(present), 0 (absent) and blank; for models that can use it, such as C-Tran',
    )
    arguments.add_precision_argument(parser, 'float32')
    arguments.add_tta_argument(parser)
    arguments.add_device_argument(parser)
    args = parser.parse_args(argv)
    if args.attention and args.no_pictures:
        parser.error('--attention is drawn in the pictures, and --no-pictures writes none')
    return args


class Results:
    """Takes predictions one by one; they are on the disk before the next."""

    def __init__(
        self, out: Path, inferencer: MultiLabelInferencer, pictures: bool, about: dict
    ) -> None:
        self.out, self.inferencer, self.pictures, self.about = out, inferencer, pictures, about
        self.images: list[dict] = []
        self.failed: list[str] = []
        self.names: dict[str, int] = {}  # {name in lower case: last number}

    def __enter__(self) -> 'Results':
        self.lock = lock_folder(self.out)
        remove_pictures(self.out)
        if self.pictures:
            (self.out / 'pictures').mkdir(parents=True, exist_ok=True)
        self.write(finished=False)  # that of an earlier run says nothing any more
        # each row is written as a whole: what ends the run leaves no part of one
        self.file = open(  # noqa: SIM115
            self.out / 'scores.csv', 'w', newline='', encoding='utf-8', errors=ESCAPED, buffering=1
        )
        self.table = csv.writer(self.file)
        self._write_row(['image', 'labels', *self.inferencer.classes])
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        try:
            with suppress(OSError):  # a row that found no place; what was wrong is raised below
                self.file.close()
            self.write(finished=error is None)
        finally:
            if self.lock:
                self.lock.close()

    def write(self, finished: bool) -> None:
        """Write ``predictions.json`` as it is now."""
        started = time.monotonic()
        record = dict(
            self.about,
            finished=finished,
            failed=self.failed,
            images=self.images,
            classes=self.inferencer.classes,
        )
        write_json(self.out / 'predictions.json', record, indent=1)
        self.written = time.monotonic()
        # of a long list no more than a twentieth of the time
        self.pause = max(SECONDS, 20 * (self.written - started))

    def add(self, source: str, outcome: DataSample | ImageReadError) -> None:
        """Write one image's row and picture, or keep what went wrong."""
        if isinstance(outcome, ImageReadError):
            self.failed.append(str(outcome))
        else:
            self._add_labels(source, outcome)
        if time.monotonic() - self.written > self.pause:
            self.write(finished=False)

    def _add_labels(self, source: str, sample: DataSample) -> None:
        classes = self.inferencer.classes
        scores = [round(score, 6) for score in sample.pred_score.tolist()]
        labels = [dict(label=classes[k], score=scores[k]) for k in sample.pred_label.tolist()]
        entry = dict(image=source, labels=labels)
        if 'given_score' in sample:
            known = zip(classes, sample.given_score.tolist())
            entry['known'] = {name: bool(value) for name, value in known if value == value}
        row = [source, '; '.join(entry['label'] for entry in labels), *scores]
        self._write_row(row)
        self.images.append(entry)
        if self.pictures:
            name = f'pictures/{self._unique_name(source)}.jpg'
            try:
                if (self.out / name).is_symlink():  # to a photograph, perhaps
                    (self.out / name).unlink()
                write_picture(self.out / name, self.inferencer.draw(source, sample))
                entry['picture'] = name
            except Exception as error:
                text = reason_of(error)
                self.failed.append(f'{source}: without a picture ({type(error).__name__}: {text})')

    def _write_row(self, row: list) -> None:
        try:
            self.table.writerow(row)
        except OSError as error:
            raise FileWriteError(
                f'{self.out / "scores.csv"} is incomplete ({error.strerror}): it ends before the '
                f'row of {row[0]}'
            ) from error

    def _unique_name(self, source: str) -> str:
        """The file's name without extension; numbered where folders have the same one."""
        stem = name = picture_name(source)
        number = self.names.get(stem.lower(), 1)
        while name.lower() in self.names:  # some file systems take a.jpg and A.jpg for one
            number += 1
            name = f'{stem}_{number}'
        self.names[name.lower()] = 1
        self.names[stem.lower()] = number
        return name


def check_sources(images: Sequence[str], out: Path) -> None:
    """ValueError if one lies where the pictures are written, as those of an earlier run do."""
    place = os.path.realpath(out / 'pictures')
    for image in images if os.path.isdir(place) else ():
        if os.path.realpath(image).startswith(place + os.sep):
            raise ValueError(
                f'{image} lies in {out / "pictures"}, where pictures with labels are written, and '
                'would be labelled itself or lost: give another --out'
            )


def remove_pictures(out: Path) -> None:
    """Remove the pictures that ``predictions.json`` of an earlier run lists, and nothing else.

    What was changed after that file, is a link, or lies in a linked folder, stays.
    """
    record, names = out / 'predictions.json', []
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        written, content = record.stat().st_mtime_ns, parse_json(read_text(record), record)
        if {'finished', 'decision', 'checkpoint'} <= content.keys():
            names = [str(entry.get('picture')) for entry in content['images']]
    home = os.path.realpath(out)
    for name in names:
        file = out / name
        is_one = re.fullmatch(r'pictures/[^/\\]+\.jpg', name)
        with suppress(OSError, ValueError):  # the second of a name with a NUL
            seen = file.lstat()
            changed = max(seen.st_mtime_ns, seen.st_ctime_ns)  # a copy may keep the former
            here = os.path.realpath(file) == os.path.join(home, *name.split('/'))
            if is_one and here and stat.S_ISREG(seen.st_mode) and changed <= written:
                file.unlink()


def run(args: argparse.Namespace) -> list[str]:
    """Predict, write, and return what went wrong, a line for each."""
    images, num_others = collect_images(args.sources)
    check_sources(images, Path(args.out))
    if num_others:
        print(
            f'{counted(num_others, "file")} in the folders left out: not an image by the '
            'extension, or not a regular file'
        )
    arguments.keep_inputs([Path(args.out, 'scores.csv')], args.known, args.threshold)
    threshold = parse_score_threshold(args.threshold)
    inferencer = MultiLabelInferencer(
        args.checkpoint,
        args.config,
        args.device,
        args.stage,
        args.allow_import,
        args.precision,
        args.tta,
    )
    print(f'checkpoint: {inferencer.checkpoint}')
    if args.topk:
        about = dict(decision=f'the best {args.topk}')
        if args.topk > len(inferencer.classes):
            raise ValueError(f'--topk {args.topk}: the model has {len(inferencer.classes)} classes')
    else:
        threshold = arguments.given_or_own(threshold, inferencer.thresholds)
        thr = of_classes(threshold, inferencer.classes)
        about = dict(decision=f'score >= {args.threshold or threshold}')
        if isinstance(threshold, ThresholdFile):
            about['thresholds'] = dict(zip(inferencer.classes, thr.tolist()))
    about.update(checkpoint=inferencer.checkpoint.path, precision=inferencer.precision)
    if inferencer.tta:
        about['tta'] = str(inferencer.tta)
        print(f'test-time augmentation: {inferencer.tta}')
    known = None
    if args.known:
        check_takes_given(inferencer.model, '--known')
        known, lines = read_known(args.known, images, inferencer.classes)
        print(*lines, sep='\n')
        about['known'] = str(args.known)
    with Results(Path(args.out), inferencer, not args.no_pictures, about) as results:
        options = dict(thr=threshold, topk=args.topk, attention=args.attention, known=known)
        stream = inferencer.stream(
            images, args.batch_size, args.workers, **options, return_datasamples=True
        )
        for source, outcome in track(stream, 'images', total=len(images)):
            results.add(source, outcome)
    labelled = sum(bool(entry['labels']) for entry in results.images)
    print(f'{counted(len(results.images), "image")}, {labelled} with a label: {args.out}')
    return results.failed


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    MMLogger.get_instance('infer', log_level='WARNING')
    failed = run(args)
    if failed:
        print(f'could not be read or drawn: {len(failed)}', file=sys.stderr)
        for line in failed:
            print(f'  {line}', file=sys.stderr)
        sys.exit(1)
