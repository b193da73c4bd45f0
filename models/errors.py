"""Errors that a user can fix: shown as one line, without a traceback, with exit code 2."""

from difflib import get_close_matches
from pathlib import Path

LONGEST_LIST = 200  # characters


class UserError(Exception):
    """The message says what is wrong and what to do about it."""


def unknown(name, kind, known):
    """A `UserError` for something that is neither one of the `known` names nor a file.

    kind: what it should be, with its article, such as "a corpus". The nearest name is suggested. If none is near,
    a name that looks like a path is taken for a file that is missing.
    """
    name, listed = str(name), ", ".join(known)
    near = get_close_matches(name, known, n=1, cutoff=0.75)
    if near:
        return UserError(f"{name!r} is not {kind}: did you mean {near[0]}?")
    if Path(name).suffix[1:].isalpha() or ("/" in name and Path(name).parent.is_dir()):
        return UserError(f"there is no file {name!r}: give {kind} by its path or its name")
    return UserError(f"{name!r} is not {kind}: give a file, or " + (
        f"one of {listed}" if len(listed) <= LONGEST_LIST else "one of the names that -h lists"))
