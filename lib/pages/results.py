"""What the pages of one results folder say and link to.

The pages link relatively to what lies beside them:

    <code>/original_image.jpg
    <code>/paths_strips/path_000_film.jpg          all frames, from negative shifts to positive ones; in earlier results
    <code>/paths_images/path_000/000000.jpg ...    each of them instead
    <code>/paths_strips/path_000_strip.jpg
    <code>/paths_strips/path_000.gif
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lib.pages.measured import Measured


@dataclass(frozen=True)
class Results:
    """The facts that a page is made of.

    A path's label is a pair of sentences or a single name, such as "direction 7". The first sentence of a pair is the
    pole of positive shifts, so the path's frames 0, 1, ... go from the second sentence to the first.
    """
    experiment: str
    pool: str
    labels: Sequence[tuple[str, str] | str]  # one per path
    codes: Sequence[str]   # each code's directory
    frames_per_path: int   # an odd number
    eps: float             # shift from one frame to the next
    gifs: bool             # whether every path has its animation
    strip_frames: int      # how many frames each strip shows; 0: there are no strips
    films: Collection[str] = ()  # the codes whose paths have a film: their animations and strips are made of it
    fps: int = 30          # of animations made of a film
    cells: int = 9         # how many frames a strip of a film shows
    measured: Measured | None = None  # what evaluate.py found of these paths

    @property
    def shown_cells(self):
        """How many frames the strips of the gallery show; 0: it has none."""
        return self.cells if self.films else self.strip_frames

    @property
    def start(self):
        """Index of the frame without a shift, in the middle of its path."""
        return self.frames_per_path // 2

    @property
    def furthest(self):
        """The shift at a path's ends."""
        return self.start * self.eps

    @property
    def measured_elsewhere(self):
        """The shift at the ends of the walk that was measured, where it is longer or shorter than this one; or None."""
        measured = self.measured and self.measured.furthest
        return measured if measured and not math.isclose(measured, self.furthest, rel_tol=0.01) else None

    @property
    def named(self):
        """Whether some path's label is a single name."""
        return any(isinstance(label, str) for label in self.labels)

    @property
    def paired(self):
        """Whether some path's label is a pair of sentences."""
        return not all(isinstance(label, str) for label in self.labels)

    @property
    def how_made(self):
        """How many frames, and how far apart: two sentences, free of markup."""
        if self.named:
            sides = "{0} steps in the negative direction to its left and {0} in the positive direction to its right"
        else:
            sides = "{0} steps towards the sentence on the left and {0} towards the one on the right"
        return (f"Each path has {self.frames_per_path} frames: the start image, {sides.format(self.start)}. Each step "
                f"shifts the latent code by {self.eps:g}; the whole path has length {2 * self.furthest:g}.")


def path_id(k):
    """The name of path k in files and anchors."""
    return f"path_{k:03d}"
