"""The gallery: one HTML page that needs nothing but the pictures beside it, and no server.

gallery.html is filled in by Jinja2, with gallery.css and gallery.js written into it.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lib.files import write_text
from lib.pages.results import path_id

HERE = Path(__file__).parent


def write_html(results, path, picture=str, originals=None):
    """Write the gallery of `Results` to a file.

    picture: a film's file, relative to the results' folder -> its address in the page. originals: {code: address} of
    the original images, of a page that stands alone and links to nothing beside it.
    """
    page = template("gallery.html").render(
        results=results,
        picture=picture,
        originals=None if originals is None else in_script(originals),
        paths=[shown_path(k, label) for k, label in enumerate(results.labels)],
        style=own_file("gallery.css"),
        script=own_file("gallery.js"),
        counted=_counted,
        number=number,
        path_id=path_id,
    )
    write_text(page, path)


def template(name):
    """A template of this folder. What it is filled in with is escaped."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.get_template(name)


def own_file(name):
    """A file of this folder as it is: neither template nor text to be escaped."""
    return Markup((HERE / name).read_text(encoding="utf-8"))


def in_script(content):
    """JSON for a script element: no text in it ends the element."""
    return Markup(json.dumps(content).replace("<", "\\u003c"))


def number(figure, digits):
    """The value of a figure of summary.json as text."""
    return "∞" if figure["value"] is None else f"{figure['value']:.{digits}f}"


def _counted(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True)
class NamedPath:
    """A path as the template shows it by a single name."""

    id: str
    name: str

    short = "−", "+"

    @property
    def extent(self):
        return f"along {self.name}"


@dataclass(frozen=True)
class Contrast:
    """A path as the template shows it between two sentences: `left` at its first frame, `right` at its last.

    Either sentence is the shared opening, its own words and the shared ending.
    """

    id: str
    left: str
    right: str
    opening: str
    left_words: str
    right_words: str
    ending: str

    name = None

    @property
    def extent(self):
        return f"from “{self.left}” to “{self.right}”"

    @property
    def short(self):
        """Both ends by their own words."""
        return _bare(self.left_words), _bare(self.right_words)

    @property
    def link(self):
        """Both ends by their own words and, as "with" alone says little, the shared ending if it is a word, with or
        without an article."""
        ending = self.ending if len(_bare(self.ending).split()) == 1 else ""
        return _bare(f"{self.left_words} {ending}".strip()), _bare(f"{self.right_words} {ending}".strip())


def shown_path(k, label):
    """A path as the templates show it, by its number and its label: a `Contrast` or a `NamedPath`."""
    if isinstance(label, str):
        return NamedPath(path_id(k), label)
    first, second = label
    return Contrast(path_id(k), second, first, *_differences(second, first))


def title_of_end(label, shift):
    """What a path with this label leads to at a shift, in few words: the own ones of the sentence that is there, or its
    name."""
    path = shown_path(0, label)
    return path.name or path.link[shift > 0]


def _differences(left, right):
    """Where two sentences differ: (shared opening, of the left, of the right, shared ending), in whole words.

    Neither middle is empty unless its sentence is: "a face" against "a face with glasses" keeps "face".
    """
    left, right = left.split(), right.split()
    head = len(os.path.commonprefix([left, right]))
    tail = len(os.path.commonprefix([left[head:][::-1], right[head:][::-1]]))
    if head + tail in (len(left), len(right)):
        head, tail = (head - 1, tail) if head else (head, max(tail - 1, 0))
    words = left[:head], left[head:len(left) - tail], right[head:len(right) - tail], left[len(left) - tail:]
    return tuple(" ".join(part) for part in words)


def _bare(words):
    """Words without the article before and the full stop after them."""
    return re.sub(r"^an? |\.$", "", words)
