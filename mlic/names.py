"""Names in a line of text."""

import re
import reprlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable


def first_names(names: Iterable, most: int = 10, form: Callable = str) -> str:
    """The first names, each in that form, with commas between them, and dots if there are more."""
    names = [form(name) for name in names]
    return ', '.join(names[:most] + ['…'] * (len(names) > most))


def repeated(names: Iterable[Hashable]) -> list:
    """The names that come more than once, each once, in their order."""
    return [name for name, count in Counter(names).items() if count > 1]


def counted(number: int | str, thing: str) -> str:
    """A number and what is counted, given in the singular: '1 image', '2 images', '2 classes'."""
    return f'{number} {thing}' + ('es' if thing.endswith('s') else 's') * (number != 1)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200  # characters; longer ones lose their middle
_SHORT.maxlist = 10
# what Markdown does not take for text: of _, what is not within a word, of &, what names a letter
MARKS = re.compile(r'[\\`*\[\]<|~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)')


def markdown_text(value: object) -> str:
    """A line of Markdown that shows as the text that is given, whatever marks are in it."""
    return MARKS.sub(r'\\\g<0>', ' '.join(str(value).split()))


def printable(name: str) -> str:
    """A name from a file for a message: as it stands, or as Python writes it if it has to be."""
    return name if name.isprintable() and len(name) <= _SHORT.maxstring else short(name)


def in_one_line(text: str, most: int = 600) -> str:
    """A text whose lines become one, which loses its middle if it has more letters than that."""
    text = ' '.join(text.split())
    return text if len(text) <= most else f'{text[: most // 2]} … {text[-(most // 2) :]}'


def reason_of(error: BaseException) -> str:
    """What another library's error says, for a message: in one line, without its middle."""
    is_quoted = isinstance(error, KeyError) and len(error.args) == 1 and ' ' in str(error)
    said = error.args[0] if is_quoted else error  # a sentence, and no key
    return in_one_line(str(said)) or type(error).__name__


def short(value: object) -> str:
    """A value from a file for a message: as Python writes it, in one line, without its middle."""
    return _SHORT.repr(value)
