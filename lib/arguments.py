"""Types of command-line arguments, and the check of names."""

import argparse
from dataclasses import dataclass

from lib.settings import COUNT, PIXELS, POSITIVE, RATE, SEED, STEPS, Range
from models.errors import UserError

AUTO = "auto"
PERCENT = Range(low=0, high=1000, open_low=True)
LARGEST = {int: 2**31 - 1, float: 1e38}  # what tensors can hold; a `Range` may be narrower


def number(kind, within=None):
    """An argparse type: a finite int or float in a `Range`."""
    within = within or Range()

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            article = "a whole" if kind is int else "a"
            raise argparse.ArgumentTypeError(f"{text!r} is not {article} number") from None
        if value not in within or abs(value) > LARGEST[kind]:
            limits = str(within) if within.high is not None else f"{within} and at most {LARGEST[kind]}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: it must be {limits}")
        return value

    return parse


positive_int = number(int, COUNT)
steps = number(int, STEPS)
pixels = number(int, PIXELS)
positive_float = number(float, POSITIVE)
learning_rate = number(float, RATE)
seed = number(int, SEED)


def positive_int_or_auto(text):
    """An argparse type: a positive whole number, or "auto"."""
    return text if text == AUTO else positive_int(text)


@dataclass(frozen=True)
class Share:
    """A length as a share of a space's Jung radius, such as 0.1, which is given as "10%"."""

    value: float

    def __str__(self):
        return f"{100 * self.value:g}%"


def length(text):
    """An argparse type: a positive number of units of the latent space, or a `Share`."""
    if text.endswith("%"):
        return Share(round(number(float, PERCENT)(text[:-1]) / 100, 12))
    return positive_float(text)


def shift(text):
    """An argparse type: a finite number other than 0, or a `Share`, which may be negative too."""
    if text.endswith("%"):
        share = length(text.removeprefix("-"))
        return Share(-share.value) if text.startswith("-") else share
    value = number(float)(text)
    if value == 0:
        raise argparse.ArgumentTypeError("a shift of 0 changes nothing: give a positive or a negative number")
    return value


def check_plain_name(name, what, may_be_empty=False):
    """Raise UserError, which begins with `what`, where a part of a directory's name is not one that any shell and file
    system takes as it is."""
    is_plain = all(character.isalnum() or character in "._+-" for character in name)
    if not is_plain or not (name or may_be_empty):
        raise UserError(f"{what}: use letters, digits, and . _ + - only")
