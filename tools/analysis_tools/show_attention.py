"""Draw where a model looks: tools/analysis_tools/show_attention.py CONFIG CHECKPOINT [--out FILE]

A row per test image: the image with its true labels, and a heat map of the label-wise attention
for each predicted label.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmpretrain.registry import DATASETS, MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

from projects.sadcl.engine import check_data, find_checkpoint
from projects.sadcl.visualization import draw_attention

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ('.png', '.jpg', '.pdf')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw the attention of predicted labels')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', help='checkpoint file, or a work directory: its best (else latest) one'
    )
    parser.add_argument('--out', default='predictions.png', help='picture file (%(default)s)')
    parser.add_argument(
        '--num-images',
        type=int,
        default=6,
        help='so many test images, spread evenly over the test set (%(default)s)',
    )
    parser.add_argument(
        '--indices', type=int, nargs='+', help='these test images instead, counted from 0'
    )
    parser.add_argument(
        '--thr', type=float, default=0.5, help='lowest score of a predicted label (%(default)s)'
    )
    parser.add_argument(
        '--max-labels', type=int, default=4, help='most heat maps per image (%(default)s)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='config entries to replace, such as test_dataloader.dataset.split=val',
    )
    args = parser.parse_args()
    if Path(args.out).suffix not in FORMATS:
        parser.error(f'--out takes a file that ends in {", ".join(FORMATS)}: {args.out}')
    for name in ('num_images', 'max_labels'):
        if getattr(args, name) < 1:
            option = '--' + name.replace('_', '-')
            parser.error(f'{option} must be at least 1, got {getattr(args, name)}')
    return args


def build_model(cfg: Config, checkpoint: str) -> nn.Module:
    """The trained model, ready to predict, on the GPU if there is one.

    Raises:
        SystemExit: If its neck has no attention maps.
    """
    model_cfg = cfg.model.copy()
    model_cfg.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    model = MODELS.build(model_cfg)
    if not hasattr(getattr(model, 'neck', None), 'attention_maps'):
        neck = (cfg.model.get('neck') or {}).get('type', 'no neck')
        raise SystemExit(f'no attention to show: the model has {neck}, and SARLNeck is needed')
    load_checkpoint(model, checkpoint, map_location='cpu')
    return model.to('cuda' if torch.cuda.is_available() else 'cpu').eval()


def choose_images(length: int, num_images: int, indices: list[int] | None) -> list[int]:
    """The given indices, or some that are spread evenly over the data set."""
    if indices is None:
        return np.linspace(0, length - 1, min(num_images, length)).round().astype(int).tolist()
    wrong = [index for index in indices if not 0 <= index < length]
    if wrong:
        raise SystemExit(f'--indices {wrong[0]}: the test set has images 0 to {length - 1}')
    return indices


@torch.no_grad()
def predict(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Predict one image.

    Args:
        model (nn.Module): An ImageClassifier whose neck has ``attention_maps``.
        inputs (Tensor): (3, H, W), uint8, BGR: what the pipeline yields.

    Returns:
        tuple[Tensor]: Scores (C,), attention (C, h, w) and the image as the model sees it,
        with the preprocessor's padding, (3, H', W').
    """
    batch = model.data_preprocessor(dict(inputs=[inputs]), False)['inputs']  # (1, 3, H', W')
    feats = model.extract_feat(batch, stage='backbone')
    (sample,) = model.head.predict(model.neck(feats))
    height, width = batch.shape[-2:]
    padding = (0, width - inputs.shape[-1], 0, height - inputs.shape[-2])
    attention = model.neck.attention_maps(feats)[0]
    return sample.pred_score.cpu(), attention.cpu(), F.pad(inputs, padding)


def to_target(sample: DataSample, num_classes: int) -> Tensor:
    """Multi-hot truth (C,)."""
    if 'gt_score' in sample:
        return sample.gt_score
    target = torch.zeros(num_classes)
    target[sample.gt_label.long()] = 1
    return target


def draw(
    model: nn.Module, dataset: BaseDataset, indices: list[int], thr: float, max_labels: int
) -> Figure:
    """The picture of these images of a data set."""
    images, pred_scores, targets, attentions = [], [], [], []
    for index in indices:
        item = dataset[index]
        if item['inputs'].dtype != torch.uint8:
            raise SystemExit(
                f'the test pipeline must yield uint8 images, got {item["inputs"].dtype}'
            )
        pred_score, attention, seen = predict(model, item['inputs'])
        images.append(seen.flip(0).permute(1, 2, 0).expand(-1, -1, 3).numpy())  # BGR → RGB
        pred_scores.append(pred_score)
        targets.append(to_target(item['data_samples'], len(pred_score)))
        attentions.append(attention)
    class_names = dataset.metainfo.get('classes') or range(len(pred_scores[0]))
    return draw_attention(
        images,
        torch.stack(pred_scores),
        torch.stack(targets),
        attentions,
        [str(name) for name in class_names],
        [f'image {index}' for index in indices],
        thr=thr,
        max_labels=max_labels,
    )


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    checkpoint = find_checkpoint(args.checkpoint)
    check_data(cfg, ('test',))
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    indices = choose_images(len(dataset), args.num_images, args.indices)
    model = build_model(cfg, checkpoint)
    figure = draw(model, dataset, indices, args.thr, args.max_labels)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out)
    print(f'picture: {args.out}')


if __name__ == '__main__':
    main()
