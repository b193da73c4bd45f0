"""What a user can put right: shown as one line, without a traceback, with exit code 2."""


class UserError(Exception):
    """Its message says what is wrong and what to do about it."""
