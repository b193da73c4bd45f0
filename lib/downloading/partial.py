"""Files that have only arrived in part: where they lie, and what the server said of them when they were begun.

Beside each one, <file>.part, stands a note, <file>.part.json: {"url", "validator", "length"}. The validator is a strong
ETag, or else the date of the last change; with it the server can tell whether it still has the same file.
"""

import hashlib
from pathlib import Path

from lib.files import read_json, write_json
from models.errors import UserError


def part_of(directory, url):
    """The file in `directory` that collects what arrives from an address: one for each source, as they may differ."""
    return Path(directory) / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.part"


def discard(part):
    """Remove a file that arrived, in part or whole, and its note."""
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def size_of(part):
    """Bytes that have arrived."""
    return part.stat().st_size if part.is_file() else 0


def expected_size(part):
    """Bytes that the whole file will have; None where the server did not say."""
    return _read(part).get("length")


def read_note(part, url):
    """The note of a file that was begun from this address; an empty dict where there is none."""
    note = _read(part)
    return note if note.get("url") == url else {}


def start_over(part, url, answer):
    """Discard what has arrived, and note what the server says of the file, which it now sends from the beginning."""
    etag = answer.headers.get("ETag") or ""
    validator = etag if etag.startswith('"') else answer.headers.get("Last-Modified")
    discard(part)
    write_json({"url": url, "validator": validator, "length": answer.length}, _note_of(part))


def _note_of(part):
    return part.with_name(f"{part.name}.json")


def _read(part):
    try:
        note = read_json(_note_of(part))
    except (OSError, UserError):
        return {}
    kinds = {"url": str, "validator": str | None, "length": int | None}
    whole = isinstance(note, dict) and note.keys() == kinds.keys()
    return note if whole and all(isinstance(note[key], kind) for key, kind in kinds.items()) else {}
