"""Export a model: tools/deploy/export.py CONFIG CHECKPOINT --out model.onnx [--format torch-export]

The exported model takes RGB images (B, 3, H, W), uint8, any B, and gives scores (B, C) from 0 to
1: colour order, normalisation and sigmoid are inside. Class names, their thresholds, image size and
kind of resize are in its metadata. What only training needs is not in the file. With --half the
network is in float16, and the scores in float32.
"""

import argparse
import io
import json
import logging
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.logging import MMLogger

from mlic.apis.export import ScoreModel, describe_input, input_size
from mlic.apis.onnx_model import open_session
from mlic.apis.open_run import open_run
from mlic.cli import arguments
from mlic.engine.runner.errors import one_line_errors
from mlic.engine.shortages import say_shortage
from mlic.files import atomic_write
from mlic.models.training_parts import check_exportable
from mlic.names import counted, reason_of
from mlic.packages import require

if TYPE_CHECKING:
    import onnxscript.ir

SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2'}
LARGEST_FILE = 2_000_000_000  # bytes; above it ONNX needs a second file for the weights
LARGEST_DIFFERENCE = 0.1  # of a score, in either precision, before a file is taken for another's


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Export a model for other programs')
    arguments.add_config_argument(parser)
    arguments.add_checkpoint_arguments(parser)
    parser.add_argument(
        '--out', required=True, type=arguments.out_file(), help='file to write: .onnx or .pt2'
    )
    parser.add_argument('--format', choices=SUFFIXES, default='onnx', help='file format (onnx)')
    parser.add_argument(
        '--opset', type=arguments.at_least(1), help="ONNX operator set (torch's default)"
    )
    parser.add_argument('--half', action='store_true', help='write float16, to ONNX (float32)')
    parser.add_argument(
        '--size',
        type=arguments.at_least(1),
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help="size of the input images (what the config's test pipeline makes)",
    )
    arguments.add_stored_threshold_argument(parser)
    args = parser.parse_args(argv)
    if args.out.suffix != SUFFIXES[args.format]:
        parser.error(f'--format {args.format} writes a {SUFFIXES[args.format]} file: {args.out}')
    if args.opset and args.format != 'onnx':
        parser.error('--opset is for --format onnx')
    if args.half and args.format != 'onnx':
        parser.error('--half is for --format onnx')
    return args


def export(args: argparse.Namespace) -> str:
    """Write the file; returns a line that describes it."""
    run = open_run(args.checkpoint, args.config, stage=args.stage, device='cpu')
    print(f'checkpoint: {run.checkpoint}')
    check_exportable(run.model)
    size = tuple(args.size) if args.size else input_size(run.config)
    metadata = dict(
        classes=json.dumps(run.classes, ensure_ascii=False),
        preprocessing=json.dumps(describe_input(run.config, size)),
        precision=json.dumps('float16' if args.half else 'float32'),
    )
    thresholds = arguments.model_thresholds(args.threshold, run.thresholds, run.classes)
    if thresholds:
        print(f'thresholds: {thresholds}')
        metadata['thresholds'] = json.dumps(thresholds.content(), ensure_ascii=False)
    scores = ScoreModel(run.model).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of torch's own code
        program = program_of(scores, size)
        if args.format == 'onnx':
            write_onnx(program, metadata, args.out, args.opset, args.half)
        else:
            content = io.BytesIO()  # on a full disk, torch's own writer would abort the process
            torch.export.save(program, content, extra_files=metadata)
            with atomic_write(args.out) as file:
                file.write(content.getbuffer())
    megabytes = args.out.stat().st_size / 1e6
    return f'{size[0]} x {size[1]} px, {counted(len(run.classes), "class")}, {megabytes:.1f} MB'


def program_of(scores: ScoreModel, size: tuple[int, int]) -> torch.export.ExportedProgram:
    """The graph of a model for any number of images.

    Raises:
        ValueError: If torch cannot make one; a line with the place in the code.
    """
    example = torch.zeros(2, 3, *size, dtype=torch.uint8)  # two: one would fix the batch
    # without an end, torch 2.7 refuses models for a batch that may be 2**63 - 1
    shapes = dict(images={0: torch.export.Dim('batch', max=2**31 - 1)})
    try:
        # strict: the other mode takes len(tensor) for a constant, and the batch with it
        return torch.export.export(scores, (example,), dynamic_shapes=shapes, strict=True)
    except RuntimeError as error:  # its text has the whole graph
        reason = say_shortage(error) or str(error).partition('\n')[0][:200]
        places = re.findall(r'File "(.+?)", line (\d+)', str(error))
        place = ', {}, line {}'.format(*places[-1]) if places else ''
        raise ValueError(f'torch.export cannot follow the model: {reason}{place}') from error


def write_onnx(
    program: torch.export.ExportedProgram,
    metadata: dict,
    out: Path,
    opset: int | None,
    half: bool = False,
) -> None:
    """Translate to ONNX; one file, unless it would be too large for the format.

    Raises:
        ValueError: If torch cannot translate it, or write it in this operator set, or what it
            wrote gives other scores; nothing is written then.
    """
    logging.getLogger('onnxscript').setLevel(logging.ERROR)  # it names each folded constant
    state = program.state_dict.values()
    num_bytes = sum(value.numel() * value.element_size() for value in state)
    try:
        onnx_program = torch.onnx.export(
            program,
            dynamo=True,
            input_names=['images'],
            output_names=['scores'],
            opset_version=opset,
            verbose=False,
        )
    except RuntimeError as error:  # its text has the whole graph
        said = str(error.__cause__ or error).partition('\n')[0][:200]
        reason = say_shortage(error) or said
        raise ValueError(
            f'torch {torch.__version__} cannot translate the model to ONNX: {reason}'
        ) from error
    for node in onnx_program.model.graph.all_nodes():
        node.metadata_props.clear()  # where it stands in the Python files of this machine
    if half:
        onnx_program.model = to_half(onnx_program.model)
    onnx_program.model.metadata_props.update(metadata)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f'.{out.name}-') as folder:
        # ONNX writes by name alone, and a large model's weights to a second file
        onnx_program.save(f'{folder}/{out.name}', external_data=num_bytes > LARGEST_FILE)
        check_onnx(f'{folder}/{out.name}', onnx_program.model.opset_imports[''], opset)
        check_scores(f'{folder}/{out.name}', program)
        for path in sorted(Path(folder).iterdir(), reverse=True):  # the weights before the model
            with path.open('rb') as source, atomic_write(out.parent / path.name) as file:
                shutil.copyfileobj(source, file)


def check_onnx(path: str, written: int, asked: int | None) -> None:
    """ValueError if a file has another operator set than was asked for, or is none of its own.

    Of a set that it cannot translate to, torch writes its own, or operators that are not in it.
    """
    import onnx

    reason = f'torch gives {written}' if asked not in (None, written) else ''
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        reason = reason or reason_of(error)
    if reason:
        raise ValueError(
            f'opset {asked or written} cannot be written for this model ({reason}): give another '
            "--opset, or none for torch's default"
        )


@torch.no_grad()
def check_scores(path: str, program: torch.export.ExportedProgram) -> None:
    """ValueError if onnxruntime's scores of two images of noise are far from the program's.

    The translation may drop what it takes for nothing, such as the 1e-8 of a quotient.
    """
    noise = torch.Generator().manual_seed(0)
    (example,), _ = program.example_inputs
    images = torch.randint(0, 256, example.shape, generator=noise, dtype=torch.uint8)
    expected = program.module()(images).numpy()
    [found] = open_session(path).run(['scores'], {'images': images.numpy()})
    difference = np.abs(found - expected).max()
    if not difference <= LARGEST_DIFFERENCE:  # nan, too
        raise ValueError(
            "the translation to ONNX changes this model's scores (largest difference "
            f'{difference:.2g}): --format torch-export needs none'
        )


def to_half(model: 'onnxscript.ir.Model') -> 'onnxscript.ir.Model':
    """The same graph in float16, from the images, uint8, to the logits."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxscript import ir

    # the types of all values are in the graph; shape inference takes no more than 2 GB
    options = dict(keep_io_types=True, disable_shape_infer=True)
    proto = convert_float_to_float16(ir.to_proto(model), **options)
    # it ends in a sigmoid, in which high scores would become the same, and a cast: swap the two
    cast, sigmoid = proto.graph.node.pop(), proto.graph.node.pop()
    if [sigmoid.op_type, cast.op_type] != ['Sigmoid', 'Cast']:
        raise RuntimeError(f'the graph ends in {sigmoid.op_type} and {cast.op_type}')
    cast.input[0], cast.output[0] = sigmoid.input[0], 'logits'
    sigmoid.input[0], sigmoid.output[0] = 'logits', 'scores'
    proto.graph.node.extend([cast, sigmoid])
    return ir.from_proto(proto)


@one_line_errors()
def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    MMLogger.get_instance('export', log_level='WARNING')
    packages = ('onnx', 'onnxscript', 'onnxruntime')
    for package in packages if args.format == 'onnx' else ():
        require(package, 'deploy', 'export to ONNX')
    description = export(args)
    print(f'{args.out}: {description}')
