"""Labels of images by an exported model, with onnxruntime, numpy, OpenCV and Pillow alone.

python onnx_predict.py model.onnx photo.jpg … [--threshold 0.5]

Labels are the classes whose score reaches their own threshold, where the model has such; else 0.5.
An image that cannot be read is named, the others are predicted, and the exit status is 1.

Elsewhere it needs the file image_reader.py next to it: images are read as for the training.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')  # onnxruntime reports as soon as it is imported

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent)]  # the reader lies in one of them
from image_reader import ImageReadError, read_image  # noqa: E402


def read(path, size, resize, reduce_to=None):
    """An image as the model takes it: RGB (3, H, W), uint8; ImageReadError if there is none."""
    height, width = size
    image = read_image(path, reduce_to=reduce_to)
    if image.shape[:2] != (height, width):
        if resize != 'bilinear':
            raise ImageReadError(f'{path}: this model takes images of {width} x {height} pixels')
        image = cv2.resize(image, (width, height))
    return image[..., ::-1].transpose(2, 0, 1)


def reason_of(error):
    """An error's kind and what it says, in one line."""
    return f'{type(error).__name__}: {" ".join(str(error).split())}'


def open_model(path):
    """The session of a file of export.py, its metadata, classes and recipe; else SystemExit."""
    try:
        session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
        metadata = session.get_modelmeta().custom_metadata_map
        classes, recipe = json.loads(metadata['classes']), json.loads(metadata['preprocessing'])
    except Exception as error:  # of onnxruntime's own kinds; also for data outside of its folder
        raise SystemExit(f'error: {path} is no model of export.py ({reason_of(error)})') from error
    return session, metadata, classes, recipe


def own_thresholds(metadata, classes):
    """The threshold of each class in the model's metadata; None if there are none."""
    text = metadata.get('thresholds')
    return [json.loads(text)['thresholds'][name] for name in classes] if text else None


def score(text):
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'must be from 0 to 1, got {text}')
    return value


def main():
    parser = argparse.ArgumentParser(description='Predict labels with an ONNX model')
    parser.add_argument('model', help='.onnx file of tools/deploy/export.py')
    parser.add_argument('images', nargs='+')
    parser.add_argument('--threshold', type=score, help="lowest score of a label (the model's own)")
    args = parser.parse_args()
    sys.stdout.reconfigure(errors='backslashreplace')  # a name that the terminal cannot show
    session, metadata, classes, recipe = open_model(args.model)
    if recipe.get('resize') != 'bilinear' and recipe.get('transforms') != []:
        raise SystemExit(
            f'error: {args.model}: its images need more than one plain resize: predict with the '
            'checkpoint'
        )
    each = own_thresholds(metadata, classes)
    if args.threshold is not None or each is None:
        each = [0.5 if args.threshold is None else args.threshold] * len(classes)
    else:
        print("thresholds: each class's own in the model", file=sys.stderr)  # noqa: T201
    failed = False
    for path in args.images:
        try:
            image = read(path, recipe['size'], recipe.get('resize'), recipe.get('reduce_to'))
        except ImageReadError as error:
            print(f'error: {error}', file=sys.stderr)  # noqa: T201
            failed = True
            continue
        try:
            ((scores,),) = session.run(['scores'], {'images': image[None]})
        except Exception as error:  # of onnxruntime's own kinds
            raise SystemExit(f'error: {path}: {args.model} fails ({reason_of(error)})') from error
        if not np.isfinite(scores).all():
            raise SystemExit(f'error: {path}: scores of {args.model} are NaN or infinite')
        labels = [k for k in np.argsort(-scores, kind='stable') if scores[k] >= each[k]]
        found = ', '.join(f'{classes[k]} {scores[k]:.2f}' for k in labels)
        print(f'{path}: {found or "no label"}')  # noqa: T201
    if failed:
        sys.exit(1)


if __name__ == '__main__':
    main()
