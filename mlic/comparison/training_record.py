"""What a run's folder records of its training, which may be interrupted and resumed."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from mlic.files import read_json, write_json

NAME = 'training.json'


@dataclass
class TrainingRecord:
    """A training from its first start on.

    Args:
        code (list[str]): Hashes of the sources that it was done by, in their order.
        commits (list[str]): Of these.
        seconds (float): Of all its starts.
        last (str): Name of its last checkpoint; empty until it is through.
        not_finite (bool): Whether it was ended by losses or gradients that are not finite.
    """

    code: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    seconds: float = 0.0
    last: str = ''
    not_finite: bool = False

    @classmethod
    def read(cls, folder: Path) -> 'TrainingRecord':
        """That of a folder; an empty one if it has none.

        Raises:
            ValueError: If it is not one of these.
        """
        path = folder / NAME
        if not path.is_file():
            return cls()
        content = read_json(path)
        try:
            return cls(**content)
        except TypeError as error:
            fault = 'no record of a training; remove it with its folder'
            raise ValueError(f'{path}: {fault}') from error

    def begin(self, folder: Path, code: str, commit: str) -> None:
        """Note by what it is begun, or resumed."""
        for names, name in ((self.code, code), (self.commits, commit)):
            if name not in names:
                names.append(name)
        self.last, self.not_finite = '', False
        self.write(folder)

    def write(self, folder: Path) -> None:
        """Keep it in the folder."""
        write_json(folder / NAME, asdict(self))
