"""Errors that a user can fix: shown as one line, without a traceback, with exit code 2."""

from difflib import get_close_matches
from pathlib import Path

LONGEST_LIST = 200  # characters, as are the next two
LONGEST_LINE = 300
LONGEST_NAME = 60


class UserError(Exception):
    """The message says what is wrong and what to do about it."""


def printable(text):
    """Text on one line, in which what a terminal would obey, or cannot show, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text, most=LONGEST_LINE):
    """Text as at most so many printable characters, with the middle left out."""
    shown = printable(str(text))
    if len(shown) <= most:
        return shown
    end = most // 3
    return f"{shown[: most - end - 5]} ... {shown[-end:]}"


def quoted(name, most=LONGEST_NAME):
    """A name that somebody else has chosen, for a message: in quotation marks, printable and short."""
    return one_line(repr(str(name)), most)


def unknown(name, kind, known):
    """A `UserError` for something that is neither one of the `known` names nor a file.

    kind: what it should be, with its article, such as "a corpus". The nearest name is suggested. If none is near,
    a name that looks like a path is taken for a file that is missing.
    """
    name, listed = str(name), ", ".join(known)
    near = get_close_matches(name, known, n=1, cutoff=0.75)
    if near:
        return UserError(f"{quoted(name)} is not {kind}: did you mean {near[0]}?")
    if Path(name).suffix[1:].isalpha() or ("/" in name and Path(name).parent.is_dir()):
        return UserError(f"there is no file {quoted(name, 150)}: give {kind} by its path or its name")
    return UserError(f"{quoted(name)} is not {kind}: give a file, or " + (
        f"one of {listed}" if len(listed) <= LONGEST_LIST else "one of the names that -h lists"))
