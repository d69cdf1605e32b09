"""Compare an exported model with PyTorch: tools/deploy/verify.py CONFIG CHECKPOINT model.onnx

Both score the same images, of a folder (--images) or of the config's data (--split), in the size of
the exported model, as one batch after another of 1 and of 8. Classes, preprocessing and thresholds
in the file must be those of the checkpoint (--threshold FILE: as exported). The exit status is 0 if
no score differs by more than --tolerance (0.0001; 0.05 of a file of export.py --half), and 1 if one
does. Times are medians of the same run, with the same number of threads. A .pt2 file is a program,
which is opened only if the variable SADCL_TRUST_CHECKPOINTS is 1.
"""

import argparse
import copy
import json
import statistics
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mlic.apis.export import describe_input
from mlic.apis.image_inputs import input_pipeline
from mlic.apis.image_sources import collect_images
from mlic.apis.inferencer import MultiLabelInferencer
from mlic.apis.onnx_model import open_session, read_metadata
from mlic.cli import arguments
from mlic.cli.run_data import build_dataset, spread
from mlic.datasets.wrappers import change_inner, pipeline_of
from mlic.engine.checkpoints.reading import TRUST, is_trusted
from mlic.engine.runner.errors import one_line_errors
from mlic.engine.runner.tta import TTA
from mlic.evaluation.thresholds import ThresholdFile
from mlic.image_reader import ImageReadError
from mlic.names import reason_of

BATCHES = (1, 8)
REPETITIONS = 5
TOLERANCES = dict(float32=1e-4, float16=0.05)  # by what the file says of itself


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Compare an exported model with PyTorch')
    arguments.add_config_argument(parser)
    arguments.add_checkpoint_arguments(parser)
    parser.add_argument(
        'model',
        type=arguments.file_of_kind('.onnx', '.pt2'),
        help='.onnx or .pt2 file of export.py',
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--images', help='folder or pattern of images')
    source.add_argument(
        '--split', choices=['train', 'val', 'test'], default='test', help='which data (%(default)s)'
    )
    arguments.add_stored_threshold_argument(parser, 'which export.py was given')
    arguments.add_number(parser, '--num', 16, 'number of images')
    parser.add_argument(
        '--tolerance',
        type=arguments.at_least(0, float),
        help='largest difference (0.0001; of a float16 file 0.05)',
    )
    return parser.parse_args(argv)


def read_images(
    args: argparse.Namespace, inferencer: MultiLabelInferencer, size: tuple[int, int]
) -> torch.Tensor:
    """Images (N, 3, H, W), uint8, BGR, as the test pipeline makes them in this ``size``.

    Raises:
        ImageReadError: If one cannot be read.
    """
    cfg = copy.deepcopy(inferencer.config)
    pipeline = pipeline_of_size(cfg, size)

    def resized(dataset_cfg: Config) -> Config:
        return change_inner(dataset_cfg, lambda one: dict(one, pipeline=pipeline))

    cfg.test_dataloader.dataset = resized(cfg.test_dataloader.dataset)
    reader = input_pipeline(cfg, TTA())
    if args.images:
        source = collect_images([args.images]).images
    else:
        loader = cfg[f'{args.split}_dataloader']
        loader.dataset = resized(loader.dataset)
        source = build_dataset(cfg, args.split)
    items = [source[index] for index in spread(len(source), args.num)]
    images = []
    for item in items:
        item = reader.read(item, item) if args.images else item
        if isinstance(item, ImageReadError):
            raise item
        image = item['inputs']
        if image.shape[-2:] != size:  # of export.py --size, for more than one resize
            pixels = cv2.resize(image.permute(1, 2, 0).numpy(), size[::-1])
            image = torch.from_numpy(pixels).permute(2, 0, 1)
        images.append(image)
    return torch.stack(images)


def pipeline_of_size(cfg: Config, size: tuple[int, int]) -> list[dict]:
    """The test pipeline; where it is one plain resize, with that of ``export.py --size``."""
    pipeline = [dict(step) for step in pipeline_of(cfg)]
    recipe = describe_input(cfg, size)
    for step in pipeline if recipe['resize'] else ():
        if step['type'] == 'Resize':
            step['scale'] = size[::-1]
        elif step.get('reduce_to'):
            step['reduce_to'] = recipe['reduce_to']
    return pipeline


def open_model(path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], dict]:
    """A function from images (B, 3, H, W), RGB, to scores (B, C), and the model's metadata."""
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    if path.suffix == '.pt2':
        if not is_trusted():
            raise ValueError(
                f'{path} is a program, and torch runs what is in it: if it is your own export, set '
                f'{TRUST}=1 for this command'
            )
        extra = dict(classes='', preprocessing='', thresholds='')
        try:
            if not zipfile.is_zipfile(path):  # of which torch would log its traceback
                raise ValueError('only a part of a file, or another one')
            module = torch.export.load(path, extra_files=extra).module()
        except Exception as error:  # torch raises a dozen kinds for a damaged file
            raise ValueError(f'{path} cannot be opened by torch: {reason_of(error)}') from error

        def run(images: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return module(torch.from_numpy(images)).numpy()

        return run, extra
    session = open_session(path)

    def run_session(images: np.ndarray) -> np.ndarray:
        try:
            return session.run(['scores'], {'images': images})[0]
        except Exception as error:  # of onnxruntime's own kinds
            raise ValueError(f'{path} fails in onnxruntime: {reason_of(error)}') from error

    return run_session, session.get_modelmeta().custom_metadata_map


def check_metadata(
    metadata: dict, inferencer: MultiLabelInferencer, thresholds: ThresholdFile | None
) -> tuple[int, int]:
    """The size (height, width) of the file's images.

    Raises:
        ValueError: If classes, input or thresholds of the file are not those of config and
            checkpoint.
    """
    found = read_metadata(metadata)
    size = tuple(found['preprocessing']['size'])
    expected = dict(
        classes=list(inferencer.classes),
        preprocessing=describe_input(inferencer.config, size),
        thresholds=thresholds and thresholds.content(),
    )
    for key, value in expected.items():
        if found[key] != json.loads(json.dumps(value)):
            raise ValueError(f'the {key} in the file differ from those of config and checkpoint')
    return size


def batches(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The images by ``size``; the last batch may be smaller."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


def compare(args: argparse.Namespace) -> str | None:
    """Print differences and times; returns what is wrong, if scores differ by too much."""
    # on the CPU both can run
    inferencer = MultiLabelInferencer(args.checkpoint, args.config, 'cpu', args.stage)
    print(f'checkpoint: {inferencer.checkpoint}')
    exported, metadata = open_model(args.model)
    own, classes = inferencer.thresholds, inferencer.classes
    thresholds = arguments.model_thresholds(args.threshold, own, classes)
    tolerance = args.tolerance
    if tolerance is None:
        tolerance = TOLERANCES[read_metadata(metadata)['precision']]
    images = read_images(args, inferencer, check_metadata(metadata, inferencer, thresholds))

    @torch.no_grad()
    def reference(batch: np.ndarray) -> np.ndarray:
        samples = inferencer.model.test_step(dict(inputs=torch.from_numpy(batch)))
        return torch.stack([sample.pred_score for sample in samples]).numpy()

    bgr = images.numpy()
    rgb = np.ascontiguousarray(bgr[:, ::-1])
    agree = True
    name = 'onnxruntime' if args.model.suffix == '.onnx' else 'torch.export'
    for size in BATCHES:
        expected = np.concatenate([reference(batch) for batch in batches(bgr, size)])
        parts = [exported(batch) for batch in batches(rgb, size)]
        for part, batch in zip(parts, batches(rgb, size)):
            if part.shape != (len(batch), len(classes)) or part.dtype.kind != 'f':
                raise ValueError(
                    f'{args.model} gives {part.dtype} of shape {part.shape} for scores'
                )
        found = np.concatenate(parts)
        difference = float(np.abs(expected - found).max())
        agree = agree and difference <= tolerance  # False for NaN
        times = [], []
        for _ in range(REPETITIONS):
            for index, (run, data) in enumerate(((reference, bgr), (exported, rgb))):
                start = time.perf_counter()
                run(data[:size])
                times[index].append(time.perf_counter() - start)
        torch_ms, other_ms = (1000 * statistics.median(values) for values in times)
        print(
            f'batch {min(size, len(images))}: {len(images)} images, largest difference '
            f'{difference:.1e}; PyTorch {torch_ms:.1f} ms, {name} {other_ms:.1f} ms, '
            f'ratio {torch_ms / other_ms:.2f}'
        )
    return None if agree else f'scores of {args.model} differ by more than {tolerance:g}'


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    MMLogger.get_instance('verify', log_level='WARNING')
    difference = compare(args)
    if difference:
        sys.exit(difference)
    print(f'{args.model}: same scores')
