"""Hooks of mkdocs.yml: links that leave docs/, and formulas, without a server's help.

The pages link to configs, tools and code of the repository, as GitHub shows them. In the site, each
such file is a page under ``source/``: code as it is, Markdown with links of its own. Formulas in
GitHub's form, ``$`x`$`` and fences named math, become MathML, which browsers draw themselves.
"""

import re
from pathlib import Path, PurePosixPath

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
SOURCE = 'source'
LINK = re.compile(r'(?<!!)\[([^\]]*)\]\(([^)\s]+)\)')
INLINE = re.compile(r'\$`([^`]+)`\$')
BLOCK = re.compile(r'^```math\n(.*?)^```$', flags=re.MULTILINE | re.DOTALL)
ASSETS = ('iframe-worker.js', 'site.css')
FENCES = {'.py': 'python', '.sh': 'bash', '.json': 'json', '.yml': 'yaml', '.toml': 'toml'}


def repository_path(page_uri: str) -> PurePosixPath:
    """The file of the repository that a page of the site shows."""
    path = PurePosixPath(page_uri)
    if path.parts[0] == SOURCE:
        return path.relative_to(SOURCE).with_suffix('')
    return PurePosixPath('docs') / path


def page_uri(path: PurePosixPath) -> str:
    """The page of the site that shows a file of the repository."""
    if path.parts[0] == 'docs':
        return str(path.relative_to('docs'))
    return f'{SOURCE}/{path}.md'


def linked(text: str, path: PurePosixPath) -> dict[str, PurePosixPath]:
    """Links of a document to files of the repository: {link without anchor: file}."""
    found = {}
    for _, target in LINK.findall(text):
        name = target.partition('#')[0]
        if name and '://' not in target:
            file = (ROOT / path.parent / name).resolve()
            if file.is_file():
                found[name] = PurePosixPath(file.relative_to(ROOT).as_posix())
    return found


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Formulas are read by all pages, and by the docstrings in them."""
    config.markdown_extensions.append(MathMLExtension())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside docs/ that a page links to, and so on from there.

    Add style and script of the site, too.
    """
    for name in ASSETS:
        path = str(Path(__file__).with_name(name))
        files.append(File.generated(config, f'assets/{name}', abs_src_path=path))
    waiting = [page.src_uri for page in files.documentation_pages()]
    while waiting:
        path = repository_path(waiting.pop())
        if path.suffix != '.md':
            continue
        for target in linked((ROOT / path).read_text(encoding='utf-8'), path).values():
            uri = page_uri(target)
            if files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, content=show(target)))
                waiting.append(uri)
    return files


def show(path: PurePosixPath) -> str:
    """A file of the repository as a page."""
    text = (ROOT / path).read_text(encoding='utf-8')
    if path.suffix == '.md':
        return text
    return f'# {path.name}\n\n`{path}`\n\n````{FENCES.get(path.suffix, "text")}\n{text}````\n'


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files of the repository lead to their pages, and have the page's title as text
    where the document has the bare name of a page. The search finds documents before code."""
    here = repository_path(page.file.src_uri)
    if here.suffix != '.md' or here.name == 'api.md':
        page.meta['search'] = {'boost': 0.2}
    if here.suffix != '.md':
        return markdown
    pages = linked(markdown, here)
    up = '../' * page.file.src_uri.count('/')

    def rewrite(match: re.Match) -> str:
        name, mark, anchor = match[2].partition('#')
        if name not in pages:
            return match[0]
        uri = page_uri(pages[name])
        target = files.get_file_from_path(uri).page
        text = target.title if match[1] == pages[name].name and target else match[1]
        return f'[{text or match[1]}]({up}{uri}{mark}{anchor})'

    return LINK.sub(rewrite, markdown)


class MathML(Preprocessor):
    """Replaces formulas by MathML before anything else reads their underscores."""

    def run(self, lines: list[str]) -> list[str]:
        text = BLOCK.sub(lambda match: self._keep(match[1], 'block'), '\n'.join(lines))
        return INLINE.sub(lambda match: self._keep(match[1], 'inline'), text).split('\n')

    def _keep(self, formula: str, display: str) -> str:
        if r'\\' in formula:  # several lines, which as in TeX need an environment
            formula = rf'\begin{{split}}{formula}\end{{split}}'
        mathml = convert(formula.strip(), display=display)
        if display == 'inline':
            return self.md.htmlStash.store(mathml)
        kept = self.md.htmlStash.store(f'<div class="formula">{mathml}</div>')
        return f'\n{kept}\n'  # a paragraph, also where another formula follows at once


class MathMLExtension(Extension):
    """Formulas of a Markdown text as MathML."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  Markdown's name
        md.preprocessors.register(MathML(md), 'mathml', 27)
