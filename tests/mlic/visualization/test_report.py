"""The report page: its counts against the metric, its safety, and its working in a browser."""

import datetime
import json
import re
from urllib.parse import unquote

import numpy as np
import pytest
from mmpretrain.registry import DATASETS
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import average_precision_score

from mlic.cli.report import describe_split
from mlic.datasets.digit_scenes import DigitScenes
from mlic.evaluation.mlic_metric import MLICMetric
from mlic.evaluation.predictions import file_digest
from mlic.evaluation.thresholds import read_thresholds
from mlic.visualization.report import (
    picture_uri,
    prediction_data,
    render_page,
    select_mistakes,
    threshold_counts,
)
from tests.helpers import ROOT, memory_below, run_tool
from tests.tiny_runs import plain_model, sarl_model, write_run

TOOL = ROOT / 'tools/analysis_tools/report.py'
EVIL = '</script><img src=x onerror="document.title=1">{{data}}&\u2028'


def random_predictions(num_images=60, num_classes=5, seed=0):
    """Scores with ties on the thresholds, labels, ignored entries; the last class has no label."""
    rng = np.random.default_rng(seed)
    target = rng.random((num_images, num_classes)) < 0.3
    target[:, -1] = False
    ignore = (rng.random(target.shape) < 0.05) & ~target
    pred = (0.3 * target + 0.7 * rng.random(target.shape)).round(2).astype(np.float32)
    return pred, target, ignore


def page_data(names=None, seed=0, **changes):
    """All that a page needs, of random predictions; (data, pred, target, ignore)."""
    pred, target, ignore = random_predictions(seed=seed)
    names = names or [f'class {c}' for c in range(pred.shape[1])]
    data = prediction_data(pred, target, ignore, names)
    protocols = [dict(name='standard', rule='≥ 0.5', classes=4, metrics=dict(mAP=50.0, CP=40.0))]
    picture = picture_uri(np.zeros((8, 8, 3), np.uint8))
    entry = dict(label=names[0], score=0.9, image=names[-1], true=[names[1]], picture=picture)
    data.update(
        facts='a split',
        notes=['a note'],
        protocols=protocols,
        mistakes=[entry],
        missed=[],
        **changes,
    )
    return data, pred, target, ignore


# ---------------------------------------------------------------- the data


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('seed', range(3))
def test_counts_equal_the_metric_at_every_threshold(dtype, seed):
    pred, target, ignore = random_predictions(seed=seed)
    decisions, hits = threshold_counts(pred.astype(dtype), target, ignore)
    for k in range(101):
        expected = MLICMetric.calculate_per_class(
            pred.astype(dtype), target, threshold=k / 100, ignore=ignore
        )
        assert_array_equal(decisions[:, k], expected['predicted'])
        assert_array_equal(hits[:, k], expected['true_positives'])


def test_average_precision_and_support_are_those_of_the_counted_entries():
    data, pred, target, ignore = page_data()
    for c in range(4):
        keep = ~ignore[:, c]
        expected = 100 * average_precision_score(target[keep, c], pred[keep, c])
        assert data['ap'][c] == pytest.approx(expected, abs=5e-4)  # three decimals are kept
    assert data['ap'][4] is None and data['curves'][4] is None
    assert data['support'] == target.sum(axis=0).tolist()
    keep = ~ignore
    expected = 100 * average_precision_score(target[keep], pred[keep])
    assert data['micro_ap'] == pytest.approx(expected, abs=5e-4)


def test_selected_mistakes_are_the_extremes():
    pred, target, ignore = random_predictions()
    mistakes, missed = select_mistakes(pred, target, ignore, 6)
    for entries, possible, sign in ((mistakes, ~target & ~ignore, 1), (missed, target, -1)):
        assert len(entries) == 6 == len({image for image, _ in entries})
        assert all(possible[entry] for entry in entries)
        scores = [sign * float(pred[entry]) for entry in entries]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == (sign * pred[possible]).max()
        assert max(np.bincount([label for _, label in entries])) <= 2


@pytest.mark.parametrize('shape', [(60, 5), (9, 2), (30, 1), (4, 12)])
@pytest.mark.parametrize('num', [0, 1, 6, 40])
def test_selected_mistakes_are_those_of_a_walk_down_all_entries(shape, num):
    pred, target, ignore = random_predictions(*shape)
    found = select_mistakes(pred.round(1), target, ignore, num)
    for entries, allowed, sign in zip(found, (~target & ~ignore, target), (-1, 1)):
        images, used, expected = set(), np.zeros(shape[1]), []
        # of equal scores the first image's first class
        places = np.argsort(sign * pred.round(1).ravel(), kind='stable').tolist()
        for entry in (divmod(place, shape[1]) for place in places):
            is_free = entry[0] not in images and used[entry[1]] < max(2, -(-num // shape[1]))
            if allowed[entry] and is_free and len(expected) < num:
                expected.append(entry)
                images.add(entry[0])
                used[entry[1]] += 1
        assert entries == expected


def test_page_and_mistakes_take_little_memory_for_an_entry():
    rng = np.random.default_rng(0)
    pred, target = rng.random((2000, 200), dtype=np.float32), rng.random((2000, 200)) < 0.01
    names = [f'class {c}' for c in range(200)]
    for use in (
        lambda: prediction_data(pred, target, None, names),
        lambda: select_mistakes(pred, target, None, 12),
    ):
        with memory_below(3.5 * pred.nbytes):
            use()


def test_no_mistakes_where_everything_is_right():
    target = np.ones((3, 2), dtype=bool)
    mistakes, missed = select_mistakes(np.full((3, 2), 0.9), target, None, 4)
    assert mistakes == [] and len(missed) == 3


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_thresholds_between_the_steps_have_their_own_counts(dtype):
    pred, target, ignore = random_predictions()
    pred = (pred / 100).astype(dtype)
    start = np.array([0.0011, 0.5, float(pred[3, 2]), 0.29, 0.004])  # the third is a score
    data = prediction_data(pred, target, ignore, list('abcde'), start)
    assert data['start'] == start.tolist()
    expected = MLICMetric.calculate_per_class(pred, target, threshold=start, ignore=ignore)
    for key, name in (('predicted', 'predicted'), ('hits', 'true_positives')):
        assert [len(counts) for counts in data[key]] == [102, 101, 102, 101, 102]
        at_start = [data[key][c][k] for c, k in enumerate((-1, 50, -1, 29, -1))]
        assert_array_equal(at_start, expected[name])
    assert sum(data['hits'][0][1:101]) == 0 < data['hits'][0][101]


def test_the_page_starts_at_thresholds_within_0_and_1():
    pred, target, ignore = random_predictions()
    names = list('abcde')
    assert prediction_data(pred, target, ignore, names)['start'] == [0.5] * 5
    given = np.array([0, 0.126, 0.29, 0.574, 1])
    assert prediction_data(pred, target, ignore, names, given)['start'] == given.tolist()
    for wrong in (1.2, -0.1, np.nan):
        given[3] = wrong
        with pytest.raises(ValueError, match=f"from 0 to 1, .* got {wrong:g} for 'd'"):
            prediction_data(pred, target, ignore, names, given)


# ---------------------------------------------------------------- the page


def embedded(page):
    """The JSON object of a page."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def test_page_holds_the_data_as_it_is_and_names_cannot_become_markup():
    data = page_data([EVIL, 'b', 'c', 'd', EVIL + 'e'])[0]
    page = render_page(EVIL, data)
    assert '<img' not in page and page.count('</script>') == 2
    assert embedded(page) == data


def test_page_loads_nothing():
    page = render_page('a title', page_data()[0])
    assert "default-src 'none'" in page
    assert not re.findall(r'https?://|@import|<link|url\(', page)


def test_number_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match='JSON'):
        render_page('a title', dict(notes=[float('nan')]))


# ---------------------------------------------------------------- in a browser


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens a page at a width, and demands that it neither complains nor asks for anything."""
    messages = []
    contexts = []

    def opened(data, width=1200, scheme='light', title='a title'):
        (tmp_path / 'page.html').write_text(render_page(title, data), encoding='utf-8')
        size = dict(width=width, height=800)
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on('console', lambda message: messages.append(message.text))
        page.on('pageerror', lambda error: messages.append(str(error)))
        page.on('request', lambda request: messages.extend(outside(request.url)))
        page.goto((tmp_path / 'page.html').as_uri())
        return page

    def outside(url):
        return [] if url.startswith(('file:', 'data:')) else [url]

    yield opened
    for context in contexts:
        context.close()
    assert messages == []


def column(page, number):
    return page.locator(f'#classes tbody td:nth-child({number})').all_inner_texts()


def by_class(page, number):
    """The cells of a column by the names of their classes."""
    return dict(zip(column(page, 1), column(page, number)))


def shown_metrics(page, panel):
    return {
        cell.get_attribute('data-metric'): float(cell.inner_text())
        for cell in page.locator(f'#{panel} b').all()
    }


def slide(page, slider, value):
    page.locator(f'#{slider}').fill(str(value))


def save(page, path):
    path.write_text(unquote(page.locator('#save').get_attribute('href').partition(',')[2]))
    return read_thresholds(path)


def test_browser_sorts_and_filters_the_classes(open_page):
    data = page_data(['bus', 'cat', 'dog', 'cart', 'empty'])[0]
    page = open_page(data)
    assert column(page, 6) == [str(s) for s in sorted(data['support'], reverse=True)]
    ap = page.get_by_role('button', name='AP', exact=True)
    ap.click()
    shown = [float(text) for text in column(page, 2)[:-1]]
    assert shown == sorted(shown, reverse=True)
    assert column(page, 2)[-1] == '–'  # without positives: last, in both directions
    page.locator('#classes th button').nth(1).click()
    assert [float(text) for text in column(page, 2)[:-1]] == sorted(shown)
    assert column(page, 2)[-1] == '–'
    page.get_by_role('button', name='class', exact=True).click()
    assert column(page, 1) == sorted(data['classes'])
    page.locator('#filter').fill('CA')
    assert column(page, 1) == ['cart', 'cat']


def test_a_class_is_chosen_by_keyboard_and_the_focus_stays(open_page):
    page = open_page(page_data(['bus', 'cat', 'dog', 'cart', 'empty'])[0])
    page.get_by_role('button', name='cat', exact=True).focus()
    chosen = []
    for key in ('Enter', 'Tab', 'Space'):
        page.keyboard.press(key)
        chosen.append(page.locator('#one-name').inner_text())
    focused = page.evaluate('document.activeElement.textContent')
    assert chosen == ['cat', 'cat', focused] and focused != 'cat'
    assert page.locator('[aria-current] td').first.inner_text() == focused


def test_of_many_classes_the_rows_in_sight_are_drawn_and_all_in_print(open_page):
    data = page_data()[0]
    for key in ('classes', 'support', 'start', 'predicted', 'hits', 'ap', 'curves'):
        data[key] = data[key][:1] * 900
    data['classes'] = [f'class {c:03}' for c in range(900)]
    page = open_page(data)
    names = page.locator('#classes tbody td:first-child')
    assert names.all_inner_texts() == data['classes'][:200]
    slide(page, 'all', 100)
    assert names.count() == 200 and column(page, 8) == ['1.00'] * 200
    names.last.scroll_into_view_if_needed()
    names.nth(399).wait_for()
    assert names.count() == 400
    page.locator('#filter').fill('class 8')
    assert names.all_inner_texts() == data['classes'][800:]
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.locator('#filter').fill('')
    assert names.count() == 200
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert names.all_inner_texts() == data['classes']


def test_browser_recomputes_what_the_metric_says(open_page):
    data, pred, target, ignore = page_data()
    page = open_page(data)
    for threshold in (0, 0.37, 0.5, 1):
        options = dict(threshold=threshold, ignore=ignore)
        slide(page, 'all', round(100 * threshold))
        expected = MLICMetric.calculate(pred, target, topk=None, **options)
        shown = shown_metrics(page, 'means')
        for key in ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1'):
            assert shown[key] == pytest.approx(expected[key], abs=0.0051)  # two decimals are shown
        per_class = MLICMetric.calculate_per_class(pred, target, **options)
        assert shown['mean F1'] == pytest.approx(np.nanmean(per_class['f1']), abs=0.0051)
        called = by_class(page, 7)
        assert [int(called[name]) for name in data['classes']] == per_class['predicted'].tolist()


def test_the_page_says_where_no_score_reaches_a_threshold(open_page):
    data, *_ = page_data()
    page = open_page(data)
    assert page.locator('#found').inner_text().startswith('Of the labels found, ')
    slide(page, 'all', 100)
    assert page.locator('#found').inner_text().startswith('No score reaches its threshold')


def test_the_page_opens_with_its_main_numbers_at_the_chosen_thresholds(open_page):
    data, pred, target, ignore = page_data()
    data['facts'] = 'VOC, test · 60 images · 2026-01-02'
    page = open_page(data)
    for threshold in (0.5, 0.2):
        slide(page, 'all', round(100 * threshold))
        expected = MLICMetric.calculate(pred, target, threshold=threshold, ignore=ignore)
        shown = shown_metrics(page, 'main-numbers')
        assert list(shown) == ['mAP', 'CF1', 'OF1']
        for key, value in shown.items():
            assert value == pytest.approx(expected[key], abs=0.0505)  # one decimal is shown
        assert page.locator('#rule').inner_text().endswith(f'at score ≥ {threshold:.2f}')
        right, found = map(float, re.findall(r'[\d.]+(?= %)', page.locator('#found').inner_text()))
        assert (right, found) == pytest.approx((expected['OP'], expected['OR']), abs=0.0505)
    slide(page, 'one', 31)
    assert page.locator('#rule').inner_text().endswith('the threshold of each class')
    assert page.locator('#facts').inner_text() == data['facts']
    assert (
        page.locator('#rule').bounding_box()['y'] < page.locator('#by-protocol').bounding_box()['y']
    )


@pytest.mark.parametrize('measured', [0, 1, 2, 4, 7])
def test_the_weakest_half_of_the_classes_is_named_three_at_most(open_page, measured):
    rng = np.random.default_rng(measured)
    target = rng.random((60, 8)) < 0.3
    target[:, measured:] = False
    data = page_data()[0]
    data.update(prediction_data(rng.random(target.shape), target, None, list('abcdefgh')))
    weakest = sorted(range(measured), key=lambda c: data['ap'][c])[: min(3, measured // 2)]
    parts = [
        f'{data["classes"][c]} (AP {data["ap"][c]:.1f}, positives: {data["support"][c]})'
        for c in weakest
    ]
    subject = 'The weakest class is ' if len(parts) == 1 else 'The weakest classes are '
    expected = subject + ' and '.join(filter(None, [', '.join(parts[:-1]), *parts[-1:]])) + '.'
    assert open_page(data).locator('#weakest').inner_text() == expected * bool(parts)


def test_the_protocols_are_folded_until_asked_for_or_printed(open_page):
    page = open_page(page_data()[0])
    table = page.locator('#protocols')
    assert not table.is_visible()
    page.get_by_text('Metrics by protocol').click()
    assert table.is_visible()
    page = open_page(page_data()[0])
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator('#protocols').is_visible()


def test_browser_leaves_out_what_is_unknown(open_page):
    pred, target, _ = random_predictions()
    unknown = np.random.default_rng(1).random(target.shape) < 0.4
    unknown[:, 1], unknown[:, 2] = ~target[:, 1], False
    target &= ~unknown
    known = (100 - 100 * unknown.mean(axis=0)).round(1)
    data = page_data(known=known.tolist())[0]
    data.update(prediction_data(pred, target, unknown, data['classes']))
    data['mistakes'][0]['unknown'] = 'class 3, class 4'
    page = open_page(data)
    expected = MLICMetric.calculate(pred, target, topk=None, ignore=unknown)
    shown = shown_metrics(page, 'means')
    for key in ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1'):
        assert shown[key] == pytest.approx(expected[key], abs=0.0051)  # two decimals are shown
    shares = by_class(page, 9)
    assert [float(shares[name]) for name in data['classes']] == known.tolist()
    for number in range(2, 6):  # without known negatives, and without positives
        cells = by_class(page, number)
        assert [name for name in cells if cells[name] == '–'] == ['class 1', 'class 4']
    page.get_by_role('button', name='known', exact=True).click()
    assert column(page, 1)[0] == 'class 2'
    page.locator('#classes tbody tr', has_text='class 1').click()  # of which there is no curve
    assert page.locator('#curves .dot-class').count() == 0
    page.locator('#best').click()
    assert by_class(page, 8)['class 1'] == '0.50'
    assert page.locator('figcaption', has_text='unknown: class 3, class 4').count() == 1


def test_browser_has_a_threshold_for_each_class(open_page, tmp_path):
    data, pred, target, ignore = page_data()
    page = open_page(data)
    page.locator('#classes tbody tr', has_text='class 2').click()
    assert page.locator('#one-name').inner_text() == 'class 2'
    slide(page, 'one', 31)
    thresholds = np.full(5, 0.5)
    thresholds[2] = 0.31
    expected = MLICMetric.calculate(pred, target, threshold=thresholds, topk=None, ignore=ignore)
    assert shown_metrics(page, 'means')['OF1'] == pytest.approx(expected['OF1'], abs=0.0051)
    assert page.locator('#all-value').inner_text() == 'by class'
    saved = save(page, tmp_path / 'thresholds.json').of_classes(data['classes'])
    assert_array_equal(saved, thresholds)

    page.locator('#best').click()
    decisions, hits = np.array(data['predicted']), np.array(data['hits'])
    f1 = 200 * hits / np.maximum(decisions + np.array(data['support'])[:, None], 1)
    shown = by_class(page, 5)
    found = [float(shown[f'class {c}']) for c in range(4)]
    assert_allclose(found, f1[:4, 1:].max(axis=1), atol=0.051)  # one decimal is shown


def test_sliders_start_where_they_are_told_to_and_return(open_page):
    data, pred, target, ignore = page_data()
    start = np.array([0.11, 0.5, 0.62, 0.3, 0.4])
    data.update(prediction_data(pred, target, ignore, data['classes'], start))
    page = open_page(data)
    expected = MLICMetric.calculate(pred, target, threshold=start, topk=None, ignore=ignore)
    assert shown_metrics(page, 'means')['OF1'] == pytest.approx(expected['OF1'], abs=0.0051)
    slide(page, 'all', 90)
    assert set(column(page, 8)) == {'0.90'}
    page.get_by_role('button', name='back to the start').click()
    shown = by_class(page, 8)
    assert [float(shown[name]) for name in data['classes']] == start.tolist()

    for value, text in ((0.25, '0.25'), (0.375, '0.375'), (0.99996, '0.99996')):
        data.update(prediction_data(pred, target, ignore, data['classes'], value))
        page = open_page(data)
        assert set(column(page, 8)) == {page.locator('#all-value').inner_text()} == {text}
        assert page.locator('#reset').inner_text() == f'all at {text}'
        assert page.locator('#rule').inner_text().endswith(f'at score ≥ {text}')


def test_thresholds_between_the_steps_hold_until_a_slider_is_moved(open_page, tmp_path):
    data, pred, target, ignore = page_data(fitted_on={'file': 'own'}, start_fitted_on={'file': 'a'})
    pred[:, :2] /= 100
    start = np.array([0.0011, 0.004, 0.62, 0.123456789, 1 / 3])
    data.update(prediction_data(pred, target, ignore, data['classes'], start))
    page = open_page(data)

    def check(thresholds, fitted_on):
        options = dict(threshold=thresholds, topk=None, ignore=ignore)
        expected = MLICMetric.calculate(pred, target, **options)
        shown = shown_metrics(page, 'means')
        for key in ('CP', 'CR', 'CF1', 'OP', 'OR', 'OF1'):
            assert shown[key] == pytest.approx(expected[key], abs=0.0051)  # two decimals are shown
        saved = save(page, tmp_path / 'thresholds.json')
        assert_array_equal(saved.of_classes(data['classes']), thresholds)
        assert saved.fitted_on == {'file': fitted_on}

    check(start, 'a')
    shown = by_class(page, 8)
    texts = ['0.00110', '0.00400', '0.62', '0.123', '0.333']
    assert [shown[name] for name in data['classes']] == texts
    page.locator('#classes tbody tr', has_text='class 3').click()
    assert page.locator('#one').input_value() == '12'
    slide(page, 'one', 31)
    check(np.where(np.arange(5) == 3, 0.31, start), 'own')
    page.get_by_role('button', name='thr').click()
    assert [float(text) for text in column(page, 8)] == [0.62, 0.333, 0.31, 0.004, 0.0011]
    slide(page, 'all', 40)
    check(np.full(5, 0.4), 'own')
    page.locator('#best').click()  # no step has a label of the first class, but the start has
    assert by_class(page, 8)['class 0'] == '0.00110'
    page.get_by_role('button', name='back to the start').click()
    check(start, 'a')


def test_saved_thresholds_tell_what_they_were_fitted_on(open_page, tmp_path, capsys):
    data, pred, target, _ = page_data()
    predictions = tmp_path / 'pred.npz'
    arrays = dict(pred=pred, target=target.astype(np.uint8), classes=np.array(data['classes']))
    np.savez(predictions, **arrays)
    own = dict(file='pred.npz', sha256=file_digest(predictions), images=60, classes=5)
    held_out = dict(own, sha256='of other predictions')
    page = open_page(dict(data, fitted_on=own, start_fitted_on=held_out))
    assert save(page, tmp_path / 'start.json').fitted_on == held_out
    page.locator('#best').click()
    assert save(page, tmp_path / 'chosen.json').fitted_on == own
    plain = open_page(dict(data, fitted_on=own, start_fitted_on=None))
    assert save(plain, tmp_path / 'plain.json').fitted_on == {}

    tool = ROOT / 'tools/analysis_tools/eval_metric.py'
    warned = []
    for name in ('start', 'chosen', 'plain'):
        run_tool(tool, predictions, '--threshold', tmp_path / f'{name}.json')
        warned.append('optimistic' in capsys.readouterr().out)
    assert warned == [False, True, False]


def test_best_f1_never_calls_everything_present(open_page):
    """A class whose scores are all below the first step keeps its threshold."""
    data, pred, target, ignore = page_data()
    pred[:, 0] *= 0.005
    data.update(prediction_data(pred, target, ignore, data['classes']))
    page = open_page(data)
    page.locator('#best').click()
    shown = by_class(page, 8)
    assert shown['class 0'] == '0.50' and shown['class 4'] == '0.50'
    assert 0 < float(shown['class 1']) != 0.5


def test_browser_shows_names_as_text(open_page):
    page = open_page(page_data([EVIL, 'b', 'c', 'd', 'e'])[0], title=EVIL)
    assert page.title().startswith('</script>')
    assert page.locator('h1').inner_text().startswith('</script><img')
    assert page.locator('img').count() == 1  # the picture of the only mistake


def test_a_name_from_right_to_left_stays_before_its_numbers(open_page):
    page = open_page(page_data(['\u202eكلب', '\u2067קוף', '\u202ec', 'd', 'e'])[0])
    for place in ('#mistakes b', '#one-name', '#mistakes figcaption div'):
        assert '\u2068' in page.locator(place).first.inner_text()
    for place in ('#mistakes b', '#one-name', '#mistakes figcaption div', '#weakest'):
        assert not set('\u202e\u2067') & set(page.locator(place).first.inner_text())
    assert re.search(r'\u2068(كلب|קוף)\u2069 \(AP', page.locator('#weakest').inner_text())
    ends = page.locator('#mistakes b').evaluate("""node => [[1, 2], [-2, -1]].map(part => {
        const text = node.firstChild, range = document.createRange(), whole = text.length;
        part.forEach((at, i) => range[i ? 'setEnd' : 'setStart'](text, at < 0 ? whole + at : at));
        return range.getBoundingClientRect().left;
    })""")
    assert ends[0] < ends[1]  # the score is to the right


def test_short_names_are_explained(open_page):
    metrics = {'mAP': 50.0, 'CP': 40.0}
    keys = ('CR', 'CF1', 'OP', 'OR', 'OF1')
    metrics.update(dict.fromkeys(keys, 1.0), **{f'{key}_top3': 1.0 for key in ('CP', *keys)})
    data = page_data()[0]
    data['protocols'][0]['metrics'] = metrics
    page = open_page(data)
    names = page.locator('#protocols td:first-child, #means span, #classes th button')
    assert names.count() == 2 + 13 + 7 + 8
    for name in names.all()[:-8] + names.all()[-7:]:  # all but 'class'
        assert len(name.get_attribute('title')) > 10
    top = page.locator('#protocols td', has_text='OF1_top3').get_attribute('title')
    assert top.startswith('F1 of OP and OR') and 'three highest' in top


def test_lists_of_mistakes_say_what_they_are(open_page):
    data = page_data()[0]
    (entry,) = data['mistakes']
    data['missed'] = [dict(entry, overlay=entry['picture'])]
    page = open_page(data)
    titles = ['Wrong labels with the highest scores', 'True labels with the lowest scores']
    assert page.locator('#pictures h3').all_inner_texts() == titles
    caption = page.locator('#pictures > p').inner_text()
    for words in ('Sorted by score only', 'not how sure it is', 'nor where the object is'):
        assert words in caption
    colours = [
        page.locator(node).first.evaluate('node => getComputedStyle(node).color')
        for node in ('#pictures > p .wrong', '#mistakes b', '#pictures > p .right', '#missed b')
    ]
    assert colours[0] == colours[1] != colours[2] == colours[3]

    data['missed'] = []
    page = open_page(data)
    assert 'looked' not in page.locator('#pictures').inner_text()  # no heat map, no word of it
    data['mistakes'] = []
    assert open_page(data).locator('#pictures').count() == 0


@pytest.mark.parametrize('width', [390, 1200])
def test_pictures_keep_their_proportions(open_page, width):
    data = page_data()[0]
    (entry,) = data['mistakes']
    ratios = 0.4, 2.5, 1  # height / width
    pictures = [picture_uri(np.zeros((round(40 * ratio), 40, 3), np.uint8)) for ratio in ratios]
    data['mistakes'] = [dict(entry, picture=picture) for picture in pictures]
    data['missed'] = [dict(entry, picture=picture, overlay=picture) for picture in pictures]
    images = open_page(data, width).locator('img')
    assert images.count() == 9
    for image, ratio in zip(images.all(), [*ratios, *np.repeat(ratios, 2)]):
        box, fit = image.bounding_box(), image.evaluate('i => getComputedStyle(i).objectFit')
        is_filled = box['height'] / box['width'] == pytest.approx(ratio, rel=0.02)
        # where the box is as high as may be, the picture is fitted into it
        assert is_filled or (box['height'] == 240 and fit == 'contain')


def test_every_column_can_be_reached_on_a_phone(open_page):
    names = ['a class with quite a long name that wants room', *'bcde']
    page = open_page(page_data(names)[0], width=390)
    for number in range(1, 9):
        cell = page.locator(f'#classes tbody tr:first-child td:nth-child({number})')
        cell.evaluate("node => node.scrollIntoView({inline: 'nearest', block: 'nearest'})")
        box = cell.bounding_box()
        assert box['width'] > 0 and box['x'] >= 0 and box['x'] + box['width'] <= 390
    name = page.locator('#classes tbody tr:first-child td').first
    assert name.is_visible() and name.bounding_box()['x'] >= 0
    # whole: names that begin alike are told apart
    assert name.locator('button').evaluate('node => node.scrollWidth <= node.clientWidth')
    assert page.evaluate('document.documentElement.scrollWidth') == 390


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_browser_fits_a_phone(open_page, scheme):
    names = ['a class with quite a long name that wants room', *'bcde']
    page = open_page(page_data(names)[0], width=360, scheme=scheme)
    assert page.evaluate('document.documentElement.scrollWidth') == 360
    colour = page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert (colour == 'rgb(255, 255, 255)') == (scheme == 'light')
    small = page.evaluate(
        "[...document.querySelectorAll('p, td, th button, figcaption, label')]"
        '.filter(node => parseFloat(getComputedStyle(node).fontSize) < 12).length'
    )
    assert small == 0


# ---------------------------------------------------------------- the tool


def test_the_split_is_named_by_the_data_set_or_its_file():
    class VOC:
        split, ann_file = 'trainval', 'ImageSets/Main/trainval.txt'

    class Own:
        split, ann_file = '', 'data/folds/test_2.json'

    class Wrapper:
        dataset = Own()

    class Nameless:
        ann_file = ''

    cases = (VOC(), Own(), Wrapper(), Nameless())
    expected = ['VOC, trainval', 'Own, test_2', 'Own, test_2', 'Nameless']
    assert [describe_split(dataset) for dataset in cases] == expected


MODEL, PLAIN = sarl_model(10), plain_model(10)
NAMES = DigitScenes.METAINFO['classes']
SMALL = [
    'test_dataloader.dataset.num_images=12',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
]


@pytest.mark.parametrize('model', [MODEL, PLAIN])
def test_tool_writes_a_page_and_its_predictions(tmp_path, capsys, model):
    run = write_run(tmp_path, model), tmp_path
    out = tmp_path / 'new' / 'report.html'
    thresholds = tmp_path / 'thresholds.json'
    record = dict(fitted_on=dict(sha256='0'), thresholds=dict.fromkeys(NAMES, 0.314))
    thresholds.write_text(json.dumps(record))
    options = ['--num', 3, '--threshold', thresholds, '--cfg-options', *SMALL]
    run_tool(TOOL, *run, '--out', out, '--title', '<b>', *options)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f'page: {out}')
    page = out.read_text(encoding='utf-8')
    data = embedded(page)
    assert '<title>&lt;b&gt;</title>' in page
    assert data['start'] == [0.314] * 10 and data['start_fitted_on'] == {'sha256': '0'}
    assert data['notes'][-1] == 'the sliders start at the thresholds of thresholds.json'
    assert data['fitted_on']['sha256'] == file_digest(out.with_suffix('.npz'))
    facts = data['facts'].split(' · ')
    assert facts[0] == 'DigitScenes, test' and facts[1].startswith('12 images, 10 classes, ')
    assert datetime.date.today() - datetime.date.fromisoformat(facts[2]) <= datetime.timedelta(1)
    assert data['images'] == 12 and len(data['mistakes']) == 3
    assert all(('overlay' in entry) == (model is MODEL) for entry in data['mistakes'])
    saved = np.load(out.with_suffix('.npz'))
    assert saved['pred'].shape == (12, 10)
    expected = MLICMetric.calculate(saved['pred'], saved['target'], 'sadcl')
    columns = {protocol['name']: protocol for protocol in data['protocols']}
    assert list(columns) == ['sadcl', 'standard', 'asl', 'mmpretrain']
    assert columns['sadcl']['metrics'] == pytest.approx(expected)
    entry = data['mistakes'][0]
    label = data['classes'].index(entry['label'])
    assert entry['score'] == np.where(saved['target'] == 0, saved['pred'], 0)[:, label].max()

    # a second page, made of the predictions that were saved, equals the first
    again = tmp_path / 'again.html'
    options = ['--pred', out.with_suffix('.npz'), '--title', '<b>', *options]
    run_tool(TOOL, *run, '--out', again, *options)
    assert again.read_text(encoding='utf-8') == page


def test_page_of_training_images_says_that_the_model_has_learnt_from_them(tmp_path):
    """For labels of the data that may be wrong; with the test pipeline, in the file's order."""
    run = write_run(tmp_path, MODEL), tmp_path
    train = ['train_dataloader.dataset.num_images=9', *SMALL]
    options = ['--split', 'train', '--num', 2, '--cfg-options', *train]
    run_tool(TOOL, *run, '--out', tmp_path / 'train.html', *options)
    data = embedded((tmp_path / 'train.html').read_text(encoding='utf-8'))
    assert data['facts'].startswith('DigitScenes, train · 9 images')
    assert 'optimistic: the model has learnt from these images' in data['notes']
    run_tool(TOOL, *run, '--out', tmp_path / 'test.html', '--num', 2, '--cfg-options', *SMALL)
    with pytest.raises(SystemExit, match='has 12 images and 10 classes, the train set of the'):
        run_tool(TOOL, *run, '--pred', tmp_path / 'test.npz', *options)


def test_page_says_where_it_starts_and_that_images_were_augmented(tmp_path, capsys):
    run = write_run(tmp_path, PLAIN), tmp_path
    out = tmp_path / 'report.html'
    options = ['--num', 0, '--out', out, '--cfg-options', *SMALL]
    run_tool(TOOL, *run, '--threshold', 0.29, *options)
    (first,) = embedded(out.read_text(encoding='utf-8'))['notes']
    saved = dict(np.load(out.with_suffix('.npz')), tta=np.array('flip scales=64,96'))
    np.savez(tmp_path / 'tta.npz', **saved)
    own = tmp_path / 'own.json'
    own.write_text(json.dumps({**dict.fromkeys(NAMES, 0.29), NAMES[3]: 0.004}))
    for threshold, start, expected in (
        (0.375, 0.375, []),
        (own, 0.004, ['the sliders start at the thresholds of own.json']),
        (0, 0, []),
    ):
        given = ['--pred', tmp_path / 'tta.npz', '--threshold', threshold, '--title', 'caf\udce9']
        run_tool(TOOL, *run, *given, *options)
        page = out.read_text(encoding='utf-8')
        assert '<title>caf\\udce9</title>' in page  # a byte of a name that is not UTF-8
        data = embedded(page)
        assert data['start'][3] == start
        augmented = 'predicted with test-time augmentation: flip scales=64,96'
        assert data['notes'] == [first, augmented, *expected]
        size = f'{out.stat().st_size / 1e6:.1f} MB'
        assert capsys.readouterr().out.splitlines()[-1] == f'page: {out}, {size}'


def test_difficult_entries_count_as_the_option_says(tmp_path):
    run = write_run(tmp_path, PLAIN), tmp_path
    out = tmp_path / 'report.html'
    options = ['--num', 40, '--out', out, '--cfg-options', *SMALL]
    run_tool(TOOL, *run, *options)
    saved = dict(np.load(out.with_suffix('.npz')))
    pred, target = saved['pred'], saved['target'].astype(bool)
    difficult = ~target & (np.arange(12) < 5)[:, None]
    np.savez(tmp_path / 'voc.npz', **dict(saved, ignore=difficult))
    for rule, said, true in (
        ('ignore', 'ignored', target),
        ('positive', 'taken as present', target | difficult),
        ('negative', 'taken as absent', target),
    ):
        given = ['--pred', tmp_path / 'voc.npz', '--difficult', rule]
        run_tool(TOOL, *run, *given, *options)
        data = embedded(out.read_text(encoding='utf-8'))
        assert f', {difficult.sum()} difficult labels {said} ·' in data['facts']
        ignore = difficult if rule == 'ignore' else None
        expected = MLICMetric.calculate(pred, true, 'standard', ignore=ignore)
        assert data['protocols'][1]['metrics'] == pytest.approx(expected)
        assert data['support'] == true.sum(axis=0).tolist()
        missed = {(entry['label'], entry['score']) for entry in data['missed']}
        wrong = {(entry['label'], entry['score']) for entry in data['mistakes']}
        hidden = {(NAMES[c], float(pred[i, c])) for i, c in np.argwhere(difficult)}
        assert bool(hidden & missed) == (rule == 'positive')
        assert bool(hidden & wrong) == (rule == 'negative')


@DATASETS.register_module()
class HalfKnownScenes(DigitScenes):
    """Digit scenes of which nobody looked at every other class, and at 9 in no image without it."""

    def get_data_info(self, idx):
        info = super().get_data_info(idx)
        true = {int(c) for c in info['gt_label']}
        unknown = {c for c in range(9) if (c + info['sample_idx']) % 2} | ({9} - true)
        return dict(info, gt_label=sorted(true - unknown), gt_label_unknown=sorted(unknown))


def test_tool_writes_a_page_of_what_is_known(tmp_path):
    keys = ('sample_idx', 'img_path', 'ori_shape', 'img_shape', 'gt_label_unknown')
    pipeline = [dict(type='PackInputs', meta_keys=keys)]
    loader = dict(dataset=dict(type='HalfKnownScenes', pipeline=pipeline))
    run = write_run(tmp_path, PLAIN, test_dataloader=loader), tmp_path
    out = tmp_path / 'report.html'
    run_tool(TOOL, *run, '--out', out, '--num', 40, '--cfg-options', *SMALL)
    data = embedded(out.read_text(encoding='utf-8'))
    with np.load(out.with_suffix('.npz')) as saved:
        pred, target, unknown = saved['pred'], saved['target'], saved['unknown']
    assert unknown[:, :9].mean() == 0.5
    assert data['known'] == (100 - 100 * unknown.mean(axis=0)).round(1).tolist()
    assert '1 without known negatives (nine)' in data['facts']
    expected = MLICMetric.calculate(pred, target, 'asl', ignore=unknown)
    columns = {protocol['name']: protocol for protocol in data['protocols']}
    assert columns['asl']['metrics'] == pytest.approx(expected) and columns['asl']['classes'] == 9
    for entry in data['mistakes'] + data['missed']:
        assert entry['unknown'] and entry['label'] not in entry['unknown'].split(', ')
        assert not set(entry['true']) & set(entry['unknown'].split(', '))
    np.savez(tmp_path / 'all.npz', pred=pred, target=target, classes=np.array(NAMES))
    options = ('--pred', tmp_path / 'all.npz', '--cfg-options', *SMALL)
    with pytest.raises(SystemExit, match='image 0 has other unknown labels'):
        run_tool(TOOL, *run, '--out', out, *options)


def test_tool_refuses_predictions_of_another_test_set(tmp_path):
    run = write_run(tmp_path, MODEL), tmp_path
    for number, message in ((12, 'image 0 has other labels'), (7, '7 images and 10 classes')):
        pred, target = np.full((number, 10), 0.5), np.ones((number, 10), np.uint8)
        np.savez(tmp_path / 'other.npz', pred=pred, target=target, classes=np.array(NAMES))
        with pytest.raises(SystemExit, match=f'^error: .*{message}'):
            run_tool(TOOL, *run, '--pred', tmp_path / 'other.npz', '--cfg-options', *SMALL)


def test_tool_refuses_thresholds_that_do_not_fit(tmp_path, monkeypatch):
    run = write_run(tmp_path, MODEL), tmp_path
    pred, target = np.full((12, 10), 0.5), np.ones((12, 10), np.uint8)
    np.savez(tmp_path / 'pred.npz', pred=pred, target=target, classes=np.array(list('abcdefghij')))
    (tmp_path / 'short.json').write_text(json.dumps(dict.fromkeys('abcdefghi', 0.5)))
    cases = (
        ('1.5', 'between 0 and 1'),
        ('short.json', 'no threshold for 1 .*: j'),
        ('none.csv', 'none'),
    )
    monkeypatch.chdir(tmp_path)
    for threshold, message in cases:
        with pytest.raises(SystemExit, match=f'^error: .*{message}'):
            run_tool(TOOL, *run, '--pred', 'pred.npz', '--threshold', threshold)
