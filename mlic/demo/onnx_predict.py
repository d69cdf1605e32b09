"""Labels of images by an exported model, with onnxruntime, numpy and Pillow alone.

python onnx_predict.py model.onnx photo.jpg … [--threshold 0.5]
"""

import argparse
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read(path, size, resize):
    """An image as the model takes it: RGB (3, H, W), uint8."""
    height, width = size
    image = ImageOps.exif_transpose(Image.open(path)).convert('RGB')
    if image.size == (width, height):
        return np.asarray(image).transpose(2, 0, 1)
    if resize != 'bilinear':
        raise SystemExit(f'{path}: this model takes images of {width} x {height} pixels')
    # As OpenCV, with which the model was trained: Pillow's resize() would smooth what it shrinks,
    # and would round down.
    scale = (image.width / width, 0, 0, 0, image.height / height, 0)
    how = (Image.Transform.AFFINE, scale, Image.Resampling.BILINEAR)
    bands = [band.convert('F').transform((width, height), *how) for band in image.split()]
    return np.rint(np.stack(bands)).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description='Predict labels with an ONNX model')
    parser.add_argument('model', help='.onnx file of tools/deploy/export.py')
    parser.add_argument('images', nargs='+')
    parser.add_argument('--threshold', type=float, default=0.5, help='lowest score of a label')
    args = parser.parse_args()
    session = onnxruntime.InferenceSession(args.model, providers=['CPUExecutionProvider'])
    metadata = session.get_modelmeta().custom_metadata_map
    classes, recipe = json.loads(metadata['classes']), json.loads(metadata['preprocessing'])
    for path in args.images:
        image = read(path, recipe['size'], recipe['resize'])
        (scores,) = session.run(['scores'], {'images': image[None]})[0]
        labels = [k for k in np.argsort(-scores, kind='stable') if scores[k] >= args.threshold]
        found = ', '.join(f'{classes[k]} {scores[k]:.2f}' for k in labels)
        print(f'{path}: {found or "no label"}')  # noqa: T201


if __name__ == '__main__':
    main()
