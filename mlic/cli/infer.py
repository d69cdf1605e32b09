"""Predict the labels of images: tools/infer.py photos/ --checkpoint work_dirs/run --out result

Writes to the folder of --out:
    predictions.json    the labels of each image with their scores, and the images that failed
    scores.csv          a row per image: its labels, and the score of every class
    pictures/           each image with its labels and scores (--no-pictures: none)
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import TextIO

import mmengine
from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample
from rich.progress import track

from mlic.apis.image_sources import collect_images
from mlic.apis.inferencer import MultiLabelInferencer
from mlic.cli import arguments
from mlic.datasets.transforms.load_image import ImageReadError
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.thresholds import of_classes, parse_score_threshold

EXIT_STATUS = (
    'The exit status is 1 if any image could not be read, although the others are done: a script '
    'that continues would otherwise take a part for the whole. The images that failed are listed '
    'at the end and in predictions.json.'
)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Predict the labels of images', epilog=EXIT_STATUS)
    parser.add_argument(
        'sources',
        nargs='+',
        metavar='SRC',
        help='image file, folder (at any depth), quoted pattern such as "a/**/*.jpg", or address',
    )
    arguments.add_checkpoint_arguments(parser, '--checkpoint', required=True)
    arguments.add_stored_config_arguments(parser)
    decision = parser.add_mutually_exclusive_group()
    arguments.add_threshold_argument(decision, 'lowest score of a predicted label')
    decision.add_argument(
        '--topk', type=arguments.at_least(1), help='the best so many labels, whatever their scores'
    )
    parser.add_argument(
        '--out', required=True, help='folder of the results; those of an earlier run are replaced'
    )
    parser.add_argument('--no-pictures', action='store_true', help='write no pictures')
    parser.add_argument(
        '--attention', action='store_true', help='pictures show where the model looks, by label'
    )
    arguments.add_number(parser, '--batch-size', 32, 'images at a time')
    arguments.add_number(parser, '--workers', 2, 'processes that read images', least=0)
    arguments.add_device_argument(parser)
    args = parser.parse_args(argv)
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
    threshold = parse_score_threshold(args.threshold)
    inferencer = MultiLabelInferencer(
        args.checkpoint, args.config, args.device, args.stage, args.allow_import
    )
    print(f'checkpoint: {inferencer.checkpoint}')
    thr = of_classes(threshold, inferencer.classes)
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
        checkpoint=inferencer.checkpoint.path,
        decision=f'the best {args.topk}' if args.topk else f'score >= {args.threshold}',
        **(dict(thresholds=dict(zip(inferencer.classes, thr))) if thr is not threshold else {}),
        failed=[str(fault) for fault in faults],
        images=results.images,
        classes=inferencer.classes,
    )
    mmengine.dump(record, out / 'predictions.json', indent=1, ensure_ascii=False)
    labelled = sum(bool(entry['labels']) for entry in results.images)
    print(f'{len(results.images)} images, {labelled} of them with a label: {out}')
    return faults


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    MMLogger.get_instance('infer', log_level='WARNING')
    faults = run(args)
    if faults:
        print(f'{len(faults)} images could not be read:', file=sys.stderr)
        for fault in faults:
            print(f'  {fault}', file=sys.stderr)
        sys.exit(1)
