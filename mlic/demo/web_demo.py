"""A page for the browser: a photo, its labels with scores, and where the model looks for each.

A photo's scores and attention stay in the page's session, so that a slider does not run the model
again. gradio is imported only when a page is built.
"""

import html
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch

from mlic.apis.inferencer import MultiLabelInferencer, decide
from mlic.evaluation.thresholds import of_classes
from mlic.image_reader import ImageReadError
from mlic.models.attention_maps import is_attentive
from mlic.packages import MissingPackageError, require

from .photo_labels import describe_labels, draw_label, predict_photo, rank_labels

if TYPE_CHECKING:
    import gradio

MAX_LABELS = 30  # of the slider
MAX_FILE = '50mb'
KEPT = 3600  # seconds that an uploaded photo stays in gradio's folder of temporary files
SESSIONS = 100  # whose scores are kept; about 3 MB each
NO_ATTENTION = (
    'This model has no attention by label: its neck is {}, and only one like SARLNeck has it. '
    'Labels and scores are all there is to show.'
)
WIDTH = 320  # px, the least of a column: three of them side by side, or one on a phone
PICTURE = dict(interactive=False, buttons=['fullscreen'])
CSS = """
h1 { margin: 0; font-weight: 400; }
#message p { margin: 0; font-size: var(--text-lg); overflow-wrap: anywhere; }
#message [role=alert] { color: #b42318; }
.dark #message [role=alert] { color: #ff9b8f; }
#labels dl { font-family: var(--font); }
.image-container button, .image-frame { width: 100%; }
.image-frame img { width: 100%; max-height: 32rem; object-fit: contain; }
"""


def import_gradio():
    """The module ``gradio``, its reports home switched off.

    Raises:
        MissingPackageError: If it is not installed, or older than version 6.
    """
    require('gradio', 'demo', 'the web demo')
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    import gradio

    if int(gradio.__version__.split('.')[0]) < 6:
        raise MissingPackageError(
            f'the web demo needs gradio 6 or later, and {gradio.__version__} is installed: '
            "pip install -U 'gradio>=6'"
        )
    return gradio


def build_demo(
    inferencer: MultiLabelInferencer,
    thr: float | Sequence[float] | None = None,
    title: str = 'Labels of a photo',
) -> 'gradio.Blocks':
    """The page, ready for :func:`serve`.

    Args:
        inferencer (MultiLabelInferencer): A model without attention by label works, too; the page
            then says so.
        thr (float | Sequence[float]): Where the slider starts, from 0 to 1; or a threshold for
            each of C classes, which the page offers beside the slider. Defaults to None: the
            checkpoint's own thresholds, else 0.5.
        title (str): Defaults to 'Labels of a photo'.

    Raises:
        ValueError: If ``thr`` is out of range, or of another length.
        MissingPackageError: If gradio is missing, or too old.
    """
    if thr is None:
        thr = of_classes(inferencer.thresholds or 0.5, inferencer.classes)
    each = None if isinstance(thr, (int, float)) else list(thr)
    start = thr if each is None else 0.5
    if not 0 <= start <= 1:
        raise ValueError(f'thr must be from 0 to 1, got {start}')
    decide(torch.zeros(len(inferencer.classes)), thr, None)  # refuses another length
    gr = import_gradio()
    with gr.Blocks(
        title=title, analytics_enabled=False, fill_width=True, delete_cache=(KEPT, KEPT)
    ) as demo:
        gr.HTML(f'<h1>{html.escape(title)}</h1>', padding=False)
        _connect(gr, _lay_out(gr, inferencer, start, each is not None), inferencer, each)
    return demo


def _lay_out(gr, inferencer: MultiLabelInferencer, start: float, has_file: bool) -> SimpleNamespace:
    """The page's parts in three columns; ``picked`` is None of a model without attention."""
    page = SimpleNamespace(found=gr.State(), picked=None)
    with gr.Row():
        with gr.Column(min_width=WIDTH):
            page.file = gr.File(label='Drop a photo', file_types=['image'], height=140)
            page.message = gr.HTML(_message('No photo yet.'), elem_id='message', padding=False)
            page.photo = gr.Image(label='Photo', elem_id='photo', **PICTURE)
        with gr.Column(min_width=WIDTH):
            page.labels = gr.Label(label='Labels', show_heading=False, elem_id='labels')
            page.by_class = gr.Checkbox(
                has_file, label="Each label's own threshold", visible=has_file, elem_id='by-class'
            )
            page.percent = gr.Slider(
                *(0, 100, round(100 * start, 2)),
                step=1,
                label='Threshold, %',
                interactive=not has_file,
                elem_id='threshold',
            )
            most = max(2, min(len(inferencer.classes), MAX_LABELS))  # 1 to 1 is no slider
            page.number = gr.Slider(
                *(1, most, min(10, most)), step=1, label='Number of labels', elem_id='number'
            )
        with gr.Column(min_width=WIDTH):
            if is_attentive(inferencer.model):
                page.picked = gr.Dropdown(
                    [], label='Attention for', interactive=True, elem_id='picked'
                )
                page.overlay = gr.Image(
                    label='Where the model looks', elem_id='attention', **PICTURE
                )
            else:
                neck = type(getattr(inferencer.model, 'neck', None)).__name__
                gr.HTML(_message(NO_ATTENTION.format(neck)), elem_id='attention', padding=False)
    return page


def _connect(
    gr, page: SimpleNamespace, inferencer: MultiLabelInferencer, each: list | None
) -> None:
    """What happens when a photo is dropped, a control is moved, or a label is picked."""
    classes = inferencer.classes

    def show_photo(path, *choice):
        try:
            found = predict_photo(inferencer, path)
        except ImageReadError as error:
            shown = (None, None, None, {}, _message(str(error), 'alert'))
            return shown if page.picked is None else (*shown, gr.Dropdown([], value=None), None)
        shown = (None, found, found.photo, *show_labels(found, *choice))
        if page.picked is None:
            return shown
        ranked = rank_labels(found.pred_score, classes)
        best = ranked[0][1]
        return *shown, gr.Dropdown(ranked, value=best), draw_label(found, best)

    def show_labels(found, by_class, percent, number):
        if found is None:
            return {}, gr.skip()
        thr = each if by_class else (percent or 0) / 100  # a box that was emptied gives None
        scores, line = describe_labels(found.pred_score, classes, thr, int(number or 1))
        return scores, _message(line)

    def show_attention(found, label):
        return None if found is None or label is None else draw_label(found, label)

    def pick(event: gr.SelectData):
        return classes.index(event.value)

    controls = [page.by_class, page.percent, page.number]
    outputs = [page.file, page.found, page.photo, page.labels, page.message]
    if page.picked is not None:
        outputs += [page.picked, page.overlay]
        attention = (show_attention, [page.found, page.picked], page.overlay)
        page.picked.input(*attention)
        page.labels.select(pick, None, page.picked).then(*attention)
    page.file.upload(show_photo, [page.file, *controls], outputs)
    page.by_class.change(lambda on: gr.Slider(interactive=not on), page.by_class, page.percent)
    gr.on(
        [control.change for control in controls],
        show_labels,
        [page.found, *controls],
        [page.labels, page.message],
        show_progress='hidden',
        trigger_mode='always_last',
    )


def serve(demo: 'gradio.Blocks', host: str = '127.0.0.1', port: int = 7860) -> str:
    """Start to serve the page, without a password; returns at once.

    Args:
        demo (gradio.Blocks): See :func:`build_demo`.
        host (str): Address to listen on; '0.0.0.0' for all of the machine's. Defaults to
            '127.0.0.1': for this machine alone.
        port (int): Defaults to 7860.

    Returns:
        str: The page's address.

    Raises:
        OSError: If the port is taken, or the host is none of this machine's.
    """
    try:
        _, address, _ = demo.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            max_file_size=MAX_FILE,
            state_session_capacity=SESSIONS,
            css=CSS,
        )
    except OSError as error:
        raise OSError(f'cannot serve at {host}, port {port}: is it taken? Give another') from error
    return address


def _message(text: str, role: str = 'status') -> str:
    """A line of text as HTML."""
    return f'<p role="{role}">{html.escape(text)}</p>'
