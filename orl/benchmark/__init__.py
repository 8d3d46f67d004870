"""Benchmarks: suites of runs, a runner that no run can bring down, statistics and tables as a paper wants them.

suite.py       a TOML file, checked, becomes a list of runs
runs.py        what a run is, in plain values
batch.py       `run_bench`: runs go to an executor, rows into `runs.jsonl`
places.py      where runs are made: threads, an executor, a Dask cluster
worker.py      one child process an executor's thread: time-outs and crashes are rows
child.py       what that process does; nothing outlives the batch
measure.py     one run in the child: warmed up, timed, verified, its peak memory
command.py     a user's own program as a method
run_log.py     rows, appended durably
kept.py        solutions kept beside the rows
statistics.py  gaps, paired differences, p-values, profiles, integrals
tables.py      rows into tables and files
picture.py     performance profiles drawn
report.py      all of it as one HTML page
results.py     a batch's folder, read and checked
curves.py      gaps over time, and what trainings log
charts.py      line charts as SVG
drawing.py     kept solutions, verified again and drawn
page.py        HTML in which text stays text; page.css and page.js are its looks and what it does
"""
