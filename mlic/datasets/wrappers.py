"""Data sets inside wrappers, such as ``ConcatDataset``: their configs, or themselves."""

from collections.abc import Callable, Mapping, Sequence

from mmengine.config import Config, ConfigDict
from torch.utils.data import Dataset


def inner_configs(dataset: Mapping) -> list[Mapping]:
    """The configs of the data sets inside wrappers; without one, the config itself."""
    inner = [*dataset.get('datasets', ()), *filter(None, [dataset.get('dataset')])]
    return [part for one in inner for part in inner_configs(one)] or [dataset]


def change_inner(dataset: Mapping, change: Callable[[Mapping], Mapping]) -> ConfigDict:
    """A config with what ``change`` makes of the data sets inside wrappers."""
    if dataset.get('datasets'):
        inner = dict(datasets=[change_inner(one, change) for one in dataset['datasets']])
    elif dataset.get('dataset'):
        inner = dict(dataset=change_inner(dataset['dataset'], change))
    else:
        inner = change(dataset)
    return ConfigDict({**dataset, **inner})


def pipeline_of(cfg: Config, split: str = 'test') -> list[Mapping]:
    """The one pipeline of ``<split>_dataloader.dataset``, inside of wrappers, too.

    Raises:
        ValueError: If there is none, or data sets inside a wrapper have different ones.
    """
    name, inner = f'{split}_dataloader.dataset', inner_configs(cfg[f'{split}_dataloader'].dataset)
    first, *others = [one.get('pipeline') for one in inner]
    if any(other != first for other in others):
        raise ValueError(f'the data sets in {name} have several pipelines: give all the same')
    if first is None:
        raise ValueError(f'{name} has no pipeline: {inner[0].get("type")} does not take one')
    return first


def inner_datasets(dataset: Dataset) -> list[Dataset]:
    """The data sets inside wrappers; without one, the data set itself."""
    if hasattr(dataset, 'datasets'):
        return [part for one in dataset.datasets for part in inner_datasets(one)]
    return inner_datasets(dataset.dataset) if hasattr(dataset, 'dataset') else [dataset]


def innermost(dataset: Dataset) -> Dataset:
    """The data set inside wrappers; the first of several."""
    return inner_datasets(dataset)[0]


def classes_of(dataset: Dataset) -> Sequence[str] | None:
    """The names of a data set's classes, inside wrappers, too; None where it names none.

    mmpretrain's have them as ``CLASSES``, mmengine's ``BaseDataset`` in its ``metainfo`` alone.
    """
    dataset = innermost(dataset)
    if hasattr(dataset, 'CLASSES'):  # metainfo is copied whenever it is asked for
        return dataset.CLASSES
    return (getattr(dataset, 'metainfo', None) or {}).get('classes')


def transforms_of(dataset: Dataset) -> list:
    """The transforms of a data set, of all inside a wrapper; none where it has no pipeline."""
    pipelines = [getattr(one, 'pipeline', None) for one in inner_datasets(dataset)]
    return [step for pipeline in pipelines for step in getattr(pipeline, 'transforms', ())]
