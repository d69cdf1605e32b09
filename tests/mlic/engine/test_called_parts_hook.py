"""Parts that are to be compiled or recomputed, and that training does not call."""

import pytest
from mmengine.runner import Runner

from mlic.engine.runner.tool_runners import ConsoleRunner
from tests.tiny_runs import every_model, tiny_config

EAGER = dict(compile_options=dict(backend='eager'))


def train(tmp_path, model, **settings):
    cfg = tiny_config(tmp_path, epochs=1)
    cfg.custom_hooks = []
    cfg.train_cfg.val_interval = 9
    cfg.model = every_model(10)[model]
    cfg.merge_from_dict(settings)
    runner = ConsoleRunner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize(
    ('model', 'part', 'inner'),
    [
        ('sadcl', 'head', 'head.fc'),
        (
            'salgl',
            'neck',
            'neck.input_proj, neck.encoder, neck.scene, neck.vectors, neck.attention',
        ),
        ('ssgrl', 'head', 'head.fc'),
    ],
)
def test_a_part_whose_loss_alone_is_called_is_refused(tmp_path, model, part, inner):
    with pytest.raises(ValueError) as refused:
        train(tmp_path, model, activation_checkpointing=part)
    start = f'activation_checkpointing names {part!r}, to no effect: training calls '
    assert str(refused.value).startswith(start)
    assert f'.loss alone: name {inner}' in str(refused.value)
    assert not list(tmp_path.rglob('*.pth'))
    with pytest.raises(ValueError, match=f"^compiled_parts names '{part}', .*: leave it out$"):
        train(tmp_path, model, compiled_parts=[part], **EAGER)


@pytest.mark.parametrize(
    ('model', 'names'),
    [('sadcl', ['neck', 'head.fc']), ('ml-decoder', 'head'), ('salgl', 'neck.encoder')],
)
def test_parts_that_are_called_are_recomputed(tmp_path, model, names):
    runner = train(tmp_path, model, activation_checkpointing=names)
    assert runner.iter == 2
    for name in [names] if isinstance(names, str) else names:
        assert runner.model.get_submodule(name)._compiled_call_impl.is_called


def test_a_run_without_such_parts_has_no_such_hook(tmp_path):
    runner = train(tmp_path, 'baseline')
    assert isinstance(runner, Runner)
    assert 'CalledPartsHook' not in {type(hook).__name__ for hook in runner.hooks}
