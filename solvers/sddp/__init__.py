"""Stochastic dual dynamic programming on graphs of linear stages (`orl.stages`). See README.md."""
