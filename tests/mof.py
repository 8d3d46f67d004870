"""Linear and cone programs from files in MathOptFormat (JSON), as far as the tests need it.

References
----------
B. Legat, O. Dowson, J. D. Garcia, M. Lubin (2022). MathOptInterface: a data structure for mathematical optimization
problems. INFORMS Journal on Computing 34(2). doi 10.1287/ijoc.2021.1067
"""

import gzip
import json

import numpy as np
from scipy.sparse import lil_array


def limits(of_set):
    """Return least and largest value of a set."""
    kind = of_set["type"]
    assert kind in ("LessThan", "GreaterThan", "EqualTo", "Interval"), kind
    if kind == "EqualTo":
        return of_set["value"], of_set["value"]
    return of_set.get("lower", -np.inf), of_set.get("upper", np.inf)


def read_mof(path):
    """Return place by variable's name, and (cost, lower, upper, matrix, row_lower, row_upper); of a program with cones
    these, too, each (matrix, constant) with matrix x + constant in a second-order cone.
    """
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_text()
    data = json.loads(text)
    assert data["objective"]["sense"] == "min" and data["objective"]["function"]["constant"] == 0
    place = {variable["name"]: column for column, variable in enumerate(data["variables"])}
    cost, lower, upper = np.zeros(len(place)), np.full(len(place), -np.inf), np.full(len(place), np.inf)
    for term in data["objective"]["function"]["terms"]:
        cost[place[term["variable"]]] += term["coefficient"]
    rows, cones = [], []
    for constraint in data["constraints"]:
        function = constraint["function"]
        if function["type"] == "VectorAffineFunction":
            cones.append(cone(function, constraint["set"]["type"], place))
            continue
        low, high = limits(constraint["set"])
        if function["type"] == "Variable":
            column = place[function["name"]]
            lower[column], upper[column] = max(lower[column], low), min(upper[column], high)
        else:
            assert function["type"] == "ScalarAffineFunction"
            rows.append((function["terms"], low - function["constant"], high - function["constant"]))
    matrix = lil_array((len(rows), len(place)))
    for row, (terms, _, _) in enumerate(rows):
        for term in terms:
            matrix[row, place[term["variable"]]] += term["coefficient"]
    row_lower, row_upper = (np.array([row[part] for row in rows]) for part in (1, 2))
    made = cost, lower, upper, matrix.tocsr(), row_lower, row_upper
    return (place, made, cones) if cones else (place, made)


def cone(function, kind, place):
    """Return a cone; a rotated one, 2 t u >= |x|^2, turned back."""
    constant = np.array(function["constants"], dtype=float)
    matrix = np.zeros((len(constant), len(place)))
    for term in function["terms"]:
        matrix[term["output_index"] - 1, place[term["scalar_term"]["variable"]]] += term["scalar_term"]["coefficient"]
    if kind == "RotatedSecondOrderCone":
        turn = np.eye(len(constant))
        turn[:2, :2] = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
        return turn @ matrix, turn @ constant
    assert kind == "SecondOrderCone"
    return matrix, constant
