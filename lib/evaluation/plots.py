"""Figures as pictures: what each path changes (heat map), how (curves), and experiments beside each other."""

import io
import warnings

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.evaluation.tables import own_number
from models.files import replacing

OWN, OTHER, MUTED = "#1f6f78", "#a4561f", "#666c75"  # the colours of the pages
DPI = 110
# Above this many cells their numbers are too small to be read, and are left out.
MOST_WRITTEN = 600


def save(figure, path):
    """Write a figure as PNG. Letters of sentences that the font lacks become boxes, without a warning."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FigureCanvasAgg(figure).print_figure(content, dpi=DPI, bbox_inches="tight", facecolor="white")
    with replacing(path, durable=False) as file:
        file.write(content.getvalue())


def heat_map(summary, path):
    """Paths x numbers at reach: mean movement from end to end, in units of each number's range."""
    numbers = list(summary["paths"][0]["moved_at_reach"])
    moved = np.array([list(entry["moved_at_reach"].values()) for entry in summary["paths"]])
    rows, width = moved.shape
    figure = Figure(figsize=(2.6 + 0.42 * width, 1.6 + 0.34 * rows))
    axes = figure.add_subplot()
    most = max(0.5, np.abs(moved).max())
    image = axes.imshow(moved, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    axes.set_xticks(range(width), numbers, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(rows), [entry["name"] for entry in summary["paths"]], parse_math=False)
    axes.tick_params(length=0)
    axes.set_title("moved at reach, from the negative to the positive end; framed: the path's own number", fontsize=10,
                   loc="left")
    for k, entry in enumerate(summary["paths"]):
        own = numbers.index(entry["own"])
        axes.add_patch(Rectangle((own - 0.5, k - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.6))
        for j in range(width if rows * width <= MOST_WRITTEN else 0):
            if abs(moved[k, j]) >= 0.05:
                axes.text(j, k, f"{moved[k, j]:+.2f}".replace("0.", "."), ha="center", va="center", fontsize=7,
                          color="white" if abs(moved[k, j]) > 0.6 * most else "black")
    figure.colorbar(image, ax=axes, pad=0.01, label="widths of the number's range")
    save(figure, path)


def curves(summary, reports, path, columns=3):
    """For each path, how its own number and the strongest other one move along it, with 95% intervals over codes."""
    count = len(reports)
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.1 * columns, 2.7 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, entry, report in zip(grid, summary["paths"], reports):
        lines = report["curves"]
        for key, colour, label in (("own", OWN, own_number(entry)), ("other", OTHER, entry["strongest_other"])):
            if label is None:
                continue
            mean, low, high = lines[key]
            axes.plot(lines["radii"], mean, color=colour, label=label, linewidth=1.8)
            axes.fill_between(lines["radii"], low, high, color=colour, alpha=0.2, linewidth=0)
        reach = entry["figures"]["reach"]["value"]
        axes.axvline(reach, color=MUTED, linewidth=0.9, linestyle=":" if entry["reached"] else "none")
        axes.axhline(0, color=MUTED, linewidth=0.6)
        axes.axhline(summary["reached_at"], color=MUTED, linewidth=0.6, linestyle=":")
        axes.set_title(entry["name"], fontsize=10, loc="left", parse_math=False)
        legend = axes.legend(fontsize=8, frameon=False, loc="upper left")
        for label in legend.get_texts():
            label.set_parse_math(False)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[count:]:
        axes.set_visible(False)
    figure.supxlabel("shift in either direction", fontsize=10)
    figure.supylabel("moved from end to end, in widths of the range", fontsize=10)
    save(figure, path)


def comparison(summaries, path):
    """Stray against own effect, a point for each experiment, with 95% intervals over codes."""
    figure = Figure(figsize=(7.5, 5.2), layout="constrained")
    axes = figure.add_subplot()
    colours = [f"C{i % 10}" for i in range(len(summaries))]
    for summary, colour, marker in zip(summaries, colours, "osD^vP*X<>" * len(summaries)):
        x, y = summary["mean"]["own_effect"], summary["mean"]["stray"]
        if y["value"] is None:  # stray is infinite where a path does not move its own number
            axes.plot([], [], marker, color=colour, label=f"{summary['experiment']} (stray: ∞)")
            continue
        axes.errorbar(x["value"], y["value"], xerr=_bars(x), yerr=_bars(y), fmt=marker, color=colour, capsize=2,
                      markersize=7, label=summary["experiment"])
    axes.set_xlabel("own effect (right: the meant change is larger)")
    axes.set_ylabel("stray (below: less else changes)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    for label in axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.12)).get_texts():
        label.set_parse_math(False)
    save(figure, path)


def _bars(figure):
    """The interval as matplotlib takes it: lengths below and above the value."""
    low, high = (figure["value"] if figure[key] is None else figure[key] for key in ("low", "high"))
    return [[max(0, figure["value"] - low)], [max(0, high - figure["value"])]]
