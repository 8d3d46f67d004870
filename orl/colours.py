"""Colours that all kinds of vision tell apart, for pictures of every family."""

from __future__ import annotations

import numpy as np

INK, GRID, SIGNAL = "#222222", "#dddddd", "#b00020"
MAX_COLOURS = 100  # more than anyone can tell apart; further ones begin again

# Wong (2011), doi 10.1038/nmeth.1618, without black, and grey: a palette made for all kinds of colour vision.
_WONG = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")

# How colours look, as linear RGB, to the normal eye and in protanopia and deuteranopia: Machado, Oliveira and
# Fernandes (2009), doi 10.1109/TVCG.2009.113, severity 1.
_VISION = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
)
# Oklab, a space in which distance is roughly difference seen: Ottosson (2020), bottosson.github.io/posts/oklab.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _seen(rgb: np.ndarray) -> np.ndarray:
    """Return colours (n, 3), sRGB in 0..1, as each kind of vision sees them, in Oklab (3 visions, n, 3)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    eyes = np.clip(np.einsum("vij,nj->vni", _VISION, linear), 0, 1)
    return np.cbrt(eyes @ _TO_CONES.T) @ _TO_OKLAB.T


def distinct_colours(count: int) -> list[str]:
    """Return `count` colours as '#rrggbb': each as far as can be, for all kinds of vision, from those before."""
    levels = np.linspace(0, 1, 14)
    rgb = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    lightness, *hue = _seen(rgb)[0].T
    rgb = rgb[(lightness > 0.42) & (lightness < 0.92) & (np.hypot(*hue) < 0.17)]  # neither paper, ink nor neon
    wong = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in _WONG])
    rgb = np.concatenate([wong, rgb])
    seen = _seen(rgb)
    chosen: list[int] = []
    distance = np.full(len(rgb), np.inf)
    for index in range(min(count, MAX_COLOURS)):
        chosen.append(index if index < len(_WONG) else int(distance.argmax()))
        to_new = np.linalg.norm(seen - seen[:, chosen[-1], None], axis=-1).min(axis=0)  # to the eye that sees it least
        distance = np.minimum(distance, to_new)
    colours = ["#" + "".join(f"{round(255 * part):02x}" for part in rgb[index]) for index in chosen]
    return [colours[number % len(colours)] for number in range(count)]


def text_colour(colour: str) -> str:
    """Return the ink that can be read on a colour."""
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]])
    return INK if _seen(rgb)[0, 0, 0] > 0.62 else "white"
