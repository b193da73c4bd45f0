"""A judge of one's own: an .onnx network that reads numbers off images, and a JSON beside it that says what they are.

    smile.onnx
    smile.json      {"side": 112, "range": [0, 1], "names": ["smile", "age"], "units": ["probability", "years"]}

    side            pixels: images are brought to side x side, bilinearly and with antialiasing
    range           what black and white become, for each colour; or in its place
    mean, deviation three numbers each, of the colours in [0, 1], taken off and divided by
    names           of the numbers, in the order of the network's output
    units           one for each, or one for all
    colours         "RGB" (where it is not said), or "BGR"
    scaled          true where each number's width is 1 already, so that its range need not be measured
    output          the name of the output that holds the numbers (where it is not said, the first)
    features        the name of an output by which sets of images can be compared (where it is not said, none)

The network takes float numbers (images, 3, side, side) or (images, side, side, 3). It is computed by onnxruntime on the
CPU in a process of its own, after its graph was looked at: see `models.untrusted.onnx_graph` and `onnx_process`.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from lib.files import read_json
from lib.judges.judge import Judge
from models.errors import UserError
from models.untrusted.onnx_graph import MOST_BYTES, read_graph
from models.untrusted.onnx_process import PATIENCE, OnnxProcess

LARGEST_SIDE = 2048  # pixels
MOST_NAMES = 10_000
FIRST_PATIENCE = 60  # seconds, for the network to be loaded, and for the first few images
PIXELS_AT_ONCE = 1 << 20  # of all images of a pass, for the memory's sake


@dataclass(frozen=True)
class Description:
    """What the JSON beside a network says, checked."""

    side: int
    names: list
    units: list | str
    range: list | None = None
    mean: list | None = None
    deviation: list | None = None
    colours: str = "RGB"
    scaled: bool = False
    output: str | None = None
    features: str | None = None

    def __post_init__(self):
        """Raises ValueError, which says what is wrong with which key."""
        if type(self.side) is not int or not 1 <= self.side <= LARGEST_SIDE:
            raise ValueError(f"side is {self.side!r}, expected pixels, at most {LARGEST_SIDE}")
        if not _strings(self.names) or len(set(self.names)) != len(self.names) or len(self.names) > MOST_NAMES:
            raise ValueError("names is not a list of different names")
        if not isinstance(self.units, str) and not (_strings(self.units) and len(self.units) == len(self.names)):
            raise ValueError(f"units is neither one unit nor a list of {len(self.names)}")
        if (self.range is None) == (self.mean is None) or (self.mean is None) != (self.deviation is None):
            raise ValueError("it needs either range or mean and deviation")
        for key, length in (("range", 2), ("mean", 3), ("deviation", 3)):
            value = getattr(self, key)
            if value is not None and not (_numbers(value) and len(value) == length):
                raise ValueError(f"{key} is not {length} numbers")
        if (self.range and self.range[0] == self.range[1]) or 0 in (self.deviation or ()):
            raise ValueError("all images would become one: range has no width, or a deviation is 0")
        if self.colours not in ("RGB", "BGR"):
            raise ValueError(f"colours is {self.colours!r}, expected RGB or BGR")
        if type(self.scaled) is not bool:
            raise ValueError(f"scaled is {self.scaled!r}, expected true or false")
        for key in ("output", "features"):
            if not isinstance(getattr(self, key), str | None):
                raise ValueError(f"{key} is not a name")

    @classmethod
    def read(cls, file):
        """Raises UserError where the file is missing, not JSON, or says what cannot be."""
        content = read_json(file)
        try:
            if not isinstance(content, dict):
                raise ValueError("it is not an object {..}")
            known = {field.name for field in fields(cls)}
            needed = {"side", "names", "units"}
            if not needed <= content.keys() <= known:
                odd = sorted(needed - content.keys()) or sorted(content.keys() - known)
                raise ValueError(f"{odd[0]!r} is {'missing' if odd[0] in needed else 'not one of its keys'}")
            return cls(**content)
        except ValueError as error:
            raise UserError(f"{file} does not describe a judge: {error}") from None


def _strings(value):
    return isinstance(value, list) and bool(value) and all(
        isinstance(item, str) and item.strip() and item.isprintable() for item in value
    )


def _numbers(value):
    return isinstance(value, list) and all(type(item) in (int, float) and abs(item) < 1e6 for item in value)


class OnnxJudge(Judge):
    def __init__(self, file, threads=None):
        """threads: of onnxruntime; as many as torch's where they are not given. Raises UserError, one line."""
        file = Path(file)
        content = _bytes(file)
        self.description = Description.read(file.with_suffix(".json"))
        graph = read_graph(content, file)
        names, units = self.description.names, self.description.units
        self.names, self.scaled = list(names), self.description.scaled
        self.units = [units] * len(names) if isinstance(units, str) else list(units)
        said = json.dumps(vars(self.description), sort_keys=True)
        self.fingerprint = f"onnx-{hashlib.sha256(content).hexdigest()}-{hashlib.sha256(said.encode()).hexdigest()}"
        self._check_input(graph.input, file)
        self.file = file
        outputs, threads = self._outputs(graph, file), threads or torch.get_num_threads()
        self.network = OnnxProcess(content, file, outputs, threads, FIRST_PATIENCE)
        self(torch.zeros(1, 3, 8, 8))  # so that what is wrong is told before anything long
        self.network.patience = PATIENCE

    def _check_input(self, port, file):
        """Find out in which order the network wants rows, columns and colours, and how many images at once."""
        side = self.description.side

        def fits(*shape):
            return len(port.shape) == 4 and all(found in (None, wanted) for found, wanted in zip(port.shape, shape))

        images = port.shape[0] if port.shape else None
        self.colours_last = not fits(images, 3, side, side)
        if images not in (None, 1) or (self.colours_last and not fits(images, side, side, 3)):
            raise UserError(f"{file} takes numbers of the shape {_shown(port.shape)}, and by its JSON (any, 3, {side}, "
                            f"{side}) or (1, 3, {side}, {side}) is expected")
        self.at_once = images or max(1, PIXELS_AT_ONCE // side**2)

    def _outputs(self, graph, file):
        """The names of the outputs to compute: the numbers', and the features' where they are named."""
        shapes = dict(graph.outputs)
        wanted = [self.description.output or graph.outputs[0].name]
        wanted += [self.description.features] if self.description.features else []
        for name in wanted:
            if name not in shapes:
                raise UserError(f"{file} has no output {name!r}, it has {', '.join(map(repr, shapes))}"[:300])
        return wanted

    def __call__(self, images):
        return self._computed(images)[0]

    def features(self, images):
        return self._computed(images)[1] if self.description.features else None

    def _computed(self, images):
        """The network's outputs for images (B, 3, H, W) in [-1, 1]: a list of (B, ..), on the images' device."""
        parts = [self.network(self._prepared(part).numpy()) for part in images.detach().split(self.at_once)]
        outputs = [torch.cat([torch.tensor(part).flatten(1) for part in output]) for output in zip(*parts)]
        if outputs[0].shape[1] != len(self.names):
            raise UserError(f"{self.file} gives {outputs[0].shape[1]} numbers for an image, and its JSON names "
                            f"{len(self.names)}")
        return [output.to(images.device) for output in outputs]

    def _prepared(self, images):
        """Images (B, 3, H, W) in [-1, 1] -> what the network takes, on the CPU."""
        described = self.description
        images = images.float().cpu()
        if images.shape[-2:] != (described.side, described.side):
            images = resize(images, [described.side] * 2, InterpolationMode.BILINEAR, antialias=True)
        images = (images + 1) / 2
        if described.range:
            low, high = described.range
            images = low + (high - low) * images
        else:
            mean, deviation = (torch.tensor(x).float().view(-1, 1, 1) for x in (described.mean, described.deviation))
            images = (images - mean) / deviation
        if described.colours == "BGR":
            images = images.flip(1)
        return images.permute(0, 2, 3, 1) if self.colours_last else images


def _bytes(file):
    if not file.is_file():
        raise UserError(f"{file} is missing: onnx:FILE is an .onnx network with a .json beside it")
    if file.stat().st_size > MOST_BYTES:
        raise UserError(f"{file} is larger than 2 GiB, which an .onnx file cannot be")
    return file.read_bytes()


def _shown(shape):
    return "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"


def load(argument, request):
    """onnx:FILE."""
    return OnnxJudge(argument)
