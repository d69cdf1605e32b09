"""Maps against masks: each measure by loops, and constructed masks with known answers."""

import itertools
import math

import numpy as np
import pytest

from mlic.evaluation.localization import measure_map


def by_loops(heat, mask, known, tolerance):
    """The measures of one pair, pixel by pixel."""
    height, width = heat.shape
    pixels = [p for p in itertools.product(range(height), range(width)) if known[p]]
    inside = [p for p in pixels if mask[p]]
    near = {
        p for p in np.ndindex(height, width) if any(math.dist(p, q) <= tolerance for q in inside)
    }
    peak = max(heat[p] for p in pixels)
    top = [p for p in pixels if heat[p] == peak]
    total = sum(max(heat[p], 0) for p in pixels)
    middle = height // 2, width // 2
    curve = []
    for level in range(1, 101):
        chosen = {p for p in pixels if peak > 0 and max(heat[p], 0) / peak * 100 >= level}
        curve.append(len(chosen & set(inside)) / len(chosen | set(inside)))
    return dict(
        inside=sum(p in inside for p in top) / len(top),
        near=sum(p in near for p in top) / len(top),
        area=len(inside) / len(pixels),
        area_near=sum(p in near for p in pixels) / len(pixels),
        centre=float(middle in inside) if known[middle] else math.nan,
        centre_near=float(middle in near) if known[middle] else math.nan,
        energy=sum(max(heat[p], 0) for p in inside) / total if total else 0,
        iou_own=max(curve),
        curve=curve,
    )


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('kind', ['signed', 'whole numbers', 'negative'])
def test_measures_are_those_of_the_loops(seed, kind):
    rng = np.random.default_rng(seed)
    shape = rng.integers(3, 9, 2)
    heat = rng.normal(size=shape)
    heat = {'signed': heat, 'whole numbers': heat.round(), 'negative': -np.abs(heat)}[kind]
    mask, known = rng.random(shape) < 0.3, rng.random(shape) < 0.8
    mask[1, 1] = known[1, 1] = True
    expected = by_loops(heat, mask, known, 1.5)
    found = measure_map(heat, mask, known, 1.5)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-12, err_msg=key)


def square(height=20, width=30):
    mask = np.zeros((height, width), bool)
    mask[4:9, 10:20] = True
    return mask


ALL = np.ones((20, 30), bool)


def test_the_mask_itself_is_the_best_map():
    found = measure_map(square().astype(float), square(), ALL, 0)
    assert (found['inside'], found['near'], found['energy']) == (1, 1, 1)
    assert found['curve'].tolist() == [1] * 100


def test_a_flat_map_is_a_blind_guess():
    found = measure_map(np.full((20, 30), 0.2), square(), ALL, 3)
    share = 50 / 600
    for key in ('inside', 'energy', 'area'):
        assert found[key] == pytest.approx(share)
    assert found['near'] == pytest.approx(found['area_near'])
    np.testing.assert_allclose(found['curve'], share)


@pytest.mark.parametrize('distance', [1, 15, 16])
def test_near_allows_as_many_pixels_beside_the_mask_as_the_tolerance(distance):
    mask = np.zeros((40, 40), bool)
    mask[:, 0] = True
    heat = np.zeros((40, 40))
    heat[20, distance] = 1
    found = measure_map(heat, mask, np.ones((40, 40), bool), 15)
    assert (found['inside'], found['near']) == (0, distance <= 15)


def test_a_highest_pixel_that_is_unknown_does_not_count():
    heat, known = square().astype(float), ALL.copy()
    heat[0, 0], known[0, 0] = 9, False
    expected = measure_map(square().astype(float), square(), ALL, 0)
    found = measure_map(heat, square(), known, 0)
    assert all(found[key] == expected[key] for key in ('inside', 'near', 'energy'))


def test_measures_do_not_change_with_the_scale_of_a_map():
    heat = np.random.default_rng(0).random((20, 30))
    ones, thousands = (measure_map(factor * heat, square(), ALL, 2) for factor in (1.0, 1024.0))
    for key, value in ones.items():
        np.testing.assert_allclose(thousands[key], value, rtol=1e-12)
