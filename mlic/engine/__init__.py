"""What the Runner lacks: hooks, schedule, CPU start-up, files that are not trusted."""

from . import checkpoints, hooks, optimizers, runner, schedulers
from .checkpoints import *  # noqa: F403
from .hooks import *  # noqa: F403
from .optimizers import *  # noqa: F403
from .runner import *  # noqa: F403
from .schedulers import *  # noqa: F403

checkpoints.install_safe_loading()

__all__ = [
    *checkpoints.__all__,
    *hooks.__all__,
    *optimizers.__all__,
    *runner.__all__,
    *schedulers.__all__,
]
