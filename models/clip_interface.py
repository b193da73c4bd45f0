"""What CLIPs of both libraries, `clip` and open_clip, have in common."""

from collections.abc import Callable
from dataclasses import dataclass

# The mean and deviation of the pixels in [0, 1] that CLIP was trained on (clip.clip._transform).
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

OPEN_CLIP = "open_clip:"  # the prefix of models of the library open_clip
DOWNLOAD_TIMEOUT = 15  # seconds without an answer


@dataclass(frozen=True)
class Interface:
    """The size of a model's features, and how it expects its sentences and images."""

    embed_dim: int  # E
    tokenize: Callable  # a sentence -> its token ids, including those that mark its start and end
    context_length: int  # number of ids that the model reads
    resolution: int  # pixels per side
    padding: int = 0  # the id that fills up short sentences
    mean: tuple = MEAN  # of colours in [0, 1], like the deviation
    deviation: tuple = DEVIATION
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"  # the side that is resized to the resolution; or "longest"; or "squash" for both
    background: float = -1.0  # around an image whose longest side was resized, in [-1, 1]


def reason(error):
    """The type and message of a library's error, shortened to one line."""
    text = " ".join(str(error).split()).split(". ")[0][:160]
    return f"{type(error).__name__}: {text}"
