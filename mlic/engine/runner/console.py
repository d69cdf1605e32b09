"""What the terminal of a run shows: each thing once; the log file has everything."""

import copy
import logging
import re
import sys
from collections import Counter
from contextlib import suppress

# beginnings of messages that nobody acts upon, of mmengine
FOR_THE_FILE_ONLY = (
    '\n------------------------------------------------------------\nSystem environment:',
    'Config:\n',
    'Hooks will be executed in the following order:',
    'Distributed training is not used, all SyncBatchNorm',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'Exp name: ',
    'Set LoRA for ',
    'Saving checkpoint at ',
    'The previous best checkpoint ',
    'metrics of each class written to ',
    'scores of ',
)
FROZEN = re.compile(r'^(\w+)\S* is skipped since its requires_grad=False$')
BEST = re.compile(r'^The best checkpoint with .* is saved to (\S+)\.$')
EVALUATION = re.compile(r'^(?:Epoch|Iter)\((?:val|test)\)')
TABLE = re.compile(r'^\d+ images, .*; in percent\n')  # of MLICMetric
PARAMETER_OPTION = re.compile(r'^paramwise_options -- (\w+)[^:]*:(\w+)=(.+)$')


class ConsoleFilter(logging.Filter):
    """Keep what is for the log file off the terminal.

    The lines that mmengine writes for each parameter become one line for each part of the model
    and setting. Environment, config and hooks are in the log file, which the first line names. Of
    an evaluation there is a table, or a line of the main metrics, but no number twice.

    Args:
        handler (logging.Handler): Of the terminal, which the filter is added to.
        log_file (str): Where everything is.
        tables (bool): Show tables of evaluations; else their lines. Defaults to True.
    """

    def __init__(self, handler: logging.Handler, log_file: str, tables: bool = True) -> None:
        super().__init__()
        self.handler = handler
        self.log_file = log_file
        self.tables = tables
        self.shown = ''  # the tables of the evaluation that is not logged yet
        self.parameters: Counter = Counter()  # (part, what) to the number of tensors

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the terminal shows a record."""
        message = record.getMessage()
        if self._counts(message):
            return False
        if self.parameters and record.levelno >= self.handler.level:
            summary = copy.copy(record)
            summary.levelno, summary.levelname, summary.args = logging.INFO, 'INFO', None
            parts = [f'{part} {what} ({n})' for (part, what), n in self.parameters.items()]
            summary.msg = f'Parameters with settings of their own (tensors): {"; ".join(parts)}'
            self.parameters.clear()
            self.handler.emit(summary)
        shown = self._shorten(message)
        if shown and shown != message:
            record = copy.copy(record)
            record.msg, record.args = shown, None
            self.handler.emit(record)
        return shown == message

    def _shorten(self, message: str) -> str:
        """What the terminal shows of a message; '' for nothing."""
        if message.startswith('Config:\n'):
            return f'Config, environment and hooks are in {self.log_file}'
        if message.startswith(FOR_THE_FILE_ONLY):
            return ''
        if self.tables and message.startswith('Load checkpoint from '):  # which test.py has said
            return ''
        if TABLE.match(message):
            shown = message if self.tables else ''
            self.shown += f'{shown}\n'
            return shown
        if EVALUATION.match(message) and '/' in message.partition(']  ')[2]:
            return self._metrics(message)
        return BEST.sub(r'best so far: \1', message)

    def _metrics(self, message: str) -> str:
        """The line of an evaluation, without what tables have shown, or else without top-k."""
        head, *items = re.split(' {2,}', message)
        shown, self.shown = self.shown, ''
        numbers = [float(number) for number in re.findall(r'(?<= )\d+\.\d\d\b', shown)]
        words = set(shown.split())
        kept = []
        for name, value in (item.partition(': ')[::2] for item in items):
            metric, _, top = name.rpartition('/')[2].partition('_top')
            if '/' not in name or (top and not self.tables):  # times, for one
                continue
            if re.fullmatch(r'\d+\.\d+', value):
                near = any(abs(float(value) - number) < 0.0051 for number in numbers)
                if near and metric in words:
                    continue
                value = f'{float(value):.2f}'
            kept.append(f'{name.removeprefix("multi-label/")}: {value}')
        return '  '.join([head, *kept]) if kept else ''

    def _counts(self, message: str) -> bool:
        """Count a line about one parameter; False for any other line."""
        frozen = FROZEN.match(message)
        if frozen:
            self.parameters[frozen[1], 'frozen'] += 1
            return True
        option = PARAMETER_OPTION.match(message)
        if option and not option[2].endswith('_mult'):  # the product is logged, too
            self.parameters[option[1], f'{option[2]} {option[3]}'] += 1
        return option is not None


def name_once_if_full(handler: logging.FileHandler) -> None:
    """Have a file that takes no more lines named once, not with a traceback for each line."""

    def name_once(record: logging.LogRecord) -> None:
        reason = sys.exc_info()[1]
        handler.handleError = lambda record: None
        with suppress(OSError):  # stderr may be a file on the same disk
            sys.stderr.write(
                f'{handler.baseFilename} is not complete ({reason}); the run continues\n'
            )

    handler.handleError = name_once
