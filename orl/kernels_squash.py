"""The compiled `orl.features.squash`, for a scale above 0."""

from __future__ import annotations

from orl.jit import kernel


@kernel
def squash(amount, scale):
    """Map an amount to (-1, 1), a half at `scale`: bounded, and never blind to what is longer."""
    return amount / (abs(amount) + scale)
