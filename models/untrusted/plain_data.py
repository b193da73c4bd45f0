"""What a stranger's file may hold besides tensors: numbers, text, and lists, tuples and dicts of them, within limits.

Whoever reads such content may print it, compare it and walk it: none of this takes long, however the file was made.
"""

DEEPEST = 32  # containers in containers
MOST_ITEMS = 1_000_000  # three for each entry of a checkpoint's statistics
LONGEST_KEY = 1_000  # characters
MOST_TEXT = 64 << 20  # characters and bytes of all texts; one that stands in several places counts in each
LARGEST_INTEGER = 1 << 128  # seeds and states of random generators are smaller
LARGEST_KEY = 1 << 31  # of those keys that are integers: larger ones can be chosen such that all collide
SHORT = (bool, type(None), float)


class NotPlain(ValueError):
    """What is wrong with the content of a file, to be said after "it"."""


class Plain:
    """Makes `tree`s, all of which together stay within the limits."""

    def __init__(self, convert=None):
        """convert: what is done with an item that is of no plain kind: (item, depth) -> what stands for it; raises
        NotPlain. By default such items are refused."""
        self.convert = convert
        self.items = self.text = 0

    def tree(self, content, depth=0):
        """A copy of nested lists, tuples and dicts, in which nothing contains itself or is in two places at once.

        Raises NotPlain where it is too deep or too large, or holds anything else.
        """
        self.items += 1
        if self.items > MOST_ITEMS:
            raise NotPlain(f"has more than {MOST_ITEMS:,} items")
        kind = type(content)
        if kind in SHORT:
            return content
        if kind in (str, bytes):
            return self._text(content)
        if kind is int:
            return _integer(content, LARGEST_INTEGER)
        if depth > DEEPEST:
            raise NotPlain(f"is nested more than {DEEPEST} levels deep, or contains itself")
        if kind is dict:
            return {self.key(key): self.tree(value, depth + 1) for key, value in content.items()}
        if kind in (list, tuple):
            return kind([self.tree(item, depth + 1) for item in content])
        if self.convert is None:
            raise NotPlain(f"has a {kind.__name__}")
        return self.convert(content, depth)

    def key(self, key):
        """A key of a dict, checked: text, a whole number, a truth value or None."""
        if type(key) is int:
            return _integer(key, LARGEST_KEY)
        if type(key) not in (str, bool, type(None)):
            raise NotPlain(f"has a key of type {type(key).__name__}")
        if type(key) is str and len(key) > LONGEST_KEY:
            raise NotPlain(f"has a key of {len(key):,} characters")
        if type(key) is str and not key.isprintable():  # keys are named in messages
            raise NotPlain("has a key that cannot be printed")
        return key if type(key) is not str else self._text(key)

    def _text(self, text):
        self.text += len(text)
        if self.text > MOST_TEXT:
            raise NotPlain(f"has more than {MOST_TEXT:,} characters of text")
        if type(text) is str and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise NotPlain("has text that is not Unicode (half of a surrogate pair)") from None
        return text


def _integer(number, limit):
    if abs(number) >= limit:
        raise NotPlain(f"has a number of {number.bit_length():,} bits")
    return number
