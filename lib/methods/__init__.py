"""The methods that learn or find paths: each is a file of this package and an entry here.

The files import torch inside their functions only, so that a command can list all flags quickly.
"""

from importlib import import_module

METHODS = {"contraclip": "lib.methods.contraclip:ContraCLIP"}


def find_method(name):
    """The class of a method, a subclass of `lib.methods.method.Method`, by its name in METHODS."""
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)
