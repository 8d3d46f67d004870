"""Preemption in LLM serving, being built: see README.md for the statement and for what there is by now.

The family is not in the table of families yet: no table of what it can do has been measured.
"""
