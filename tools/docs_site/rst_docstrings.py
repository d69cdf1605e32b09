r"""The docstrings' reStructuredText as Markdown, for the site's reference of classes.

Docstrings here follow mmpretrain: roles such as ``:class:`X```, formulas as ``:math:`` and
``.. math::``, links, and examples after ``::``.
"""

import re
import textwrap

from griffe import Extension, Object

FORMULA = re.compile(r'^( *)\.\. math::\n((?:\1 +.*\n|\s*\n)+)', flags=re.MULTILINE)


def to_markdown(text: str) -> str:
    """A docstring in Markdown."""
    text = FORMULA.sub(_fence, text + '\n')
    text = re.sub(r':math:`([^`]+)`', r'$`\1`$', text)
    text = re.sub(r':\w+:`~?([^`]+)`', r'`\1`', text)
    text = re.sub(r'`([^`<]+) <([^`>]+)>`_', r'[\1](\2)', text)
    text = re.sub(r'^Example:$', 'Examples:', text, flags=re.MULTILINE)
    return re.sub(r':? *::$', ':', text, flags=re.MULTILINE).rstrip('\n')


def _fence(match: re.Match) -> str:
    """The block of a formula; blank lines around it, as a paragraph needs."""
    formula = textwrap.dedent(match[2]).strip('\n')
    lines = ['```math', *formula.splitlines(), '```']
    return ''.join(f'{match[1]}{line}\n' for line in lines) + '\n'


class MarkdownDocstrings(Extension):
    """Hands every docstring to mkdocstrings in Markdown."""

    def on_instance(self, *, obj: Object, **kwargs) -> None:
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
