"""What an experiment, a pool and a walk store about how they were made: dataclasses, to and from JSON.

A file that was written before a field existed lacks it, and stands for the field's default. The flag that sets the
field may have another default, which may change over time; the field's may not.

Each field states its use:

    SAME    another value makes another result: must be repeated when work is resumed
    FREE    changes where or how fast something is made, not what: may differ each time
    KEPT    as SAME, but a command that does not give it takes over what was stored
    FACT    measured or read when the work began, not given by a flag; compared if both sides have it

`named=True`: the setting is part of the experiment's name. A method adds its own fields in a subclass.
"""

import math
import types
import typing
from dataclasses import MISSING, asdict, dataclass, field, fields, replace

from lib.files import read_json
from models.errors import UserError

SAME, FREE, KEPT, FACT = "same", "free", "kept", "fact"
SHOWN = 60  # characters of a wrong value in a message


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, without the ends that are open. No range contains infinities or NaN."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value):
        try:
            if not math.isfinite(value):
                return False
        except OverflowError:  # a whole number that no float can hold
            return False
        above = self.low is None or value > self.low or (value == self.low and not self.open_low)
        below = self.high is None or value < self.high or (value == self.high and not self.open_high)
        return above and below

    def __str__(self):
        parts = []
        if self.low is not None:
            parts.append(f"above {self.low}" if self.open_low else f"at least {self.low}")
        if self.high is not None:
            parts.append(f"below {self.high}" if self.open_high else f"at most {self.high}")
        return " and ".join(parts) or "finite"


@dataclass(frozen=True)
class Each(Range):
    """Lists, each item of which is a number in the range."""

    def __contains__(self, values):
        return all(type(value) in (int, float) and super(Each, self).__contains__(value) for value in values)

    def __str__(self):
        return f"numbers that are each {super().__str__()}"


COUNT = Range(low=1, high=10**9)
STEPS = Range(low=1, high=10**5)
PATHS = Range(low=1, high=10**5)
POSITIVE = Range(low=0, high=1e38, open_low=True)  # a float32 can hold it
RATE = Range(low=0, high=1e30, open_low=True)  # Adam divides a learning rate by 1 - beta, which may be 0.0001
SHARE = Range(low=0, high=1, open_low=True)  # in (0, 1]
SEED = Range(low=0, high=2**31 - 1)
PIXELS = Range(low=1, high=8192)


def setting(default, within=None, use=SAME, named=False, of=None):
    """A field. within: a `Range`, or the possible values. of: the part of a walk's results that it affects."""
    return field(default=default, metadata={"within": within, "use": use, "named": named, "of": of})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The base class of all stored settings."""

    @classmethod
    def of(cls, values):
        """From {name: value}, such as parsed flags; names that are not settings are left out."""
        return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})

    @classmethod
    def read(cls, content, file, needed=None):
        """From the content of a JSON file. Raises UserError, naming the file, for an unknown setting, a wrong type or
        an impossible value.

        needed: for files of other programs, the settings whose values must be valid; others that cannot be read are
        left out.
        """
        known, types_of, found = {one.name: one for one in fields(cls)}, typing.get_type_hints(cls), {}
        for key, value in content.items():
            wrong = _mistake(value, types_of[key], known[key].metadata["within"]) if key in known else "unknown"
            if not wrong:
                found[key] = value
            elif needed is None or key in needed:
                raise UserError(_unreadable(file, key, value, wrong))
        lacking = [one.name for one in fields(cls) if one.default is MISSING and one.name not in found]
        if lacking:
            raise UserError(f"{file} lacks the setting {lacking[0]!r}: it was damaged, or is not this program's")
        return cls(**found)

    def to_json(self):
        """{name: value}, without unknown facts."""
        unknown = self._unknown_facts()
        return {key: value for key, value in asdict(self).items() if key not in unknown}

    def differences(self, now, ignored=()):
        """The differences of settings that must stay the same, as "lr is 0.1, was 0.2, .."; empty if there are none."""
        ignored = {*ignored, *self._named(FREE), *self._unknown_facts(), *now._unknown_facts()}
        names = sorted(one.name for one in fields(self) if one.name not in ignored)
        values = ((name, getattr(self, name), getattr(now, name)) for name in names)
        return ", ".join(f"{name} is {new!r}, was {old!r}" for name, old, new in values if old != new)

    def kept_from(self, before):
        """These settings, with the KEPT ones that this command did not give taken from those stored before."""
        open_ones = [name for name in self._named(KEPT) if getattr(self, name) is None]
        return replace(self, **{name: getattr(before, name) for name in open_ones})

    def with_facts_of(self, before):
        """These settings, with the facts that only those stored before know."""
        return replace(self, **{name: getattr(before, name) for name in self._unknown_facts()})

    def _named(self, use):
        return [one.name for one in fields(self) if one.metadata["use"] == use]

    def _unknown_facts(self):
        return {name for name in self._named(FACT) if getattr(self, name) is None}


def _unreadable(file, key, value, wrong):
    if wrong == "unknown":
        return (f"{file} has the unknown setting {str(key)[:SHOWN]!r}: a newer version of this program wrote it, or it "
                "was edited")
    return f"{file} has {key} {repr(value)[:SHOWN]}, {wrong}: it was damaged or edited"


def _mistake(value, kind, within):
    """What is wrong with a stored value, or None."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None:
        return None if type(None) in kinds else "which must be given"
    if not any(_is_a(value, one) for one in kinds):
        names = " or ".join("none" if one is type(None) else one.__name__ for one in kinds)
        return f"which is not of the type {names}"
    if within is not None and value not in within:
        possible = within if isinstance(within, Range) else f"one of {', '.join(map(str, within))}"
        return f"which must be {possible}"
    return None


def _is_a(value, kind):
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings(Settings):
    """The generator, the space and the truncation."""

    gan: str = setting(MISSING)
    gan_sha256: str | None = setting(None, use=FACT)  # of its file; the authors' and our early settings lack it
    stylegan_space: str = setting("Z", ("Z", "W", "W+", "S"), named=True)
    truncation: float = setting(1.0, SHARE)
    # Indices, whether the flag gave numbers or names; without it (all classes) files stay as they were before BigGAN.
    biggan_target_classes: list | None = setting(None, use=FACT, named=True)  # noqa: RUF009


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(GeneratorSettings):
    """`args.json` of an experiment: what all methods have."""

    method: str = setting("contraclip")
    stylegan_layer: int | None = setting(None, Range(low=0), named=True)
    synthesis_resolution: int | None = setting(None, COUNT)
    lr: float = setting(1e-3, RATE)
    batch_size: int | None = setting(32, COUNT)  # None until the method has chosen one
    max_iter: int = setting(10_000, Range(low=0, high=10**9))
    seed: int = setting(0, SEED)
    exp_id: str = setting("", named=True)
    log_freq: int = setting(10, COUNT)
    ckp_freq: int = setting(1000, COUNT, FREE)
    cuda: bool = setting(True, use=FREE)  # whether a CUDA device was used; early settings: was allowed
    device: str | None = setting(None, use=FREE)
    ops: str = setting("auto", use=FREE)
    micro_batch_size: int | None = setting(None, COUNT, FREE)
    compile: bool = setting(False, use=FREE)
    tensorboard: bool = setting(False, use=FREE)
    precision: str | None = setting(None, ("fp32", "tf32", "bf16", "fp16"), KEPT)

    @property
    def space_name(self):
        """The space in the names of experiments, followed by the last layer that moves, if not all of them do."""
        return self.stylegan_space + ("" if self.stylegan_layer is None else str(self.stylegan_layer))


@dataclass(frozen=True, kw_only=True)
class PoolSettings(GeneratorSettings):
    """`args.json` of a pool."""

    num_samples: int | None = setting(None, COUNT)
    seed: int = setting(0, SEED)
    from_codes: str | None = setting(None)
    accepted_by: str = setting("")  # the name of a judge that leaves codes out
    codes_sha1: str | None = setting(None, use=FACT)  # of that file's codes: other codes would be another pool
    verbose: bool = setting(False, use=FREE)
    batch_size: int | None = setting(None, COUNT, FREE)
    cuda: bool = setting(True, use=FREE)  # whether a CUDA device was used; early settings: was allowed
    device: str | None = setting(None, use=FREE)
    ops: str = setting("auto", use=FREE)


@dataclass(frozen=True, kw_only=True)
class InversionSettings(Settings):
    """How pictures are inverted: what `lib.inversion.invert` takes."""

    # Where codes are sought; None: in the given space, or in W+ where that is S.
    stylegan_space: str | None = setting(None, ("Z", "W", "W+"))
    compare: str = setting("pixels")  # pixels, lpips, or clip:NAME: what a picture and its inversion are compared by
    start: str = setting("samples", ("samples", "mean"))
    samples: int = setting(512, Range(low=2, high=10**5))  # that the start is found among
    tries: int | None = setting(None, Range(low=1, high=100))  # from different starts; None: 3 in Z, 1 elsewhere
    steps: int = setting(300, STEPS)
    seconds: float | None = setting(None, POSITIVE)  # instead of the steps, for all pictures that are inverted together
    noise: bool = setting(True)  # let the noise of a StyleGAN2 take its part of the picture while a code is sought
    seed: int = setting(0, SEED)


@dataclass(frozen=True, kw_only=True)
class InvertedPoolSettings(InversionSettings, GeneratorSettings):
    """`args.json` of a pool of inverted pictures."""

    align: str = setting("auto", ("auto", "face", "square"))
    batch_size: int | None = setting(None, COUNT, FREE)
    cuda: bool = setting(True, use=FREE)
    device: str | None = setting(None, use=FREE)
    ops: str = setting("auto", use=FREE)


def suffix_of(paths):
    """What follows the name of a folder of results. paths: the numbers of those that were walked; None: all."""
    return "" if paths is None else "-paths" + "+".join(map(str, paths))


# The parts of a walk's settings: what its pictures show, and each kind of pictures, by the setting that asks for it.
SHOWING, FRAMES, FILM, GIF, STRIP = "showing", "frames", "film", "gif", "strip"
PICTURES = FRAMES, FILM, GIF, STRIP


@dataclass(frozen=True, kw_only=True)
class WalkSettings(Settings):
    """`settings.json` of a walked code: everything that affects its pictures."""

    weights_sha256: str | None = setting(None, use=FACT, of=SHOWING)  # of the paths; early settings lack it
    w_space: bool = setting(False, of=SHOWING)
    shift_steps: int = setting(16, STEPS, of=SHOWING)
    eps: float = setting(0.2, POSITIVE, of=SHOWING)
    shift_leap: int = setting(1, COUNT, of=SHOWING)
    paths: list | None = setting(None, Each(low=0), of=SHOWING)  # noqa: RUF009 numbers of those walked; None: all
    img_size: int | None = setting(None, PIXELS, of=SHOWING)
    img_quality: int = setting(95, Range(1, 95), of=SHOWING)
    frames: bool = setting(True, of=FRAMES)
    film: bool = setting(False, of=FILM)
    gif: bool = setting(False, of=GIF)
    gif_height: int | None = setting(256, PIXELS, KEPT, of=GIF)
    gif_fps: int = setting(30, Range(1, 50), of=GIF)
    strip: bool = setting(False, of=STRIP)
    strip_number: int = setting(9, STEPS, of=STRIP)
    strip_height: int | None = setting(256, PIXELS, KEPT, of=STRIP)

    @property
    def name(self):
        """Of the directory: steps on both sides, their length, and the length of a path."""
        return f"{2 * self.shift_steps}_{self.eps}_{round(2 * self.shift_steps * self.eps, 3)}{suffix_of(self.paths)}"

    @property
    def frames_per_path(self):
        """The start, and every `shift_leap`-th code on either side of it."""
        return 2 * (self.shift_steps // self.shift_leap) + 1

    def part(self, kind):
        """{name: value} of the settings that affect what is shown, or one of the `PICTURES`."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.metadata["of"] == kind}


def read_object(file):
    """The content of a JSON file that holds an object. Raises UserError if it is missing, broken or not an object."""
    content = read_json(file)
    if not isinstance(content, dict):
        raise UserError(f"{file} does not hold settings: it was damaged, or is not this program's")
    return content
