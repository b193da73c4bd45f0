"""The judge `faces`: what the field's published networks read from photographs of faces.

    judge = load_judge("faces", device="cuda")
    judge.names, judge.units      ["female", "age", ..], ["probability", "age group, 0 (0-2) to 8 (70+)", ..]
    judge(images)                 images (B, 3, H, W) in [-1, 1] -> (B, N)
    judge.identity                ArcFace's cosine

Each network is a file of its own and works where the others' weights are absent:

    arcface             identity
    fairface            gender, age and race
    hopenet             yaw, pitch and roll
    celeba_attributes   bangs, eyeglasses, beard, smiling and age
    s3fd                where the face is and how large; the others' crops are cut around its box
    action_units        intensities of twelve facial action units (DISFA)

frames.py prepares the networks' inputs, checkpoints.py reads the weights, judge.py puts the networks together.
"""

from models.errors import UserError, quoted


def load(argument, request):
    """The judge `faces`, which has no argument, of the weights that download.py has brought.

    Raises UserError where there are none, and where a file does not hold its network's weights.
    """
    if argument:
        raise UserError(f"the judge faces takes nothing after its name, found {quoted(argument)}")
    from lib.judges.faces.judge import load_face_judge  # here, as it imports torch

    return load_face_judge(request.device)
