"""The benchmark measures what it says, and its plain rival computes the same thing."""

import itertools
import json
import tempfile

import pytest
import torch
from torch.testing import assert_close

from mlic.cli import models
from mlic.cli.benchmark import measure, network
from mlic.files import write_text
from projects.sadcl.cli import benchmark as published
from projects.sadcl.models.contrastive_losses import pscl_loss
from projects.sadcl.models.sadcl_head import SADCLHead
from tests.helpers import ROOT, run_tool
from tests.reference import sscl_loss

TOOL = ROOT / 'tools' / 'benchmark' / 'run.py'


def make_target():
    target = (torch.rand(4, 5, generator=torch.Generator().manual_seed(0)) < 0.4).double()
    target[:2, 0] = 1
    target[:, 3] = 0  # a class without a positive
    return target


def test_plain_sscl_is_the_formula():
    target = make_target()
    features = torch.randn(4, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    plain = published.dense_sscl(features, target)
    (gradient,) = torch.autograd.grad(plain, features)
    ours = sscl_loss(features, target, anchors='all')
    # 1e-5 inside a logarithm of at least e^-10 x (others), whose cosines lie within 10 of the
    # largest at temperature 0.2; random ones stay within 5: 1e-5 / e^-5
    assert_close(plain, ours, rtol=1.5e-3, atol=0)
    difference = torch.autograd.grad(ours, features)[0] - gradient
    assert difference.norm() < 1.5e-3 * gradient.norm()


def test_plain_pscl_is_the_formula():
    target = make_target()
    z = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    prototypes = torch.randn(5, 6, dtype=torch.float64)
    plain = published.repeated_pscl(z, prototypes, target, 0.07)
    ours = pscl_loss(z, prototypes, target)
    assert_close(plain, ours)
    assert_close(*(torch.autograd.grad(loss, z)[0] for loss in (plain, ours)))


def test_plain_bank_update_is_ours():
    torch.manual_seed(0)
    target = make_target()
    head = SADCLHead(num_classes=5, in_channels=6, bank_slots=4)
    start, embeds, logits = head.memory_bank.clone(), torch.randn(4, 5, 6), 3 * torch.randn(4, 5)
    bank = start.clone()
    published.update_bank(bank, embeds, logits.sigmoid(), target)
    image, label = target.nonzero(as_tuple=True)
    head._update_bank(embeds, logits, image, label)
    assert_close(head.memory_bank, bank, rtol=0, atol=0)
    assert not torch.equal(bank, start)


def test_peak_memory_counts_what_is_alive_at_once():
    bench = measure.Bench('cpu', repeats=1)
    megabyte = 2**18  # of float32

    def one_after_the_other():
        for _ in range(5):
            torch.empty(megabyte)

    def at_once():
        return [torch.empty(megabyte) for _ in range(5)]

    assert bench.peak_mb(one_after_the_other) == pytest.approx(1, abs=0.1)
    assert bench.peak_mb(at_once) == pytest.approx(5, abs=0.1)


def test_the_warm_up_ends_when_the_time_no_longer_falls(monkeypatch):
    bench, times = measure.Bench('cpu', repeats=3), iter([8.0, 4.0, 2.0, 1.9, 1.0])
    monkeypatch.setattr(bench, 'seconds', lambda run: next(times))
    bench.warm_up(None)
    assert list(times) == [1.0]


def test_a_gpu_has_no_limits_in_matmuls(monkeypatch):
    bench = measure.Bench('cpu', repeats=3)
    bench.device = 'meta'  # anything but the CPU
    monkeypatch.setattr(bench, 'seconds', lambda run: 1.0)
    result = bench.measure(measure.Case('', None, limit=1e-9, measure_memory=False))
    assert result.missed == [] and result.limit is None and result.matmuls_spread == 0.0
    assert measure.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == 1.0 and measure.spread([1.0]) is None


def test_every_row_of_a_gpu_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(network, 'compile_parts', lambda model, names, **options: None)
    config = tmp_path / 'small.py'
    write_text(
        config,
        f'_base_ = {str(ROOT / "configs/sadcl/sadcl_r101_coco448.py")!r}\n'
        'model = dict(backbone=dict(depth=18),'
        ' neck=dict(in_channels=512, embed_dims=16, feedforward_channels=16),'
        ' head=dict(in_channels=16, proj_channels=8))\n',
    )
    bench = measure.Bench('cpu', repeats=1)
    steps = network.gpu_step_cases(bench, str(config), None, 32, published.plain_loss)
    predictions = network.gpu_inference_cases(bench, str(config), 2, 32)
    names = [case.name for case in itertools.chain(steps, predictions) if case.run() is None]
    assert len(names) == len(set(names)) == 11
    assert 'step of R101, 32 px, B 32: the published algorithm' in names


@pytest.mark.slow
def test_limits_and_ratios():
    bench = measure.Bench('cpu', repeats=3)
    twice = measure.Case(
        'twice',
        lambda: (bench.yardstick(), bench.yardstick()),
        against=bench.yardstick,
        against_name='once',
        against_limit=100.0,
        limit=1e-3,
        memory_limit_mb=1.0,
    )
    result = bench.measure(twice)
    assert result.missed == ['matmuls', 'memory']  # 2 products, 16 MB each
    assert 1 < result.ratio < 4 and 1 < result.matmuls < 4
    assert result.memory_mb == pytest.approx(32, abs=1)


def test_exponents_are_the_slopes_of_the_logarithms():
    points = {size: 7 * size**1.5 for size in (10, 30, 90)}
    results = [measure.Result('', 0.0, y, growth=('series', x)) for x, y in points.items()]
    assert measure.exponents(results) == {'series': pytest.approx(1.5)}


def test_flops_count_multiplications_and_additions():
    assert network.count_flops(lambda: torch.ones(3, 4) @ torch.ones(4, 5)) == 2 * 3 * 4 * 5


def test_the_command_prints_a_table_and_saves_the_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    run_tool(TOOL, '--only', 'data', '--repeats', 1, '--out', tmp_path / 'b.json')
    assert '| pipeline stage2, 20 JPEGs of 640 x 480 |' in capsys.readouterr().out
    results = json.loads((tmp_path / 'b.json').read_text())['results']
    assert [r['name'].split(',')[0] for r in results] == ['pipeline stage2', 'pipeline stage1']
    assert all(r['ratio'] > 0 for r in results)
    assert [path.name for path in tmp_path.iterdir()] == ['b.json']


def test_attention_is_counted_on_the_cpu():
    query, key = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 7, 8)  # 2 heads, 5 queries, 7 keys
    attend = torch.nn.functional.scaled_dot_product_attention
    assert network.count_flops(lambda: attend(query, key, key)) == 2 * 2 * 2 * 5 * 7 * 8


def test_a_row_of_a_model_has_its_weights_and_operations(monkeypatch):
    """Lite0 has 407 million multiplications and additions at 224 px, and 3.4 million weights."""
    pytest.importorskip('efficientnet_lite_pytorch', reason="needs pip install -e '.[pretrained]'")
    path = ROOT / 'configs/sadcl/baseline_efficientnet-lite0_corel5k160_frozen.py'
    bench = measure.Bench('cpu', repeats=1)
    times = {bench.yardstick: 2.0}
    monkeypatch.setattr(models, 'core_seconds', lambda run: times.get(run, 3.0))
    name, *numbers, matmuls = models.row(str(path), {'model.backbone.arch': 'lite0'}, bench)
    assert name == f'{path.stem} arch=lite0'
    assert numbers == ['160', '3.4', '3.7', '0.3', f'{2 * 0.407 * (160 / 224) ** 2:.1f}']
    assert float(matmuls) == 1.5
