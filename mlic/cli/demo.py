"""A page that labels photos dropped on it: tools/demo.py work_dirs/run, then http://127.0.0.1:7860

Needs the extra 'demo': pip install -e '.[demo]'
"""

from __future__ import annotations

import argparse

from mmengine.logging import MMLogger

from mlic.apis.inferencer import MultiLabelInferencer
from mlic.cli.arguments import add_checkpoint_arguments
from mlic.demo.web_demo import build_demo, import_gradio, serve
from mlic.engine.runner.errors import one_line_errors
from mlic.evaluation.thresholds import read_thresholds


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Serve a page that labels photos')
    add_checkpoint_arguments(parser)
    parser.add_argument('--config', help='config file (the config inside the checkpoint)')
    decision = parser.add_mutually_exclusive_group()
    decision.add_argument(
        '--thr', type=float, default=0.5, help='where the threshold slider starts (%(default)s)'
    )
    decision.add_argument('--thr-file', help='thresholds of the classes, of fit_thresholds.py')
    parser.add_argument('--device', help='such as cpu or cuda:1 (the GPU if there is one)')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on (%(default)s: this machine alone); there is no password',
    )
    parser.add_argument('--port', type=int, default=7860, help='(%(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    MMLogger.get_instance('demo', log_level='WARNING')
    with one_line_errors():
        import_gradio()  # before the time that a model takes
        thresholds = read_thresholds(args.thr_file) if args.thr_file else None
        inferencer = MultiLabelInferencer(args.checkpoint, args.config, args.device, args.stage)
        print(f'checkpoint: {inferencer.checkpoint}')
        thr = thresholds.of_classes(inferencer.classes) if thresholds else args.thr
        demo = build_demo(inferencer, thr)
        print(f'page: {serve(demo, args.host, args.port)} (Ctrl+C ends it)', flush=True)
    demo.block_thread()
