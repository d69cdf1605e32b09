"""Serve a page that labels photos: tools/demo.py work_dirs/run, then http://127.0.0.1:7860

Needs the extra 'demo': pip install -e '.[demo]'
"""

import argparse

from mmengine.logging import MMLogger

from mlic.apis.inferencer import MultiLabelInferencer
from mlic.cli import arguments
from mlic.demo.web_demo import build_demo, import_gradio, serve
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.thresholds import of_classes, parse_score_threshold


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Serve a page that labels photos')
    arguments.add_checkpoint_arguments(parser)
    arguments.add_stored_config_arguments(parser)
    arguments.add_own_threshold_argument(parser, 'where the slider starts')
    arguments.add_device_argument(parser)
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on (%(default)s: this machine alone); there is no password',
    )
    arguments.add_number(parser, '--port', 7860, 'port of the page', below=2**16)
    return parser.parse_args(argv)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    MMLogger.get_instance('demo', log_level='WARNING')
    import_gradio()  # before the time that a model takes
    threshold = parse_score_threshold(args.threshold)
    inferencer = MultiLabelInferencer(
        args.checkpoint, args.config, args.device, args.stage, args.allow_import
    )
    print(f'checkpoint: {inferencer.checkpoint}')
    threshold = arguments.given_or_own(threshold, inferencer.thresholds)
    demo = build_demo(inferencer, of_classes(threshold, inferencer.classes))
    print(f'page: {serve(demo, args.host, args.port)} (Ctrl+C ends it)', flush=True)
    demo.block_thread()
