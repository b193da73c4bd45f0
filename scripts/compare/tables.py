"""The table of a comparison, and the plot of leak against training time, from its results."""

import re

import numpy as np

from lib.files import write_text
from scripts.compare.contenders import CONTENDERS
from scripts.compare.schedule import PUBLISHED, Run, best_setting, contenders_in, settings_in

HEADER = ("method", "setting", "own effect", "leak", "stray", "right way", "bend", "identity", "seconds", "iterations",
          "memory, GB", "trained numbers")  # fmt: skip
SECONDS, LEAKS = (4, 8, 15, 30, 60, 120, 240, 480, 960), (0.05, 0.1, 0.2, 0.5, 1, 2, 3)  # of the plot's axes
MARKS = "<!-- table of {} -->", "<!-- end of table -->"


def reported(results, run_of, seeds):
    """The results with a report of the runs that `run_of` gives for seeds."""
    found = [results.get(run_of(seed).key) or {} for seed in seeds]
    return [one for one in found if "report" in one]


def rows_of(results, world, names, seeds):
    """The table's rows as lists of cells."""
    rows = []
    for name in contenders_in(world, names):
        chosen = best_setting(results, world, name)
        for setting in dict.fromkeys((PUBLISHED, chosen)):
            if setting is not None:
                rows.append(_row(results, world, name, setting, chosen, seeds))
    return rows


def setting_named(world, name, setting, chosen):
    """What the table calls a setting."""
    tried = len(settings_in(world, name))
    if tried == 1:
        return "published" if CONTENDERS[name].tried else "default"
    best = f"best of {tried}"
    if setting == PUBLISHED:
        return f"published, {best}" if setting == chosen else "published"
    return f"{best} (no. {setting})"


def _row(results, world, name, setting, chosen, seeds):
    found = reported(results, lambda seed: Run(world, name, setting, seed), seeds)
    head = [CONTENDERS[name].title + " †" * bool(CONTENDERS[name].missing), setting_named(world, name, setting, chosen)]
    failed = (results.get(Run(world, name, setting).key) or {}).get("failed")
    if not found:
        words = f"fails: {failed}" if failed else "not run"
        return [*head, words, *[""] * (len(HEADER) - 3)]

    def mean(figure):
        values = [one["report"]["mean"][figure]["value"] for one in found if figure in one["report"]["mean"]]
        return values if values and None not in values else [float("nan")]

    def fact(figure):
        return float(np.mean([one["trained"][figure] or 0 for one in found]))

    if len(found) < len(seeds) and not CONTENDERS[name].one_seed:
        head[1] += f", {len(found)} seed" + "s" * (len(found) > 1)
    reached = [one["report"]["counts"]["reached"] for one in found]
    paths = len(found[0]["report"]["paths"])
    short = "" if min(reached) == paths else f" ({min(reached)} of {paths} reach 0.5)"
    return [
        *head,
        f"{np.mean(mean('own_effect')):.2f}{short}",
        _with_range(mean("leak")),
        f"{np.mean(mean('stray')):.3f}",
        f"{np.mean(mean('right_way')):.2f}",
        f"{np.mean(mean('bend')):.2f}",
        f"{np.mean(mean('identity')):.3f}",
        f"{fact('seconds'):.0f}",
        f"{fact('iterations'):,.0f}" if found[0]["trained"]["iterations"] else "–",
        f"{fact('memory') / 1e9:.2f}",
        f"{fact('numbers'):,.0f}",
    ]


def _with_range(values):
    """The mean over seeds, and how far these lie apart."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def markdown(rows):
    """The table as Markdown, or that there is none yet."""
    if all(cells[2] == "not run" for cells in rows):
        return "Not run yet."
    align = ["---", "---", *["---:"] * (len(HEADER) - 2)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (HEADER, align, *rows))


def put_in(file, world, table):
    """Put a world's table into a page, in the place of the one between its marks, which must be there."""
    start, end = MARKS[0].format(world), MARKS[1]
    text = file.read_text(encoding="utf-8")
    found = re.sub(f"{re.escape(start)}.*?{re.escape(end)}", lambda _: f"{start}\n{table}\n{end}", text, count=1,
                   flags=re.DOTALL)  # fmt: skip
    write_text(found, file)


def points_of(results, world, name, seeds, factors):
    """(seconds, leak) of a contender's published runs, and of those of its best setting, by factor of the budget:
    {"published": [..], "best": [..], "curve": [..]}."""

    def points(found):
        return [(one["trained"]["seconds"], one["report"]["mean"]["leak"]["value"]) for one in found]

    chosen = best_setting(results, world, name)
    tuned_seeds, chosen = seeds if chosen else [], chosen or PUBLISHED
    by_factor = [points(reported(results, lambda seed, f=f: Run(world, name, chosen, seed, f), seeds[:1]))
                 for f in sorted({1, *factors})]
    return {
        "published": points(reported(results, lambda seed: Run(world, name, PUBLISHED, seed), seeds)),
        "best": points(reported(results, lambda seed: Run(world, name, chosen, seed), tuned_seeds)),
        "curve": [point for part in by_factor for point in part],
    }


def plot(results, world, names, seeds, factors, path):
    """Leak against training time: a filled mark for each seed of the best setting, a hollow one for the published."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

    from lib.evaluation.plots import save

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for n, name in enumerate(contenders_in(world, names)):
        points, colour = points_of(results, world, name, seeds, factors), f"C{n % 10}"
        marker = "osD"[n // 10 % 3]
        if not points["published"] and not points["best"]:
            continue
        axes.plot(*zip(*points["curve"]), color=colour, linewidth=1) if len(points["curve"]) > 1 else None
        for kind, face in (("published", "none"), ("best", colour)):
            if points[kind]:
                axes.scatter(*zip(*points[kind]), s=36, marker=marker, facecolors=face, edgecolors=colour, zorder=3)
        axes.scatter([], [], marker=marker, color=colour, label=CONTENDERS[name].title)
    for axis, set_scale, ticks in ((axes.xaxis, axes.set_xscale, SECONDS), (axes.yaxis, axes.set_yscale, LEAKS)):
        set_scale("log")
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training, seconds of one processor core")
    axes.set_ylabel("leak (lower is better)")
    axes.set_title(f"{world}: hollow: published settings; filled: best setting; lines: less and more time", fontsize=9,
                   loc="left")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)
