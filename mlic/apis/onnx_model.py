"""An exported model in onnxruntime: B images (3, H, W) to scores of C classes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample

from mlic.evaluation.thresholds import stored_thresholds
from mlic.files import check_regular, parse_json
from mlic.names import reason_of, short
from mlic.packages import require

if TYPE_CHECKING:
    import onnxruntime

ONNX = '.onnx'
KEYS = ('classes', 'preprocessing', 'thresholds', 'precision')
ROUNDING = 1e-3  # onnxruntime's sigmoid of 17.695677 is 1.0000001; float16 rounds more


class OnnxModel:
    """A file of ``tools/deploy/export.py``, called as a model in evaluation mode is.

    Args:
        path (str | Path): The file. Nothing in it is executed but the operators of onnxruntime.

    Attributes:
        classes (list[str]): C names.
        thresholds (ThresholdFile, optional): Each class's own, checked.
        precision (str): What the network was exported in.
        config (Config): With the test pipeline that the file asks for, and nothing else.
        size (tuple[int, int]): H and W of all images.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file, or its images need more than one plain resize.
        MissingPackageError: Without onnxruntime.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = os.path.abspath(path)
        self.session = open_session(path)
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        found = read_metadata(self.metadata, path)
        self.classes = found['classes']
        if not isinstance(self.classes, list) or not all(isinstance(x, str) for x in self.classes):
            raise ValueError(f'{path}: its classes must be a list of names')
        self.thresholds = stored_thresholds(found['thresholds'], self.classes, str(path))
        self.precision = found['precision']
        recipe = found['preprocessing']
        height, width = recipe['size']
        is_resized = recipe.get('resize') == 'bilinear'
        if not is_resized and recipe.get('transforms') != []:
            raise ValueError(
                f'{path}: its images need more than one plain resize: predict with the checkpoint'
            )
        self.size = height, width
        pipeline = [
            dict(type='LoadImageStrict', reduce_to=recipe.get('reduce_to')),
            *([dict(type='Resize', scale=(width, height))] if is_resized else []),
            dict(type='PackInputs'),
        ]
        self.config = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))

    def __getstate__(self) -> dict:
        return {key: value for key, value in vars(self).items() if key != 'session'}

    def __setstate__(self, state: dict) -> None:
        """A copy opens the file again: a session cannot be copied.

        Raises:
            FileNotFoundError, ValueError: If it is not the file that it was.
        """
        vars(self).update(state, session=open_session(state['path']))
        if self.session.get_modelmeta().custom_metadata_map != self.metadata:
            raise ValueError(f'{self.path} was replaced by another model: open it again')

    def test_step(self, data: Mapping) -> list[DataSample]:
        """Images (B, 3, H, W), uint8, BGR, to B samples with ``pred_score`` (C,).

        Raises:
            ValueError: If the file's images are not resized, and these have another size.
        """
        height, width = self.size
        if data['inputs'].shape[2:] != self.size:
            raise ValueError(f'this model takes images of {width} x {height} pixels')
        images = np.ascontiguousarray(data['inputs'].numpy()[:, ::-1])
        (scores,) = self.session.run(['scores'], {'images': images})
        if scores.shape != (len(images), len(self.classes)):
            raise ValueError(f'{scores.shape} scores of {len(self.classes)} classes')
        if scores.min() < -ROUNDING or scores.max() > 1 + ROUNDING:  # NaN is said of each image
            raise ValueError(f'scores from {scores.min():g} to {scores.max():g}, not from 0 to 1')
        return [
            sample.set_pred_score(row)
            for sample, row in zip(data['data_samples'], torch.from_numpy(scores.clip(0, 1)))
        ]


def open_session(path: str | Path) -> 'onnxruntime.InferenceSession':
    """The file in onnxruntime, on the CPU, with as many threads as torch has here.

    Raises:
        FileNotFoundError, ValueError, MissingPackageError: As :class:`OnnxModel`.
    """
    require('onnxruntime', 'deploy', f'a {ONNX} file')
    import onnxruntime

    check_regular(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # threads that wait would take the cores from those that read images
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.log_severity_level = 3  # errors; of float16 it warns that constants stay unfolded
    providers = ['CPUExecutionProvider']
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # of onnxruntime's own kinds; also for data outside of its folder
        reason = reason_of(error)
        raise ValueError(f'{path} cannot be opened by onnxruntime: {reason}') from error
    names = [item.name for item in (*session.get_inputs(), *session.get_outputs())]
    if names != ['images', 'scores']:
        raise ValueError(
            f'{path}: not a file of export.py: its inputs and outputs are {names!r:.99}'
        )
    return session


def read_metadata(metadata: Mapping[str, str], where: str | Path = 'the file') -> dict:
    """``classes``, ``preprocessing`` with a ``size`` (height, width), ``thresholds`` or None.

    And ``precision``, which files of before do not have: they are in float32.

    Raises:
        ValueError: If one is not JSON, or there is no size of images; one line.
    """
    found = {key: parse_json(metadata.get(key) or 'null', f'the {key} in {where}') for key in KEYS}
    preprocessing = found['preprocessing']
    size = preprocessing.get('size') if isinstance(preprocessing, dict) else None
    if not isinstance(size, list) or [type(side) for side in size] != [int, int] or min(size) < 1:
        raise ValueError(f'the preprocessing in {where} has no size of images: {short(size)}')
    found['precision'] = found['precision'] or 'float32'
    if found['precision'] not in ('float32', 'float16'):
        raise ValueError(f'the precision in {where} is {short(found["precision"])}')
    return found
