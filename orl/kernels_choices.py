"""Which choice is illegal."""

from __future__ import annotations

from orl.jit import kernel


@kernel
def first_illegal(legal, is_over, actions):
    """Return the place (env * slots + slot) of the first illegal choice, -1 if there is none."""
    slots, choices = legal.shape[1], legal.shape[2]
    for env in range(legal.shape[0]):
        if not is_over[env]:
            for slot in range(slots):
                action = actions[env, slot]
                if action < 0 or action >= choices or not legal[env, slot, action]:
                    return env * slots + slot
    return -1
