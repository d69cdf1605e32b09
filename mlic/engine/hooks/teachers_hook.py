"""Trained models that a student learns from are opened when its training starts."""

from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader, Runner
from mmpretrain.registry import HOOKS, MODELS
from torch import nn

from mlic.datasets.wrappers import classes_of
from mlic.engine.checkpoints.matching import check_fit, class_names_of
from mlic.engine.checkpoints.search import find_checkpoint
from mlic.engine.mmengine_internals import unwrap
from mlic.installation import find_config
from mlic.models.training_parts import for_prediction
from mlic.names import counted, first_names
from mlic.registries import load_config


@HOOKS.register_module()
class TeachersHook(Hook):
    """Open the teachers of a ``DistilledClassifier`` before the first iteration of a training.

    See :func:`open_teachers`; the log has a line for each. All processes open them.

    Example:
        >>> import mlic.engine  # registers it
        >>> from mmpretrain.registry import HOOKS
        >>> config = dict(type='TeachersHook')  # default_hooks.teachers
        >>> HOOKS.build(config).priority
        'VERY_HIGH'
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Hand them to the model."""
        classes = classes_of(runner.train_dataloader.dataset)
        for line in open_teachers(unwrap(runner.model), classes):
            runner.logger.info(line)


def open_teachers(model: nn.Module, classes: Sequence[str] | None) -> list[str]:
    """Open the teachers that a model's config names; returns a line for each.

    Args:
        model (nn.Module): Without a wrapper; for one without a method ``learn_from``, which
            ``DistilledClassifier`` has, or without ``distillation``, nothing is opened. Its
            ``distillation['teachers']`` are dictionaries: ``config``, a file; ``checkpoint``, a
            file or work directory, whose names of classes must be among ``classes``;
            ``ensemble``, by default ''; ``train``, the command that makes it, for the message
            where there is none. The config's ``num_classes`` become the checkpoint's.
        classes (Sequence[str], optional): Of the student's data.

    Raises:
        FileNotFoundError: If there is no such file; says how to make it.
        ValueError: If a teacher knows other classes or takes images in another way.
    """
    if not hasattr(model, 'learn_from') or not model.distillation:
        return []
    settings = model.distillation['teachers']
    if not settings:
        raise ValueError('distillation.teachers names none: a student needs at least one')
    random = torch.get_rng_state()  # what a teacher starts from does not count
    teachers = [_open(model, teacher, classes) for teacher in settings]
    torch.set_rng_state(random)
    model.learn_from(teachers)
    return [
        f'Teacher: {setting["checkpoint"]}, {counted(len(numbers), "class")}'
        for setting, (_, numbers, _) in zip(settings, teachers)
    ]


def _open(student: nn.Module, setting: dict, classes: Sequence[str] | None) -> tuple:
    """The model, the numbers of its classes, and its ensemble."""
    path = setting['checkpoint']
    try:
        found = find_checkpoint(path)
        content = CheckpointLoader.load_checkpoint(found.path, 'cpu', logger='silent')
    except FileNotFoundError as error:
        command = setting.get('train') or f'tools/train.py {setting["config"]} --work-dir {path}'
        raise FileNotFoundError(f'no teacher {path}; it is made by {command}') from error
    names = class_names_of(content)
    if not names or not classes:
        raise ValueError(f'teacher {path}: the checkpoint or the data name no classes')
    strange = [name for name in names if name not in classes]
    if strange:
        raise ValueError(
            f'teacher {path} knows {first_names(strange, 3, repr)}, which the data do not have'
        )
    cfg = load_config(find_config(setting['config']))
    own = _with_classes(for_prediction(cfg.model), len(names))
    prepare = _with_classes(cfg.get('data_preprocessor'), len(names))
    model = MODELS.build({'data_preprocessor': prepare, **own})
    model.load_state_dict(check_fit(content, model, None, found.path), strict=False)
    stored = [type(x.backbone).__name__ == 'StoredFeatures' for x in (student, model)]
    if stored[0] != stored[1]:
        raise ValueError(
            f'teacher {path} takes {"stored features" if stored[1] else "images"}, and the student '
            f'{"stored features" if stored[0] else "images"}: they see the same batch'
        )
    prepares = [x.data_preprocessor for x in (student, model)]
    for key in ('mean', 'std', 'to_rgb'):
        ours, theirs = (getattr(x, key, False) for x in prepares)
        if torch.as_tensor(ours).tolist() != torch.as_tensor(theirs).tolist():
            raise ValueError(
                f"teacher {path} takes images with another {key} than the student's "
                'data_preprocessor: they see the same batch'
            )
    return model, [classes.index(name) for name in names], setting.get('ensemble', '')


def _with_classes(part: object, number: int) -> object:
    """A copy of a config whose ``num_classes``, at any depth, are a number."""
    if isinstance(part, (list, tuple)):
        return type(part)(_with_classes(item, number) for item in part)
    if not isinstance(part, dict):
        return part
    return type(part)(
        {
            key: number if key == 'num_classes' else _with_classes(item, number)
            for key, item in part.items()
        }
    )
