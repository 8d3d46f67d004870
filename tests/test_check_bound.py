"""Certificates of bounds: every family's are proven again by `check`; false claims are caught, other models refused."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import orl
from orl import certificate, cli
from orl.errors import InputError, Stopped
from orl.problems.clsp.instance import CapacitatedLotSizing, CapacitatedSettings
from orl.problems.jobshop.instance import JobShop, JobShopSettings
from orl.problems.llmserving.instance import Requests, Serving, ServingSettings
from orl.problems.llmserving.server import server
from orl.solver import Control

SYSTEM = "hydrothermal/case3"


def served():
    """Four requests that share 30 tokens of memory, by rounds."""
    counts = np.array([3, 1, 4, 2]), np.array([9, 12, 7, 10])
    same = np.zeros(4, dtype=np.int64)
    asked = Requests(np.zeros(4), *counts, same, same, same + 1.0, same - 1, same)
    settings = ServingSettings(clock="rounds", enable_prefix_caching=False)
    return Serving("four", asked, settings=settings, **server(settings, {"num_blocks": 30}))


def lots(formulation):
    settings = CapacitatedSettings(formulation=formulation)
    demand = [[2, 0], [2, 3], [2, 6]]
    return CapacitatedLotSizing("two", demand, [10, 13, 9], [1, 1], [1, 2], [5, 8], [1, 0.5], settings=settings)


def shop():
    """Two jobs that both want the first machine first; the sum of their flow times is 2 + 3 + 3 + 4."""
    return JobShop("two", [[0, 1], [0, 1]], [[2, 3], [3, 4]], settings=JobShopSettings(objective="flow-time"))


def hydro(**settings):
    return orl.load(SYSTEM, settings={"stages": 3, **settings})


@pytest.mark.parametrize(
    ("instance", "count", "kind"),
    [
        (shop, 1, "linear relaxation"),
        (lambda: orl.load("lotsizing/15x5-a", settings={"horizon": "1"}), 1, "linear relaxation"),
        (lambda: lots("facility"), 1, "linear relaxation"),
        (lambda: lots("plain-ls"), 1, "linear relaxation"),
        (served, 1, "linear relaxation"),
        (lambda: hydro(network="dc"), 2, "linear program"),
        (lambda: hydro(network="soc"), 1, "linear part"),
        (lambda: hydro(commitment="on", min_output=0.5, start_cost=80), 1, "linear relaxation"),
    ],
    ids=["jobshop", "lotsizing", "facility", "plain-ls", "llmserving", "dc", "soc", "commitment"],
)
def test_bounds_of_every_family_are_proven(instance, count, kind, tmp_path):
    """A linear program's whole optimum, of several scenarios the mean; of others no more than the solve's bound."""
    instance = instance()
    rules = {"jobshop": "mwr", "lotsizing": "greedy", "llmserving": "fcfs"}
    result = orl.solve(instance, rules.get(instance.problem, "exact"), scenarios=count)
    made = certificate.certify(instance, result)
    path = tmp_path / "bound.json"
    path.write_text(made.to_json())
    assert certificate.is_certificate(path)
    for given in (made, path):
        found = orl.check_bound(instance, given)
        assert (found.is_proven, found.kind, len(found.programs)) == (True, kind, count)
        assert found.claimed == pytest.approx(float(sum(one.proof.bound for one in found.programs)) / count, rel=1e-9)
        assert found.bound <= result.value + 1e-6
    if kind == "linear program":
        assert found.bound == pytest.approx(result.value, rel=1e-9)
        assert found.covers_solve
    assert str(found).startswith("proven in fractions: bound ")


def test_the_checker_needs_no_solver(tmp_path):
    """It runs where HiGHS cannot be imported."""
    file, bound = tmp_path / "two.toml", tmp_path / "bound.json"
    orl.save(lots("facility"), file)
    instance = orl.load(file)
    bound.write_text(certificate.certify(instance, orl.solve(instance, "exact")).to_json())
    program = (
        "import sys; sys.modules['highspy'] = None\n"
        f"import orl; print(orl.check_bound({str(file)!r}, {str(bound)!r}).is_proven)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


@pytest.fixture(scope="module")
def system_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("bounds") / "bound.json"
    asked = ["--solver", "exact", "--set", "stages=3", "--scenarios", "1"]
    assert cli.main(["solve", SYSTEM, *asked, "--certificate", str(path)]) == 0
    return path


def changed(path, folder, change):
    """Return a copy of a certificate in which something is changed."""
    data = json.loads(path.read_text())
    change(data)
    copy = folder / "changed.json"
    copy.write_text(json.dumps(data))
    return str(copy)


def test_the_command_line_proves_a_bound_again(system_file, capsys):
    """With the settings that the certificate names."""
    bound = f"{json.loads(system_file.read_text())['bound']:.12g}"
    assert cli.main(["check", SYSTEM, str(system_file)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"proven in fractions: bound {bound} of the linear program (21 rows, 42 columns, ")
    assert first.endswith(f"; claimed {bound}")
    assert second == f"the solve's bound {bound}: proven, too"
    assert cli.main(["check", SYSTEM, str(system_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bound"] == pytest.approx(float(bound), rel=1e-11)


def claim(factor):
    def change(data):
        data["programs"][0]["optimum"] *= factor

    return change


def spoil_duals(data):
    duals = data["programs"][0]["duals"]
    for name in duals:
        duals[name] *= -1


def drop_half(data):
    duals = data["programs"][0]["duals"]
    for name in list(duals)[::2]:
        del duals[name]


def huge(data):
    name = next(iter(data["programs"][0]["duals"]))
    data["programs"][0]["duals"][name] = -1e308


@pytest.mark.parametrize("change", [claim(1.00001), claim(2), spoil_duals, drop_half, huge])
def test_a_claim_that_is_too_high_is_caught(change, system_file, tmp_path, capsys):
    path = changed(system_file, tmp_path, change)
    assert cli.main(["check", SYSTEM, path]) == 1
    assert capsys.readouterr().out.startswith("not proven: in fractions only bound ")
    assert cli.main(["check", SYSTEM, path, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["proven"] is False


def test_a_bound_of_branch_and_bound_is_said_to_be_one():
    instance = lots("plain")
    result = orl.solve(instance, "exact")
    found = orl.check_bound(instance, certificate.certify(instance, result))
    assert found.is_proven
    assert found.bound < result.bound
    words = f"the solve's bound {result.bound:.12g}: NOT proven: it is of more than the linear relaxation"
    assert str(found).endswith(words)
    assert found.to_dict()["solve_bound_proven"] is False


def test_the_optimum_of_a_linear_program_may_not_be_exceeded():
    """Where nothing is relaxed the solve's own bound is held to the dual values, and needs to be proven."""
    instance = hydro()
    made = certificate.certify(instance, orl.solve(instance, "exact", scenarios=1))
    found = orl.check_bound(instance, replace(made, bound=made.bound * 1.00001))
    assert (found.is_proven, found.covers_solve) == (False, False)
    assert all(one.is_as_claimed for one in found.programs)
    assert str(found).endswith("NOT proven")


def test_an_upper_bound_that_nobody_found_proves_no_more_than_itself():
    instance = shop()
    made = certificate.certify(instance, orl.solve(instance, "mwr"))
    best = orl.solve(instance, "exact").value
    for upper in range(int(best) - 2, int(best) + 3):
        program = replace(made.programs[0], upper_bound=float(upper))
        try:
            found = orl.check_bound(instance, replace(made, programs=[program]))
        except InputError:  # another model
            continue
        assert found.bound <= upper
    with pytest.raises(InputError, match="upper_bound must be >= "):
        orl.check_bound(instance, replace(made, programs=[replace(made.programs[0], upper_bound=1.0)]))


def nothing_of(name):
    return lambda data: data["programs"][0].pop(name)


def put(name, value):
    return lambda data: data["programs"][0].update({name: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.update(instance="case9"), "is a certificate of 'case9' of hydrothermal, not of 'case3'"),
        (lambda data: data.update(problem="clsp"), "of clsp, not of 'case3' of hydrothermal"),
        (lambda data: data.update(programs=[]), "programs must be a list of one or more"),
        (lambda data: data.update(programs=3), "programs must be a list of one or more"),
        (lambda data: data.update(programs=[3]), "expected an object of columns, digest"),
        (lambda data: data.update(seed=1.5), "expected a whole seed"),
        (lambda data: data.update(seed=-1), "seed must be >= 0"),
        (lambda data: data.update(purpose="x"), "known purpose"),
        (lambda data: data.update(settings=[]), "must be objects"),
        (lambda data: data.update(bound="52"), "bound must be a finite number"),
        (lambda data: data.update(certificate="x"), "expected an object with 'certificate'"),
        (lambda data: data["settings"].update(stages=4), "is of a model of rows, columns, nonzeros"),
        (nothing_of("duals"), "expected an object of columns, digest, duals"),
        (put("rows", 3), "is of a model of rows, columns, nonzeros (3, "),
        (put("rows", -1), "rows must be a whole number"),
        (put("digest", "0"), "other names or numbers"),
        (put("digest", 0), "digest must be a text"),
        (put("upper_bound", 1e300), "upper_bound must be of size <= 2**53"),
        (put("upper_bound", True), "upper_bound must be a finite number"),
        (put("optimum", None), "optimum must be a finite number"),
        (put("optimum", float("nan")), "optimum must be a finite number"),
        (put("optimum", 10**400), "optimum must be a finite number"),
        (put("duals", []), "duals must be an object"),
        (put("duals", {"balance[1]": float("inf")}), "dual of balance[1] must be a finite number"),
        (put("duals", {"balance[1]": "1"}), "dual of balance[1] must be a finite number"),
        (put("duals", {"nowhere": 1.0}), "the program has no row 'nowhere'"),
    ],
)
def test_bad_certificates_are_refused_in_one_line(change, words, system_file, tmp_path, capsys):
    path = changed(system_file, tmp_path, change)
    assert cli.main(["check", SYSTEM, path]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_certificate_of_another_instance_is_refused(system_file, capsys):
    assert cli.main(["check", "hydrothermal/case3deterministic", str(system_file)]) == 2
    assert "is a certificate of 'case3'" in capsys.readouterr().err


def test_a_changed_instance_of_the_same_name_is_refused():
    instance = lots("facility")
    made = certificate.certify(instance, orl.solve(instance, "exact"))
    other = replace(instance, holding_costs=[1, 0.6])
    with pytest.raises(InputError, match="other names or numbers"):
        orl.check_bound(other, made)


def test_no_certificate_is_written_without_time_or_model(tmp_path, capsys):
    """The result is told all the same."""
    control = Control()
    control.interrupt()
    with pytest.raises(Stopped):
        certificate.certify(shop(), orl.solve(shop(), "mwr"), control)
    down = ["--set", "breakdowns.probability=0.01", "--scenarios", "1"]
    path = tmp_path / "bound.json"
    assert cli.main(["solve", "jobshop/ft06", "--solver", "mwr", *down, "--certificate", str(path)]) == 2
    printed = capsys.readouterr()
    assert "knows no machines that go down" in printed.err
    assert "value:" in printed.out
    assert not path.exists()
