"""What mmengine leaves behind does not stop what comes next."""

import copy
import re
import threading

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.model import PretrainedInit
from mmengine.runner.checkpoint import load_state_dict
from mmengine.visualization import Visualizer
from torch import nn

import mlic  # noqa: F401


def test_a_failure_of_a_manager_does_not_stop_other_threads(monkeypatch):
    monkeypatch.setattr(Visualizer, '_instance_dict', {})
    with pytest.raises(RuntimeError, match='Before calling'):
        Visualizer.get_current_instance()
    with pytest.raises(KeyError):
        Visualizer.get_instance('broken', vis_backends=[dict(type='NoSuchBackend')])
    logs = threading.Thread(target=MMLogger.get_current_instance, daemon=True)
    logs.start()
    logs.join(timeout=9)
    assert not logs.is_alive()


@pytest.mark.parametrize('prefix', [None, 'part'])
def test_first_weights_of_which_none_fits_are_refused(tmp_path, prefix):
    path = tmp_path / 'published.pth'
    weights = {f'part.{name}': torch.ones(2) for name in ('a', 'b')}
    torch.save(weights, path)
    init = PretrainedInit(str(path), prefix=prefix)
    said = f'{path} has no weight of Linear: it has {"a, b" if prefix else "part.a, part.b"}, and '
    with pytest.raises(ValueError, match=re.escape(said) + 'the model weight, bias$'):
        init(nn.Linear(2, 2))
    init(nn.Identity())  # which has none to load


def test_first_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=' has no weight of Linear of the same shape: it'):
        load_state_dict(nn.Linear(3, 3), nn.Linear(2, 2).state_dict())


class WithExtraState(nn.Linear):
    def get_extra_state(self):
        return dict(scale=1)

    def set_extra_state(self, state):
        pass


class SavesNoWeight(nn.Linear):
    """As a model does that saves its adapters alone."""

    def __init__(self, *args):
        super().__init__(*args)
        self._register_state_dict_hook(lambda module, state, *_: state.pop('weight') and None)


@pytest.mark.parametrize('kind', [WithExtraState, SavesNoWeight])
@pytest.mark.parametrize('for_inference', [False, True])
def test_first_weights_that_fit_are_loaded(kind, for_inference):
    weight = torch.ones(2, 2)
    with torch.inference_mode(for_inference):
        model = kind(2, 2)
        load_state_dict(model, dict(weight=weight))
        torch.testing.assert_close(model.weight.data, weight)


def test_first_weights_that_others_publish_as_the_model_are_loaded(tmp_path):
    source, model = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save(dict(model=source.state_dict(), epoch=3), tmp_path / 'published.pth')
    PretrainedInit(str(tmp_path / 'published.pth'))(model)
    torch.testing.assert_close(model.state_dict(), source.state_dict())


@pytest.mark.parametrize('start, max_length', [([], 10**6), ([], 7), ([1, 2], 10), ([0.5] * 3, 3)])
def test_a_history_is_mmengines_without_a_copy_for_each_number(start, max_length, monkeypatch):
    buffer = HistoryBuffer(start, [1] * len(start), max_length)
    values, counts = np.array(start), np.array([1] * len(start))
    made, empty, seen = [], np.empty, []
    monkeypatch.setattr(np, 'empty', lambda *args: made.append(args) or empty(*args))
    numbers = [3, 0.25, float('nan'), True, np.float64(2), *range(300)]
    for index, number in enumerate(numbers):
        buffer.update(number, 1 + index % 2)
        values = np.append(values, number)[-max_length:]
        counts = np.append(counts, 1 + index % 2)[-max_length:]
        for found, expected in zip(buffer.data, (values, counts)):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        seen.append((buffer.data[0], values))
        if index == 50:  # as a checkpoint has it
            buffer = copy.deepcopy(buffer)
    assert len(made) < 30
    for found, expected in seen:  # what was handed out stays as it was
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(TypeError, match="must be numbers, got '1' and 1"):
        buffer.update('1')
