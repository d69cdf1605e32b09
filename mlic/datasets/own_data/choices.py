"""What is to be decided about a table, by its user or by asking."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

OPTIONS = {  # and what they are called here
    '--image-column': 'image',
    '--label-columns': 'labels',
    '--ignore-columns': 'ignored',
    '--split-column': 'split',
    '--present': 'present',
    '--absent': 'absent',
    '--unknown': 'unknown',
    '--sep': 'sep',
}


@dataclass
class Choices:
    """What the user has decided; None and () are not decided."""

    image: str | None = None
    labels: Sequence[str] = ()
    ignored: Sequence[str] = ()
    split: str | None = None
    group: str | None = None
    present: Sequence[str] = ()
    absent: Sequence[str] = ()
    unknown: Sequence[str] = ()
    sep: str | None = None
    unlisted: str = 'absent'  # what classes are that a list of labels does not have, or 'unknown'


@dataclass
class Questions:
    """What a table leaves open: what is said of it, what was assumed, and the options for that."""

    said: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    options: dict[str, list[str]] = field(default_factory=dict)

    def ask(self, said: str, assumed: str, *options: str) -> None:
        """Keep a new question, the answer that was assumed, and the options that give it."""
        if said in self.said:
            return
        self.said.append(said)
        self.assumed.append(assumed)
        for word in options:
            if word in OPTIONS:
                values = self.options.setdefault(word, [])
            else:
                values.append(word)

    def answered(self, choices: Choices) -> Choices:
        """The choices, with the options that were asked for, as the command line takes them."""
        answers: dict[str, object] = {OPTIONS[option]: v for option, v in self.options.items()}
        for name in {'image', 'split', 'sep'} & answers.keys():
            answers[name] = answers[name][0]
        if 'sep' in answers:
            answers['sep'] = unspell(answers['sep'])
        if 'ignored' in answers:
            answers['ignored'] = [*choices.ignored, *answers['ignored']]
        return replace(choices, **answers)

    def words(self, ignored: Sequence[str]) -> list[str]:
        """The options as typed; columns that are ignored already stay so."""
        if '--ignore-columns' in self.options:
            names = [*ignored, *self.options['--ignore-columns']]
            self.options['--ignore-columns'] = list(dict.fromkeys(names))
        return [word for option in self.options.items() for word in _typed(*option)]


def _typed(option: str, values: list[str]) -> list[str]:
    """An option as argparse takes it, which sees another option in a value such as '-x'."""
    if len(values) == 1 and re.match(r'-(?!\d+$|\d*\.\d+$)', values[0]):
        return [f'{option}={values[0]}']
    return [option, *values]


class Undecided(ValueError):
    """What a table leaves open; ``options`` of the command line decide it as ``assumed``."""

    def __init__(self, message: str, assumed: str, options: Sequence[str]) -> None:
        super().__init__(message)
        self.assumed, self.options = assumed, list(options)


def show(values: Sequence[str]) -> str:
    """Names or values of cells in a message."""
    return ', '.join(repr(value) if value else 'blank' for value in values)


def spell(separator: str) -> str:
    """A separator as it is typed and printed."""
    return {'\n': r'\n', '\t': r'\t'}.get(separator, separator)


def unspell(text: str) -> str:
    """A separator that was typed; a line break and a tab are typed as in Python."""
    return text.replace('\\n', '\n').replace('\\t', '\t')
