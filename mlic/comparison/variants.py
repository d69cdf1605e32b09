"""Configs with other values of some entries: what ``--vary`` of ``mlic compare`` adds."""

import copy
from dataclasses import dataclass

from mmengine.config import Config

from mlic.engine.config.options import merge_options

from .recipes import entry_of


@dataclass
class Variation:
    """Values that are tried, one after the other.

    Args:
        word (str): What is varied, for names and picture.
        entries (dict[str, list]): Dotted keys of a config to as many values each. The first key's
            are numbers, and stand for the others.

    Raises:
        ValueError: If there is no key, the lists differ in length, or a value of the first is no
            number, or given twice.
    """

    word: str
    entries: dict[str, list]

    def __post_init__(self) -> None:
        self.entries = {k: v if isinstance(v, list) else [v] for k, v in self.entries.items()}
        if not self.entries:
            raise ValueError(f'--vary {self.word}: no KEY=VALUE,VALUE,… follows')
        first, *others = self.entries
        numbers = self.entries[first]
        for value in numbers:
            if type(value) not in (int, float):
                raise ValueError(f'--vary {self.word}: {first} takes numbers, got {value!r}')
        if len(set(numbers)) < len(numbers):
            raise ValueError(f'--vary {self.word}: {first} has a value twice, got {numbers}')
        for key in others:
            if len(self.entries[key]) != len(numbers):
                raise ValueError(
                    f'--vary {self.word}: {len(numbers)} values of {first}, and '
                    f'{len(self.entries[key])} of {key}'
                )

    def own_number(self, recipes: dict[str, Config]) -> float:
        """What all configs have at the first key.

        Raises:
            ValueError: If one has no number there, or another one.
        """
        key = next(iter(self.entries))
        own = {name: entry_of(cfg, key) for name, cfg in recipes.items()}
        first = next(iter(own))
        for name, number in own.items():
            if type(number) not in (int, float):
                raise ValueError(
                    f'--vary {self.word}: {name} has {number} at {key}, not a number; '
                    f'if the key is right, state what is the default: --set {key}=NUMBER'
                )
            if number != own[first]:
                raise ValueError(
                    f'--vary {self.word}: {name} has {number} at {key}, and {first} {own[first]}; '
                    'all configs need the same number there (--set)'
                )
        return own[first]


def vary(
    recipes: dict[str, Config], variations: list[Variation]
) -> tuple[dict[str, Config], dict[str, str], dict[str, dict[float, str]]]:
    """All configs as they are, and with each value of one variation at a time.

    Returns:
        tuple[dict, dict, dict]: All recipes by name; the name of what each but the first is
        compared with, the first config at the same value, or of the first config itself, as it is;
        and of each word, by number, what follows a config's name there: nothing at the number that
        the configs have.

    Raises:
        ValueError: If a config has no number there, or another one than the first; or if a name
            is another config's.
    """
    first = next(iter(recipes))
    every, places = dict(recipes), {}
    against = dict.fromkeys(recipes, first)
    for variation in variations:
        endings = {variation.own_number(recipes): ''}
        for values in zip(*variation.entries.values()):
            if values[0] in endings:
                continue
            ending = endings[values[0]] = f'_{variation.word}{values[0]:g}'
            for config, cfg in recipes.items():
                if config + ending in every:
                    raise ValueError(
                        f'--vary {variation.word}: {config + ending} is the name of another config'
                    )
                every[config + ending] = changed = copy.deepcopy(cfg)
                merge_options(changed, dict(zip(variation.entries, values)))
                against[config + ending] = first if config == first else first + ending
        places[variation.word] = dict(sorted(endings.items()))
    against.pop(first)
    return every, against, places
