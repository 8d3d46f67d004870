"""Hydrothermal dispatch in alternating current: the grid's data."""

import json
import shutil
from dataclasses import replace

import pytest

import orl
from orl.cli import main
from orl.errors import InputError
from orl.files import instance_folder


def changed(tmp_path, change):
    """Return a folder with case3 whose grid is changed."""
    folder = tmp_path / "case"
    shutil.copytree(instance_folder("hydrothermal") / "case3", folder)
    power = json.loads((folder / "PowerModels.json").read_text())
    change(power)
    (folder / "PowerModels.json").write_text(json.dumps(power))
    return folder


def test_the_grid_is_read_with_its_load_factor():
    grid = orl.load("hydrothermal/bolivia", settings={"network": "ac"}).network.grid
    assert grid.load_mvar.sum() == pytest.approx(57.9039, abs=1e-4)  # 60 % of the file's
    assert grid.branch_r[0] == 0.0033 and grid.branch_x[0] == 0.1067 and grid.branch_rate[0] == 0.7
    assert (grid.bus_v_min == 0.9).all() and (grid.bus_v_max == 1.1).all() and grid.base_mva == 100
    assert grid.gen_max_mvar.shape == (23,) and (grid.hydro_min_mvar == -99900).all()
    assert orl.load("hydrothermal/bolivia").network.grid is None
    case = orl.load("hydrothermal/case3", settings={"network": "soc"}).network.grid
    assert case.branch_b_from.tolist() == [0.225, 0.35, 0.15] and not case.bus_shunt_b.any()


def test_shunts_are_read(tmp_path):
    shunt = {"index": 1, "shunt_bus": 2, "gs": 0.01, "bs": 0.2, "status": 1}
    folder = changed(tmp_path, lambda power: power.update(shunt={"1": shunt, "2": {**shunt, "status": 0}}))
    grid = orl.load(folder, settings={"network": "ac"}).network.grid
    assert grid.bus_shunt_g.tolist() == [0, 0.01, 0] and grid.bus_shunt_b.tolist() == [0, 0.2, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda power: power["bus"]["1"].update(bus_type=2), "no bus is the reference"),
        (
            lambda power: [power["branch"][key].update(br_status=0) for key in ("1", "2")],
            r"bus 3 is on an island: .* reference bus 1",
        ),
        (lambda power: power["branch"]["2"].update(br_r=0, br_x=0), "json: branch 2 from bus 3 to bus 2 has no imped"),
        (lambda power: power["bus"]["2"].update(vmin=1.2), "bus 1: expected 0 < bus_v_min <= bus_v_max, got 1.2 and"),
        (lambda power: power["gen"]["2"].update(qmax=-200), "gen 1: expected gen_min_mvar <= gen_max_mvar"),
        (lambda power: power["gen"]["3"].pop("qmin"), "'qmin' is missing"),
        (lambda power: power["branch"]["2"].update(tap=0), r"branch 1: expected branch_tap > 0, got 0"),
    ],
)
def test_a_bad_grid_gives_one_line(tmp_path, capsys, change, message):
    folder = changed(tmp_path, change)
    with pytest.raises(InputError, match=message):
        orl.load(folder, settings={"network": "ac"})
    assert main(["solve", str(folder), "--set", "network=soc"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_format_without_a_grid_says_so():
    for network in ("ac", "soc"):
        with pytest.raises(InputError, match=f"nothing is known of the grid .* that network={network} needs"):
            orl.load("hydrothermal/brazil", settings={"network": network})


def test_a_grid_is_of_its_network():
    network = orl.load("hydrothermal/case3", settings={"network": "ac"}).network
    other = orl.load("hydrothermal/bolivia", settings={"network": "ac"}).network
    with pytest.raises(InputError, match="the grid must be of as many branches"):
        replace(network, grid=other.grid)
