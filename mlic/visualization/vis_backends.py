"""TensorBoard and Weights & Biases: mmengine's backends, which say what to install."""

from mmengine import visualization
from mmengine.config import Config
from mmpretrain.registry import VISBACKENDS

from mlic.packages import require


@VISBACKENDS.register_module()
class TensorboardVisBackend(visualization.TensorboardVisBackend):
    """mmengine's backend under its own name; a missing package ends the start, on all ranks.

    Args:
        save_dir (str): Where the event files go.

    Raises:
        MissingPackageError: If tensorboard is missing; names the extra to install.
    """

    def __init__(self, save_dir: str) -> None:
        require('tensorboard', 'tensorboard', type(self).__name__)
        super().__init__(save_dir)


@VISBACKENDS.register_module()
class WandbVisBackend(visualization.WandbVisBackend):
    """mmengine's backend under its own name; a missing package ends the start, on all ranks.

    mmengine's sends W&B every Python file below the working directory, a virtual environment's,
    too. This one sends code only if ``log_code_name`` is set.

    Args:
        save_dir (str): Where W&B keeps its files.
        **settings: mmengine's: ``init_kwargs``, ``define_metric_cfg``, ``log_code_name``, …

    Raises:
        MissingPackageError: If wandb is missing; names the extra to install.
    """

    def __init__(self, save_dir: str, **settings: object) -> None:
        require('wandb', 'wandb', type(self).__name__)
        super().__init__(save_dir, **settings)

    def add_config(self, config: Config, **kwargs: object) -> None:
        """Send the config of the run."""
        if self._log_code_name is not None:
            super().add_config(config, **kwargs)
            return
        may_change = (self._init_kwargs or {}).get('allow_val_change', False)
        self.experiment.config.update(config.to_dict(), allow_val_change=may_change)
