"""What mmengine leaves behind does not stop what comes next."""

import threading

import pytest
from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer

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
