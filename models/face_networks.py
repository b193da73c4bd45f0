"""The small published networks that read faces, as .onnx files of the repository (`scripts/faces/networks.py`).

    network         input                       outputs
    facemesh        192, RGB in [0, 1]          flag; mesh, 468 x (x, y, z), lips, eyes, irises, in pixels; features
    faceres         224, RGB from 0 to 255      male; ages; descriptor of a person
    expression      112, RGB from 0 to 255      probabilities of EXPRESSIONS; features
    age_gender      112, RGB from 0 to 255      age; gender (male, female); features
    landmarks68     112, RGB from 0 to 255      points, 68 x (x, y), as shares of the side; features
    selfie          256, RGB in [0, 1]          mask of the person
    emotion         64, grey in [-1, 1]         probabilities of EMOTIONS

In an image the left is the image's left: the left eye is on the left side of the picture.
"""

import importlib.util
from functools import cache
from typing import NamedTuple

import numpy as np

from models.errors import UserError
from models.registry import PRETRAINED

DIRECTORY = PRETRAINED / "faces" / "networks"
EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
GREY = (0.2989, 0.587, 0.114)

ENLARGED = 224  # pixels per side, to which images are brought first
MARGIN = 28  # pixels that are added around these for the networks that expect more than a face
AT_ONCE = 4  # images in a call: more of them leave the processor's cache, fewer cost calls


class Input(NamedTuple):
    side: int  # pixels
    low: float  # black
    high: float  # white
    grey: bool = False


INPUTS = {
    "facemesh": Input(192, 0, 1),
    "faceres": Input(224, 0, 255),
    "expression": Input(112, 0, 255),
    "age_gender": Input(112, 0, 255),
    "landmarks68": Input(112, 0, 255),
    "selfie": Input(256, 0, 1),
    "emotion": Input(64, -1, 1, grey=True),
}


class FaceNetwork:
    """One of the networks, computed by onnxruntime on the CPU."""

    def __init__(self, name, threads=1, directory=DIRECTORY):
        """Raises UserError where onnxruntime or the network's file is missing."""
        self.name, self.input = name, INPUTS[name]
        file = directory / f"{name}.onnx"
        if importlib.util.find_spec("onnxruntime") is None:
            raise UserError("the networks that read faces need onnxruntime: pip install -r requirements.txt")
        if not file.is_file():
            raise UserError(f"{file} is missing: restore it with git, or make it with python -m scripts.faces.networks")
        self.session = _session(file, threads)

    def __call__(self, images, outputs, margin=0):
        """Images (B, 3, H, W) in [-1, 1] -> {output: numbers (B, ..), float32}, for the names in `outputs`.

        margin: pixels of MARGIN's kind, added by reflection around the image enlarged to 224 x 224.
        """
        return self.run(prepared(enlarged(images), self.input, margin), outputs)

    def run(self, inputs, outputs):
        """The same of what the network takes: (B, colours, side, side), in its own range."""
        parts = [self.session.run(list(outputs), {"images": inputs[start : start + AT_ONCE]})
                 for start in range(0, len(inputs), AT_ONCE)]
        return {name: np.concatenate(found) for name, found in zip(outputs, zip(*parts))}


def _session(file, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no narrower type in common
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())[:100]}): restore it with git") from None


def enlarged(images):
    """Images (B, 3, H, W) in [-1, 1] -> (B, 3, 224, 224) in [0, 1], a numpy array: bicubically, with antialiasing."""
    height, width = images.shape[-2:]
    images = images.detach().float().cpu().numpy()
    if (height, width) != (ENLARGED, ENLARGED):
        images = _bicubic(height) @ images @ _bicubic(width).T
    return np.clip((images + 1) / 2, 0, 1)


@cache
def _bicubic(before):
    from models.resizing import resizing_matrix

    return resizing_matrix(before, ENLARGED).numpy()


def prepared(images, taken, margin=0):
    """Square images (B, 3, S, S) in [0, 1] -> what a network takes, (B, colours, side, side). taken: its `Input`.

    Resized by TensorFlow's bilinear rule without half-pixel centres, after `margin` pixels are added by reflection.
    """
    if taken.grey:
        images = np.tensordot(images, np.float32(GREY), (1, 0))[:, None]
    resize = resizing(images.shape[-1], taken.side, margin)
    images = resize @ images @ resize.T
    return np.ascontiguousarray(images * np.float32(taken.high - taken.low) + np.float32(taken.low))


@cache
def resizing(before, after, margin=0):
    """The matrix (after, before) that resizes a row of pixels, to which `margin` pixels are added by reflection."""
    size = before + 2 * margin
    places = np.arange(after, dtype=np.float32) * np.float32(size / after)
    first = np.floor(places).astype(int)
    share = places - first
    matrix = np.zeros((after, size), np.float32)
    rows = np.arange(after)
    matrix[rows, first] += 1 - share
    matrix[rows, np.minimum(first + 1, size - 1)] += share
    source = np.pad(np.eye(before, dtype=np.float32), ((margin, margin), (0, 0)), mode="reflect")
    return matrix @ source


@cache
def load_network(name, threads=1):
    """The embedded network of a name, loaded once for each number of threads."""
    return FaceNetwork(name, threads)
