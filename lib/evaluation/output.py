"""The files of an evaluation, beside the walk that it is of.

    <exp>/results/<pool>/<walk>/
        evaluation/                 of the judge that was asked last
            index.html              the figures beside pictures
            table.md, summary.json  the figures
            heat_map.png, curves.png
            numbers.npz             all numbers that were read
            pictures/path_000.jpg   some codes, a column each: end, reach, start, reach, end
        evaluation-<judge>/         of a judge that was asked before
"""

import re

import numpy as np
import torch

from lib.evaluation import plots, tables
from lib.evaluation.store import save_arrays
from lib.evaluation.summary import PICTURED
from lib.evaluation.walks import ends_at, paths_from
from lib.files import read_json, write_json, write_text
from lib.pages.evaluation import write_evaluation
from lib.pages.results import path_id
from lib.walking.pictures import save_jpeg
from lib.walking.synthesis import Synthesiser, default_batch_size
from models import directories
from models.errors import UserError


def slug(name):
    """A judge's name as part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", name)


def write(subject, readings, summary, reports, batch_size=None):
    """Write all files of an evaluation; they appear together. Returns the directory."""
    target = subject.walk.directory / "evaluation"
    partial = target.with_name(".evaluation.partial")
    directories.remove(partial)
    write_json(summary, partial / "summary.json")
    write_text(tables.markdown(summary), partial / "table.md")
    plots.heat_map(summary, partial / "heat_map.png")
    plots.curves(summary, reports, partial / "curves.png")
    save_arrays(partial / "numbers.npz", _numbers(subject, readings))
    _write_pictures(subject, readings, partial / "pictures", batch_size)
    write_evaluation(summary, partial, target.parent, [source.name for source in subject.sources])
    _put_in_place(partial, target, summary["judge"]["name"])
    return target


def _put_in_place(partial, target, judge):
    """Replace the evaluation of the same judge that may be there, and put one of another judge aside."""
    replaced = target.with_name(".evaluation.replaced")
    directories.remove(replaced)
    if target.is_dir():
        other = _judge_of(target)
        aside = target.with_name(f"evaluation-{slug(other)}") if other not in (None, judge) else replaced
        directories.remove(aside)
        directories.rename(target, aside)
    directories.rename(partial, target)
    directories.remove(replaced)
    directories.remove(target.with_name(f"evaluation-{slug(judge)}"))


def _judge_of(directory):
    """The judge of the evaluation in a directory; None where its summary does not say."""
    try:
        return str(read_json(directory / "summary.json")["judge"]["name"])
    except (UserError, KeyError, TypeError):
        return None


def _numbers(subject, readings):
    """The arrays of numbers.npz. A path's frames go from negative shifts to positive ones, in the judge's own units."""
    aims, scale = readings.aims, readings.scale
    radii = readings.radii
    arrays = {
        "codes": np.array([source.name for source in subject.sources]),
        "names": np.array(scale.names),  # of those that vary; `columns` says where they stand in `numbers`
        "low": scale.low,
        "high": scale.high,
        "columns": scale.kept,
        "shifts": np.concatenate([-radii[:0:-1], radii]),
        "numbers": readings.along["numbers"],
        "bend": readings.along["bend"],
        "own": np.array([aim.own for aim in aims]),
        "sign": np.array([aim.sign for aim in aims]),
        "reach": np.array([aim.radius for aim in aims]),
        "numbers_at_reach": readings.at_reach["numbers"],
    }
    there = readings.at_reach
    return arrays | {f"{name}_at_reach": there[name] for name in ("identity", "lpips") if name in there}


def _write_pictures(subject, readings, directory, batch_size):
    """For each path a picture with a column for each of some codes: from the end of negative shifts at the top, over
    the reach, the start and the reach again, to the end of positive shifts."""
    synthesise = Synthesiser(subject.space.synthesise, batch_size or default_batch_size(subject.space.generator))
    reach = np.array([aim.radius for aim in readings.aims])
    columns = [[] for _ in subject.labels]
    for source in subject.sources[:PICTURED]:
        start, paths = paths_from(subject.walk, subject.space, subject.paths, source)
        origin = synthesise(start)[0]
        codes = torch.cat([paths[:, :1], ends_at(paths, subject.walk.radii, reach), paths[:, -1:]], dim=1)
        shown = synthesise(codes.flatten(0, 1)).reshape(len(paths), 4, *origin.shape)
        for column, (end, low, high, other_end) in zip(columns, shown):
            column.append(np.concatenate([end, low, origin, high, other_end]))
    for k, column in enumerate(columns):
        save_jpeg(np.concatenate(column, axis=1), directory / f"{path_id(k)}.jpg")
