"""Instances of the literature and their best known bounds: data, no code."""
