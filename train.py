"""Learn one path in a GAN's latent space for each pair of contrasting sentences (ContraCLIP)."""

import sys
from contextlib import nullcontext

from lib import distributed
from lib.command_line import (
    Formatter,
    Parser,
    StopRequest,
    add_device_arguments,
    choose_device,
    number,
    positive_float,
    positive_int,
    run,
    seed,
)
from lib.config import CLIP_OF, CORPORA, DEFAULT_CLIP, DEFAULT_STYLEGAN_LAYER, PRECISIONS
from models.errors import UserError
from models.registry import GENERATORS, generator_kind

EXAMPLE = """
example, on the embedded portraits:
  python train.py --gan=stylegan2_portraits64 --stylegan-space=W --corpus=attributes \\
      --num-latent-support-dipoles=32 --lss-beta=0.5 --loss=contrastive --temperature=0.1 --lr=0.02 \\
      --truncation=0.7 --min-shift-magnitude=0.4 --max-shift-magnitude=0.8 --batch-size=18 --max-iter=200

The run lies in experiments/wip/ until it ends, then in experiments/complete/. Run the same command again to go on from
the last checkpoint. Ctrl-C writes one first.
"""


def parser():
    p = Parser(description=__doc__, epilog=EXAMPLE, formatter_class=Formatter, allow_abbrev=False)

    g = p.add_argument_group("generator")
    g.add_argument("--gan", required=True, help=f"a name ({', '.join(GENERATORS)}) or a checkpoint file")
    g.add_argument("--stylegan-space", default="Z", choices=("Z", "W", "W+", "S"),
                   help="where the paths run; S: style space; ProgGAN: Z")
    g.add_argument("--stylegan-layer", type=number(int, low=0), metavar="L",
                   help=f"W+, S: paths move layers 0..L (default: {DEFAULT_STYLEGAN_LAYER}, or the last)")
    g.add_argument("--truncation", type=number(float, 0, 1, open_low=True), default=1.0, metavar="PSI",
                   help="StyleGAN2: pull codes towards the mean of W, on every layer; 1 is none")

    g.add_argument("--synthesis-resolution", type=positive_int, metavar="R",
                   help="StyleGAN2: train on its skip images of R pixels (default: on whole images)")

    g = p.add_argument_group("text")
    g.add_argument("--corpus", required=True,
                   help=f"pairs of sentences: a name ({', '.join(CORPORA)}) or a file, as JSON or one pair a "
                        "line (tab or | between)")
    g.add_argument("--css-beta", "--beta", dest="css_beta", type=number(float, 0.25, 1, open_high=True), default=0.5,
                   metavar="BETA",
                   help="kernel of a pole at the other pole, in [0.25, 1): larger is more linear")
    idea = g.add_mutually_exclusive_group()
    idea.add_argument("--linear", action="store_true", help="the text points along the difference of the poles")
    idea.add_argument("--styleclip", action="store_true", help="the text points at the pole itself")
    g.add_argument("--clip-model", metavar="CLIP",
                   help="a name of CLIP's, a file, or a model of open_clip's, such as SigLIP, as "
                        "open_clip:MODEL/TAG, open_clip:MODEL/FILE or open_clip:FOLDER "
                        f"(default: {DEFAULT_CLIP}; the portraits bring their own)")

    g = p.add_argument_group("paths")
    g.add_argument("--num-latent-support-dipoles", type=positive_int, default=32, metavar="N",
                   help="dipoles a path")
    g.add_argument("--lss-beta", type=number(float, 0, 1, open_low=True, open_high=True), default=0.1, metavar="BETA",
                   help="kernel of a latent support vector at its antipode when training begins, in (0, 1)")
    g.add_argument("--min-shift-magnitude", type=positive_float, default=0.25, metavar="EPS",
                   help="shortest shift, in units of the latent space")
    g.add_argument("--max-shift-magnitude", type=positive_float, default=0.45, metavar="EPS", help="longest shift")

    g = p.add_argument_group("training")
    g.add_argument("--loss", default="cossim", choices=("cossim", "contrastive"), help="how moves are compared")
    g.add_argument("--temperature", type=positive_float, default=1.0, help="of the contrastive loss")
    g.add_argument("--lr", type=positive_float, default=1e-3, help="learning rate, a tenth after 90%% of the run")
    g.add_argument("--batch-size", type=positive_int, default=32, metavar="B", help="images an iteration")
    g.add_argument("--max-iter", type=positive_int, default=10_000, metavar="I", help="iterations")
    g.add_argument("--seed", type=seed, default=0, help="everything that is drawn follows from it")

    g = p.add_argument_group("experiment")
    g.add_argument("--exp-id", default="", metavar="ID", help="suffix of the experiment's name")
    g.add_argument("--log-freq", type=positive_int, default=10, metavar="I", help="iterations an entry of stats.json")
    g.add_argument("--ckp-freq", type=positive_int, default=1000, metavar="I", help="iterations a checkpoint")
    g = add_device_arguments(p)
    g.add_argument("--micro-batch-size", type=positive_int, metavar="M",
                   help="images at a time: the same gradient in the memory of M images, for up to half more time")
    g.add_argument("--compile", action="store_true", help="compile generator and CLIP with torch.compile")
    g.add_argument("--precision", choices=PRECISIONS,
                   help="of generator and CLIP (default: fp32; with CUDA the fastest whose gradient has a cosine above "
                        "0.999 to that of fp32)")
    return p


def check(args):
    """Refuse what contradicts itself, before anything is loaded; fill in what follows from the rest."""
    if args.min_shift_magnitude > args.max_shift_magnitude:
        raise UserError(
            f"--min-shift-magnitude {args.min_shift_magnitude} is above "
            f"--max-shift-magnitude {args.max_shift_magnitude}"
        )
    if generator_kind(args.gan) == "ProgGAN" and (args.stylegan_space != "Z" or args.truncation != 1):
        raise UserError(f"{args.gan} is a ProgGAN: it has no --stylegan-space but Z, and no --truncation")
    if args.stylegan_layer is not None and args.stylegan_space not in ("W+", "S"):
        raise UserError("--stylegan-layer goes with --stylegan-space=W+ or S")
    if args.exp_id and not all(character.isalnum() or character in "._+-" for character in args.exp_id):
        raise UserError(f"--exp-id {args.exp_id!r}: use letters, digits, and . _ + - only")
    if args.clip_model is None:
        args.clip_model = CLIP_OF.get(args.gan, DEFAULT_CLIP)


def main(arguments):
    args = parser().parse_args(arguments)
    check(args)

    from lib.config import COMPLETE
    from lib.dipoles import corpus_name, load_corpus
    from lib.experiment import Experiment, experiment_name
    from lib.latent_space import latent_space, limit_resolution
    from models.files import sha256
    from models.load_generator import generator_file, generator_name, load_generator

    if args.batch_size < distributed.world_size():
        raise UserError(f"--batch-size {args.batch_size} leaves some of {distributed.world_size()} processes without "
                        "an image: raise it, or start fewer")
    dipoles = load_corpus(args.corpus)
    device = distributed.join(choose_device(args.cuda, args.ops))
    generator = load_generator(args.gan, device)
    space = latent_space(generator, args.stylegan_space, args.stylegan_layer, args.truncation)
    if args.synthesis_resolution is not None:
        limit_resolution(space, args.synthesis_resolution)
    args.stylegan_layer, args.gan_sha256 = space.layer, sha256(generator_file(args.gan))
    name = experiment_name(args, len(dipoles), generator_name(args.gan), corpus_name(args.corpus))
    experiment = distributed.from_first(lambda: Experiment(name, vars(args), dipoles))
    if distributed.from_first(lambda: experiment.complete):
        if distributed.is_first():
            print(f"{COMPLETE / name} is complete")
        distributed.leave()
        return
    finished, stop = train(args, experiment, space, dipoles, device)
    distributed.leave()
    if not distributed.is_first():
        sys.exit(0 if finished else stop.exit_code)
    if finished:
        print(f"trained: {COMPLETE / name}")
    else:
        print(f"stopped: {experiment.checkpoint} is written, run the same command to go on")
        sys.exit(stop.exit_code)


def train(args, experiment, space, dipoles, device):
    """Load the rest, then train. Nothing is written before all of it has loaded."""
    from lib.dipoles import encode_dipoles
    from lib.experiment import idea
    from lib.paths.support_sets import CorpusSupportSets
    from lib.training import trainer
    from lib.training.frozen import ImageFeatures
    from models.clip_encoder import load_clip

    clip_encoder = load_clip(args.clip_model, device)
    experiment.establish(clip_embed_dim=clip_encoder.embed_dim)
    corpus_support_sets = CorpusSupportSets(encode_dipoles(dipoles, clip_encoder), args.css_beta)
    objective = idea(args), args.loss, args.temperature
    shift_range = args.min_shift_magnitude, args.max_shift_magnitude
    if experiment.settings["precision"] is None:
        batch = trainer.draw(0, args.batch_size, len(dipoles), space.generator.z_dim, shift_range, args.seed)
        batch = [tensor.to(device) for tensor in batch]
        experiment.settings["precision"] = trainer.default_precision(
            space, clip_encoder, corpus_support_sets, batch, objective, args.micro_batch_size
        )
    precision = experiment.settings["precision"]
    if precision == "tf32" and device.type == "cpu" and distributed.is_first():
        print("--precision=tf32 is fp32 on the CPU", file=sys.stderr)
    with experiment.claimed() if distributed.is_first() else nullcontext():
        support_sets = distributed.from_first(
            lambda: trainer.prepare(
                experiment, space, args.num_latent_support_dipoles, args.lss_beta, device, args.seed
            )
        )
        with StopRequest() as stop:
            finished = trainer.train(
                experiment,
                ImageFeatures(space, clip_encoder, precision, args.compile),
                corpus_support_sets,
                support_sets.to(device),
                stop,
                device,
                seed=args.seed,
                objective=objective,
                shift_range=shift_range,
                batch_size=args.batch_size,
                micro_batch_size=args.micro_batch_size,
                max_iter=args.max_iter,
                lr=args.lr,
                log_freq=args.log_freq,
                ckp_freq=args.ckp_freq,
            )
        if finished and distributed.is_first():
            experiment.finish(support_sets)
    return finished, stop


if __name__ == "__main__":
    run(main)
