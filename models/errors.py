"""Errors that a user can fix: shown as one line, without a traceback, with exit code 2."""


class UserError(Exception):
    """The message says what is wrong and what to do about it."""
