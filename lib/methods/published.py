"""What other projects leave of a finished run, as any method reads it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.methods import METHODS, find_method


@dataclass(frozen=True)
class Published:
    """method: the name of the one that reads it. source: the file of the paths' weights. state: what `load_paths`
    takes. labels: one for each path. spaces: the paths run in the first one that the generator has. family, resolution:
    of the generator, where they are stated. values: {name: value} of other settings; what is not one is left out.
    """

    method: str
    source: Path
    state: Any
    labels: list
    spaces: tuple
    family: str | None = None
    resolution: int | None = None
    values: dict = field(default_factory=dict)


def find_published(path):
    """The `Published` run at a file or directory, or None where no method knows it. Raises UserError where one does,
    and cannot read it."""
    found = (find_method(name).read_published(path) for name in METHODS)
    return next((one for one in found if one is not None), None)
