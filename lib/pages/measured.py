"""What evaluate.py has measured of the paths that a page shows."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lib.files import read_json
from models.errors import UserError

FORMAT = 1  # of summary.json
SHOWN = "own_effect", "leak", "stray"  # the figures of a path that a page shows


@dataclass(frozen=True)
class Measured:
    """The content of an evaluation's summary.json, and the way from a walk's directory to the evaluation's page."""

    summary: dict
    link: str

    def entry(self, label):
        """What was measured of the path with a label; None where it was left out."""
        return next((entry for entry in self.summary["paths"] if _label(entry["label"]) == label), None)

    @property
    def furthest(self):
        """The shift at the ends of the walk that was measured; None where the summary does not say."""
        radii = self.summary.get("radii_read")
        return radii[-1] if isinstance(radii, list) and radii and _is_number(radii[-1]) else None


def find_measured(walk, labels):
    """The `Measured` of paths with these labels, for the page of the walk in <experiment>/results/<pool>/<walk>/.

    The walk's own evaluation where there is one, or else that of the experiment which is of the most paths and codes;
    None where there is none.
    """
    found = []
    for file in sorted(walk.parents[1].glob("*/*/evaluation/summary.json")):
        summary = read_summary(file)
        if summary and {_label(entry["label"]) for entry in summary["paths"]} <= {*labels}:
            found.append((file.parents[1] == walk, len(summary["paths"]), summary["codes"], file, summary))
    if not found:
        return None
    *_, file, summary = max(found, key=lambda item: item[:3])
    return Measured(summary, quote(Path(os.path.relpath(file.with_name("index.html"), walk)).as_posix()))


def read_summary(file):
    """The content of a summary.json; None where another version wrote it, or it is damaged."""
    try:
        summary = read_json(file)
    except UserError:
        return None
    return summary if isinstance(summary, dict) and summary.get("format") == FORMAT and _is_whole(summary) else None


def _is_whole(summary):
    paths, judge = summary.get("paths"), summary.get("judge")
    return (isinstance(paths, list) and len(paths) > 0 and all(map(_is_entry, paths))
            and isinstance(judge, dict) and isinstance(judge.get("name"), str)
            and isinstance(summary.get("pool"), str) and type(summary.get("codes")) is int)


def _is_entry(entry):
    """Whether a path's entry has what the pages show."""
    if not isinstance(entry, dict) or type(entry.get("path")) is not int or type(entry.get("sign")) is not int:
        return False
    label, figures = entry.get("label"), entry.get("figures")
    texts = [label] if isinstance(label, str) else label
    texts = [*texts, entry.get("own"), entry.get("strongest_other") or ""] if isinstance(texts, list) else [None]
    return (all(isinstance(text, str) for text in texts) and (isinstance(label, str) or len(label) == 2)
            and isinstance(figures, dict) and all(_is_figure(figures.get(name)) for name in SHOWN))


def _is_figure(figure):
    """A number, or none where it is infinite."""
    if not isinstance(figure, dict) or "value" not in figure:
        return False
    return figure["value"] is None or _is_number(figure["value"])


def _is_number(value):
    return type(value) in (int, float) and math.isfinite(value)


def _label(label):
    return tuple(label) if isinstance(label, list) else label
