"""What evaluate.py has measured of the paths that a page shows."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lib.files import read_json
from models.errors import UserError

FORMAT = 1  # of summary.json


@dataclass(frozen=True)
class Measured:
    """The content of an evaluation's summary.json, and the way from a walk's directory to the evaluation's page."""

    summary: dict
    link: str


def find_measured(walk, labels):
    """The `Measured` of the paths with these labels, for the page of the walk in <experiment>/results/<pool>/<walk>/.

    The walk's own evaluation where there is one, or else that of the experiment which is of the most codes; None where
    there is none.
    """
    found = []
    for file in sorted(walk.parents[1].glob("*/*/evaluation/summary.json")):
        summary = read_summary(file)
        if summary and [_label(entry["label"]) for entry in summary["paths"]] == list(labels):
            found.append((file.parents[1] == walk, summary["codes"], file, summary))
    if not found:
        return None
    _, _, file, summary = max(found, key=lambda item: item[:2])
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
    return (isinstance(paths, list) and all(isinstance(entry, dict) and "label" in entry for entry in paths)
            and isinstance(judge, dict) and "name" in judge and type(summary.get("codes")) is int)


def _label(label):
    return tuple(label) if isinstance(label, list) else label
