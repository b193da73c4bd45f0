"""What a user is told of a walk before it begins: lengths that follow from shares, and what may not have been meant."""

from lib.arguments import Share
from lib.pools import truncation_of


def shares(experiment, lengths):
    """A line for each of the {flag: length} that is a share of the Jung radius: what it is in units of the space."""
    for name, share in lengths.items():
        if isinstance(share, Share):
            length = experiment.length(share)
            yield f"--{name}={share} is {length:g}: the space's Jung radius is {experiment.radius:.4g}"


def doubts(plan):
    """A line for each thing about a `Plan` that a user may not have meant: going so far, and from such a pool."""
    settings = plan.experiment.settings
    made, walked = truncation_of(plan.pool), settings.truncation
    if plan.experiment.space.truncates and not plan.settings.w_space and made not in (None, walked):
        yield (f"the pool was made with truncation {made:g}, and the paths are walked with {walked:g}, as they were "
               "trained: its images look different in the walk")
    radius = getattr(settings, "jung_radius", None)
    if radius is not None and plan.furthest > radius:
        yield (f"the paths go {plan.furthest:.3g} from each code, and all codes lie in a ball of radius {radius:.3g}: "
               "images at its ends may fall apart; a smaller --eps stays closer")
