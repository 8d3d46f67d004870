"""The pages say what was measured and what there is: no number is typed, and code that is shown is tested."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from orl import files, registry

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "readme_tables.py"


def test_the_tables_are_those_of_the_committed_results():
    """Else `python benchmarks/readme_tables.py` mends it."""
    assert subprocess.run([sys.executable, SCRIPT, "--check"], check=False).returncode == 0


@pytest.mark.parametrize(("page", "others"), [("README.md", 2), ("docs/measured.md", 0), ("docs/cluster.md", 0)])
def test_every_table_is_in_a_block(page, others):
    """But for two that hold no measurement: what there is, and the fields of a result."""
    inside, loose = False, []
    for line in (ROOT / page).read_text().splitlines():
        inside = line.startswith(("<!-- table:", "<!-- text:")) or (inside and line != "<!-- end -->")
        if line.startswith("|---") and not inside:
            loose.append(line)
    assert len(loose) == others


def test_the_counts_are_right():
    text = (ROOT / "README.md").read_text()
    for name in registry.problem_names():
        if rules := registry.rules_of(registry.find_problem(name)):
            assert f"{len(rules)} dispatching rules" in text
    assert f"{sum(1 for name in registry.problem_names() for _ in files.packaged_instances(name))} instances" in text


def benchmark(name):
    """Return a module of the benchmarks."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPT.parent))


def test_a_table_of_results_has_an_entry_for_each_header(tmp_path, monkeypatch):
    """A row that is too short would leave out the last headers, without a word."""
    record = benchmark("record")
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    record.write("one", "One", [("What is here.", ["x", "y"], [[1, 2], [3, 4]])])
    assert (tmp_path / "one.md").read_text().splitlines()[-1].split() == ["|", "3", "|", "4", "|"]
    with pytest.raises(ValueError, match="two: a row has not as many entries as the table 'What is not' has headers"):
        record.write("two", "Two", [("What is not", ["x", "y"], [[1, 2], [3]])])
    assert not (tmp_path / "two.md").exists()


def test_a_block_takes_the_columns_it_names(tmp_path):
    readme_tables = benchmark("readme_tables")
    (tmp_path / "a.md").write_text("# a\n\n| x | y |\n|:--|--:|\n| 1 | 2 |\n\nand\n\n| z |\n|--:|\n| 3 |\n")
    page = '<!-- table: a.md "# a" [y] -->\nold\n<!-- end -->\n<!-- table: a.md "and" -->\n<!-- end -->\n'
    once = readme_tables.filled(page, tmp_path)
    assert "\n| y |\n|---:|\n| 2 |\n" in once
    assert "\n| z |\n|---:|\n| 3 |\n" in once
    assert "old" not in once
    assert readme_tables.filled(once, tmp_path) == once
    with pytest.raises(SystemExit, match=r"a\.md: expected one table with 'a' above it, there are 2"):
        readme_tables.filled('<!-- table: a.md "a" -->\n<!-- end -->\n', tmp_path)
    (tmp_path / "a.py").write_text('"""What\nfor."""\n\nx = 1\n')
    assert readme_tables.filled("<!-- code: a.py -->\n<!-- end -->\n", tmp_path).count("\n```python\nx = 1\n```\n") == 1
    (tmp_path / "a.md").write_text("# a\n\n| x | x |\n|:--|--:|\n| 1 | 2 |\n")
    with pytest.raises(SystemExit, match="several columns are called x"):
        readme_tables.filled("<!-- table: a.md -->\n<!-- end -->\n", tmp_path)
