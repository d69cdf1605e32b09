"""Class prototypes from the training set, and the start of the contrastive stage.

Shapes in this module: B images, C classes, D embed dims.
"""

from mmengine import dist
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from mlic.engine.hooks.stage_restart_hook import StageRestartHook
from mlic.engine.mmengine_internals import unwrap
from mlic.engine.runner.class_means import training_means


@HOOKS.register_module()
class PrototypeHook(StageRestartHook):
    r"""Start the contrastive stage of SADCL at an epoch.

    Until then the contrastive losses are zero. At the start of epoch ``begin`` the hook computes
    the prototypes in one pass over the training images under the test pipeline (or takes those of
    the file that the head's ``prototypes`` names) and hands them to the head, which fills the
    memory bank with them, renews its projector and switches its contrastive losses on. The rest
    is ``StageRestartHook``'s.

    The prototype of class c, as the published files show it (their code is not released), with
    :math:`N_c` the number of all training images that have the class:

    .. math::
        P_c = \frac{1}{N_c} \sum_{b:\, y_{bc} = 1,\, p_{bc} > t} h_{bc}

    Args:
        begin (int): See ``StageRestartHook``.
        threshold (float): t, the score a positive must exceed to be averaged.
            Defaults to 0.85, the published value.
        start_from (str): See ``StageRestartHook``; the published two programs do 'best'. Defaults
            to 'ema'.

    On several processes the projector and the prototypes are rank 0's, and each process has the
    memory bank of its own rows.

    Example:
        >>> import projects.sadcl.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='PrototypeHook', begin=5)  # in custom_hooks
        >>> HOOKS.build(config).start_from
        'ema'
    """

    first_stage = ' (tools/train.py with the sarl_* config)'
    reads_training_set = True
    trains = ('projector', 'prototypes')

    def __init__(self, begin: int, threshold: float = 0.85, start_from: str = 'ema') -> None:
        super().__init__(begin, start_from)
        self.threshold = threshold

    def before_train(self, runner: Runner) -> None:
        """Check that the stage can start, and switch the losses off until it does.

        Raises:
            ValueError: If the stage would fail when it starts: a head without contrastive losses, a
                batch larger than the memory bank, batches of different size on different processes,
                a training set without a pipeline, no multi-hot labels.
        """
        model = unwrap(runner.model)
        head = model.head
        if getattr(head, 'projector', None) is None:
            raise ValueError(  # mmengine makes its own of a TypeError in a hook
                'PrototypeHook needs an SADCLHead with loss_sscl or loss_pscl, '
                f'got {type(head).__name__} without them: remove the hook from custom_hooks'
            )
        batch_size = getattr(runner.train_dataloader.batch_sampler, 'batch_size', None) or 0
        if head.loss_sscl is not None and batch_size > (head.bank_slots or batch_size):
            raise ValueError(
                f'train_dataloader.batch_size is {batch_size} and the memory bank has '
                f'{head.bank_slots} slots: set model.head.bank_slots to the batch size'
            )
        sampler = runner.train_dataloader.sampler
        if dist.get_world_size() > 1 and not getattr(sampler, 'round_up', True):
            raise ValueError(
                'the contrastive losses gather batches of equal size from all processes: set '
                'train_dataloader.sampler.round_up=True'
            )
        if not getattr(model.data_preprocessor, 'to_onehot', False):
            raise ValueError('PrototypeHook needs data_preprocessor.to_onehot=True')
        super().before_train(runner)
        head.contrastive = self.has_started(runner)

    def start_stage(self, runner: Runner, model: nn.Module) -> str:
        """Give the head its prototypes, which switches its contrastive losses on."""
        prototypes = model.head.given_prototypes()
        if prototypes is None:
            prototypes = training_means(runner, model, 'Prototypes', self.threshold)
        model.head.start_contrastive(prototypes)
        self.share(model.head)
        return f'Contrastive stage starts at epoch {self.begin}: SSCL and PSCL are on'
