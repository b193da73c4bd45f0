"""Experiments evaluated: opened, walked, judged, written; and compared."""

from dataclasses import dataclass, fields
from pathlib import Path

from lib import pools
from lib.arguments import Share
from lib.evaluation import plots, tables
from lib.evaluation.evaluation import STEPS, Subject, read
from lib.evaluation.output import slug, write
from lib.evaluation.samples import COUNT
from lib.evaluation.store import Store
from lib.evaluation.summary import sum_up
from lib.evaluation.walks import find_walk
from lib.files import write_text
from lib.judges import default_judge, load_judge
from lib.judges.faces.judge import load_identity
from lib.judges.perceptual import load_lpips
from lib.pages.folder import refresh_pages
from lib.pages.measured import read_summary
from lib.paths.choice import ChosenPaths, chosen_paths
from lib.status import doing
from lib.trained import open_paths
from models.errors import UserError
from models.files import sha256
from models.load_generator import generator_name

OTHER_JUDGES = ("or choose another judge: --judge=faces (`python download.py --list` says which files it needs), "
                "--judge=clip:FILE with a CLIP that is here, or --judge=onnx:FILE (docs/judges.md)")


@dataclass(frozen=True)
class Options:
    """How an experiment is evaluated. What is None follows from the experiment, or from the walk that is there."""

    pool: str
    directions: str | None = None
    gan: str | None = None
    stylegan_space: str | None = None
    truncation: float | None = None
    paths: str | None = None  # numbers, and words of sentences, as `chosen_paths` takes them; None: all
    w_space: bool = False
    shift_steps: int | None = None
    eps: float | Share | None = None
    shift_leap: int | None = None
    judge: str | None = None
    sentences: str | None = None
    same_clip: bool = False
    own: list[str] | None = None  # "PATH:NUMBER", "PATH:-NUMBER"
    steps: int = STEPS
    samples: int = COUNT
    batch_size: int | None = None

    @classmethod
    def of(cls, values):
        """From {name: value} with more in it, as of parsed flags."""
        return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})


def evaluate(directory, options, device):
    """Evaluate an experiment, or the file of directions that the options name, together with the other processes.

    Returns (the evaluation's directory, its summary) in the first process, None in the others. Raises UserError where
    the experiment, the pool, the walk or the judge does not fit; then nothing is left of what was begun.
    """
    with doing("loading the generator and the paths"):
        experiment = open_paths(directory, options, device)
    space, settings = experiment.space, experiment.settings
    if options.w_space and space.name == "Z":
        raise UserError(f"{experiment.directory} walks the space Z: --w-space goes with paths in W, W+ or S")
    pool = pools.find_pool(options.pool, generator_name(settings.gan), settings.gan_sha256)
    chosen = None if options.paths is None else chosen_paths(options.paths, experiment.labels)
    walk = find_walk(experiment.directory / "results" / pool.name, experiment.step, chosen, w_space=options.w_space,
                     eps=experiment.length(options.eps), shift_steps=options.shift_steps, shift_leap=options.shift_leap)
    paths = experiment.paths if chosen is None else ChosenPaths(experiment.paths, chosen)
    labels = experiment.labels if chosen is None else [experiment.labels[k] for k in chosen]
    # The file of the user's own code decides less of an image than a checkpoint does.
    generator = getattr(experiment.generator, "sha256", settings.gan_sha256)
    origin = {"gan_sha256": generator, "weights": sha256(experiment.weights)}
    subject = Subject(experiment.directory.resolve().name, pool.name, space, paths, labels,
                      pools.code_directories(pool), walk, origin)
    with doing("loading the judge"):
        name, judge = _judge(options, experiment, labels, device)
        perceptual, notes = _perceptual(device)
    own = _own(options.own or [], judge, range(len(labels)) if chosen is None else chosen)
    store = Store(walk.directory / ".judged" / slug(name))
    try:
        readings = read(subject, judge, store, options.steps, options.batch_size, own, perceptual, options.samples)
        if readings is None:
            return None
        summary, reports = sum_up(subject, judge, name, readings)
        summary["notes"] += notes
        written = write(subject, readings, summary, reports, options.batch_size)
        refresh_pages(experiment.directory, experiment.labels)
        return written, summary
    except UserError:
        store.discard()
        raise
    finally:
        store.close()


def _judge(options, experiment, labels, device):
    """The judge of paths with these labels, and its name. One that compares no identities gets ArcFace's comparison,
    where its weights are here."""
    trained_clip = getattr(experiment.settings, "clip_model", None)
    name = options.judge or default_judge(experiment.settings.gan, trained_clip)
    try:
        judge = load_judge(name, labels=tuple(labels), sentences=options.sentences,
                           trained_clip=trained_clip, same_clip=options.same_clip, device=str(device),
                           gan=experiment.settings.gan)
    except UserError as error:
        if options.judge:
            raise
        raise UserError(f"{error}; {OTHER_JUDGES}") from None
    judge.identity = judge.identity or load_identity(device)
    return name, judge


def _perceptual(device):
    """LPIPS and no note, or None and a note on why there is none."""
    try:
        return load_lpips(device=device), []
    except UserError:
        return None, ["LPIPS is left out: the weights that it needs are missing (docs/judges.md says how to get them)."]


def _own(texts, judge, paths):
    """"2:smile", "0:-age" -> {place among the paths: (number, sign)}. paths: the numbers of those that are evaluated.
    Raises UserError where there is no such path or number."""
    found = {}
    for text in texts:
        path, _, name = text.partition(":")
        sign, name = (-1, name[1:]) if name.startswith("-") and name not in judge.names else (1, name)
        if not path.isdecimal() or int(path) not in paths:
            among = f"from 0 to {paths[-1]}" if isinstance(paths, range) else f"of {', '.join(map(str, paths))}"
            raise UserError(f"--own {text}: give a path {among}, a colon and a number's name, as "
                            f"{paths[0]}:{judge.names[0]}")
        if name not in judge.names:
            raise UserError(f"--own {text}: the judge has no number {name!r}; it has {', '.join(judge.names)}")
        found[paths.index(int(path))] = judge.names.index(name), sign
    return found


def find_summary(directory, judge=None):
    """The summary of the evaluation in an experiment's directory, or in a walk's; of a judge, if one is named.

    Raises UserError where there is none, or where there are several.
    """
    directory = Path(directory)
    files = [file for pattern in ("evaluation*/summary.json", "results/*/*/evaluation*/summary.json")
             for file in sorted(directory.glob(pattern))]
    found = [(file, summary) for file in files if (summary := read_summary(file))
             if judge in (None, summary["judge"]["name"])]
    if not found:
        by = f" by the judge {judge}" if judge else ""
        raise UserError(f"{directory} has no evaluation{by}: name a --pool here too, and it is evaluated first")
    if len(found) > 1:
        places = ", ".join(str(file.parent) for file, _ in found)
        raise UserError(f"{directory} has several evaluations ({places}): name a --pool or a --judge, or give a walk's "
                        "directory in place of the experiment's")
    return found[0][1]


def compare(summaries, directory):
    """Write comparison.md and comparison.png of several evaluations, by their summaries.

    Raises UserError where they are of different judges.
    """
    judges = {summary["judge"]["fingerprint"]: summary["judge"]["name"] for summary in summaries}
    if len(judges) > 1:
        raise UserError(f"the evaluations are of different judges ({', '.join(judges.values())}), which cannot be "
                        "compared: name one with --judge")
    write_text(tables.comparison_markdown(summaries), directory / "comparison.md")
    plots.comparison(summaries, directory / "comparison.png")
    return directory
