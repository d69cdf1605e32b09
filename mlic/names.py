"""Names in a line of text."""

from collections.abc import Callable, Iterable


def first_names(names: Iterable, most: int = 10, form: Callable = str) -> str:
    """The first names, each in that form, with commas between them, and dots if there are more."""
    names = [form(name) for name in names]
    return ', '.join(names[:most] + ['…'] * (len(names) > most))
