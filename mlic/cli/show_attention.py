"""Draw where a model looks: tools/analysis_tools/show_attention.py CONFIG CHECKPOINT [--out FILE]

A row per test image: the image, and a heat map of the label-wise attention for each predicted
label, then for each true label that was missed.
"""

import argparse

from mmengine.dataset import BaseDataset
from PIL.Image import Image
from torch import nn

from mlic.apis.model_outputs import predict_item
from mlic.cli import arguments
from mlic.cli.run_data import build_dataset, open_checkpoint, spread
from mlic.datasets.pictures import image_name, image_to_draw
from mlic.datasets.wrappers import transforms_of
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.thresholds import ThresholdFile, of_classes, parse_score_threshold
from mlic.files import write_picture
from mlic.models.attention_maps import check_attentive
from mlic.visualization.multi_label_visualizer import draw_sample
from mlic.visualization.page import stack_pages


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Draw the attention of predicted and of missed labels'
    )
    arguments.add_config_argument(parser)
    arguments.add_checkpoint_arguments(parser)
    arguments.add_out_argument(parser, 'predictions.png', *arguments.PHOTOS)
    arguments.add_number(parser, '--num', 6, arguments.SPREAD)
    parser.add_argument(
        '--indices',
        type=arguments.at_least(0),
        nargs='+',
        help='these test images instead, counted from 0',
    )
    arguments.add_own_threshold_argument(parser, 'lowest score of a predicted label')
    arguments.add_number(
        parser, '--max-labels', 4, 'most heat maps of predicted, and of missed labels'
    )
    arguments.add_cfg_options(parser, 'test_dataloader.dataset.split=val')
    return parser.parse_args(argv)


def choose_images(length: int, num_images: int, indices: list[int] | None) -> list[int]:
    """The given indices, or some that are spread evenly over the data set."""
    if indices is None:
        return spread(length, num_images)
    wrong = [index for index in indices if index >= length]
    if wrong:
        raise SystemExit(f'--indices {wrong[0]}: the test set has images 0 to {length - 1}')
    return indices


def draw(
    model: nn.Module,
    dataset: BaseDataset,
    indices: list[int],
    thr: float | ThresholdFile,
    max_labels: int,
) -> Image:
    """The picture of these images of a data set."""
    pages = []
    for index in indices:
        sample = predict_item(model, dataset[index])
        classes = dataset.metainfo.get('classes')
        page = draw_sample(
            image_to_draw(sample, transforms_of(dataset)),
            sample,
            classes,
            threshold=of_classes(thr, classes),
            max_maps=max_labels,
            title=image_name(sample),
        )
        pages.append(page)
    return stack_pages(pages)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    threshold = parse_score_threshold(args.threshold)
    run = open_checkpoint(args)
    threshold = arguments.given_or_own(threshold, run.thresholds)
    check_attentive(run.model)
    dataset = build_dataset(run.config, 'test')
    indices = choose_images(len(dataset), args.num, args.indices)
    picture = draw(run.model, dataset, indices, threshold, args.max_labels)
    write_picture(args.out, picture)
    print(f'picture: {args.out}')
