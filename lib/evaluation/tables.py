"""The figures of an evaluation as tables: Markdown for files, plain text for a terminal. Made of its summary alone."""

from lib.pages.markdown import text

INFINITE = "∞"
SHORT = ("own_effect", "right_way", "reach", "leak", "stray", "kid", "identity")  # what a terminal is wide enough for
CORR = {
    "corr": "|mean over codes of cov(number, step) / std(step)|, of numbers mapped from their range to [-1, 1]",
    "corr_l1": "corr over the sum of its row",
}


def cell(figure, digits):
    """A figure with its interval: 0.93 (0.91 to 0.95)."""
    value, low, high = (_number(figure[key], digits) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _number(value, digits):
    return INFINITE if value is None else f"{value:.{digits}f}"


def _label(label):
    """A path's label in the order of its frames."""
    return label if isinstance(label, str) else f"{label[1]} → {label[0]}"


def _other(entry):
    return entry["strongest_other"] or "–"


def own_number(entry):
    """A path's own number, and whether positive shifts should raise it."""
    return f"{entry['own']} {'+' if entry['sign'] > 0 else '−'}"


def notes(summary):
    """What must be known to read the table, a sentence or two each."""
    judge, paths, counts, at = summary["judge"], summary["paths"], summary["counts"], summary["reached_at"]
    yield (f"{summary['codes']} codes of the pool {summary['pool']}, judge {judge['name']}, {len(summary['numbers'])} "
           f"numbers; intervals: 95%, by {summary['resamples']} bootstrap resamples of the codes.")
    yield (f"The own number moves the right way on {counts['goes_right_way']} of {len(paths)} paths, most of all "
           f"numbers on {counts['strongest']}, and by {at} or more on {counts['reached']}.")
    missed = [f"path {entry['path']}" for entry in paths if not entry["reached"]]
    if missed:
        yield (f"Paths that do not reach an own effect of {at}: {', '.join(missed)}. Their reach is their end: what is "
               "taken at reach is taken there.")
    chosen = [f"path {entry['path']}" for entry in paths if entry["own_chosen_by"] == "most moved"]
    if chosen:
        yield (f"Paths whose own number is the one that they move most, chosen on these same codes, which flatters "
               f"them: {', '.join(chosen)}.")
    if judge["note"]:
        yield f"Note: {judge['note']}."
    if summary["left_out"]:
        yield f"Left out, since they do not vary over the generator's samples: {', '.join(summary['left_out'])}."
    yield from summary["notes"]


def markdown(summary):
    """table.md."""
    figures, means = summary["figures"], summary["mean"]
    table = [["path", "own number", *(figure["name"] for figure in figures.values()), "strongest other"]]
    for entry in summary["paths"]:
        cells = [cell(entry["figures"][key], figure["digits"]) for key, figure in figures.items()]
        table.append([f"{entry['path']}: {_label(entry['label'])}", own_number(entry), *cells, _other(entry)])
    table.append(["mean", "", *(cell(means[key], figure["digits"]) for key, figure in figures.items()), ""])
    lines = [f"# What the paths of {text(summary['experiment'])} change", "", *markdown_table(table), ""]
    lines += [f"- {text(note)}" for note in notes(summary)]
    lines += ["", "## How to read it", "", *_meanings(figures)]
    for key, meaning in CORR.items():
        table = [["path", *summary["corr_numbers"]]]
        table += [[str(entry["path"]), *(f"{value:.3f}" for value in row)]
                  for entry, row in zip(summary["paths"], summary[key])]
        lines += ["", f"## {text(key)}", "", f"As WarpedGANSpace has it: {text(meaning)}.", "", *markdown_table(table)]
    return "\n".join(lines) + "\n"


def _meanings(figures):
    return [f"- **{text(figure['name'])}**: {text(figure['meaning'])}." for figure in figures.values()]


def markdown_table(rows):
    """Rows of texts, the first of which is the heading, as lines of Markdown."""
    lines = [f"| {' | '.join(map(text, row))} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def plain(summary):
    """The table of paths for a terminal, with its notes."""
    figures = {key: figure for key, figure in summary["figures"].items() if key in SHORT}
    table = [["path", "own number", *(figure["name"] for figure in figures.values()), "strongest other"]]
    for entry in summary["paths"]:
        cells = [_number(entry["figures"][key]["value"], figure["digits"]) for key, figure in figures.items()]
        table.append([entry["name"], own_number(entry), *cells, _other(entry)])
    for end, name in (("value", "mean"), ("low", "  its interval, from"), ("high", "  to")):
        cells = [_number(summary["mean"][key][end], figure["digits"]) for key, figure in figures.items()]
        table.append([name, "", *cells, ""])
    return "\n".join([*aligned(table), "", *notes(summary)])


def aligned(rows):
    """Rows of texts as lines with their columns below each other, the first one flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        padded = [first.ljust(widths[0]), *(part.rjust(width) for part, width in zip(others, widths[1:]))]
        lines.append("  ".join(padded).rstrip())
    return lines


def comparison(summaries, keys=None, cell=cell):
    """The rows of a table that compares experiments, heading first. keys: of the figures that are shown; None: all."""
    figures = _figures(summaries, keys)
    counts = {"goes_right_way": "paths right way", "strongest": "paths strongest", "reached": "paths reached"}
    table = [["experiment", *counts.values(), *(figure["name"] for figure in figures.values()), "codes", "pool"]]
    for summary in summaries:
        of = len(summary["paths"])
        cells = [cell(summary["mean"][key], figure["digits"]) if key in summary["mean"] else "–"
                 for key, figure in figures.items()]
        table.append([summary["experiment"], *(f"{summary['counts'][key]} of {of}" for key in counts), *cells,
                      str(summary["codes"]), summary["pool"]])
    return table


def comparison_notes(summaries):
    """What must be known to read a table that compares experiments, a sentence or two each."""
    if len({tuple(sorted(_label(entry["label"]) for entry in summary["paths"])) for summary in summaries}) > 1:
        yield "The experiments have different paths, so their means are over different questions."
    if len({(summary["pool"], summary["codes"]) for summary in summaries}) > 1:
        yield "They were measured on different codes."
    yield ("How long a path was walked is each experiment's own, and the own effect depends on it. Leak, stray and "
           "identity are taken at reach, where the own effects are equal.")


def _figures(summaries, keys=None):
    """The descriptions of all figures that the summaries have."""
    figures = {key: figure for summary in summaries for key, figure in summary["figures"].items()}
    return {key: figure for key, figure in figures.items() if keys is None or key in keys}


def plain_comparison(summaries):
    """The table that compares experiments for a terminal, without intervals."""
    rows = comparison(summaries, SHORT, lambda figure, digits: _number(figure["value"], digits))
    return "\n".join([*aligned(rows), "", *comparison_notes(summaries)])


def comparison_markdown(summaries):
    """comparison.md."""
    figures = _figures(summaries)
    lines = ["# Experiments compared", "", *markdown_table(comparison(summaries)), ""]
    lines += [f"Judge: {text(summaries[0]['judge']['name'])}. Means over paths; in brackets 95% bootstrap intervals "
              "over codes. Paths right way, strongest, reached: on how many the own number moves the right way, moves "
              f"most of all, and by {summaries[0]['reached_at']} or more.", "",
              " ".join(comparison_notes(summaries)), "", *_meanings(figures)]
    return "\n".join(lines) + "\n"
