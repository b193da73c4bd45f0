"""Text and JSON that are not to be trusted."""

import json

from models.errors import UserError
from models.untrusted.plain_data import NotPlain, Plain

MOST_BYTES = 16 << 20  # a corpus of 100,000 dipoles, or the statistics of 10 million iterations


def read_text(path, most=MOST_BYTES, encoding="utf-8"):
    """The text in a file of at most `most` bytes.

    Raises UserError where the file is larger or missing, and UnicodeDecodeError where it is not in this encoding.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    if len(content) > most:
        raise UserError(f"{path} is larger than such a file can be ({most:,} bytes)")
    return content.decode(encoding)


def load_json(path, most=MOST_BYTES):
    """The content of a JSON file: plain data within the limits of `plain_data`.

    Raises UserError where the file is missing, is too large, is not valid JSON, or exceeds these limits.
    """
    try:
        return Plain().tree(json.loads(read_text(path, most)))
    except NotPlain as error:
        raise UserError(f"{path} is not a file of this program: it {error}") from None
    except (ValueError, RecursionError) as error:  # ValueError: invalid JSON or UTF-8, or a number that is too long
        raise UserError(f"{path} is not valid JSON: {_line(error)}") from None


def _line(error):
    return " ".join(str(error).split())[:160]
