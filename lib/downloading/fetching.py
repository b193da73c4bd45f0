"""One address -> one file, over connections that drop and from servers that are not to be trusted."""

import hashlib
import http.client
import os
import re
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from tqdm import tqdm

from lib.downloading.hashes import CHUNK
from lib.downloading.partial import discard, read_note, size_of, start_over

TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}  # HTTP status codes that a later try may not meet again
TRIES = 3  # in a row without a new byte
GROWTH = 3  # factor from one pause to the next
WEB_PAGE = (b"<!doctype html", b"<html")
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")
MOST_UNSTATED = 8 << 30  # bytes of a file whose length the server does not say


class FetchError(Exception):
    """One source failed; the message says why, in one line."""


class WrongHash(FetchError):
    """The file has a different SHA-256 than expected."""


class _TransientError(FetchError):
    """A failure that another try may not meet."""


class _NoAnswer(_TransientError):
    """The host cannot be reached, or does not answer."""


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Those to http and https alone: urllib would follow one to ftp as well."""

    def redirect_request(self, request, file, code, message, headers, url):
        scheme = urlsplit(url).scheme
        if scheme not in ("http", "https"):
            raise FetchError(f"the server redirects to {scheme[:20]!r}, not to an http or https address")
        return super().redirect_request(request, file, code, message, headers, url)


class Fetcher:
    """Fetches files over http and https, through the proxies that the environment names (`https_proxy`, ...).

    timeout: seconds that a server may stay silent. pause: seconds before the second try; the third one comes after
    three times that.
    """

    def __init__(self, timeout=30.0, pause=2.0):
        self.timeout, self.pause = timeout, pause
        # Sharing services set a cookie in one redirection and expect it back in the next.
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(), _Redirections()).open
        self._silent = set()  # hosts that did not answer in any try: they get one try from then on

    def fetch(self, url, part, sha256=None, label="", room=1):
        """Fetch `url` into the file `part`; returns the SHA-256 of it.

        sha256: the expected one, if known. label: what progress and pauses are shown under. room: the free disk space
        that is required, as a multiple of the file's size. Bytes that `part` already has are not fetched again where
        the server or `sha256` can tell that they belong to the same file. Raises FetchError; what has arrived stays
        for the next call, unless it is known to be wrong.
        """
        try:
            return self._try_repeatedly(url, part, sha256, label, room)
        finally:
            if not size_of(part):
                discard(part)

    def _try_repeatedly(self, url, part, sha256, label, room):
        host, furthest, failures = urlsplit(url).netloc, size_of(part), 0
        while True:
            try:
                return self._receive(url, part, sha256, label, room)
            except _TransientError as error:
                failures = 1 if size_of(part) > furthest else failures + 1
                furthest = max(furthest, size_of(part))
                if failures >= (1 if host in self._silent else TRIES):
                    if isinstance(error, _NoAnswer):
                        self._silent.add(host)
                    raise FetchError(str(error)) from None
                pause = self.pause * GROWTH ** (failures - 1)
                print(f"{label}: {error}; trying again in {pause:g} s", file=sys.stderr, flush=True)
                time.sleep(pause)

    def _receive(self, url, part, sha256, label, room):
        note = read_note(part, url)
        usable = note.get("validator") or (note and sha256)
        offset = size_of(part) if usable else 0
        digest = _digest(part, offset)
        if not offset or offset != note["length"]:  # where they are equal, the whole file has arrived before
            with self._ask(url, part, offset, note) as answer:
                if answer.status != 206:
                    offset, digest = 0, hashlib.sha256()
                    start_over(part, url, answer)
                self._save(answer, part, offset, digest, label, room)
        _check_whole(part, digest.hexdigest(), sha256, resumed=offset > 0)
        return digest.hexdigest()

    def _ask(self, url, part, offset, note):
        """The server's answer: the whole file (status 200), or the rest of the one that was begun (206)."""
        headers = {"User-Agent": "ContraCLIP", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if note["validator"]:
                headers["If-Range"] = note["validator"]
        try:
            answer = self._open(urllib.request.Request(url, headers=headers), timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and offset:  # the server has fewer bytes than have arrived
                discard(part)
                raise _TransientError("the file has changed on the server") from None
            kind = _TransientError if error.code in TRANSIENT_STATUS else FetchError
            raise kind(f"the server answered {error.code} {_line(error.reason)}") from None
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
        """Append the answer's content to `part`, and update its digest."""
        length = None if answer.length is None else offset + answer.length
        if length is not None:
            _check_room(part, length - offset + (room - 1) * length)
        bar = tqdm(total=length, initial=offset, desc=label, unit="B", unit_scale=True)
        with bar, open(part, "r+b" if offset else "wb") as file:
            file.seek(offset)
            file.truncate()
            most = _most_unstated(part) if length is None else length
            while chunk := self._read(answer):
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > most:
                    discard(part)
                    raise FetchError("the server does not say how long the file is, and it has not ended after "
                                     f"{most:,} bytes")
            file.flush()
            os.fsync(file.fileno())
        if length is not None and size_of(part) < length:
            raise _TransientError(f"the connection ended after {size_of(part):,} of {length:,} bytes")

    @staticmethod
    def _read(answer):
        try:
            return answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _TransientError(f"the connection broke ({_line(error)})") from None


def _is_unknown_host(error):
    """Whether the name does not exist; other failures to resolve it may be transient."""
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME


def _line(error):
    text = getattr(error, "strerror", None) or str(error)
    line = (text.strip().splitlines() or [type(error).__name__])[0][:120]
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _digest(path, size):
    """The state of SHA-256 after a file of `size` bytes."""
    digest = hashlib.sha256()
    if size:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest


def _check_answer(answer, part, offset, note):
    """Raise FetchError where the answer is not a file, or not the rest of the one that was begun."""
    if answer.status not in (200, 206):
        raise FetchError(f"the server answered {answer.status}")
    if answer.headers.get_content_type() == "text/html":
        raise FetchError("the server sent a web page instead of a file")
    if answer.status == 200:
        return
    stated = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range") or "")
    begin, total = stated.groups() if stated else (None, "*")
    length, validator = note.get("length"), note.get("validator")
    same = offset and begin == str(offset) and (total == "*" or length is None or int(total) == length)
    validators = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    if not same or (validator and any(validators) and validator not in validators):
        discard(part)
        raise _TransientError("the server sent a different part of the file than requested")


def _most_unstated(part):
    """Bytes that a file of unknown length may have."""
    return min(MOST_UNSTATED, size_of(part) + shutil.disk_usage(part.parent).free // 2)


def _check_room(part, needed):
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise FetchError(f"it needs {needed:,} bytes, but the disk of {part.parent} has only {free:,} free")


def _check_whole(part, found, expected, resumed):
    """Raise FetchError where the file is empty, a web page, or has another hash than expected, and delete it."""
    with open(part, "rb") as file:
        head = file.read(512)
    if not head:
        raise FetchError("the server sent an empty file")
    if head.lstrip().lower().startswith(WEB_PAGE) and not expected:
        discard(part)
        raise FetchError("the server sent a web page instead of a file")
    if expected and found != expected:
        discard(part)
        # The bytes of an earlier try may be those of another file: fetched from its beginning, this one may be right.
        kind = _TransientError if resumed else WrongHash
        raise kind(f"its SHA-256 is {found}, expected {expected}; the file was deleted")
