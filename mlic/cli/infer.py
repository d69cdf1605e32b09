"""Predict the labels of images: tools/infer.py photos/ --checkpoint work_dirs/run --out result

Writes to the folder of --out:
    predictions.json    the labels of each image with their scores, and the images that failed
    scores.csv          a row per image: its labels, and the score of every class
    pictures/           each image with its labels and scores (--no-pictures: none)
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import TextIO

from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample
from rich.progress import track

from mlic.apis.image_sources import collect_images
from mlic.apis.inferencer import MultiLabelInferencer
from mlic.datasets.transforms.load_image import ImageReadError
from mlic.engine.checkpoints.search import find_checkpoint
from mlic.evaluation.thresholds import read_thresholds

EXIT_STATUS = (
    'The exit status is 1 if any image could not be read, although the others are done: a script '
    'that continues would otherwise take a part for the whole. The images that failed are listed '
    'at the end and in predictions.json.'
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Predict the labels of images', epilog=EXIT_STATUS)
    parser.add_argument(
        'sources',
        nargs='+',
        metavar='SRC',
        help='image file, folder (at any depth), quoted pattern such as "a/**/*.jpg", or address',
    )
    parser.add_argument(
        '--checkpoint',
        required=True,
        help='checkpoint file, or a work directory: its best (else latest) one',
    )
    parser.add_argument('--config', help='config file (the config inside the checkpoint)')
    decision = parser.add_mutually_exclusive_group()
    decision.add_argument(
        '--thr', type=float, default=0.5, help='lowest score of a predicted label (%(default)s)'
    )
    decision.add_argument('--thr-file', help='thresholds of the classes, of fit_thresholds.py')
    decision.add_argument('--topk', type=int, help='the best so many labels, whatever their scores')
    parser.add_argument(
        '--out', required=True, help='folder of the results; those of an earlier run are replaced'
    )
    parser.add_argument('--no-pictures', action='store_true', help='write no pictures')
    parser.add_argument(
        '--attention', action='store_true', help='pictures show where the model looks, by label'
    )
    parser.add_argument('--batch-size', type=int, default=32, help='images at a time (%(default)s)')
    parser.add_argument(
        '--workers', type=int, default=2, help='processes that read images (%(default)s)'
    )
    parser.add_argument('--device', help='such as cpu or cuda:1 (the GPU if there is one)')
    args = parser.parse_args()
    for name, least in (('topk', 1), ('batch_size', 1), ('workers', 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f'--{name.replace("_", "-")} must be at least {least}, got {value}')
    if args.attention and args.no_pictures:
        parser.error('--attention is drawn in the pictures, and --no-pictures writes none')
    return args


class Results:
    """Takes predictions one by one; scores and pictures are on the disk at once."""

    def __init__(self, out: Path, inferencer: MultiLabelInferencer, pictures: bool, file: TextIO):
        self.out, self.inferencer, self.pictures = out, inferencer, pictures
        self.table = csv.writer(file)
        self.table.writerow(['image', 'labels', *inferencer.classes])
        self.images: list[dict] = []
        self.names: set[str] = set()

    def add(self, source: str, sample: DataSample) -> None:
        """Write one image's row and picture."""
        classes = self.inferencer.classes
        scores = [round(score, 6) for score in sample.pred_score.tolist()]
        labels = [dict(label=classes[k], score=scores[k]) for k in sample.pred_label.tolist()]
        entry = dict(image=source, labels=labels)
        if self.pictures:
            entry['picture'] = f'pictures/{self._unique_name(source)}.jpg'
            self.inferencer.draw(source, sample).save(self.out / entry['picture'], quality=90)
        self.table.writerow([source, '; '.join(entry['label'] for entry in labels), *scores])
        self.images.append(entry)

    def _unique_name(self, source: str) -> str:
        """The file's name without extension; numbered where folders have the same one."""
        stem = name = Path(source).stem
        number = 1
        while name.lower() in self.names:  # some file systems take a.jpg and A.jpg for one
            number += 1
            name = f'{stem}_{number}'
        self.names.add(name.lower())
        return name


def run(args: argparse.Namespace) -> list[ImageReadError]:
    """Predict, write, and return what could not be read."""
    images, num_others = collect_images(args.sources)
    if num_others:
        print(f'{num_others} files in the folders are no images by their extension: left out')
    if not 0 <= args.thr <= 1:
        raise ValueError(f'--thr is a score, between 0 and 1, got {args.thr:g}')
    if args.thr_file and not Path(args.thr_file).is_file():
        raise ValueError(f'--thr-file {args.thr_file} does not exist')
    thresholds = read_thresholds(args.thr_file) if args.thr_file else None
    checkpoint = find_checkpoint(args.checkpoint)
    print(f'checkpoint: {checkpoint}')
    inferencer = MultiLabelInferencer(checkpoint, args.config, args.device)
    thr = thresholds.of_classes(inferencer.classes) if thresholds else args.thr
    if args.topk and args.topk > len(inferencer.classes):
        raise ValueError(f'--topk {args.topk}: the model has {len(inferencer.classes)} classes')
    out = Path(args.out)
    (out / ('' if args.no_pictures else 'pictures')).mkdir(parents=True, exist_ok=True)
    faults: list[ImageReadError] = []
    with open(out / 'scores.csv', 'w', newline='', encoding='utf-8') as file:
        results = Results(out, inferencer, not args.no_pictures, file)
        stream = inferencer.stream(
            images, args.batch_size, args.workers, thr, args.topk, args.attention
        )
        for source, outcome in track(stream, 'images', total=len(images)):
            if isinstance(outcome, ImageReadError):
                faults.append(outcome)
            else:
                results.add(source, outcome)
    record = dict(
        checkpoint=checkpoint,
        decision=describe_decision(args),
        **(dict(thresholds=dict(zip(inferencer.classes, thr))) if thresholds else {}),
        failed=[str(fault) for fault in faults],
        images=results.images,
        classes=inferencer.classes,
    )
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (out / 'predictions.json').write_text(text + '\n', encoding='utf-8')
    labelled = sum(bool(entry['labels']) for entry in results.images)
    print(f'{len(results.images)} images, {labelled} of them with a label: {out}')
    return faults


def describe_decision(args: argparse.Namespace) -> str:
    """Which labels count as predicted."""
    if args.topk:
        return f'the best {args.topk}'
    return f'score >= {args.thr_file or format(args.thr, "g")}'


def main() -> None:
    args = parse_args()
    MMLogger.get_instance('infer', log_level='WARNING')
    try:
        faults = run(args)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    if faults:
        print(f'{len(faults)} images could not be read:', file=sys.stderr)
        for fault in faults:
            print(f'  {fault}', file=sys.stderr)
        sys.exit(1)
