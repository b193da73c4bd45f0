"""One address -> one file, over lines that drop and servers that lie."""

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from lib.downloading.hashes import CHUNK
from lib.files import write_json

WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}
TRIES = 3  # in a row that bring nothing new
GROWTH = 3  # of the pause from one try to the next
WEB_PAGE = (b"<!doctype html", b"<html")
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class FetchError(Exception):
    """What went wrong with one source, in one line."""


class WrongHash(FetchError):
    """What came has another SHA-256 than expected."""


class _Passing(FetchError):
    """What may not go wrong the next time."""


class Fetcher:
    """Fetches addresses. Proxies are those of the environment (`https_proxy` and its kin).

    timeout: seconds that a server may stay silent. pause: seconds before the second try; three times that before the
    third.
    """

    def __init__(self, timeout=30.0, pause=2.0):
        self.timeout, self.pause = timeout, pause
        # Sharing services hand out a cookie on the way, and want it back at the end of their redirections.
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open
        self._silent = set()  # hosts that have not answered at all: they get one try from then on, not three

    def fetch(self, url, part, sha256=None, label="", room=1):
        """Bring what lies at `url` to the file `part`; returns its SHA-256.

        What `part` already has of it is not fetched again, if the server can tell that it is still the same, or if
        `sha256` will. `room`: how many times its size the disk must have free. Raises FetchError, and then leaves what
        has arrived for the next time, unless it is known to be wrong.
        """
        try:
            return self._persist(url, part, sha256, label, room)
        finally:
            if not _size(part):
                discard(part)

    def _persist(self, url, part, sha256, label, room):
        host, furthest, failures = urlsplit(url).netloc, _size(part), 0
        while True:
            try:
                return self._receive(url, part, sha256, label, room)
            except _Passing as error:
                failures = 1 if _size(part) > furthest else failures + 1
                furthest = max(furthest, _size(part))
                if failures >= (1 if host in self._silent else TRIES):
                    if isinstance(error, _NoAnswer):
                        self._silent.add(host)
                    raise FetchError(str(error)) from None
                pause = self.pause * GROWTH ** (failures - 1)
                print(f"{label}: {error}; again in {pause:g} s", file=sys.stderr, flush=True)
                time.sleep(pause)

    def _receive(self, url, part, sha256, label, room):
        note = _read_note(part, url)
        usable = note.get("validator") or (note and sha256)
        offset = _size(part) if usable else 0
        digest = _digest(part, offset)
        if not offset or offset != note["length"]:  # where they are equal, all arrived before
            with self._ask(url, part, offset, note) as answer:
                if answer.status != 206:
                    offset, digest = 0, hashlib.sha256()
                    _write_note(part, url, answer)
                self._save(answer, part, offset, digest, label, room)
        _check_whole(part, digest.hexdigest(), sha256, resumed=offset > 0)
        return digest.hexdigest()

    def _ask(self, url, part, offset, note):
        """The server's answer, of status 200, or of 206 and then of the rest of the same file."""
        headers = {"User-Agent": "ContraCLIP", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if note["validator"]:
                headers["If-Range"] = note["validator"]
        try:
            answer = self._open(urllib.request.Request(url, headers=headers), timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and offset:  # it has less than we have
                discard(part)
                raise _Passing("the file has changed at the server") from None
            kind = _Passing if error.code in WORTH_ANOTHER_TRY else FetchError
            raise kind(f"the server answers {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, (ssl.SSLCertVerificationError, ValueError)) or _is_unknown_host(reason):
                raise FetchError(f"no connection ({_line(reason)})") from None
            raise _NoAnswer(f"no answer ({_line(reason)})") from None
        try:
            _check_answer(answer, part, offset, note)
        except FetchError:
            answer.close()
            raise
        return answer

    def _save(self, answer, part, offset, digest, label, room):
        """Add what the answer brings to `part`, and to the digest of it."""
        length = None if answer.length is None else offset + answer.length
        if length is not None:
            _check_room(part, length - offset + (room - 1) * length)
        bar = tqdm(total=length, initial=offset, desc=label, unit="B", unit_scale=True)
        with bar, open(part, "r+b" if offset else "wb") as file:
            file.seek(offset)
            file.truncate()
            while chunk := self._read(answer):
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
        if length is not None and _size(part) < length:
            raise _Passing(f"the connection ended after {_size(part):,} of {length:,} bytes")

    @staticmethod
    def _read(answer):
        try:
            return answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(f"the connection broke ({_line(error)})") from None


class _NoAnswer(_Passing):
    """The host cannot be reached, or says nothing."""


def discard(part):
    """Remove a file that arrived, or half arrived, and what is known of it."""
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def expected_size(part):
    """Bytes that a file that has half arrived will have; None where the server did not say."""
    try:
        return json.loads(_note_of(part).read_text())["length"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_unknown_host(error):
    """Whether the name has no address; a name server that cannot be reached may be the next time."""
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME


def _line(error):
    text = getattr(error, "strerror", None) or str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0]


def _size(path):
    return path.stat().st_size if path.is_file() else 0


def _digest(path, size):
    """A SHA-256 that has seen the first `size` bytes of a file."""
    digest = hashlib.sha256()
    if size:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest


def _note_of(part):
    return part.with_name(f"{part.name}.json")


def _read_note(part, url):
    """What the server said of the file when `part` was begun; empty where that is not known."""
    try:
        note = json.loads(_note_of(part).read_text())
    except (OSError, ValueError):
        return {}
    good = isinstance(note, dict) and note.keys() == {"url", "validator", "length"} and note["url"] == url
    return note if good else {}


def _write_note(part, url, answer):
    """Keep what tells later whether the server still has the same file: a strong ETag, or else its date."""
    etag = answer.headers.get("ETag") or ""
    validator = etag if etag.startswith('"') else answer.headers.get("Last-Modified")
    note = {"url": url, "validator": validator, "length": answer.length}
    discard(part)
    write_json(note, _note_of(part))


def _check_answer(answer, part, offset, note):
    """Raise FetchError where the answer is no file, or not the rest of the one that was begun."""
    if answer.status not in (200, 206):
        raise FetchError(f"the server answers {answer.status}")
    if answer.headers.get_content_type() == "text/html":
        raise FetchError("the server answers with a web page, not with a file")
    if answer.status == 200:
        return
    stated = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range") or "")
    begin, total = stated.groups() if stated else (None, "*")
    same = begin == str(offset) and (total == "*" or note["length"] is None or int(total) == note["length"])
    validators = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    if not offset or not same or (note["validator"] and any(validators) and note["validator"] not in validators):
        discard(part)
        raise _Passing("the server sends another part than the one asked for")


def _check_room(part, needed):
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise FetchError(f"it needs {needed:,} bytes, and the disk of {part.parent} has {free:,} free")


def _check_whole(part, found, expected, resumed):
    """Raise FetchError, and remove the file, where it is a web page or has another hash than expected."""
    with open(part, "rb") as file:
        head = file.read(512)
    if not head:
        raise FetchError("the server sends an empty file")
    if head.lstrip().lower().startswith(WEB_PAGE) and not expected:
        discard(part)
        raise FetchError("the server answers with a web page, not with a file")
    if expected and found != expected:
        discard(part)
        # Two halves may be of two files: the whole may still be the right one.
        kind = _Passing if resumed else WrongHash
        raise kind(f"its SHA-256 is {found}, expected {expected}; it was deleted")


def is_address(location):
    return isinstance(location, str) and urlsplit(location).scheme in ("http", "https")


def part_of(directory, url):
    """Where what has half arrived from an address lies: each source has its own, since two may differ."""
    return Path(directory) / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.part"
