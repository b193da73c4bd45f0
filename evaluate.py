"""Measure what an experiment's paths change: whether each does what its sentences say, and what else it does."""

if __name__ == "__main__":  # before the other imports, since a signal may come during them
    from lib.startup import begin

    begin()

from lib import distributed
from lib.arguments import length, number, positive_int, steps
from lib.command_line import (
    Formatter,
    Parser,
    add_chosen_paths,
    add_device_arguments,
    add_path_arguments,
    check_path_arguments,
    choose_device,
    run,
)
from lib.settings import Range
from lib.status import doing
from models.errors import UserError

EXAMPLE = """
examples, after train.py and sample_gan.py:
  python evaluate.py --exp=experiments/complete/EXP_DIR --pool=stylegan2_portraits64-48 --eps=0.1 --shift-steps=15
  python evaluate.py experiments/complete/EXP_DIR experiments/complete/OTHER_EXP_DIR     compare what was evaluated

An evaluation lies beside the walk, below EXP_DIR/results/; open evaluation/index.html there. One that was stopped goes
on where it stopped. Use codes of a seed that no setting was chosen with: sample_gan.py --seed=10000 --num-samples=48.
"""


def parser():
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)
    g = p.add_argument_group("what is evaluated")
    g.add_argument("--exp", metavar="EXP_DIR", help="a trained experiment's directory; latest: the one that ended last")
    g.add_argument("compared", nargs="*", metavar="EXP_DIR",
                   help="experiments to compare, or walks of theirs; with --pool, each is evaluated first")
    add_path_arguments(g)
    add_chosen_paths(g)
    g.add_argument("--pool", help="a pool of sample_gan.py: its name or directory")
    g.add_argument("--w-space", action="store_true", help="take the pool's W+ codes, as of inverted photographs")
    g.add_argument("--out", metavar="DIR", help="where a comparison is written (default: experiments/comparison)")

    g = p.add_argument_group("paths: those of the walk that is there, or walked now")
    g.add_argument("--shift-steps", type=steps, metavar="S",
                   help="steps in either direction (default: of the walk that is there, or 16)")
    g.add_argument("--eps", type=length,
                   help="length of a step, in units of the latent space or, as 1%%, as a share of its Jung radius "
                        "(default: of the walk that is there, or as in traverse_latent_space.py)")
    g.add_argument("--shift-leap", type=positive_int, metavar="L",
                   help="take every L-th step (default: of the walk that is there, or 1)")
    g.add_argument("--steps", type=steps, default=5, metavar="N",
                   help="of these steps, at most so many are read in either direction, besides the reach")

    g = p.add_argument_group("judge")
    g.add_argument("--judge", help="portraits, faces, faces64, clip:NAME, or onnx:FILE (default: the generator's own, "
                                   "or a CLIP that did not train the paths)")
    g.add_argument("--sentences", metavar="CORPUS",
                   help="what a CLIP is asked: a corpus, a file of dipoles, or celeba, the 40 attributes of CelebA "
                        "(default: the sentences of the paths)")
    g.add_argument("--same-clip", action="store_true", help="let the CLIP that trained the paths judge them")
    g.add_argument("--own", nargs="+", metavar="PATH:NUMBER",
                   help="the number that a path should raise, or with a minus lower, as 0:smile 3:-age (default: the "
                        "one that its sentences speak of, if the judge knows, or else the one that moves most)")
    g.add_argument("--samples", type=number(int, Range(low=100, high=10**7)), default=2000, metavar="N",
                   help="of the generator, which give the numbers' ranges and what frames are compared with; kept")
    p.add_argument("--batch-size", type=positive_int, metavar="B", help="images at a time (default: what fits)")
    add_device_arguments(p)
    return p


def check(args):
    """Refuse what contradicts itself, before anything is loaded."""
    if sum(map(bool, (args.exp, args.directions, args.compared))) != 1:
        raise UserError("give one experiment with --exp or a file with --directions, or several experiments without "
                        "either to compare them")
    check_path_arguments(args)
    if not args.compared and not args.pool:
        raise UserError("--pool is missing: which codes to walk from, a pool of sample_gan.py")
    if not args.compared and args.out:
        raise UserError("--out goes with experiments that are compared: an evaluation lies beside its walk")
    if len(args.compared) == 1:
        raise UserError("one experiment alone cannot be compared: give another one, or evaluate it with --exp")


def main(arguments):
    args = parser().parse_args(arguments)
    check(args)

    with doing("loading PyTorch"):
        from pathlib import Path

        from lib.config import EXPERIMENTS
        from lib.evaluation import tables
        from lib.evaluation.experiments import Options, compare, evaluate, find_summary

    found = []
    if args.pool:
        device, options = distributed.join(choose_device(args)), Options.of(vars(args))
        found = [evaluate(directory, options, device) for directory in args.compared or [args.exp or args.directions]]
        distributed.leave()
    if not distributed.is_first():
        return
    if not args.compared:
        [(directory, summary)] = found
        print(tables.plain(summary))
        print(f"evaluation: {directory / 'index.html'}")
        return
    summaries = [summary for _, summary in found]
    summaries = summaries or [find_summary(directory, args.judge) for directory in args.compared]
    directory = compare(summaries, Path(args.out or EXPERIMENTS / "comparison"))
    print(tables.plain_comparison(summaries))
    print(f"comparison: {directory / 'comparison.md'}")


if __name__ == "__main__":
    run(main)
