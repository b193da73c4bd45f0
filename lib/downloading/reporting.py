"""What goes wrong with one source, in a line on stderr: the next source is tried after it."""

import sys
from contextlib import contextmanager

from lib.downloading.archives import ArchiveError
from lib.downloading.fetching import FetchError
from models.errors import UserError


@contextmanager
def attempt(label, what=None):
    """Report an error that ends the block, and go on after it."""
    try:
        yield
    except (FetchError, ArchiveError, UserError) as error:
        reason = error
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}" if error.filename else error.strerror or error
    else:
        return
    report(label, f"{what}: {reason}" if what else reason)


def report(label, text):
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))
    print(f"{label}: {line}", file=sys.stderr, flush=True)
