"""A made-up judge."""

from lib.judges.judge import Judge


class Colours(Judge):
    """Reads the mean of each colour."""

    names, units, fingerprint, scaled = ["red", "green", "blue"], ["mean"] * 3, "colours", True

    def __call__(self, images):
        return (images.mean(dim=(2, 3)) + 1) / 2
