"""What mmengine leaves behind does not stop what comes next."""

import re
import threading

import pytest
import torch
from mmengine.logging import MMLogger
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
    with pytest.raises(ValueError, match='has no weight of BatchNorm2d'):
        init(nn.BatchNorm2d(2))  # which counts its batches, whatever a file has


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
