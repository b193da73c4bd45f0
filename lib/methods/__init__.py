"""The methods that learn or find paths: each is a file of this package and an entry here.

The files import torch inside their functions only, so that a command can list all flags quickly.
"""

from importlib import import_module

METHODS = {
    "contraclip": "lib.methods.contraclip:ContraCLIP",
    "styleclip-mapper": "lib.methods.styleclip_mapper:StyleCLIPMapper",
    "styleclip-global": "lib.methods.styleclip_global:StyleCLIPGlobal",
    "styleclip-optimization": "lib.methods.styleclip_optimization:StyleCLIPOptimization",
    "cf-clip": "lib.methods.cf_clip:CFCLIP",
}


def find_method(name):
    """The class of a method, a subclass of `lib.methods.method.Method`, by its name in METHODS."""
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)


def add_arguments(parser):
    """Add all methods' flags to an `argparse.ArgumentParser`: those that several have, then a group or more of each."""
    from lib.methods.text_edits import add_shared_arguments

    add_shared_arguments(parser)
    for name in METHODS:
        find_method(name).add_arguments(parser)
