"""The figures of an evaluation, as a plain dict that goes into summary.json."""

import math

import numpy as np

from lib.evaluation import measures
from lib.evaluation.figures import path_report
from lib.evaluation.walks import DECIDING
from lib.pages.gallery import shown_path
from lib.pages.measured import FORMAT

# Every figure of a path, in the order of tables: its name, what it is, and how many digits of it are shown.
FIGURES = {
    "own_effect": ("own effect", "how far the own number moves from end to end, in widths of its range", 2),
    "right_way": ("right way", "share of codes whose own number moves the right way", 2),
    "reach": ("reach", f"the smallest shift in either direction at which the own effect is {measures.REACHED}", 2),
    "leak": ("leak", "largest systematic change of another number at reach, over the own effect there", 3),
    "stray": ("stray", "mean change of all other numbers at reach, over the own effect there", 3),
    "kid": ("KID", "distance of the frames at reach from the generator's own samples, in {features}; 0 on average "
                   "where they are alike, {start_kid} for the codes' own images", 3),
    "monotonicity": ("monotonicity", "Spearman's correlation of own number and step", 2),
    "bend": ("bend", "distance between the path's ends over its length, 1 where it is straight", 3),
    "identity": ("{identity}", "of the frames at reach and the start image ({unit}), {same} where they are alike", 3),
    "lpips": ("LPIPS", "perceptual distance of the frames at reach from the start image", 3),
}
PICTURED = 6  # codes whose frames at reach are shown


def sum_up(subject, judge, judge_name, readings, resamples=measures.RESAMPLES):
    """`Readings` -> (the dict of summary.json, a report of `path_report` for each path)."""
    weights = measures.resamples(len(subject.sources), resamples)
    scale, features = readings.scale, _features(readings)
    reports = [_report(k, readings, features, weights) for k in range(len(subject.labels))]
    paths = [_entry(k, label, readings.aims[k], report, scale.names)
             for k, (label, report) in enumerate(zip(subject.labels, reports))]
    names, corr = _corr(judge, readings)
    start_kid = _figure(measures.kid(features["start"], features["samples"], weights))
    means = _means(reports)
    found = {
        "format": FORMAT,
        "experiment": subject.experiment,
        "pool": subject.pool,
        "codes": len(subject.sources),
        "walk": _walk(subject.walk.settings),
        "radii_read": readings.radii.tolist(),
        "judge": {"name": judge_name, "fingerprint": judge.fingerprint, "note": judge.note},
        "numbers": dict(zip(scale.names, scale.units)),
        "ranges": {name: [low, high] for name, low, high in zip(scale.names, scale.low.tolist(), scale.high.tolist())},
        "left_out": scale.left_out,
        "pictured": min(PICTURED, len(subject.sources)),
        "resamples": resamples,
        "reached_at": measures.REACHED,
        "counts": {key: sum(entry[key] for entry in paths) for key in ("goes_right_way", "strongest", "reached")},
        "figures": _described(means, judge, start_kid, "the judge's " + features["of"]),
        "mean": means,
        "paths": paths,
        "start_kid": start_kid,
        "corr_numbers": names,
        "corr": corr.tolist(),
        "corr_l1": measures.corr_l1(corr).tolist(),
        "notes": readings.notes,
    }
    return found, reports


def _walk(settings):
    """The settings that the codes on the paths follow from; all paths where none are named."""
    chosen = {} if settings.paths is None else {"paths": settings.paths}
    return {name: getattr(settings, name) for name in DECIDING} | chosen


def short_name(number, label):
    """A path by what its sentences do not share."""
    path = shown_path(number, label)
    return path.name or " → ".join(path.link)


def _features(readings):
    """What images are compared by: samples (N, F), at_reach (B, K, 2, F), start (B, 1, F). The judge's features, or its
    numbers where it has none."""
    if readings.samples.features is not None:
        return {"of": "features", "samples": readings.samples.features, "at_reach": readings.at_reach["features"],
                "start": readings.at_reach["start_features"][:, None]}
    scale, start = readings.scale, readings.along["numbers"][:, :1, len(readings.radii) - 1]
    return {"of": "numbers", "samples": scale(readings.samples.numbers),
            "at_reach": scale(readings.at_reach["numbers"]), "start": scale(start)}


def _report(k, readings, features, weights):
    along, at_reach, scale = readings.along, readings.at_reach, readings.scale
    per_code = {"bend": along["bend"][:, k]}
    per_code |= {name: at_reach[name][:, k] for name in ("identity", "lpips") if name in at_reach}
    report = path_report(scale(along["numbers"][:, k]), scale(at_reach["numbers"][:, k]), readings.radii,
                         readings.aims[k], weights, per_code)
    report["figures"]["kid"] = measures.kid(features["at_reach"][:, k], features["samples"], weights)
    return report


def _described(means, judge, start_kid, features):
    """{figure: name, meaning and digits} of the figures that there are."""
    identity, at_start = judge.identity, start_kid["value"]
    words = {"features": features, "start_kid": "undefined" if at_start is None else f"{at_start:.3f}"}
    words |= {"identity": identity.name, "unit": identity.unit, "same": f"{identity.same:g}"} if identity else {}
    return {key: {"name": name.format(**words), "meaning": meaning.format(**words), "digits": digits}
            for key, (name, meaning, digits) in FIGURES.items() if key in means}


def _figure(values):
    """A figure (R,) -> {"value", "low", "high"}; None stands for what is infinite or undefined."""
    return {name: value if math.isfinite(value) else None
            for name, value in zip(("value", "low", "high"), measures.interval(values))}


def _entry(number, label, aim, report, names):
    figures, strongest = report["figures"], report["strongest_other"]
    return {
        "path": number,
        "label": label if isinstance(label, str) else list(label),
        "name": short_name(number, label),
        "own": names[aim.own],
        "sign": aim.sign,
        "own_chosen_by": aim.chosen_by,
        "goes_right_way": bool(figures["own_effect"][0] > 0),
        "strongest": bool(figures["strongest"][0]),
        "reached": bool(figures["reached"][0]),
        "strongest_other": None if strongest is None else names[strongest],
        "figures": {key: _figure(figures[key]) for key in FIGURES if key in figures},
        "moved_at_reach": dict(zip(names, report["moved_at_reach"].tolist())),
        "moved_at_end": dict(zip(names, report["moved_at_end"].tolist())),
    }


def _means(reports):
    """The mean over paths of each figure, with its interval over codes: a resample's codes are the same for all."""
    keys = [key for key in FIGURES if key in reports[0]["figures"]]
    return {key: _figure(np.mean([report["figures"][key] for report in reports], axis=0)) for key in keys}


def _corr(judge, readings):
    """WarpedGANSpace's `corr`: names of the attributes (A), the table (K, A). Identity is one of them, where the judge
    compares it."""
    scale, numbers = readings.scale, readings.along["numbers"]
    ranges = [judge.ranges[i] for i in scale.kept] if judge.ranges else list(zip(scale.low, scale.high))
    positions = np.concatenate([-readings.radii[:0:-1], readings.radii])[:, None].repeat(len(scale.names), axis=1)
    names, identity = list(scale.names), readings.along.get("identity")
    if identity is not None:
        names.append(judge.identity.name)
        ranges.append((0, 1))
        positions = np.concatenate([positions, np.abs(positions[:, :1])], axis=1)
    table = []
    for k in range(numbers.shape[1]):
        walks = numbers[:, k][..., scale.kept]
        if identity is not None:
            walks = np.concatenate([walks, identity[:, k][..., None]], axis=-1)
        table.append(measures.corr(measures.covariation(walks, ranges, positions)))
    return names, np.array(table)
