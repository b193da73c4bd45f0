"""Draw flat-cartoon portraits from 25 independent factors.

The pictures are the training data of the small generators, the small CLIP and the factor scorer. So each factor changes
something that is large enough to see at 64 px, smoothly and monotonically over [0, 1], and leaves the rest alone.

Every part is a signed distance in unit-square coordinates (x right, y down, negative inside), turned into antialiased
coverage and composited over the canvas in painter's order. Masks are (B, H, W), colours (B, 3, 1, 1) or (3, 1, 1),
factors (B, 1, 1). Left and right features are drawn in one pass on the mirrored coordinate |x|.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.judges.portrait_factors import FACTORS

HEAD_CENTER = (0.5, 0.455)
HEAD_SCALE = 1.1
PIVOT_BELOW_CENTER = 0.27
SKULL_HEIGHT = 0.29
EYE_LEVEL = 0.0
MOUTH_LEVEL = 0.195

SKIN_STOPS = ((1.0, 0.87, 0.78), (0.93, 0.71, 0.54), (0.68, 0.44, 0.29), (0.36, 0.21, 0.14))
HAIR_STOPS = ((0.09, 0.08, 0.11), (0.36, 0.20, 0.11), (0.72, 0.27, 0.10), (0.97, 0.80, 0.40))
IRIS_STOPS = ((0.48, 0.22, 0.04), (0.16, 0.72, 0.26), (0.10, 0.46, 1.0))


@dataclass
class Scene:
    """Everything the parts share; all (B, 1, 1) or (B, H, W) unless noted."""

    factors: dict[str, Tensor]
    x: Tensor  # body frame, centred, (1, 1, W)
    y: Tensor  # body frame, (1, H, 1)
    u: Tensor  # head frame: x from the middle of the head
    v: Tensor  # head frame: y from the middle of the head
    turn: Tensor  # -1 looking left, 1 looking right
    half_width: Tensor
    chin: Tensor  # head-frame v of the chin
    face: Tensor  # signed distance to the face
    eye_x: Tensor  # mirrored distance from the eye's centre, positive outwards
    eye_y: Tensor
    eye_rx: Tensor
    eye_ry: Tensor
    mid_x: Tensor  # distance from the turned middle line at the depth of the mouth
    nose_x: Tensor  # the same at the depth of the nose tip
    skin: Tensor  # colours, (B, 3, 1, 1)
    line: Tensor
    hair: Tensor


def coverage(distance: Tensor) -> Tensor:
    """Signed distance (B, H, W) -> share of each pixel covered, with an edge one pixel wide."""
    return (0.5 - distance * distance.shape[-1]).clamp_(0, 1)


def over(canvas: Tensor, mask: Tensor, colour: Tensor) -> None:
    """Composite a colour over the canvas (B, 3, H, W), in place, where the mask (B, H, W) is opaque."""
    canvas.lerp_(colour, mask.unsqueeze(1))


def mix(start: float, end: float, amount: Tensor) -> Tensor:
    """Linear interpolation of two numbers by a factor."""
    return start + (end - start) * amount


def ramp(amount: Tensor, start: float, end: float) -> Tensor:
    """0 below start, 1 above end, straight in between."""
    return ((amount - start) / (end - start)).clamp(0, 1)


def gradient(stops: tuple, amount: Tensor) -> Tensor:
    """Colour at a position (B, 1, 1) along evenly spaced stops -> (B, 3, 1, 1)."""
    table = torch.tensor(stops)
    position = amount.flatten() * (len(stops) - 1)
    index = position.long().clamp(max=len(stops) - 2)
    return torch.lerp(table[index], table[index + 1], (position - index)[:, None])[:, :, None, None]


def hsl(hue: Tensor, saturation: float, lightness: Tensor | float) -> Tensor:
    """Hue in turns (B, 1, 1) -> rgb (B, 3, 1, 1)."""
    lightness = torch.as_tensor(lightness).expand_as(hue).unsqueeze(1)
    k = (torch.tensor([0.0, 8.0, 4.0])[:, None, None] + 12 * hue.unsqueeze(1)) % 12
    chroma = saturation * torch.minimum(lightness, 1 - lightness)
    return lightness - chroma * torch.minimum(k - 3, 9 - k).clamp(-1, 1)


def rgb(red: float, green: float, blue: float) -> Tensor:
    """A constant colour (3, 1, 1)."""
    return torch.tensor([red, green, blue], dtype=torch.float32)[:, None, None]


def ellipse(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float) -> Tensor:
    """Signed distance to an ellipse at the origin, exact to first order at its edge."""
    px, py = x / rx, y / ry
    radius = (px * px + py * py).sqrt_()
    px, py = px / rx, py / ry
    slope = (px * px + py * py).sqrt_().add_(1e-6)
    return radius * (radius - 1) / slope


def circle(x: Tensor, y: Tensor, radius: Tensor | float) -> Tensor:
    """Signed distance to a circle at the origin."""
    return torch.hypot(x, y) - radius


def capsule(x: Tensor, y: Tensor, start: tuple, end: tuple, r_start, r_end=None) -> Tensor:
    """Signed distance to a thick line between two points whose radius may change along it."""
    r_end = r_start if r_end is None else r_end
    dx, dy = end[0] - start[0], end[1] - start[1]
    px, py = x - start[0], y - start[1]
    along = ((px * dx + py * dy) / (dx * dx + dy * dy + 1e-8)).clamp_(0, 1)
    return torch.hypot(px - along * dx, py - along * dy) - (r_start + (r_end - r_start) * along)


def repeated_lines(y: Tensor, spacing: float, count: int, radius: float) -> Tensor:
    """Signed distance to `count` horizontal lines centred on y = 0."""
    middle = (count - 1) / 2
    index = (y / spacing + middle).round_().clamp_(0, count - 1)
    return (y - (index - middle) * spacing).abs_() - radius


def face_distance(u: Tensor, v: Tensor, half_width: Tensor, chin: Tensor, femininity: Tensor) -> Tensor:
    """Signed distance along the ray from the head's middle: round skull, jaw from square to pointed."""
    below = v > 0
    exponent = torch.where(below, mix(3.3, 1.75, femininity), torch.tensor(2.25))
    height = torch.where(below, chin, torch.tensor(SKULL_HEIGHT))
    norm = ((u.abs() / half_width) ** exponent + (v.abs() / height) ** exponent) ** (1 / exponent)
    return torch.hypot(u, v) * (1 - 1 / norm.clamp_(min=1e-3))


def make_scene(factors: Tensor, resolution: int) -> Scene:
    """Factors (B, 25) -> the head's frame, the sizes and the colours that several parts share."""
    f = {name: factors[:, i, None, None] for i, name in enumerate(FACTORS)}
    grid = (torch.arange(resolution) + 0.5) / resolution
    x, y = grid[None, None, :] - HEAD_CENTER[0], grid[None, :, None]
    turn = 2 * f["head_turn"] - 1
    # The head turns about the top of the neck, so a tilted head stays on its shoulders.
    angle = (2 * f["head_tilt"] - 1) * math.radians(12)
    below = y - HEAD_CENTER[1] - PIVOT_BELOW_CENTER
    u = (x * angle.cos() + below * angle.sin()) / HEAD_SCALE
    v = (below * angle.cos() - x * angle.sin() + PIVOT_BELOW_CENTER) / HEAD_SCALE
    half_width = mix(0.2, 0.285, f["face_width"])
    # A narrow face has less room for its features to slide along.
    slide = turn * half_width / 0.2425
    chin = 0.315 + 0.025 * f["mouth_open"]
    skin = gradient(SKIN_STOPS, f["skin_tone"])
    grey = ramp(f["age"], 0.4, 1.0).unsqueeze(1)
    hair = torch.lerp(gradient(HAIR_STOPS, f["hair_color"]), rgb(0.92, 0.92, 0.95), grey)
    return Scene(
        factors=f, x=x, y=y, u=u, v=v, turn=turn, half_width=half_width, chin=chin,
        face=face_distance(u - 0.012 * turn, v, half_width, chin, f["femininity"]),
        eye_x=(u - 0.044 * slide).abs_() - 0.46 * half_width, eye_y=v - EYE_LEVEL,
        eye_rx=mix(0.044, 0.086, f["eye_size"]), eye_ry=mix(0.038, 0.086, f["eye_size"]),
        mid_x=u - 0.052 * slide, nose_x=u - 0.076 * slide,
        skin=skin, line=skin * 0.55 * torch.tensor([1.0, 0.85, 0.85])[:, None, None], hair=hair,
    )


def draw_background(scene: Scene) -> Tensor:
    """A plain wall with a lighter disc behind the head -> the canvas (B, 3, H, W)."""
    f = scene.factors
    wall = hsl(0.8 * f["background_hue"], 0.55, mix(0.14, 0.86, f["background_lightness"]))
    size = scene.u.shape[-1]
    canvas = wall.expand(-1, -1, size, size).contiguous()
    disc = coverage(ellipse(scene.x, scene.y - 0.47, 0.44, 0.44))
    over(canvas, 0.16 * disc.expand(len(wall), -1, -1), rgb(1, 1, 1))
    return canvas


def hair_half_width(scene: Scene) -> Tensor:
    """Half width of the head with its hair; a cropped head has little volume at the sides."""
    f = scene.factors
    return scene.half_width + 0.01 + 0.05 * f["hair_amount"] * (0.35 + 0.65 * ramp(f["hair_length"], 0.0, 0.5))


def scalp_distance(scene: Scene) -> Tensor:
    """Signed distance to the skull with the volume of the hair added."""
    height = SKULL_HEIGHT - 0.02 + 0.085 * scene.factors["hair_amount"]
    return ellipse(scene.u, scene.v + 0.03, hair_half_width(scene), height)


def side_end(scene: Scene) -> Tensor:
    """Head-frame v where the hair beside the face ends: above the ears when cropped, over them when grown."""
    return mix(-0.1, 0.06, ramp(scene.factors["hair_length"], 0.0, 0.5))


def back_hair_mask(scene: Scene, scalp: Tensor) -> Tensor:
    """Coverage of the hair behind the head: the scalp, and a mass that goes down with the length."""
    f = scene.factors
    amount, length = f["hair_amount"], f["hair_length"]
    half_width = hair_half_width(scene) + 0.045 * ramp(length, 0.0, 0.6) * ramp(amount, 0.0, 0.5)
    bottom = -0.1 + mix(0.02, 0.64, length) * ramp(amount, 0.0, 0.35)
    # A rounded box from the temples to the bottom, a little wider at the lower end.
    corner = 0.1
    px = (scene.u.abs() - 0.05 * scene.v - half_width + corner).clamp_(min=0)
    py = (torch.maximum(-0.14 - scene.v, scene.v - bottom) + corner).clamp_(min=0)
    mass = torch.hypot(px, py) - corner
    return coverage(torch.minimum(mass, torch.maximum(scalp, scene.v - side_end(scene)))) * ramp(amount, 0.0, 0.2)


def draw_body(canvas: Tensor, scene: Scene) -> None:
    """Shirt, neck and neckline, in the body's own upright frame."""
    f = scene.factors
    shirt = hsl(0.8 * f["shirt_hue"], 0.65, 0.5)
    x, y = scene.x, scene.y
    neck = mix(0.135, 0.075, f["femininity"])
    body = ellipse(x, y - 1.1, mix(0.47, 0.39, f["femininity"]), 0.29)
    over(canvas, coverage(body - 0.008), shirt * 0.55)
    over(canvas, coverage(body + 0.004), shirt)
    collar = ellipse(x, y - 0.835, neck + 0.035, 0.065)
    over(canvas, coverage(collar - 0.014) * coverage(body), shirt * 0.7)
    column = torch.maximum(x.abs() - neck, (y - 0.72).abs() - 0.12)
    over(canvas, coverage(torch.minimum(collar, column)), scene.skin)
    # The head's shadow separates the chin from the neck.
    over(canvas, coverage(torch.maximum(column, scene.face - 0.04)) * 0.9, scene.skin * 0.8)


def draw_locks(canvas: Tensor, scene: Scene, back_hair: Tensor) -> None:
    """The part of the long hair that falls in front of the shoulders, either side of the neck."""
    parted = coverage(0.62 * scene.half_width + 0.01 - scene.u.abs())
    over(canvas, back_hair * parted, scene.hair * 0.86)


def draw_ears(canvas: Tensor, scene: Scene) -> None:
    """Ears with earrings; the one on the side the head turns to goes behind the face."""
    f = scene.factors
    hidden = (scene.u.sign() * scene.turn).clamp_(min=0)
    x = scene.u.abs() - scene.half_width - 0.014 + 0.055 * hidden
    ear = ellipse(x, scene.v - 0.03, 0.036, 0.06)
    over(canvas, coverage(ear - 0.006), scene.line)
    over(canvas, coverage(ear + 0.006), scene.skin * 0.94)
    over(canvas, coverage(ellipse(x, scene.v - 0.03, 0.016, 0.032)), scene.skin * 0.78)
    size = ramp(f["femininity"], 0.3, 1.0)
    ring = circle(x - 0.006, scene.v - 0.115, 0.004 + 0.028 * size)
    over(canvas, coverage(ring) * ramp(size, 0, 0.15), rgb(1.0, 0.82, 0.2))


def draw_face(canvas: Tensor, scene: Scene) -> None:
    """The face with its outline, the shine of a bald scalp and the cheeks."""
    f = scene.factors
    over(canvas, coverage(scene.face - 0.007), scene.line)
    over(canvas, coverage(scene.face + 0.006), scene.skin)
    shine = ellipse(scene.u + 0.08, scene.v + 0.215, 0.06, 0.026)
    over(canvas, coverage(shine) * (0.6 * (1 - f["hair_amount"]) ** 2), rgb(1, 1, 1))
    # Smiling lifts the cheeks; make-up turns them rosy.
    lift = 0.025 * (f["smile"] - 0.5)
    cheek = ellipse(scene.eye_x - 0.02, scene.v - 0.115 + lift, 0.056, 0.042)
    blush = torch.lerp(scene.skin * rgb(1.0, 0.6, 0.6), rgb(1.0, 0.3, 0.42), 0.7 * f["makeup"][:, None])
    over(canvas, coverage(cheek) * coverage(scene.face + 0.006) * (0.14 + 0.7 * f["makeup"]), blush)


def draw_age(canvas: Tensor, scene: Scene) -> None:
    """Forehead lines, crow's feet, lines under the eyes and folds beside the mouth."""
    # Faint below 0.3, but never flat, so that youth can be told apart too.
    strength = scene.factors["age"] ** 1.4
    x, y = scene.mid_x, scene.v
    forehead = torch.maximum(repeated_lines(y + 0.19 - 0.6 * x * x, 0.034, 3, 0.006), x.abs() - 0.12)
    side = scene.eye_x - scene.eye_rx
    feet = torch.maximum((scene.eye_y.abs() - 0.012 - 0.4 * side).abs_() - 0.0055, (side - 0.03).abs_() - 0.024)
    bag_y = scene.eye_y - scene.eye_ry - 0.022 + scene.eye_x * scene.eye_x / (2.2 * scene.eye_rx)
    bag = torch.maximum(bag_y.abs_() - 0.0065, scene.eye_x.abs() - 0.8 * scene.eye_rx)
    fold = capsule(x.abs(), y, (0.062, 0.10), (0.13, 0.22), 0.008)
    lines = torch.minimum(torch.minimum(forehead, feet), torch.minimum(bag, fold))
    over(canvas, coverage(lines) * coverage(scene.face + 0.01) * (0.95 * strength), scene.line)


def draw_beard(canvas: Tensor, scene: Scene) -> None:
    """Stubble shade that darkens and grows into a full beard with moustache."""
    f = scene.factors
    beard = f["beard"]
    x = (scene.mid_x / scene.half_width).abs_()
    cheek_line = 0.135 - 0.15 * (x - 0.25).clamp_(min=0) ** 2 + 0.05 * (x * (1 - x)).clamp_(min=0)
    # The full beard also stands out from the chin, not from the temples.
    growth = 0.055 * ramp(beard, 0.3, 1.0) * (scene.v * 4).clamp(0, 1)
    region = torch.maximum(scene.face - growth, cheek_line - scene.v)
    colour = torch.lerp(scene.skin * 0.5, scene.hair * 0.9, ramp(beard, 0.0, 0.7).unsqueeze(1))
    over(canvas, coverage(region) * (0.97 * ramp(beard, 0.0, 0.9) ** 1.25), colour)


def draw_mouth(canvas: Tensor, scene: Scene) -> None:
    """Lips along a parabola bent by the smile, parted by the opening, with teeth and tongue inside."""
    f = scene.factors
    opening, smile = f["mouth_open"], f["smile"]
    width = 0.093 + 0.022 * smile
    bend = mix(-0.062, 0.07, smile)
    across = scene.mid_x / width
    square = across * across
    middle = MOUTH_LEVEL - bend * (square - 0.5)
    arch = (1 - square).clamp_(min=0)
    steepness = (1 + (2 * bend / width * across) ** 2).rsqrt_()
    wrinkle = f["nose_wrinkle"]
    snarl = 0.03 * wrinkle
    upper = middle - (0.02 * opening + snarl) * arch - 0.006
    lower = middle + (0.09 * opening - 0.5 * snarl) * arch + 0.006
    ends = scene.mid_x.abs() - width
    gap = torch.maximum(upper - scene.v, scene.v - lower) * steepness
    full = mix(0.007, 0.024, f["femininity"]) + 0.006 * f["makeup"]
    lips = torch.maximum(upper - full * arch.sqrt() - scene.v, scene.v - lower - 1.25 * full * arch.sqrt()) * steepness
    natural = scene.skin * rgb(0.85, 0.58, 0.56)
    over(canvas, coverage(torch.maximum(lips, ends)), torch.lerp(natural, rgb(0.85, 0.04, 0.13), f["makeup"][:, None]))
    inside = coverage(torch.maximum(gap, ends))
    over(canvas, inside, rgb(0.27, 0.05, 0.07))
    tongue = ellipse(scene.mid_x, scene.v - lower - 0.012, 0.6 * width, 0.045 * opening + 0.001)
    over(canvas, coverage(tongue) * inside * ramp(opening, 0.1, 0.4), rgb(0.9, 0.38, 0.4))
    bite = torch.maximum(scene.v - upper - 0.032 * arch * ramp(opening + 0.5 * wrinkle, 0, 0.5), ends + 0.014)
    shown = ramp(opening + 0.4 * wrinkle, 0.05, 0.3)
    over(canvas, coverage(bite) * coverage(gap + 0.006) * shown, rgb(1.0, 0.99, 0.96))


def draw_nose(canvas: Tensor, scene: Scene) -> None:
    """A rounded tip with nostrils; disgust flares them and puts creases across the bridge."""
    f = scene.factors
    wrinkle = f["nose_wrinkle"]
    rx, ry = mix(0.019, 0.085, f["nose_size"]), mix(0.018, 0.062, f["nose_size"])
    x, y = scene.nose_x, scene.v - 0.105 + 0.015 * wrinkle
    bridge = capsule(x, y, (-0.024 * scene.turn, -0.09), (0.0, 0.0), 0.3 * rx, 0.8 * rx)
    over(canvas, coverage(bridge) * 0.8, scene.skin * 0.86)
    tip = ellipse(x, y, rx, ry)
    over(canvas, coverage(tip - 0.008), scene.skin * 0.58)
    over(canvas, coverage(ellipse(x, y + 0.008, rx, ry)), scene.skin * rgb(1.0, 0.82, 0.79))
    over(canvas, coverage(ellipse(x + 0.3 * rx, y + 0.4 * ry, 0.3 * rx, 0.25 * ry)) * 0.5, rgb(1, 1, 1))
    flare = 1 + 0.5 * wrinkle
    nostril = ellipse(x.abs() - 0.5 * rx * flare, y - 0.6 * ry, 0.24 * rx * flare, 0.2 * ry * flare)
    over(canvas, coverage(nostril), scene.line * 0.6)
    bridge_x = 0.4 * scene.nose_x + 0.6 * scene.mid_x
    creases = repeated_lines(scene.v - 0.002 - 0.5 * bridge_x.abs(), 0.03, 3, 0.0075)
    creases = torch.maximum(creases, bridge_x.abs() - 0.02 - 0.03 * wrinkle)
    snarl = capsule(scene.mid_x.abs(), scene.v, (0.045, 0.055), (0.105, 0.15), 0.008)
    over(canvas, coverage(torch.minimum(creases, snarl)) * (0.9 * wrinkle), scene.line)


def draw_eyes(canvas: Tensor, scene: Scene) -> None:
    """Lids, lashes, whites, irises; the opening shrinks towards a lash line low on the eye."""
    f = scene.factors
    opened, femininity, makeup = f["eye_open"], f["femininity"], f["makeup"]
    x, y, rx, ry = scene.eye_x, scene.eye_y, scene.eye_rx, scene.eye_ry
    shadow = torch.lerp(scene.skin * 0.87, rgb(0.55, 0.2, 0.75), 0.9 * makeup[:, None])
    over(canvas, coverage(ellipse(x, y + 0.012 * makeup, rx + 0.006, ry + 0.004 + 0.018 * makeup)), shadow)
    # A closed lid hangs: its line bends down in the middle.
    slit_y = y - 0.5 * ry * (1 - opened) + (0.35 * ry * (1 - opened)) * (x / rx) ** 2
    slit = ry * opened + 0.002
    thick = 0.010 + 0.006 * femininity
    dark = rgb(0.13, 0.08, 0.1)
    over(canvas, coverage(ellipse(x, slit_y + 0.6 * thick, rx + 0.005, slit + thick)), dark)
    lash = ramp(femininity, 0.35, 1.0)
    corner = 0.5 * ry * (1 - opened) - 0.45 * slit
    root = (0.75 * rx, corner)
    upper = capsule(x, y, root, (rx + 0.034 * lash, corner - 0.045 * lash), 0.009, 0.004)
    outer = capsule(x, y, root, (rx + 0.045 * lash, corner - 0.008 * lash), 0.009, 0.004)
    over(canvas, coverage(torch.minimum(upper, outer)) * ramp(lash, 0, 0.2), dark)
    white = coverage(ellipse(x, slit_y, rx, slit)) * ramp(opened, 0.02, 0.15)
    over(canvas, white, rgb(0.99, 0.99, 1.0))
    # The gaze stays straight ahead of the head, so that both eyes come from one mirrored pass.
    iris_y = y - 0.25 * ry * (1 - opened)
    iris = circle(x, iris_y, 0.8 * ry)
    colour = gradient(IRIS_STOPS, f["eye_color"])
    over(canvas, coverage(iris) * white, colour * 0.6)
    over(canvas, coverage(iris + 0.009) * white, colour)
    over(canvas, coverage(iris + 0.5 * ry) * white, rgb(0.04, 0.03, 0.05))
    over(canvas, coverage(circle(x + 0.22 * ry, iris_y + 0.28 * ry, 0.2 * ry)) * white, rgb(1, 1, 1))


def draw_hair(canvas: Tensor, scene: Scene, scalp: Tensor) -> None:
    """The hair on top: the scalp above a swept hairline that comes down with the amount."""
    f = scene.factors
    amount = f["hair_amount"]
    part = (scene.u - 0.035 - 0.05 * scene.turn) / scene.half_width
    drop = mix(0.02, 0.13, amount) * part * part * (1 + 0.15 * part)
    hairline = scene.v - mix(-0.31, -0.195, amount) - drop
    cap = torch.maximum(torch.maximum(scalp, hairline * 0.85), scene.v - side_end(scene))
    shown = ramp(amount, 0.0, 0.2)
    over(canvas, coverage(cap - 0.006) * shown, scene.hair * 0.6)
    over(canvas, coverage(cap + 0.005) * shown, scene.hair)
    band = (scalp + 0.05 + 0.02 * amount).abs_() - 0.011
    gleam = torch.maximum(torch.maximum(band, cap + 0.01), (scene.u + 0.07).abs_() - 0.085)
    over(canvas, coverage(gleam) * (0.3 * shown * amount), rgb(1.0, 0.97, 0.9))


def draw_brows(canvas: Tensor, scene: Scene) -> None:
    """Brows over everything on the forehead, so that hair never hides what they say."""
    f = scene.factors
    level = scene.eye_y + mix(0.082, 0.155, f["brow_height"]) + 0.25 * (scene.eye_ry - 0.057)
    slant = f["brow_angle"] - 0.5
    inner = (-0.062, -0.075 * slant)
    outer = (0.075, 0.06 * slant)
    arched = level + 0.022 * f["femininity"] * (1 - (scene.eye_x / 0.07) ** 2)
    thick = mix(0.023, 0.0105, f["femininity"])
    brow = capsule(scene.eye_x, arched, inner, outer, thick, 0.7 * thick)
    over(canvas, coverage(brow), scene.hair * 0.68)


def draw_tears(canvas: Tensor, scene: Scene) -> None:
    """A drop under each eye that swells and runs down the cheek."""
    tears = scene.factors["tears"]
    x = scene.eye_x - 0.034
    y = scene.eye_y - 0.75 * scene.eye_ry
    end = (0.0, 0.02 + 0.15 * tears)
    drop = capsule(x, y, (0.0, 0.0), end, 0.003 + 0.008 * tears, 0.01 + 0.03 * tears)
    shown = ramp(tears, 0.0, 0.15)
    over(canvas, coverage(drop - 0.006) * shown, rgb(0.12, 0.4, 0.8))
    over(canvas, coverage(drop + 0.005) * shown, rgb(0.45, 0.8, 1.0))
    gleam = circle(x + 0.01, y - end[1] + 0.004, 0.004 + 0.007 * tears)
    over(canvas, coverage(gleam) * shown, rgb(1, 1, 1))


def draw_glasses(canvas: Tensor, scene: Scene) -> None:
    """Round frames around the eyes with a bridge and arms, thickening as they fade in."""
    glasses = scene.factors["glasses"]
    radius = 0.39 * scene.half_width + 0.014
    x, y = scene.eye_x, scene.eye_y - 0.005
    lens = circle(x, y, radius)
    thick = mix(0.004, 0.014, glasses)
    bar = torch.maximum((y + 0.02).abs_() - thick, -lens)
    frame = torch.minimum(lens.abs() - thick, torch.maximum(bar, scene.face - 0.01))
    over(canvas, coverage(lens) * (0.2 * glasses), rgb(0.85, 0.95, 1.0))
    over(canvas, coverage(frame) * ramp(glasses, 0.0, 0.7), rgb(0.08, 0.08, 0.1))


@torch.no_grad()
def render(factors: Tensor, resolution: int = 64) -> Tensor:
    """factors (B, 25) in [0, 1] -> images (B, 3, resolution, resolution) float32 in [-1, 1]."""
    scene = make_scene(factors.detach().float().clamp(0, 1), resolution)
    canvas = draw_background(scene)
    scalp = scalp_distance(scene)
    back_hair = back_hair_mask(scene, scalp)
    over(canvas, back_hair, scene.hair * 0.72)
    draw_body(canvas, scene)
    draw_locks(canvas, scene, back_hair)
    draw_ears(canvas, scene)
    draw_face(canvas, scene)
    draw_age(canvas, scene)
    draw_beard(canvas, scene)
    draw_mouth(canvas, scene)
    draw_nose(canvas, scene)
    draw_eyes(canvas, scene)
    draw_hair(canvas, scene, scalp)
    draw_brows(canvas, scene)
    draw_tears(canvas, scene)
    draw_glasses(canvas, scene)
    return canvas.mul_(2).sub_(1).clamp_(-1, 1)
