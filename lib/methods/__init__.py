"""The methods that learn or find paths: each is a file of this package and an entry here.

The files import torch inside their functions only, so that a command can list all flags quickly.
"""

from importlib import import_module

METHODS = {
    "contraclip": "lib.methods.contraclip:ContraCLIP",
    "text": "lib.methods.text:Text",
    "warpedganspace": "lib.methods.warpedganspace:WarpedGANSpace",
    "latentclr": "lib.methods.latentclr:LatentCLR",
    "ganspace": "lib.methods.ganspace:GANSpace",
    "sefa": "lib.methods.sefa:SeFa",
    "interfacegan": "lib.methods.interfacegan:InterFaceGAN",
    "styleclip-mapper": "lib.methods.styleclip_mapper:StyleCLIPMapper",
    "styleclip-global": "lib.methods.styleclip_global:StyleCLIPGlobal",
    "styleclip-optimization": "lib.methods.styleclip_optimization:StyleCLIPOptimization",
    "cf-clip": "lib.methods.cf_clip:CFCLIP",
}


def find_method(name):
    """The class of a method, a subclass of `lib.methods.method.Method`, by its name in METHODS."""
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)


def name_of_run(settings, num_paths):
    """The name of a run's directory."""
    from lib.dipoles import corpus_name
    from models.class_names import suffix_of
    from models.load_generator import generator_name

    method = find_method(settings.method)
    gan = generator_name(settings.gan) + suffix_of(settings.biggan_target_classes)
    corpus = corpus_name(settings.corpus) if method.reads_corpus else None
    name = method.experiment_name(settings, gan, corpus, num_paths)
    return f"{name}-{settings.exp_id}" if settings.exp_id else name


def add_arguments(parser):
    """Add all methods' flags to an `argparse.ArgumentParser`: those that several have, then a group or more of each."""
    from lib.arguments import number, positive_float
    from lib.methods import shifts
    from lib.methods.text_edits import add_shared_arguments
    from lib.settings import PATHS, Range

    g = parser.add_argument_group("several methods")
    shifts.add_arguments(g)
    g.add_argument("--temperature", type=positive_float,
                   help="contraclip: temperature of the contrastive loss (default: 1.0); cf-clip: also (default: "
                        "0.1); latentclr: factor of the similarities (default: 0.5)")
    g.add_argument("--num-directions", type=number(int, PATHS), metavar="K",
                   help="latentclr, ganspace, sefa: paths (default: 32)")
    g.add_argument("--feed-layers", type=number(int, Range(low=0)), nargs="+", metavar="L",
                   help="latentclr, ganspace, in W: the layers that an edit enters (default: all)")
    add_shared_arguments(parser)
    for name in METHODS:
        find_method(name).add_arguments(parser)
