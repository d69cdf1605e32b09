"""The checkpoint and the data that tools open."""

import pytest
from mmengine.config import Config

from mlic.cli.run_data import build_dataset, spread
from mlic.registries import set_scope
from tests.helpers import call_tool
from tests.tiny_runs import sarl_model, write_run


@pytest.mark.parametrize(
    'length, number, indices',
    [(11, 3, [0, 5, 10]), (4, 3, [0, 2, 3]), (2, 6, [0, 1]), (5, 1, [0]), (0, 6, [])],
)
def test_indices_are_spread_evenly_from_the_first_to_the_last(length, number, indices):
    assert spread(length, number) == indices


@pytest.mark.parametrize(
    'tool, options',
    [
        ('show_attention', ['--out', 'out.png']),
        ('plot_embeddings', ['--out', 'out.png']),
        ('measure_embeddings', []),
        ('localize', ['--masks', 'masks']),
        ('report', ['--out', 'out.html']),
    ],
)
def test_every_tool_says_which_test_set_cannot_be_read(tmp_path, monkeypatch, tool, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'list.json').write_text('[]')
    loader = dict(dataset=dict(type='MultiLabelDataset', ann_file='list.json', _delete_=True))
    config = write_run(tmp_path, sarl_model(10), test_dataloader=loader)
    run = config, tmp_path / 'best_mAP.pth'
    error = call_tool(f'tools/analysis_tools/{tool}.py', *run, *options)
    assert error.startswith('error: test (list.json) cannot be read: ValueError: list.json: expect')


@pytest.mark.parametrize(
    'dataset, advice',
    [
        (dict(type='DigitScenes', num_image=3), "takes no 'num_image'.*_delete_=True"),
        (dict(type='DigitScene'), "'DigitScene' is not a registered .*similar names: DigitScenes"),
    ],
)
def test_a_fault_in_the_config_of_a_data_set_comes_with_its_remedy(dataset, advice):
    cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
    set_scope(cfg)
    with pytest.raises(
        ValueError, match=f'test \\({dataset["type"]}\\) cannot be read: .*{advice}'
    ):
        build_dataset(cfg, 'test')
