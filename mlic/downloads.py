"""Files from addresses, within limits of time and size."""

import threading
import time
import urllib.parse
import urllib.request

MAX_BYTES = 2**28
MAX_SILENCE = 20  # seconds until a server must say something
MAX_SECONDS = 120  # for all of it
LATE = 'it did not all arrive in time'


def download(address: str) -> bytes:
    """The answer of an address (``http://``, ``https://``) in the memory.

    It may have 256 MiB and take 120 seconds, of which 20 without a sign of life, and it may
    redirect to other such addresses, never to a file. Blanks in the address are escaped.

    Raises:
        OSError: If the server is not reached, or has nothing there, or a limit is passed.
        Exception: What else urllib and http.client raise of addresses and answers.
    """
    outcome: list[bytes | Exception] = []
    deadline = time.monotonic() + MAX_SECONDS

    def work() -> None:
        try:
            outcome.append(_read_answer(address, deadline))
        except Exception as error:
            outcome.append(error)

    # A server that sends a byte now and then keeps each single wait short, for ever. A thread of
    # its own can be left.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(MAX_SECONDS)
    if not outcome:
        raise TimeoutError(LATE)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _read_answer(address: str, deadline: float) -> bytes:
    opener = urllib.request.OpenerDirector()  # no file:, ftp: or data:, not even by a redirect
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    opener.addheaders = [('User-Agent', 'mlic')]
    address = urllib.parse.quote(address, safe="%/:=&?~#+!$,;'@()*[]")
    content = bytearray()
    with opener.open(address, timeout=MAX_SILENCE) as answer:
        expected = answer.length
        if (expected or 0) > MAX_BYTES:
            raise OSError(f'{expected} bytes, more than the {MAX_BYTES} that are read')
        while chunk := answer.read1(2**16):
            content += chunk
            if len(content) > MAX_BYTES:
                raise OSError(f'more than the {MAX_BYTES} bytes that are read')
            if time.monotonic() > deadline:  # for the thread that was left
                raise TimeoutError(LATE)
    if expected is not None and len(content) < expected:
        raise OSError(f'cut off after {len(content)} of {expected} bytes')
    return bytes(content)
