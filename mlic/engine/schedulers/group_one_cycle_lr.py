"""The one-cycle policy as the published code runs it: every group's own peak, beta1 in step."""

import math

from mmengine.optim import OneCycleLR
from mmpretrain.registry import PARAM_SCHEDULERS
from torch.optim import Optimizer


@PARAM_SCHEDULERS.register_module()
class GroupOneCycleLR(OneCycleLR):
    """mmengine's ``OneCycleLR``, equal to ``torch.optim.lr_scheduler.OneCycleLR``.

    What differs from mmengine's:

    - ``eta_max=None`` takes each parameter group's own learning rate as its peak, so that
      ``paramwise_cfg`` and ``--auto-scale-lr`` count (a second cycle has the peaks of the first);
    - the first beta of Adam runs against the learning rate (torch's ``cycle_momentum``), as it
      did in the published run; so does the momentum of an optimizer without betas, such as SGD;
    - the state holds no function, so that a checkpoint loads with ``weights_only=True``.

    Args:
        optimizer (Optimizer | OptimWrapper): Whose groups are scheduled.
        eta_max (float, optional): Peak of every group. Defaults to None: each group's ``lr``.
        betas (tuple[float, float], optional): Lowest (at the peak of the learning rate) and
            highest (at both ends) beta1 or momentum. None leaves it alone. Defaults to
            (0.85, 0.95).
        **kwargs: As mmengine's: ``pct_start``, ``div_factor``, ``final_div_factor``, ``begin``,
            ``end``, ``by_epoch``, ``convert_to_iter_based``; two phases only. ``total_steps`` is
            rounded, so that it may be a fraction of epochs.

    Raises:
        ValueError: If there are three phases, or ``betas`` for an optimizer that has neither
            betas nor momentum, such as Adagrad.

    Example:
        >>> import torch
        >>> from mlic.engine import GroupOneCycleLR
        >>> weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        >>> groups = [dict(params=weights[:1], lr=0.1), dict(params=weights[1:], lr=1.0)]
        >>> optimizer = torch.optim.AdamW(groups)
        >>> schedule = GroupOneCycleLR(optimizer, total_steps=10)
        >>> for _ in range(3):
        ...     optimizer.step()
        ...     schedule.step()
        ...
        >>> [round(rate, 4) for rate in schedule.get_last_value()]
        [0.095, 0.9505]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *args,
        eta_max: float | None = None,
        betas: tuple[float, float] | None = (0.85, 0.95),
        **kwargs,
    ) -> None:
        if kwargs.get('three_phase'):
            raise ValueError('GroupOneCycleLR has two phases: three_phase is not supported')
        groups = optimizer.param_groups
        if betas is not None and any(not {'betas', 'momentum'} & group.keys() for group in groups):
            raise ValueError(
                f'GroupOneCycleLR moves betas or momentum, and '
                f'{type(getattr(optimizer, "optimizer", optimizer)).__name__} has neither: '
                'set betas=None in param_scheduler'
            )
        self.betas = None if betas is None else tuple(betas)
        if kwargs.get('total_steps'):
            kwargs['total_steps'] = round(kwargs['total_steps'])
        steps = kwargs.get('total_steps') or kwargs.get('end', math.inf) - kwargs.get('begin', 0)
        if kwargs.get('pct_start', 0.3) * steps == 1:
            # the rise would end where it begins: mmengine (and torch) divide 0 by 0
            kwargs['pct_start'] = math.nextafter(kwargs['pct_start'], 1)
        super().__init__(optimizer, *args, eta_max=eta_max, **kwargs)

    def step(self) -> None:
        """Set rate and beta1 or momentum of the next iteration; one falls as the other rises."""
        super().step()
        # last_step counts the calls; inside [begin, end) it is this cycle's iteration
        if self.betas is None or not self.begin <= self._global_step < self.end:
            return
        lowest, highest = self.betas
        peak, last = (phase['end_step'] for phase in self._schedule_phases)
        if self.last_step <= peak:
            beta = self.anneal_func(highest, lowest, self.last_step / peak)
        else:
            beta = self.anneal_func(lowest, highest, (self.last_step - peak) / (last - peak))
        for group in self.optimizer.param_groups:
            if 'betas' in group:
                group['betas'] = (beta, *group['betas'][1:])
            else:
                group['momentum'] = beta

    def state_dict(self) -> dict:
        """mmengine's, without the annealing function."""
        return {name: value for name, value in super().state_dict().items() if not callable(value)}

    def _format_param(self, name: str, optimizer: Optimizer, param: float | None) -> list[float]:
        """The peak of each group."""
        if param is None:
            # a warm-up before this cycle has already lowered lr, and kept its own as initial_lr
            return [
                group.get(name, group.get('initial_lr', group['lr']))
                for group in optimizer.param_groups
            ]
        return super()._format_param(name, optimizer, param)
