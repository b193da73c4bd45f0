"""From pictures to latent codes whose images look like them.

    inversion = invert(space, targets, InversionSettings())
    inversion.codes, inversion.images, inversion.distances
"""

from lib.inversion.optimisation import Inversion, invert

__all__ = ["Inversion", "invert"]
