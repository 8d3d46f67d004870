"""Pages: what tutorials show is run, every family and method has one, commands can be copied, links lead somewhere."""

import itertools
import re
import shlex
from pathlib import Path

import pages
import pytest

from orl import arguments, files, registry
from orl.problems import PROBLEMS
from orl.solvers import SOLVERS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TUTORIALS = sorted(DOCS.glob("tutorials/*.md"))
OTHERS = sorted(
    page for at in ("", "docs/", "instances/*/", "problems/*/", "solvers/*/") for page in ROOT.glob(f"{at}*.md")
)
RESULTS = sorted(ROOT.glob("benchmarks/results/*.md"))


def named(page):
    """Return the name of a page as a test's."""
    return str(page.relative_to(ROOT))


def headings(page):
    """Return the anchors of a page as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def folder_of(method):
    """Return the folder of a method under solvers/."""
    return SOLVERS[method].partition(":")[0].split(".")[2]


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_what_a_tutorial_shows_is_what_happens(page, tmp_path):
    assert pages.run(page, tmp_path) == ""


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_something_and_leads_on(page):
    """It solves and checks something, says when not to use it, and leads to the folder's README and the glossary."""
    text = page.read_text()
    asked = [example for example in pages.examples(text) if example.want]
    assert len(asked) >= 3
    assert re.search(r"^## When not to", text, re.MULTILINE)
    folder = "problems" if page.stem in PROBLEMS else "solvers"
    links = pages.LINK.findall(text)
    assert f"../../{folder}/{page.stem}/README.md" in links
    assert any(link.startswith("../glossary.md#") for link in links)


def test_every_family_and_every_method_has_a_page():
    assert {page.stem for page in TUTORIALS} == {*PROBLEMS, *map(folder_of, SOLVERS)}
    for method in SOLVERS:
        assert f"`{method}`" in (DOCS / "tutorials" / f"{folder_of(method)}.md").read_text()


def test_the_first_page_leads_to_all_others():
    links = pages.LINK.findall((DOCS / "README.md").read_text())
    assert {f"tutorials/{page.name}" for page in TUTORIALS} | {"glossary.md"} <= set(links)
    assert "docs/README.md" in pages.LINK.findall((ROOT / "README.md").read_text())


@pytest.mark.parametrize("page", [*OTHERS, *TUTORIALS, *RESULTS], ids=named)
def test_links_lead_somewhere(page):
    for link in pages.LINK.findall(page.read_text()):
        if re.match("https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def test_every_page_and_picture_of_results_is_led_to():
    links = {
        (page.parent / link).resolve()
        for page in [*OTHERS, *TUTORIALS, *RESULTS]
        for link in pages.LINK.findall(page.read_text())
    }
    assert {*RESULTS, *ROOT.glob("benchmarks/results/*.png")} <= links


@pytest.mark.parametrize("page", OTHERS, ids=named)
def test_commands_that_are_shown_can_be_copied(page):
    """They are parsed, whatever stands behind them, and name instances and methods that there are."""
    instances = {name for family in PROBLEMS for name in files.packaged_instances(family)}
    methods = {*SOLVERS, *(rule for family in PROBLEMS for rule in registry.rules_of(registry.find_problem(family)))}
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^    (?:python run\.py|orl) (.*)$", text, re.MULTILINE):
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command = list(itertools.takewhile(lambda word: word not in {"<", ">", ";", "|"}, words))
        options = vars(arguments.parser().parse_args(command))
        if "/" in (name := options.get("instance", "")):
            assert name in instances, line
        if "knapsack" not in line:  # a family of the reader's own
            solvers = options.get("solvers") or options.get("solver") or "exact"
            assert {name for name in solvers.split(",") if ":" not in name} <= methods, line


def test_the_glossary_is_in_order_and_used():
    _, *entries = (DOCS / "glossary.md").read_text().split("\n## ")
    terms = headings(DOCS / "glossary.md")[1:]
    assert terms == sorted(set(terms))
    assert all(re.fullmatch(r".+\n\n(.+\n)+", entry.rstrip() + "\n") for entry in entries)  # one paragraph each
    links = {link for page in TUTORIALS for link in pages.LINK.findall(page.read_text())}
    assert sum(f"../glossary.md#{term}" in links for term in terms) > len(terms) / 2


# The mechanism itself -------------------------------------------------------------------------------------------------

PAGE = """# A page

In `words.py`:

```python
word = "sto" + "ck"
```

```pycon
>>> from words import word
>>> word
'stock'
```

```console
$ python run.py solve jobshop/ft06 --solver spt
solver:  spt
...
value:   88
...
$ orl check jobshop/ft06 nowhere.csv; echo $?
orl: ...nowhere.csv...
2
$ cat words.py
word = ...
```
"""


def run(text, folder):
    folder.mkdir(exist_ok=True)
    (folder / "page.md").write_text(text)
    return pages.run(folder / "page.md", folder)


def test_a_page_is_run_from_top_to_bottom(tmp_path):
    assert run(PAGE, tmp_path / "one") == ""
    assert run(PAGE.replace("sto", "clo"), tmp_path / "two") == ""  # no module of the first is left


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ("'stock'", "'clock'", 11),
        ("88", "87", 16),
        ("solver:  spt", "solver:  lpt", 16),
        ("\n2\n", "\n0\n", 21),
        ("; echo $?", "", 21),
    ],
)
def test_what_comes_out_otherwise_is_told_with_its_line(right, wrong, line, tmp_path):
    said = run(PAGE.replace(right, wrong, 1), tmp_path)
    assert f'page.md", line {line}' in said


@pytest.mark.parametrize(
    ("page", "message"),
    [("```python\n1\n```\n", "neither run"), ("```pycon\n>>> 1\n", "no end"), ("``` pycon\n```\n", "no fence")],
)
def test_a_block_that_nobody_would_run_is_an_error(page, message):
    with pytest.raises(ValueError, match=message):
        pages.examples(page)
