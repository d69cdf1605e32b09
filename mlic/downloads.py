"""Files from addresses, within limits of time and size."""

import time
import urllib.parse
import urllib.request

MAX_BYTES = 2**28
MAX_SILENCE = 20  # seconds until a server must say something
MAX_SECONDS = 120  # for all of its content


def download(address: str) -> bytes:
    """The answer of an address (``http://``, ``https://``) in the memory.

    It may have 256 MiB and take 120 seconds, of which 20 without a sign of life, and it may
    redirect to other such addresses, never to a file. Blanks in the address are escaped.

    Raises:
        OSError: If the server is not reached, or has nothing there, or a limit is passed.
        Exception: What else urllib and http.client raise of addresses and answers.
    """
    deadline = time.monotonic() + MAX_SECONDS
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
            if time.monotonic() > deadline:
                raise TimeoutError('it did not all arrive in time')
    if expected is not None and len(content) < expected:
        raise OSError(f'cut off after {len(content)} of {expected} bytes')
    return bytes(content)
