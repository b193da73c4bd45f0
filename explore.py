"""Explore a generator in the browser: sliders for paths, two sentences or a picture of your own, what changed."""

if __name__ == "__main__":  # before the other imports, since a signal may come during them
    from lib.startup import begin

    begin()

from lib.arguments import number
from lib.command_line import Formatter, Parser, add_device_arguments, choose_device, run
from lib.settings import Range
from models.errors import UserError

EXAMPLE = """
examples, after train.py:
  python explore.py --exp=latest
  python explore.py --exp=experiments/complete/EXP_1 --exp=experiments/complete/EXP_2

with no training, from the sentences of a corpus:
  python explore.py --gan=stylegan2_portraits64 --corpus=attributes

It prints an address of this machine, which a browser opens. It needs requirements-explore.txt.
"""


def parser():
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)
    g = p.add_argument_group("what is explored")
    g.add_argument("--exp", action="append", default=[], metavar="EXP_DIR",
                   help="a trained experiment's directory, or latest, the one that ended last; again for others of the "
                        "same generator")
    g.add_argument("--gan", help="a generator, without an experiment; or its file, if that of --exp has moved")
    g.add_argument("--corpus", help="with --gan, sliders for the sentences of a corpus, without training")
    g.add_argument("--judge", metavar="JUDGE", help="what reads the pictures (default: the generator's own judge)")

    g = p.add_argument_group("address")
    g.add_argument("--port", type=number(int, Range(1, 65535)), default=7860, help="of this machine")
    g.add_argument("--listen", metavar="ADDRESS",
                   help="let others in at this address of this machine, 0.0.0.0 for all (default: this machine alone)")
    g.add_argument("--password-file", metavar="FILE", help="whose first line others must know; needed with --listen")
    add_device_arguments(p)
    return p


def check(args):
    """Refuse arguments that contradict each other, before anything is loaded."""
    if not args.exp and args.gan is None:
        raise UserError("say what is explored: --exp, or --gan with --corpus")
    if args.corpus is not None and (args.exp or args.gan is None):
        raise UserError("--corpus goes with --gan, and without --exp")
    if args.listen is not None and args.password_file is None:
        raise UserError("--listen lets others in: say with --password-file which file has the password they must know")
    if args.listen is None and args.password_file is not None:
        raise UserError("--password-file goes with --listen: without it, only this machine is let in")


def main(arguments):
    args = parser().parse_args(arguments)
    check(args)

    from lib.exploring.web.serving import serve

    serve(args, choose_device(args))


if __name__ == "__main__":
    run(main)
