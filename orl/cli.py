"""The command line. Heavy imports wait until a command needs them, so `--help` and `list` answer at once."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orl.arguments import BAD_INPUT, parser
from orl.errors import InputError, Stopped

if TYPE_CHECKING:
    from orl.result import Result

SOLVED, NO_SOLUTION = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 solved or verified, 1 no solution or a failed check, 2 bad input."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - closed by whoever started us
    options = parser().parse_args(arguments)
    sys.path.append(str(Path.cwd()))  # so that `my_module:my_rule` is found beside the user's files
    try:
        code = COMMANDS[options.command](options)
        sys.stdout.flush()
        return code
    except InputError as error:
        message = " ".join(str(error).split())
        print(f"orl: {message}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("orl: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOLVED
    except OSError as error:  # a path that may not be looked at, a name too long, a disk that is full
        place = error.filename if error.filename is not None else "what was to be read or written"
        print(f"orl: {' '.join(f'{place}: {error.strerror or error}'.split())}.", file=sys.stderr)
        return BAD_INPUT
    except MemoryError:
        print("orl: there is not enough memory for this.", file=sys.stderr)
        return BAD_INPUT


# Commands -----------------------------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    listings = {"problems": _problems, "solvers": _solvers, "rules": _rules, "instances": _instances, "suites": _suites}
    if options.what:
        for row in listings[options.what](options):
            print(row)
        return SOLVED
    for what in ("problems", "solvers", "rules", "suites"):
        print(f"{what}:")
        for row in listings[what](options):
            print(f"  {row}")
    count = sum(1 for _ in _instances(options))
    print(f"instances: {count}, see `list instances`")
    return SOLVED


def _problems(options: argparse.Namespace) -> list[str]:
    from orl import registry

    return [f"{name:12} {registry.find_problem(name).summary}" for name in registry.problem_names()]


def _solvers(options: argparse.Namespace) -> list[str]:
    from orl import registry

    return [f"{name:12} {registry.resolve(registry.SOLVERS[name]).summary}" for name in registry.solver_names()]


def _rules(options: argparse.Namespace) -> list[str]:
    from orl import registry

    families = map(registry.find_problem, registry.problem_names())
    return [
        f"{family.name}: {rule.name:10} {rule.summary}"
        for family in families
        for rule in registry.rules_of(family).values()
    ]


def _suites(options: argparse.Namespace) -> list[str]:
    from orl.benchmark.suite import packaged_suites

    return [f"{name:20} {description}" for name, description in packaged_suites().items()]


def _instances(options: argparse.Namespace) -> list[str]:
    from orl import files
    from orl.problems import PROBLEMS

    rows = []
    for family in PROBLEMS:
        for name in files.packaged_instances(family):
            known = files.known_row(family, name.partition("/")[2])
            sizes = [f"{known[key]} {key}" for key in ("jobs", "machines", "items", "periods") if key in known]
            lower, upper = known.get("lower_bound"), known.get("upper_bound")
            best = f"best known {upper}" + ("" if lower == upper else f", bound {lower}") if upper else ""
            rows.append(f"{name:16} {', '.join(sizes):24} {best}".rstrip())
    return rows


def _solve(options: argparse.Namespace) -> int:
    from orl import api, certificate, files, params
    from orl.run import run_method
    from orl.solver import Control

    out = files.check_writable(options.out, api.TABLES) if options.out else None
    plot = files.check_writable(options.plot, api.PICTURES) if options.plot else None
    proof = files.check_writable(options.certificate, (".json",)) if options.certificate else None
    # What a user's rule prints must not mix with the result on stdout.
    with redirect_stdout(sys.stderr):
        family, instance, methods = api.prepare(
            options.instance, [options.solver], options.problem, params.parse_assignments(options.set)
        )
        if plot and family.plot is None:
            raise InputError(f"{family.name} has no pictures yet; leave --plot out.")
        if proof:
            certificate.builder_of(family)
        if not options.json:
            print(f"{instance.name}: {family.describe(instance)}")
        result = run_method(
            family,
            instance,
            *methods[0],
            scenarios=options.scenarios,
            time_limit=options.time_limit,
            seed=options.seed,
            control=Control(options.time_limit, verbose=True, scheduler=options.scheduler),
        )
    is_certified = True
    try:
        if out:
            api.save_result(instance, result, out)
        if plot and result.solutions:
            api.plot(instance, result, plot)
        if proof:
            with redirect_stdout(sys.stderr):
                is_certified = _certify(instance, result, proof, options.time_limit)
    finally:  # whatever becomes of the files, and of the reader of a pipe, neither costs the other the result
        print(result.to_json() if options.json else _summary(result), flush=True)
    return SOLVED if result.verified and is_certified else NO_SOLUTION


def _certify(instance: Any, result: Result, path: Path, time_limit: float | None) -> bool:
    """Write the certificate of a result's bound; say why if there is none."""
    from orl import certificate, files
    from orl.solver import Control

    control = Control(time_limit)
    try:
        with control.interruptible():
            found = certificate.certify(instance, result, control)
    except Stopped as error:
        print(f"orl: no certificate is written: {error or 'there was no time.'}", file=sys.stderr)
        return False
    files.write_atomically(path, found.to_json())
    return True


def _compare(options: argparse.Namespace) -> int:
    from orl import files, params
    from orl.compare import compare, sweep_values, to_csv, to_table

    out = files.check_writable(options.out, (".json", ".csv")) if options.out else None
    with redirect_stdout(sys.stderr):
        rows = compare(
            options.instance,
            [name.strip() for name in options.solvers.split(",") if name.strip()],
            problem=options.problem,
            settings=params.parse_assignments(options.set),
            sweep=sweep_values(options.sweep) if options.sweep else None,
            scenarios=options.scenarios,
            time_limit=options.time_limit,
            seed=options.seed,
            verbose=True,
        )
    as_json = json.dumps([row.to_dict() for row in rows])
    if out:
        files.write_atomically(out, to_csv(rows) if out.suffix.lower() == ".csv" else as_json + "\n")
    print(as_json if options.json else to_table(rows))
    return SOLVED if all(row.result.verified for row in rows) else NO_SOLUTION


def _check(options: argparse.Namespace) -> int:
    from orl import api, certificate, params

    if certificate.is_certificate(Path(options.solution)):
        from orl.reproof import check_bound

        proof = check_bound(
            options.instance,
            options.solution,
            problem=options.problem,
            settings=params.parse_assignments(options.set) or None,
            seed=options.seed,
        )
        print(json.dumps(proof.to_dict()) if options.json else proof)
        return SOLVED if proof.is_proven else NO_SOLUTION
    report = api.check(
        options.instance,
        options.solution,
        problem=options.problem,
        settings=params.parse_assignments(options.set) or None,
        seed=options.seed,
    )
    if options.json:
        violations = [violation._asdict() for violation in report.violations]
        print(json.dumps({"feasible": report.is_feasible, "value": report.cost, "violations": violations}))
    elif report.is_feasible:
        print(f"verified: cost {report.cost:.10g}")
    else:
        print(f"not feasible: {len(report.violations)} violations")
        for violation in report.violations[:20]:
            print(f"  {violation.kind}: {violation.message}")
        if len(report.violations) > 20:
            print(f"  and {len(report.violations) - 20} more")
    return SOLVED if report.is_feasible else NO_SOLUTION


def _bench(options: argparse.Namespace) -> int:
    from orl.benchmark import batch, suite

    made = suite.read_suite(options.suite)
    if options.list:
        print(batch.listing(made, options.jobs))
        return SOLVED
    folder = batch.folder_of(made, options.out)
    try:
        rows = batch.run_bench(
            made, folder, jobs=options.jobs, scheduler=options.scheduler, resume=options.resume, verbose=True
        )
    except (KeyboardInterrupt, batch.Broken):
        jobs = f" --jobs {options.jobs}" if options.jobs > 1 else ""
        where = f" --scheduler {options.scheduler}" if options.scheduler else jobs
        print(f"orl: go on with: orl bench {options.suite} --out {folder}{where} --resume", file=sys.stderr)
        raise
    failed = sum(not row["verified"] for row in rows)
    print(f"{len(rows)} runs, {failed} without a verified solution; see {folder / 'summary.md'}")
    return NO_SOLUTION if failed else SOLVED


def _report(options: argparse.Namespace) -> int:
    from orl.benchmark.report import write_report

    print(write_report(options.folder, options.out, options.draw))
    return SOLVED


def _train(options: argparse.Namespace) -> int:
    from orl import api, params
    from orl.solver import Control

    control = Control(options.time_limit, verbose=True, scheduler=options.scheduler)
    settings = params.parse_assignments(options.set)
    method = api.read_recipe(options.recipe, settings)["method"]
    with control.interruptible():
        folder = api.train(options.recipe, options.out, settings, options.resume, control)
    if control.should_stop:
        where = f" --scheduler {options.scheduler}" if options.scheduler else ""
        print(f"orl: go on with: orl train {options.recipe} --out {folder}{where} --resume", file=sys.stderr)
    if not (folder / "best").exists():
        print("orl: stopped before the first validation; there is no best policy yet.", file=sys.stderr)
        return NO_SOLUTION
    best = folder / "best"
    print(f"best policy: {best}; try it with --solver {method} --set checkpoint={best}")
    return SOLVED


def _decide(options: argparse.Namespace) -> int:
    """Answer live states: one JSON object a line in, one a line out; a bad line is answered by what is wrong."""
    from orl import api, params

    policy = api.make_policy(
        options.instance,
        options.solver,
        params.parse_assignments(options.set),
        seed=options.seed,
        budget_ms=options.budget_ms,
        fallback=options.fallback,
    )
    if options.schema:
        print(json.dumps(api.schema(policy.problem.name), indent=2))
        return SOLVED
    code = SOLVED
    for number, line in enumerate(sys.stdin, start=1):
        if not line.strip():
            continue
        try:
            answer = policy.decide(json.loads(line), with_scores=True)
            said = answer._asdict()
            if answer.scores is not None:  # JSON has no infinity
                said["scores"] = {key: x if math.isfinite(x) else None for key, x in answer.scores.items()}
        except (InputError, ValueError, RecursionError) as error:
            message = " ".join(str(error).split())
            said, code = {"error": f"line {number}: {message}"}, BAD_INPUT
        print(json.dumps(said, allow_nan=False), flush=True)
    return code


def _versions(options: argparse.Namespace) -> int:
    from orl.versions import versions

    for name, version in versions().items():
        print(f"{name:12} {version}")
    return SOLVED


# Output and arguments -----------------------------------------------------------------------------------------------


def _summary(result: Result) -> str:
    """Return a result as a few aligned lines."""

    def number(x: float | None) -> str:
        return "unknown" if x is None else f"{x:.10g}"

    def percent(x: float | None) -> str:
        return "" if x is None else f" (gap {100 * x:.2f} %)"

    rows: dict[str, str] = {"solver": result.solver, "status": result.status.value}
    if result.value is not None:
        interval = f", 95 % interval {result.interval[0]:.6g} .. {result.interval[1]:.6g}" if result.interval else ""
        done, asked = len(result.costs), result.scenarios
        count = f"{done} scenarios" if done == asked else f"the first {done} of {asked} scenarios"
        scenarios = f" mean of {count}{interval}" if asked > 1 else ""
        rows["value"] = number(result.value) + scenarios
        rows["verified"] = "yes" if result.verified else f"NO: {len(result.violations)} violations"
    rows["bound"] = f"{number(result.bound)} {result.bound_kind}{percent(result.gap)}"
    if result.best_known is not None:
        rows["best known"] = number(result.best_known) + percent(result.gap_best_known)
    rows["time"] = f"{result.seconds:.2f} s"
    rows.update({key.replace("_", " "): f"{value:.6g}" for key, value in result.metrics.items()})
    lines = [f"{key + ':':22} {value}" for key, value in rows.items()]
    lines += [f"  {violation.kind}: {violation.message}" for violation in result.violations[:5]]
    return "\n".join(lines)


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "solve": _solve,
    "compare": _compare,
    "check": _check,
    "bench": _bench,
    "report": _report,
    "train": _train,
    "decide": _decide,
    "versions": _versions,
}
