"""Tables as JSON: a list of rows, a row a line, and the forms of some labelling tools."""

import json
from pathlib import Path

from mlic.datasets.image_level import IMAGE_LEVEL
from mlic.files import each_key_once, parse_json
from mlic.names import short

from .choices import show
from .labels import normalise

META = '-metadata'  # of a label of Ground Truth and Rekognition
ROWS = '[{"image": "1.jpg", "labels": ["cat", "dog"]}, …]'


def json_rows(text: str, path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The columns, and (line, cells) of every row, of a text that begins with ``[`` or ``{``.

    A row is an object, of a list or one after the other (JSON lines). In COCO's form an image is a
    row, with the categories of its annotations. A label of Ground Truth or Rekognition is the name
    that its metadata give.

    Raises:
        ValueError: If it is not JSON, cut off, or of another form; names the line.
    """
    rows = _values(text, path)
    if len(rows) == 1 and text.lstrip()[0] == '{':
        rows = [(1, row) for row in _coco_rows(rows[0][1], path)]
    odd = next((line for line, row in rows if not isinstance(row, dict)), None)
    if odd is not None:
        raise ValueError(f'{path}, line {odd}: not an object with an image; expected {ROWS}')
    if any({'annotations', 'data'} <= row.keys() for _, row in rows):
        raise ValueError(f"{path} is Label Studio's full JSON: export it as JSON-MIN or CSV")
    for line, row in rows:
        if row.get('answer') in ('reject', 'ignore'):
            fault = f"its answer is {row['answer']!r}, which is Prodigy's for what is not accepted"
            raise ValueError(f'{path}, line {line}: {fault}; remove the line')
    rows = [(line, _with_names(row, f'{path}, line {line}')) for line, row in rows]
    header = list(dict.fromkeys(key for _, row in rows for key in row))
    lines = [(line, [_cell(row.get(key)) for key in header]) for line, row in rows]
    return [normalise(key) for key in header], lines


def _values(text: str, path: Path) -> list[tuple[int, object]]:
    """(line, value) of the values of a list, or of those that stand one after the other."""
    is_list = text.lstrip().startswith('[')
    if is_list:
        parse_json(text, path)  # for what is wrong with it
    decoder = json.JSONDecoder(object_pairs_hook=each_key_once)
    values, line, counted, at = [], 1, 0, text.index('[') + 1 if is_list else 0
    while True:
        while text[at : at + 1].isspace() or is_list and text[at : at + 1] == ',':
            at += 1
        if at == len(text) or is_list and text[at] == ']':
            return values
        line += text.count('\n', counted, at)
        counted = at
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            parse_json(text[at:].partition('\n')[0] if values else text, f'{path}, line {line}')
            raise
        values.append((line, value))


def _coco_rows(content: dict, path: Path) -> list[dict]:
    """A row for each image of COCO's form."""
    try:
        images, annotations, categories = (
            content[part] for part in ('images', 'annotations', 'categories')
        )
        names = {category['id']: category['name'] for category in categories}
        labels = {image['id']: {} for image in images}
        if {None, ''} & {*names.values()}:
            raise TypeError('a category without a name')
        for item in annotations:
            labels[item['image_id']][names[item['category_id']]] = None
        rows = [{'image': x['file_name'], 'labels': list(labels[x['id']])} for x in images]
    except (KeyError, TypeError) as error:
        fault = f'no {error}' if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} is one object, and not of COCO's form ({fault}); expected {ROWS}"
        ) from error
    for what, rows_of, ids in ('images', images, labels), ('categories', categories, names):
        if len(ids) < len(rows_of):
            raise ValueError(f'{path}: several {what} have the same id')
    if any(key in image for image in images for key in IMAGE_LEVEL):
        raise ValueError(
            f'{path} says what images lack: COCOMultiLabel reads it (docs/datasets.md)'
        )
    return rows


def _with_names(row: dict, where: str) -> dict:
    """A row of Ground Truth or Rekognition with one column of labels, by the names they have."""
    metas = {key: row[key] for key in row if key.endswith(META) and isinstance(row[key], dict)}
    names = {}
    for key, meta in metas.items():
        if 'failure-reason' in meta:
            raise ValueError(f'{where}: {key!r} says that labelling failed; remove the line')
        if isinstance(meta.get('class-map'), dict):
            job = key.removesuffix(META)
            names[key] = _mapped(row.get(job), meta['class-map'], f'{where}: {job!r}')
        elif 'class-name' in meta:
            names[key] = [meta['class-name']]
    if not names:
        return row
    if len(names) > 1 and any('class-map' in metas[key] for key in names):
        jobs = show([key.removesuffix(META) for key in names])  # of which one corrects another
        raise ValueError(f'{where}: {jobs} are of several labelling jobs; remove all but one')
    taken = {*names, *(key.removesuffix(META) for key in names)}
    rest = {key: value for key, value in row.items() if key not in taken}
    return rest | {'labels': [name for found in names.values() for name in found]}


def _mapped(value: object, names: dict, where: str) -> list:
    """The names of the numbers of a list, or of those of boxes; the map may hold others, too."""
    try:
        if isinstance(value, dict):
            value = [box['class_id'] for box in value['annotations']]
        if not isinstance(value, list):
            raise TypeError(f'{short(value)} is no list of numbers')
        return [names[str(number)] for number in value]
    except (KeyError, TypeError) as error:
        fault = f'no {error}' if isinstance(error, KeyError) else error
        raise ValueError(f'{where} and its class-map do not fit together ({fault})') from error


def _cell(value: object) -> str:
    """A value as the cell of a table."""
    if value is None:
        return ''
    return normalise(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
