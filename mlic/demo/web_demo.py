"""A page for the browser: a photo, its labels with scores, and where the model looks for each.

A photo's scores and attention stay in the page's session, so that a slider does not run the model
again. gradio is imported only when a page is built.
"""

import html
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from mlic.apis.inferencer import MultiLabelInferencer
from mlic.apis.prediction import choose_threshold
from mlic.image_reader import ImageReadError
from mlic.models.attention_maps import is_attentive
from mlic.names import counted
from mlic.packages import MissingPackageError, require

from .photo_labels import Label, count_labels, draw_label, list_labels, predict_photo

if TYPE_CHECKING:
    import gradio

TITLE = 'Labels of a photo'
MAX_FILE = '50mb'
KEPT = 3600  # seconds that an uploaded photo stays in gradio's folder of temporary files
SESSIONS = 100  # whose scores are kept; about 3 MB each
NO_ATTENTION = (
    'This model has no attention by label: its neck is {}, and only one like SARLNeck has it. '
    'The page shows labels and scores.'
)
WIDTH = 280  # px, the least of a column: three of them side by side, or one on a phone
HEIGHTS = 140, 64  # px of the place for photos, before the first and after
PICTURE = dict(interactive=False, buttons=['fullscreen'])
PICK = """element.addEventListener('click', event => {
  const row = event.target.closest('[data-label]');
  if (row) trigger('select', {index: Number(row.dataset.label)});
});"""
CSS = """
h1 { margin: 0; font-weight: 400; }
#head p { margin: 4px 0 0; font-weight: 400; overflow-wrap: anywhere; }
#message p { margin: 0; font-size: var(--text-lg); overflow-wrap: anywhere; }
#message [role=alert] { color: #b42318; }
.dark #message [role=alert] { color: #ff9b8f; }
#file.again .icon-wrap { display: none; }
#file.again .wrap { flex-direction: row; gap: 6px; min-height: 0; padding: 0; }
#labels { max-height: 32rem; overflow-y: auto; font-family: var(--font); }
#labels ol { list-style: none; margin: 0; padding: 0; }
#labels button { display: grid; grid-template-columns: 1.4em 1fr auto; width: 100%; gap: 0 4px;
  padding: 4px 8px; text-align: start; color: inherit; background: none; opacity: .72; }
#labels .found, #labels [aria-pressed=true] { opacity: 1; }
#labels button:enabled:hover { background: var(--background-fill-secondary); }
#labels [aria-pressed=true] { background: var(--background-fill-secondary);
  box-shadow: inset 3px 0 var(--color-accent); }
#labels .name { overflow-wrap: anywhere; }
#labels .bar { grid-column: 2 / 4; height: 4px; background: var(--border-color-primary); }
#labels i { display: block; height: 100%; background: var(--body-text-color); opacity: .5; }
#labels .found i { background: var(--color-accent); opacity: 1; }
#attention [data-testid=block-label] { padding-right: 36px; }  /* the button's place */
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
) -> 'gradio.Blocks':
    """The page, ready for :func:`serve`.

    Args:
        inferencer (MultiLabelInferencer): A model without attention by label works, too; the page
            then says so.
        thr (float | Sequence[float]): Where the slider starts, from 0 to 1; or a threshold for
            each of C classes, which the page offers next to the slider. Defaults to None: the
            checkpoint's own thresholds, else 0.5.

    Raises:
        ValueError: If ``thr`` is out of range, or of another length.
        MissingPackageError: If gradio is missing, or too old.
    """
    thr = choose_threshold(thr, None, inferencer.thresholds, inferencer.classes)
    each = None if isinstance(thr, float) else list(thr)
    start = thr if each is None else 0.5
    gr = import_gradio()
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(KEPT, KEPT)
    ) as demo:
        head = f'<h1>{TITLE}</h1><p>{html.escape(_describe_model(inferencer))}</p>'
        gr.HTML(head, elem_id='head', padding=False)
        _connect(gr, _lay_out(gr, inferencer, start, each is not None), inferencer, each)
    return demo


def _lay_out(gr, inferencer: MultiLabelInferencer, start: float, has_file: bool) -> SimpleNamespace:
    """The page's parts; ``overlay`` is None of a model without attention."""
    page = SimpleNamespace(found=gr.State(), picked=gr.State(), overlay=None)
    page.file = gr.File(
        label='Photo', show_label=False, file_types=['image'], height=HEIGHTS[0], elem_id='file'
    )
    page.message = gr.HTML(_message('No photo yet.'), elem_id='message', padding=False)
    with gr.Row(visible=False) as page.result:
        with gr.Column(scale=4, min_width=WIDTH):
            page.photo = gr.Image(label='Photo', elem_id='photo', **PICTURE)
            if not is_attentive(inferencer.model):
                neck = type(getattr(inferencer.model, 'neck', None)).__name__
                gr.HTML(_message(NO_ATTENTION.format(neck)), elem_id='attention', padding=False)
        if is_attentive(inferencer.model):
            with gr.Column(scale=4, min_width=WIDTH):
                page.overlay = gr.Image(elem_id='attention', **PICTURE)
        with gr.Column(scale=3, min_width=WIDTH):
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
            page.labels = gr.HTML(js_on_load=PICK, apply_default_css=False, elem_id='labels')
    return page


def _connect(
    gr, page: SimpleNamespace, inferencer: MultiLabelInferencer, each: list | None
) -> None:
    """What happens when a photo is dropped, a control is moved, or a label is picked."""
    classes = inferencer.classes
    has_attention = page.overlay is not None

    def show_photo(path, *choice):
        try:
            found = predict_photo(inferencer, path)
        except ImageReadError as error:
            again = gr.File(None), gr.Row(visible=False)
            shown = (*again, None, None, None, '', _message(str(error), 'alert'))
            return (*shown, None) if has_attention else shown
        again = gr.File(None, height=HEIGHTS[1], elem_classes='again'), gr.Row(visible=True)
        best = int(found.pred_score.argmax()) if has_attention else None
        shown = (*again, found, best, found.photo, *show_labels(found, best, *choice))
        return (*shown, show_attention(found, best)) if has_attention else shown

    def show_labels(found, picked, by_class, percent):
        if found is None:
            return '', gr.skip()
        thr = each if by_class else (percent or 0) / 100  # a box that was emptied gives None
        labels = list_labels(found.pred_score, classes, thr)
        return _list_of(labels, picked, has_attention), _message(count_labels(labels))

    def show_attention(found, label):
        name = f'{classes[label]} {found.pred_score[label]:.0%}'
        return gr.Image(draw_label(found, label), label=f'Where the model looks: {name}')

    def pick(event: gr.EventData, found, *choice):
        picked = event.index
        return picked, show_labels(found, picked, *choice)[0], show_attention(found, picked)

    controls = [page.by_class, page.percent]
    outputs = [page.file, page.result, page.found, page.picked, page.photo]
    outputs += [page.labels, page.message]
    if has_attention:
        outputs.append(page.overlay)
        page.labels.select(
            pick,
            [page.found, *controls],
            [page.picked, page.labels, page.overlay],
            show_progress='hidden',
        )
    page.file.upload(show_photo, [page.file, *controls], outputs, show_progress_on=[page.message])
    page.by_class.change(lambda on: gr.Slider(interactive=not on), page.by_class, page.percent)
    gr.on(
        [control.change for control in controls],
        show_labels,
        [page.found, page.picked, *controls],
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


def _describe_model(inferencer: MultiLabelInferencer) -> str:
    """The model's name, its parts, and what is known of its training; of its path only a name."""
    found, model = inferencer.checkpoint, inferencer.model
    path = Path(found.path)
    is_of_a_run = path.name.startswith(('best_', 'epoch_', 'iter_')) and path.parent.name
    parts = [getattr(model, part, None) for part in ('backbone', 'neck', 'head')]
    return ' · '.join(
        [
            path.parent.name if is_of_a_run else path.stem,
            *(type(part).__name__ for part in parts if part is not None),
            *found.facts(),
            f'{counted(len(inferencer.classes), "label")}',
        ]
    )


def _list_of(labels: list[Label], picked: int | None, can_pick: bool) -> str:
    """All labels with their scores as HTML, those that are found marked."""
    rows = []
    for label in labels:
        mark = '✓' if label.found else ''
        tag = f' data-label="{label.index}" aria-pressed="{str(label.index == picked).lower()}"'
        rows.append(
            f'<li><button type="button" class="{"found" if label.found else ""}"'
            f'{tag if can_pick else " disabled"}><span class="mark">{mark}</span>'
            f'<span class="name">{html.escape(label.name)}</span>'
            f'<span class="score">{label.score:.0%}</span>'
            f'<span class="bar"><i style="width: {label.score:.1%}"></i></span></button></li>'
        )
    return f'<ol>{"".join(rows)}</ol>'
