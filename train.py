"""Find paths in a frozen GAN's latent space: one for each pair of contrasting sentences (ContraCLIP), or by another
of the field's methods, from sentences, from a judge's numbers, or from the GAN alone."""

if __name__ == "__main__":  # before the other imports, since a signal may come during them
    from lib.startup import begin

    begin()

import argparse
import shlex
import sys
from contextlib import nullcontext
from dataclasses import fields, replace

from lib import distributed
from lib.arguments import AUTO, check_plain_name, learning_rate, number, positive_int, positive_int_or_auto, seed
from lib.command_line import Formatter, Parser, StopRequest, add_device_arguments, choose_device, run
from lib.config import CLIP_OF, COMPLETE, CORPORA, DEFAULT_CLIP, DEFAULT_STYLEGAN_LAYER, PRECISIONS
from lib.methods import METHODS, add_arguments, find_method, name_of_run, shifts
from lib.settings import SHARE, Range
from lib.status import doing
from models.errors import UserError
from models.registry import GENERATORS, family_of, is_own_code

EXAMPLE = """
examples, on the embedded portraits:
  python train.py --gan=stylegan2_portraits64 --corpus=attributes
  python train.py --gan=stylegan2_portraits64 --method=interfacegan --corpus=attributes
  python train.py --gan=stylegan2_portraits64 --method=ganspace --num-directions=16
  python train.py --gan=pggan_portraits64 --method=sefa --num-directions=16

Each method has flags of its own, in groups of its name; those that the chosen one has no use for are refused.

The run is in experiments/wip/ until it ends, then in experiments/complete/. Ctrl-C writes a checkpoint and stops. Run
the same command again to resume from the last checkpoint.
"""


def parser():
    # Flags that are not given are left out of the namespace: each method has its own defaults.
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False,
               argument_default=argparse.SUPPRESS)
    p.add_argument("--method", choices=METHODS, default="contraclip", metavar="NAME",
                   help=f"how paths are found: {', '.join(METHODS)}")

    g = p.add_argument_group("generator")
    g.add_argument("--gan", help=f"a name ({', '.join(GENERATORS)}), a checkpoint file, or python:FILE:FUNCTION, a "
                                 "generator of your own: its code is run (docs/generators.md)")
    g.add_argument("--stylegan-space", choices=("Z", "W", "W+", "S"),
                   help="the space of the paths; S is style space; ProgGAN, DCGAN and BigGAN have only Z "
                        "(default: the method's first; of contraclip's paired loss, W where there is one)")
    g.add_argument("--stylegan-layer", type=number(int, Range(low=0)), metavar="L",
                   help=f"W+, S: paths move layers 0..L (default: {DEFAULT_STYLEGAN_LAYER}, or the last)")
    g.add_argument("--truncation", type=number(float, SHARE), metavar="PSI",
                   help="StyleGAN2: pull codes towards the mean of W, on every layer; DCGAN: scale z; 1: no "
                        "truncation. BigGAN: scale z, and cut its normal distribution off at 2 PSI "
                        "(default: 1; of contraclip's paired loss, StyleGAN2 0.7, DCGAN 0.85)")
    g.add_argument("--biggan-target-classes", nargs="+", metavar="CLASS",
                   help="BigGAN: the classes that codes are drawn from, by number or name (default: all)")
    g.add_argument("--synthesis-resolution", type=positive_int, metavar="R",
                   help="StyleGAN2: train on its skip images of R pixels (default: on full-size images)")

    g = p.add_argument_group("text")
    g.add_argument("--corpus",
                   help=f"pairs of sentences: a name ({', '.join(CORPORA)}) or a file, as JSON or one pair per "
                        "line (tab or | between)")
    g.add_argument("--check-corpus", action="store_true",
                   help="print what the CLIP and the generator make of the sentences, and stop")
    g.add_argument("--clip-model", metavar="CLIP",
                   help="the name of a CLIP, a file, or a model of open_clip, such as SigLIP, as "
                        "open_clip:MODEL/TAG, open_clip:MODEL/FILE or open_clip:FOLDER "
                        f"(default: {DEFAULT_CLIP}; the portraits and the faces have their own)")

    add_arguments(p)

    g = p.add_argument_group("training")
    g.add_argument("--lr", type=learning_rate, help="learning rate (default: of the method and loss)")
    g.add_argument("--batch-size", type=positive_int, metavar="B",
                   help="latent codes per iteration (default: of the method and loss)")
    g.add_argument("--max-iter", type=number(int, Range(low=0, high=10**9)), metavar="I",
                   help="iterations (default: of the method and loss); 0 leaves paths as training begins with them")
    g.add_argument("--seed", type=seed, default=0, help="the seed of everything random")

    g = p.add_argument_group("experiment")
    g.add_argument("--exp-id", default="", metavar="ID", help="suffix of the experiment's name")
    g.add_argument("--log-freq", type=positive_int, default=10, metavar="I", help="iterations per entry of stats.json")
    g.add_argument("--ckp-freq", type=positive_int, default=1000, metavar="I", help="iterations per checkpoint")
    g.add_argument("--tensorboard", action="store_true",
                   help="also write the statistics for TensorBoard (requirements-tensorboard.txt)")
    g = add_device_arguments(p)
    g.add_argument("--micro-batch-size", type=positive_int_or_auto, metavar="M",
                   help="images at a time: the same gradient in the memory of about M images, but slower; auto: as "
                        "many as fit, if the batch does not")
    g.add_argument("--compile", action="store_true", help="compile generator and CLIP with torch.compile")
    g.add_argument("--precision", choices=PRECISIONS,
                   help="precision of generator and CLIP (default: fp32; with CUDA, the fastest whose gradient has a "
                        "cosine above 0.999 to that of fp32)")
    return p


def parse(arguments):
    """The flags that are given, and those that have a default."""
    commands = parser()
    args = commands.parse_args(arguments)
    required = ["gan"] + ["corpus"] * find_method(args.method).reads_corpus
    lacking = [f"--{name}" for name in required if name not in args]
    if lacking:
        commands.error(f"the following arguments are required: {', '.join(lacking)}")
    return args


def settings_of(args, family):
    """The settings of a new run with these flags. family: the generator's, or None while it is not known. Raises
    UserError if they contradict each other or the family."""
    method = find_method(args.method)
    given = {name: value for name, value in vars(args).items() if name != "check_corpus"}
    given |= shifts.settings_of(given)
    space = next((name for name in method.spaces if family is None or name in family.spaces), method.spaces[0])
    chosen = {"clip_model": CLIP_OF.get(args.gan, DEFAULT_CLIP), "stylegan_space": space}
    values = chosen | method.defaults(given, family) | given
    used = {one.name for one in fields(method.Settings)} - {*method.unused}
    unused = sorted(given.keys() - used)
    if unused:
        raise UserError(f"--{unused[0].replace('_', '-')} is not used by --method={args.method}: leave it out")
    if given.get("micro_batch_size") == AUTO:  # it is chosen once the method is there
        values["micro_batch_size"] = method.defaults(given, family).get("micro_batch_size")
    settings = method.Settings.of(values)
    if settings.stylegan_space not in method.spaces:
        raise UserError(f"--method={args.method} has no paths in {settings.stylegan_space}: use --stylegan-space="
                        f"{' or '.join(method.spaces)}")
    if settings.stylegan_layer is not None and settings.stylegan_space not in ("W+", "S"):
        raise UserError("--stylegan-layer needs --stylegan-space=W+ or S")
    check_plain_name(settings.exp_id, f"--exp-id {settings.exp_id!r}", may_be_empty=True)
    method.check(settings)
    if family:
        family.check(settings.gan, settings.stylegan_space, settings.truncation, settings.biggan_target_classes)
    return settings


def main(arguments):
    args = parse(arguments)
    settings = settings_of(args, family_of(args.gan))
    with doing("loading PyTorch"):
        from lib.experiment import Experiment
        from models.load_generator import load_generator

        device = distributed.join(choose_device(settings))
    begun, settings = taken_up(arguments, settings)
    method = find_method(settings.method)
    labels = method.find_labels(settings)
    with doing("loading the generator"):
        generator = load_generator(settings.gan, device)
    if not begun:  # a checkpoint's family, which defaults depend on, is known only now
        settings = settings_of(args, generator.family)
    settings, space = completed(settings, generator, method, len(labels), device)
    if "check_corpus" in args:
        table = distributed.from_first(method.build(settings, space, labels, device).describe_corpus)
        return leave_with(table)
    name = begun.name if begun else name_of_run(settings, len(labels))
    experiment = distributed.from_first(lambda: Experiment(name, settings, labels, method.weights_file(settings)))
    if distributed.from_first(lambda: experiment.complete):
        return leave_with(f"{COMPLETE / name} is complete")
    if experiment.prolonged_from is not None and distributed.is_first():
        print(f"going on from iteration {experiment.prolonged_from}: since the learning rate had fallen until then, "
              f"this is not what one run of {settings.max_iter} iterations gives", file=sys.stderr)
    automatic = getattr(args, "micro_batch_size", None) == AUTO
    finished, stop = train(experiment, space, labels, device, automatic)
    leave_with(*what_next(experiment, finished))
    if not finished:
        sys.exit(stop.exit_code)


def taken_up(arguments, settings):
    """(the experiment that this command began before, or None, its settings or else the given ones): a run that is
    resumed keeps the settings that it began with, whatever the flags' defaults are by now."""
    from lib.experiment import begun_with
    from lib.trained import check_named, read_settings

    begun = distributed.from_first(lambda: begun_with(arguments))
    if not begun:
        return None, settings
    kept = distributed.from_first(lambda: read_settings(begun))
    check_named(kept.gan, settings.gan, begun)
    return begun, replace(kept, gan=settings.gan) if is_own_code(settings.gan) else kept


def completed(settings, generator, method, num_paths, device):
    """(settings with what follows from the generator and the device, the space that the paths are in). Raises UserError
    where they do not go together."""
    from lib.latent_space import latent_space, limit_resolution
    from models.files import sha256
    from models.load_generator import generator_file

    settings = replace(settings, cuda=device.type == "cuda", device=str(device))
    settings = replace(settings, batch_size=method.batch_size(settings, num_paths))
    if settings.batch_size < distributed.world_size():
        raise UserError(f"--batch-size {settings.batch_size} leaves some of {distributed.world_size()} processes "
                        "without an image: raise it, or start fewer")
    space = latent_space(generator, settings.stylegan_space, settings.stylegan_layer, settings.truncation,
                         settings.biggan_target_classes)
    if settings.synthesis_resolution is not None:
        limit_resolution(space, settings.synthesis_resolution)
    space = method.space_of(settings, space)
    settings = replace(settings, stylegan_layer=space.layer, gan_sha256=sha256(generator_file(settings.gan)))
    if settings.biggan_target_classes is not None:
        settings = replace(settings, biggan_target_classes=space.classes)  # their numbers, for their names
    return settings, space


def leave_with(*lines):
    """Leave the other processes; the first one prints the lines."""
    distributed.leave()
    if distributed.is_first():
        print(*lines, sep="\n")


def what_next(experiment, finished):
    """The lines that a run ends with."""
    if not finished:
        return [f"stopped: {experiment.checkpoint} is written, run the same command to resume"]
    directory, gan = COMPLETE / experiment.name, experiment.settings.gan
    own_code = [f"--gan={gan}"] if is_own_code(gan) else []
    walk = shlex.join(["python", "traverse_latent_space.py", f"--exp={directory}", *own_code])
    return [f"trained: {directory}", f"next: {walk}"]


def train(experiment, space, labels, device, automatic):
    """Load the rest, then train. Nothing is written until everything has loaded. automatic: whether the micro-batch
    size is chosen where the batch does not fit into memory."""
    with doing("loading what the method needs"):
        from lib.progress import Watch
        from lib.training import trainer
        from lib.training.repeatable import repeatable

        method = find_method(experiment.settings.method).build(experiment.settings, space, labels, device)
    experiment.establish(**method.facts())
    if experiment.settings.precision == "tf32" and device.type == "cpu" and distributed.is_first():
        print("--precision=tf32 is fp32 on the CPU", file=sys.stderr)
    watchers = [tensorboard(experiment)] if experiment.settings.tensorboard else []
    with repeatable(device), experiment.claimed() if distributed.is_first() else nullcontext():
        trainer.prepare(experiment, method, automatic)
        moved = shifts.described(experiment.settings)
        if moved and experiment.settings.max_iter > 0 and distributed.is_first():
            print(moved, flush=True)
        if experiment.settings.max_iter > 0:
            watchers.append(Watch(experiment, method))
        with StopRequest() as stop:
            finished = trainer.train(experiment, method, stop, watchers)
        if finished and distributed.is_first():
            experiment.finish(method.result(), method.other_weights())
    return finished, stop


def tensorboard(experiment):
    from lib.training.tensorboard import TensorBoard

    return TensorBoard(experiment)


if __name__ == "__main__":
    run(main)
