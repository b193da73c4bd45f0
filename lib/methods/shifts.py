"""How far training moves codes: --min-shift-magnitude and --max-shift-magnitude, for the methods that have them."""

from lib.arguments import Share, length
from models.errors import UserError

OWN, RADIUS = "own", "radius"
UNITS = OWN, RADIUS  # what magnitudes are measured in: the method's own unit, or the Jung radius of the space
MAGNITUDES = "min_shift_magnitude", "max_shift_magnitude"


def add_arguments(group):
    group.add_argument("--min-shift-magnitude", type=length, metavar="EPS",
                       help="contraclip, warpedganspace: shortest shift, in units of the latent space; paired: of each "
                            "path's own natural shift; or, as 10%%, a share of the space's Jung radius (default: 0.25; "
                            "paired: 1.1)")
    group.add_argument("--max-shift-magnitude", type=length, metavar="EPS",
                       help="longest shift, in the same units (default: 0.45; paired: 1.8)")


def settings_of(given):
    """{name: value} of the settings that the flags among `given` stand for. Raises UserError where only one of them is
    a share of the radius."""
    shares = {name: given[name].value for name in MAGNITUDES if isinstance(given.get(name), Share)}
    if not shares:
        return {}
    if len(shares) < len(MAGNITUDES):
        raise UserError("--min-shift-magnitude and --max-shift-magnitude go together: give both as shares of the Jung "
                        "radius, or neither")
    return {**shares, "shift_unit": RADIUS}


def check(settings):
    """Raise UserError if the shortest shift is longer than the longest."""
    low, high = (getattr(settings, name) for name in MAGNITUDES)
    if low > high:
        low, high = (f"{100 * one:g}%" if settings.shift_unit == RADIUS else one for one in (low, high))
        raise UserError(f"--min-shift-magnitude {low} is above --max-shift-magnitude {high}: lower it, or raise the "
                        "other")


def name_of(settings):
    """The part of an experiment's name: eps<min>_<max>, where R follows shares of the Jung radius."""
    unit = "R" if settings.shift_unit == RADIUS else ""
    return f"eps{settings.min_shift_magnitude}{unit}_{settings.max_shift_magnitude}{unit}"


def in_the_space(method):
    """(shortest, longest) of a method whose own unit is that of its space."""
    unit = method.radius if method.settings.shift_unit == RADIUS else 1
    return method.settings.min_shift_magnitude * unit, method.settings.max_shift_magnitude * unit


def facts(shortest, longest):
    """The facts that a run stores of its shifts, in units of the space."""
    return {"shortest_shift": shortest, "longest_shift": longest}


def described(settings):
    """A line for the user on how far codes are moved; None where a run has not stored it."""
    names = "shortest_shift", "longest_shift", "jung_radius"
    low, high, radius = (getattr(settings, name, None) for name in names)
    if None in (low, high, radius):
        return None
    return (f"shifts: {low:.3g} to {high:.3g}, {100 * low / radius:.2g}% to {100 * high / radius:.2g}% of the space's "
            f"Jung radius of {radius:.3g}")
