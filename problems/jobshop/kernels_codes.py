"""The numbers by which kernels know rules, buffers, objectives and what a job is doing; no numba in here."""

from __future__ import annotations

import numpy as np

TABLE, FIFO, LIFO, WINQ, RANDOM, MDD, CR, SOPN, ATC = range(9)  # how a candidate is scored; TABLE: a rule's table
UNLIMITED, SWAP, NO_BUFFERS = range(3)
MAKESPAN, FLOW_TIME, WEIGHTED_TARDINESS, MAX_LATENESS, TARDY_JOBS = range(5)
TO_COME, WAITING, RUNNING, BLOCKED, DONE = range(5)
COMPLETION, REPAIR, FAILURE = range(3)  # in the order in which they are worked off at one instant
ID_BITS = 20  # an event is time, kind and job (or jobs + machine) in 64 bits; the limits of `instance` make it fit
KIND_BITS = 2
NO_DUE_DATE = np.iinfo(np.int64).max
ATC_LOOK_AHEAD = 2.0  # Vepsalainen and Morton's k, as a multiple of the mean duration
