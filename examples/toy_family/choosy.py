"""A rule of one's own for the family beside it, see CONTRIBUTING."""

import numpy as np


def choosy(observation):
    """Choosy: take what is worth 2 a unit, at the end whatever fits."""
    seen = observation.arrays
    asked = np.where(seen["left"] > 3, 2 * seen["size"], 0)
    return np.stack([asked, seen["worth"]], axis=1)
