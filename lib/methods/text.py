"""Directions from sentences alone, in closed form: ContraCLIP's text start, kept as it is.

The paths and files are those of `--method=contraclip --path=lines --max-iter=0`.
"""

from lib.methods.contraclip import ContraCLIP, ContraCLIPSettings
from lib.methods.dipole_paths import PAIRED, usual_codes
from lib.settings import TrainingSettings

USED = {"corpus", "clip_model"}  # of ContraCLIP's own settings


class Text(ContraCLIP):
    unused = (
        "lr", "batch_size", "max_iter", "precision", "compile", "tensorboard", "micro_batch_size",
        *({*ContraCLIPSettings.__dataclass_fields__} - {*TrainingSettings.__dataclass_fields__} - USED),
    )  # fmt: skip

    @staticmethod
    def add_arguments(parser):
        """It has no flags besides those that it shares with ContraCLIP."""

    @staticmethod
    def defaults(given, family):
        return PAIRED | usual_codes(family) | {"max_iter": 0, "lss_beta": 0.5}

    @staticmethod
    def experiment_name(settings, gan, corpus, num_paths):
        """Text_<gan>-<space>-K<paths>-<corpus>, where W+ and S are followed by the last layer that moves."""
        return f"Text_{gan}-{settings.space_name}-K{num_paths}-{corpus}"
