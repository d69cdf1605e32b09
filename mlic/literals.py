"""Python text that holds plain values only: read without executing it, written to read back."""

import ast
import pprint


def parse_literals(text: str) -> dict:
    """The values of a text of assignments, which is not executed.

    Raises:
        ValueError: If one is neither a literal nor a ``dict(...)``, or the text is no Python or
            nested too deeply.
    """
    values = {}
    try:
        for statement in ast.parse(text).body:
            if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
                raise ValueError(f'line {statement.lineno} is not an assignment')
            (target,) = statement.targets
            if not isinstance(target, ast.Name):
                raise ValueError(f'line {statement.lineno} does not assign to a name')
            node = _DictCalls().visit(statement.value)
            try:
                values[target.id] = ast.literal_eval(node)
            except ValueError as error:  # which ends in the address of an object
                raise ValueError(f'{target.id}: {str(error).partition(": <")[0]}') from error
    except (MemoryError, RecursionError) as error:  # the first is the parser's word for it
        raise ValueError('it is nested too deeply') from error
    except (SyntaxError, TypeError) as error:
        raise ValueError(str(error)) from error
    return values


def write_literals(values: dict, what: str, sort_dicts: bool = False) -> str:
    """The values as a config file, an assignment for each; see :func:`check_literals`.

    mmengine's own text of a config does not escape the keys of dicts, writes a number that is not
    finite by its name, and takes minutes for a hundred thousand characters.
    """
    try:
        text = ''.join(
            f'{key} = {pprint.pformat(value, width=100, compact=True, sort_dicts=sort_dicts)}\n'
            for key, value in values.items()
        )
    except (RecursionError, ValueError) as error:  # the second of an integer of 5,000 digits
        raise ValueError(f'{what} cannot be written as Python: {error}') from error
    return check_literals(text, values, what)


def check_literals(text: str, values: dict, what: str) -> str:
    """The text, if it is a config file that holds exactly these values and does nothing else.

    Raises:
        ValueError: If :func:`parse_literals` reads anything else; or mmengine, when it loads the
            file, would read another one (``_base_``) or put something in (``{{…}}``).
    """
    if '_base_' in values or '{{' in text:
        raise ValueError(f"{what}: '_base_' and '{{{{' mean something else in a config file")
    try:
        same = pprint.pformat(parse_literals(text)) == pprint.pformat(values)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{what} holds more than plain values: {error}') from error
    if not same:
        raise ValueError(f'{what} cannot be written as Python: read back, it has other values')
    return text


class _DictCalls(ast.NodeTransformer):
    """``dict(a=1)`` becomes ``{'a': 1}``, which is a literal."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        keys = [keyword.arg for keyword in node.keywords]
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or None in keys:
            raise ValueError(f'line {node.lineno} calls something')
        values = [self.visit(keyword.value) for keyword in node.keywords]
        if not node.args:
            return ast.Dict([ast.Constant(key) for key in keys], values)
        if len(node.args) > 1 or keys or not isinstance(node.args[0], ast.Dict):
            raise ValueError(f'line {node.lineno} calls dict with a value')
        return self.visit(node.args[0])
