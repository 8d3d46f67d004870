"""What the command line takes: commands, their arguments and what is said of them."""

from __future__ import annotations

import argparse
from typing import NoReturn

BAD_INPUT = 2  # exit code
_ON_WORKERS = "of Dask, on whose workers the processes of a method with processes=N are"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, as all other errors do."""
        self.exit(BAD_INPUT, f"orl: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser; what it parses names its command in `command`."""
    made = _Parser(
        prog="orl",
        description="Operations-research decisions under uncertainty: rules, learned policies, exact models.",
    )
    commands = made.add_subparsers(title="commands", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="what there is: problems, solvers, rules, instances")
    listing.add_argument("what", nargs="?", choices=("problems", "solvers", "instances", "rules", "suites"))
    listing.set_defaults(command="list")

    solve = commands.add_parser("solve", help="solve an instance, verified, with a bound")
    _add_instance(solve)
    solve.add_argument("--solver", metavar="NAME", help="a solver, a rule, or module:NAME (default: the family's own)")
    _add_run(solve)
    solve.add_argument(
        "--out",
        metavar="FILE",
        help="write result and solution: .json or .csv, or as the family's README says",
    )
    solve.add_argument("--plot", metavar="FILE", help="draw what was found: .png, .svg or .html")
    solve.add_argument(
        "--certificate",
        metavar="FILE.json",
        help="write dual values of the model `exact`, from which `check` proves its linear bound again",
    )
    solve.add_argument("--scheduler", metavar="ADDRESS", help=_ON_WORKERS)
    solve.set_defaults(command="solve")

    compare = commands.add_parser("compare", help="several solvers on the same scenarios, in one table")
    _add_instance(compare)
    compare.add_argument("--solvers", required=True, metavar="A,B,C", help="names, separated by commas")
    compare.add_argument("--sweep", metavar="KEY=A:B:N", help="N values of a setting from A to B")
    _add_run(compare)
    compare.add_argument("--out", metavar="FILE", help="write the table: .json or .csv")
    compare.set_defaults(command="compare")

    check = commands.add_parser("check", help="verify a solution, or a certificate of a bound, independently")
    _add_instance(check)
    check.add_argument("solution", metavar="SOLUTION", help="a .json or .csv file, or a certificate")
    check.add_argument("--seed", type=int, metavar="N", help="of the scenarios (default: what the file says, else 0)")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(command="check")

    bench = commands.add_parser("bench", help="a suite of runs: rows, tables and profiles in a folder")
    bench.add_argument("suite", metavar="SUITE", help="a .toml file, or a name of `list suites`")
    where = bench.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1, for honest times)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="make the runs on the workers of a Dask scheduler")
    bench.add_argument("--out", metavar="DIR", help="folder of the results (default: bench/NAME)")
    bench.add_argument("--resume", action="store_true", help="go on in a folder that holds runs")
    bench.add_argument("--list", action="store_true", help="print the runs and what they take at most; run nothing")
    bench.set_defaults(command="bench")

    report = commands.add_parser("report", help="what a folder of bench or train holds, as one HTML page")
    report.add_argument("folder", metavar="DIR", help="of bench or train, or a folder above several")
    report.add_argument("--out", metavar="FILE.html", help="the page (default: DIR/report.html)")
    report.add_argument(
        "--draw",
        action="append",
        default=[],
        metavar="KEY",
        help="draw this run's kept solution (default: the best of each table and instance, up to 12)",
    )
    report.set_defaults(command="report")

    train = commands.add_parser("train", help="train a policy by a recipe: checkpoints and a log in a folder")
    train.add_argument("recipe", metavar="RECIPE", help="a TOML file that names method, problem and settings")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    train.add_argument("--out", metavar="DIR", help="the folder (default: the recipe's name)")
    train.add_argument("--resume", action="store_true", help="go on where the folder's training was left")
    train.add_argument("--time-limit", type=float, metavar="S", help="stop after so many seconds; --resume goes on")
    train.add_argument("--scheduler", metavar="ADDRESS", help=_ON_WORKERS)
    train.set_defaults(command="train")
    decide = commands.add_parser(
        "decide", help="answer live states: one JSON object a line in, one decision a line out"
    )
    decide.add_argument("instance", metavar="PROBLEM", help="a family, or the instance that the states speak of")
    decide.add_argument("--solver", required=True, metavar="NAME", help="a rule, a policy, or module:NAME")
    decide.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of either")
    decide.add_argument("--budget-ms", type=float, metavar="MS", help="time to answer in, else the fallback answers")
    decide.add_argument("--fallback", metavar="NAME", help="a rule (default: the family's default rule)")
    decide.add_argument("--seed", type=int, default=0, metavar="N", help="of policies that draw (default: 0)")
    decide.add_argument("--schema", action="store_true", help="print the JSON Schema of states and decisions")
    decide.set_defaults(command="decide")

    commands.add_parser("versions", help="versions of ORL and what it stands on").set_defaults(command="versions")
    return made


def _add_instance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("instance", metavar="INSTANCE", help="a file, or a name such as jobshop/ft06")
    parser.add_argument("--problem", metavar="NAME", help="the family (default: the one that recognises the file)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the instance or the solver"
    )
    parser.add_argument(
        "--inflows",
        action="append",
        dest="set",
        type="inflows={}".format,
        metavar="FILE",
        help="short for --set inflows=FILE: a path of inflows of your own, a row a stage, a column a reservoir",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scenarios", type=int, metavar="N", help="how many (default: 1 if nothing is random, else 100)"
    )
    parser.add_argument("--time-limit", type=float, default=50.0, metavar="S", help="seconds (default: 50)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of scenarios and solver (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout and nothing else there")
