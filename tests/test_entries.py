"""Entries of tables: what JSON and CSV hold is a number, or it is refused."""

import pytest

from orl.entries import check_columns, number, whole
from orl.errors import InputError


@pytest.mark.parametrize(
    ("entry", "as_whole", "as_number"),
    [
        ("12", 12, 12.0), ("-3", -3, -3.0), (7, 7, 7.0), (7.0, 7, 7.0), ("1e3", None, 1000.0), (2.5, None, 2.5),
        ("", None, None), ("x", None, None), (None, None, None), (True, None, None), ([], None, None),
        (float("nan"), None, None), ("inf", None, None), (2**53, None, float(2**53)), (10**400, None, None),
        ("9" * 19, None, float("9" * 19)),
    ],
)  # fmt: skip
def test_what_an_entry_means(entry, as_whole, as_number):
    assert (whole(entry), number(entry)) == (as_whole, as_number)


def test_columns_that_are_unknown_or_missing_are_named():
    check_columns({"b": [], "a": []}, ["a", "b"])
    with pytest.raises(InputError, match="unknown column 'aa'; did you mean a"):
        check_columns({"a": [], "aa": [], "b": []}, ["a", "b"])
    with pytest.raises(InputError, match="column 'b' is missing"):
        check_columns({"a": []}, ["a", "b"])
