"""The loops of validation and test, in a chosen precision, with one copy a batch to the host."""

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import BaseLoop, Runner, TestLoop, ValLoop
from mmpretrain.registry import LOOPS
from torch.utils.data import DataLoader

from mlic.engine.mmengine_internals import unwrap

from ..config.launch_checks import check_order
from .known_share import give_share
from .precision import autocast_to, eval_precision, predict_on_host, usable_precision
from .tta import TTA


class _InPrecision:
    """What both loops do otherwise than mmengine's."""

    mode: str
    tta = TTA()  # none
    known: float | None = None  # percent of each image's labels that the model is given

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        precision: str = 'float32',
    ) -> None:
        super().__init__(runner, dataloader, evaluator)
        check_order(self.mode, self.dataloader)
        self.precision = usable_precision(precision, runner.model)
        predict_on_host(unwrap(runner.model))

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Predict a batch and hand it to the metrics."""
        model, batches = self.runner.model, self.tta.batches(data_batch)
        batch = dict(batch_idx=idx, data_batch=batches[0])
        self.runner.call_hook(f'before_{self.mode}_iter', **batch)  # which may check the labels
        if self.known is not None:
            give_share(batches[0], self.known, unwrap(model).head.num_classes)
        with autocast_to(self.precision, model):
            if self.tta:
                outputs = self.tta.predict(unwrap(model), batches)
            else:
                outputs = getattr(model, f'{self.mode}_step')(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=batches[0])
        self.runner.call_hook(f'after_{self.mode}_iter', **batch, outputs=outputs)


@LOOPS.register_module()
class MultiLabelValLoop(_InPrecision, ValLoop):
    """mmengine's ``ValLoop`` in a precision.

    Args:
        runner (Runner): Of the model.
        dataloader (DataLoader | dict): Of the images.
        evaluator (Evaluator | dict | list): Of the metrics.
        precision (str): See :mod:`mlic.engine.runner.precision`. Defaults to 'float32'.

    Raises:
        ValueError: If the precision is unknown.
        LaunchError: If several processes would not take the images in turn.
    """

    mode = 'val'


@LOOPS.register_module()
class MultiLabelTestLoop(_InPrecision, TestLoop):
    """mmengine's ``TestLoop`` in a precision, and with test-time augmentation.

    Args:
        runner, dataloader, evaluator, precision: See :class:`MultiLabelValLoop`.
        tta (TTA): What metrics write says which one. Defaults to none.

    Raises:
        ValueError: If the precision is unknown, or the test pipeline or the model does not fit the
            augmentation.
        LaunchError: As :class:`MultiLabelValLoop`.
    """

    mode = 'test'

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        precision: str = 'float32',
        tta: TTA = _InPrecision.tta,
    ) -> None:
        if tta.scales:
            dataloader = dict(dataloader, dataset=tta.dataset(dataloader['dataset']))
        super().__init__(runner, dataloader, evaluator, precision)
        self.tta = tta
        tta.check_model(unwrap(runner.model))
        if tta:
            self.evaluator.dataset_meta = dict(self.evaluator.dataset_meta or {}, tta=str(tta))


def evaluation_loop(
    loop: BaseLoop | dict, mode: str, cfg: Config, tta: TTA | None = None
) -> BaseLoop | dict:
    """``val_cfg`` or ``test_cfg`` with this module's loop, and the config's ``eval_precision``.

    Args:
        loop (BaseLoop | dict): ``val_cfg`` or ``test_cfg``. A loop of another type stays.
        mode (str): 'val' or 'test'.
        cfg (Config): Of the run.
        tta (TTA, optional): Of 'test'. Defaults to None: none.

    Raises:
        ValueError: If mmengine's ``fp16`` is set, or precision or augmentation cannot be obeyed.
    """
    if not isinstance(loop, dict):
        return loop
    precision = eval_precision(cfg)
    if loop.get('fp16'):
        raise ValueError(
            f"{mode}_cfg.fp16: write eval_precision = 'float16' (or 'bfloat16') at "
            'the top level of the config'
        )
    if loop.get('type', f'{mode.title()}Loop') != f'{mode.title()}Loop':
        if precision != 'float32':
            raise ValueError(
                f'{mode}_cfg.type {loop["type"]} does not support eval_precision = {precision!r}: '
                "remove the type, or set eval_precision = 'float32'"
            )
        if tta:
            raise ValueError(
                f'{mode}_cfg.type {loop["type"]} does not support --tta {tta}: remove the type'
            )
        return loop
    options = {key: value for key, value in loop.items() if key != 'fp16'}
    if tta:
        options['tta'] = tta
    return dict(options, type=f'MultiLabel{mode.title()}Loop', precision=precision)
