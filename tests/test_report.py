"""The page of results: whole, escaped, loading nothing; in Chromium it sorts, filters and opens, and no name is run."""

import csv
import json
import os
import shutil
import time
from html.parser import HTMLParser

import pytest

import orl
from orl import cli
from orl.benchmark import charts, curves, page
from orl.benchmark.drawing import repeat
from orl.errors import InputError

SHOP = "3 2\n0 3 1 2\n1 2 0 4\n0 1 1 5\n"
EVIL_FILE = "<img src=x onerror=window.evil=1>.txt"
EVIL_LABEL = "</script><script>window.evil=1</script>"
SUITE = f"""\
name = "tiny"
description = "costs < bounds & <script>window.evil=1</script>"
time_limit = 5
keep_solutions = 2

[[runs]]
name = "classic"
instances = ["{EVIL_FILE}", "jobshop/ft06", "jobshop/la0[1-4]"]
solvers = ["spt", "mwr", {{ solver = "fdd/mwr", label = "{EVIL_LABEL}" }}, "best-of"]

[[runs]]
name = "breakdowns"
instances = ["jobshop/ft06"]
scenarios = 5
settings = {{ "breakdowns" = {{ probability = 0.01 }} }}
solvers = ["spt", "mwr"]

[[runs]]
name = "broken"
instances = ["jobshop/ft06"]
solvers = [{{ command = "false {{solution}}", label = "broken" }}]
"""
LOG = "iteration,seconds,cost,validation\n1,0.5,9.5,\n2,1.0,8.5,7.25\n3,1.5,8.0,\n4,2.0,7.5,7\n"
VOID = {"meta", "img", "path", "line", "br"}


class Reader(HTMLParser):
    """Notes what a page holds, and fails where an element is not closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.headings, self.rows, self.elements = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[key] for key in ("src", "href") if key in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if self.open[-1:] in (["h1"], ["h2"]):
            self.headings.append(data)


def of_page(path):
    return Reader(path.read_text())


def rows_of(folder):
    return [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]


def last_error(capsys):
    _, err = capsys.readouterr()
    assert err.count("\n") == 1 and "Traceback" not in err
    return err


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Return the folder of a batch with names that are HTML, one failure, and a training beneath it."""
    home = tmp_path_factory.mktemp("report")
    (home / EVIL_FILE).write_text(SHOP)
    (home / "suite.toml").write_text(SUITE)
    orl.run_bench(home / "suite.toml", home / "out")
    (home / "out" / "run").mkdir()
    (home / "out" / "run" / "log.csv").write_text(LOG)
    assert cli.main(["report", str(home / "out")]) == 0
    return home / "out"


def test_the_page_is_whole_and_holds_every_run(bench):
    """Elements are closed in turn, ids differ, and each row of the log is a row of the page with its figures."""
    found = of_page(bench / "report.html")
    assert len(set(found.ids)) == len(found.ids)
    by_key = {row[-1]: row for row in found.rows}
    for row in rows_of(bench):
        shown = by_key[row["key"]]
        assert shown[0] == row["label"] and shown[1] == row["instance"] and shown[3] == row["status"]
        assert row["value"] is None or float(shown[5]) == pytest.approx(row["value"], rel=1e-7)
    failed = [row for row in found.rows if row[0] == "broken" and "exit code 1." in row]
    assert len(failed) == 1
    headings = ("tiny", "classic", "breakdowns", "Solutions", "Without a verified solution", "All runs")
    assert set(headings[1:]) <= set(found.headings)


def test_the_page_loads_nothing_and_names_stay_text(bench):
    """Links lead within the page, pictures are in it, and what is HTML in a file's name is text."""
    found = of_page(bench / "report.html")
    assert all(link.startswith(("#", "data:image/")) for link in found.links)
    scripts = [attrs for tag, attrs in found.elements if tag == "script"]
    assert scripts == [{}]
    assert not any("onerror" in attrs for _, attrs in found.elements)
    assert any(row[0] == EVIL_LABEL and row[1] == EVIL_FILE for row in found.rows)
    policy = next(attrs["content"] for tag, attrs in found.elements if tag == "meta" and "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'")


def test_tables_are_tables_for_those_who_hear_them(bench):
    """Every table has a caption and heads with a scope, every chart a title, a description and its figures."""
    tags = [tag for tag, _ in of_page(bench / "report.html").elements]
    assert tags.count("table") == tags.count("caption") == tags.count("thead")
    text = (bench / "report.html").read_text()
    assert text.count('<svg viewBox="0 0 520 330" role="img" class="chart"><title>') == text.count("<desc>") > 3
    assert all("scope" in attrs for tag, attrs in of_page(bench / "report.html").elements if tag == "th")


def test_charts_say_what_the_statistics_say(bench):
    """The figures of a profile are its shares, those of a learning curve the log's."""
    rows = of_page(bench / "report.html").rows
    assert ["validation", "7.25", "7.125", "7"] in [[row[0], row[1], row[3], row[5]] for row in rows if len(row) == 6]
    chart = charts.line_chart("t", "d", {"a": ([1, 2, 4], [0, 50, 100])}, ("x", "y"), is_stepped=True, span=(0, 100))
    assert Reader(chart).rows == [["", "1", "2", "3", "4"], ["a", "0", "50", "50", "100"]]
    assert curves.gap_curves([]) == {}


@pytest.mark.parametrize(
    ("x", "y"), [([1], [5]), ([0, 1], [3, 3]), ([1e-3, 1e5], [1e-9, 1e9]), ([1, 1.0000001], [-1, -1])]
)
@pytest.mark.parametrize("is_log", [False, True])
def test_every_chart_can_be_drawn(x, y, is_log):
    """A single point, a level line, and numbers far apart or next to one another have axes."""
    if is_log and x[0] == 0:
        return
    text = charts.line_chart("t", "d", {"a": (x, y)}, ("x", "y"), is_stepped=True, is_log=is_log)
    assert "nan" not in text and "inf" not in text and len(Reader(text).rows[0]) > 1


def test_content_is_escaped_where_it_enters():
    """Text, attributes and entries of lists are; elements are not escaped twice."""
    made = page.element("p", "<", [page.element("b", '"&'), 3, None], title='"<')
    assert made == '<p title="&quot;&lt;">&lt;<b>&quot;&amp;</b>3</p>'


def test_gaps_over_time_end_where_the_summary_is(bench):
    """A curve begins at 100 %, never rises for one run, and ends at the gap to the best known value."""
    rows = [row for row in rows_of(bench) if row["table"] == "classic"]
    found = curves.gap_curves(rows)
    assert set(found) == {row["label"] for row in rows}
    one = curves.gap_curves(
        [{**row, "trace": [[0.5, 2 * row["value"], None]]} for row in rows if row["label"] == "spt"]
    )
    times, gaps = one["spt"]
    assert gaps[0] == 100 and gaps == sorted(gaps, reverse=True) and times == sorted(times)
    last = [1 - row["best_known"] / row["value"] if row["best_known"] else 0 for row in rows if row["label"] == "spt"]
    assert gaps[-1] == pytest.approx(100 * sum(last) / len(last))
    failed = {**rows[0], "label": "none", "verified": False}
    assert curves.gap_curves([*rows, failed])["none"][1] == [100]


# Kept solutions ----------------------------------------------------------------------------------------------------


def test_kept_solutions_are_checked_by_check(bench):
    """Each file is the solutions that its row speaks of, as many as the suite keeps, verified by `check`."""
    rows = rows_of(bench)
    assert all((row["solution"] is not None) == row["verified"] for row in rows)
    for row in rows:
        if row["verified"]:
            place = str(bench.parent / row["instance"]) if row["instance"] == EVIL_FILE else row["instance"]
            assert cli.main(["check", place, str(bench / row["solution"])]) == 0
            about = json.loads((bench / row["solution"]).read_text())
            assert about["costs"] == row["costs"][:2] and len(about["solutions"]) == len(about["costs"])
            assert (about["value"] == row["value"]) or row["is_random"]


def test_a_missing_solution_is_made_again_and_no_other(bench, tmp_path):
    """`--resume` repeats a run whose kept solution is gone; a suite that keeps none repeats nothing."""
    out = tmp_path / "out"
    shutil.copytree(bench, out)
    before = rows_of(out)
    gone = next(row for row in before if row["verified"])
    (out / gone["solution"]).unlink()
    none = bench.parent / "none.toml"
    none.write_text(SUITE.replace("keep_solutions = 2", ""))
    orl.run_bench(none, out, resume=True)
    assert rows_of(out) == before
    orl.run_bench(bench.parent / "suite.toml", out, resume=True)
    assert [row["key"] for row in rows_of(out)[len(before) :]] == [gone["key"]]
    assert (out / gone["solution"]).exists()


def test_a_tampered_solution_is_told_and_not_drawn(bench, tmp_path):
    """What the verifier refuses is no picture, and the page says why; so does a row that names another file."""
    out = tmp_path / "out"
    shutil.copytree(bench, out)
    row = next(row for row in rows_of(out) if row["label"] == "spt" and row["table"] == "classic")
    path = out / row["solution"]
    path.write_text(path.read_text().replace('"start": ', '"start": 1', 1))
    text = orl.write_report(out, draw=[row["key"]]).read_text()
    assert "is not drawn: the kept solution is not verified" in text and "data:image" not in text
    log = (out / "runs.jsonl").read_text().replace(row["solution"], "../../secret.json")
    (out / "runs.jsonl").write_text(log)
    assert "../../secret.json: expected solutions/" in orl.write_report(out, draw=[row["key"]]).read_text()


def test_chosen_runs_are_drawn(bench, tmp_path):
    """`--draw` names a run by the beginning of its key; the command that makes it again stands beside the picture."""
    row = next(row for row in rows_of(bench) if row["label"] == "mwr" and row["is_random"])
    assert cli.main(["report", str(bench), "--draw", row["key"][:8], "--out", str(tmp_path / "x.html")]) == 0
    text = (tmp_path / "x.html").read_text()
    assert text.count("data:image/svg+xml") == 1 and "over the first 2 of 5 scenarios" in text
    assert "--set breakdowns.probability=0.01 --scenarios 5 --seed 0 --time-limit 5" in text


def test_a_run_that_stands_in_two_folders_is_drawn_where_its_solution_is(bench, tmp_path):
    for name in ("kept", "lost"):
        shutil.copytree(bench, tmp_path / name)
    log = tmp_path / "lost" / "runs.jsonl"
    rows = [json.loads(line) | {"solution": None} for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    both = orl.write_report(tmp_path).read_text().count("data:image/svg+xml")
    assert both == orl.write_report(tmp_path / "kept").read_text().count("data:image/svg+xml") > 0


# Folders -----------------------------------------------------------------------------------------------------------


def test_missing_runs_are_told(bench, tmp_path):
    """A page of half a batch says how much is missing, one of a folder that does not know says that."""
    out = tmp_path / "out"
    shutil.copytree(bench, out)
    lines = (out / "runs.jsonl").read_text().splitlines(keepends=True)
    (out / "runs.jsonl").write_text("".join(lines[:5]) + '{"half')
    assert f"{len(lines) - 5} of {len(lines)} runs are missing." in orl.write_report(out).read_text()
    (out / "batch.json").unlink()
    assert "some may be missing" in orl.write_report(out).read_text()


def test_a_run_is_repeated_by_settings_in_full_where_instance_and_method_have_one_of_the_same_name():
    row = {
        "problem": "lotsizing", "solver": "exact", "purpose": "evaluate", "instance_settings": {"start": "random"},
        "settings": {"start": "random", "exact.start": "none", "gap": 0.1}, "is_random": False, "seed": 0,
        "time_limit": 5.0,
    }  # fmt: skip
    told = repeat(row, {"path": "lotsizing/15x5-a", "options": {"start": "none", "gap": 0.1}})
    assert "--set lotsizing.start=random --set exact.start=none --set gap=0.1" in told


def test_a_training_is_learning_curves(tmp_path):
    """The folder of a training alone gives a page; a torn log gives one line."""
    (tmp_path / "log.csv").write_text(LOG)
    found = of_page(orl.write_report(tmp_path))
    assert found.headings == [tmp_path.name, "Training"]
    assert sum(tag == "figure" for tag, _ in found.elements) == 3
    (tmp_path / "log.csv").write_text(LOG + "5,x,1,1\n")
    with pytest.raises(InputError, match=r"log.csv, line 6: expected numbers, got 'x' as seconds"):
        orl.write_report(tmp_path)
    (tmp_path / "log.csv").write_text(LOG + '5,"' + "1" * 200_000)
    with pytest.raises(InputError, match=r"log.csv, line .*: expected CSV: field larger"):
        orl.write_report(tmp_path)


def test_mistakes_are_one_line_and_exit_code_2(bench, tmp_path, capsys):
    """No folder, nothing in it, no such key, a page that is none, a row that is none."""
    capsys.readouterr()
    for words, message in (
        ([str(tmp_path / "none")], "there is no such folder"),
        ([str(tmp_path)], "holds neither runs"),
        ([str(bench), "--draw", "zzz"], "no run whose key begins with 'zzz'"),
        ([str(bench), "--out", "x.txt"], "expected a name ending in .html"),
    ):
        assert cli.main(["report", *words]) == 2
        assert message in last_error(capsys)
    for change in ({"value": "1"}, {"trace": 3}, {"versions": {"orl": 1}}, {"machine": {}}):
        (tmp_path / "runs.jsonl").write_text(json.dumps({**rows_of(bench)[0], **change}) + "\n")
        assert cli.main(["report", str(tmp_path)]) == 2
        assert "a row is none of a run" in last_error(capsys)
    shutil.copy(bench / "runs.jsonl", tmp_path)
    (tmp_path / "batch.json").write_text('{"name": 3}')
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "batch.json" in last_error(capsys)
    assert not (tmp_path / "report.html").exists()


# In a browser ------------------------------------------------------------------------------------------------------

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
in_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.downloads = tmp_path_factory.mktemp("downloads")
    place = {"behavior": "allow", "downloadPath": str(driver.downloads)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", place)
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, bench):
    """Return the browser with the page just opened; afterwards there must be no error on its console."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get((bench / "report.html").as_uri())
    yield browser
    assert browser.get_log("browser") == []


def shown_rows(driver, heading):
    """Return the entries of the first table below a heading, as they stand."""
    script = """const head = [...document.querySelectorAll("h2")].find(h => h.textContent === arguments[0]);
        return [...head.parentElement.querySelector("tbody").rows].map(r => [...r.cells].map(c => c.textContent));"""
    return driver.execute_script(script, heading)


def of_table(driver, heading, selector):
    path = f"//section[h2[text()='{heading}']]//div[contains(@class, 'live')]"
    return driver.find_element("xpath", path).find_elements("css selector", selector)


@in_chromium
def test_heads_sort_by_click_and_by_key(opened):
    """Numbers sort as numbers, names as people sort them, and what is empty comes last; the head says which way."""
    names = [row[1] for row in shown_rows(opened, "All runs")]
    heads = {head.text: head for head in of_table(opened, "All runs", "thead th")}
    heads["value"].find_element("tag name", "button").send_keys("\ue007")  # Enter
    assert heads["value"].get_attribute("aria-sort") == "ascending"
    values = [row[5] for row in shown_rows(opened, "All runs")]
    assert values[-1] == "" and [float(x) for x in values[:-1]] == sorted(float(x) for x in values[:-1])
    heads["value"].find_element("tag name", "button").click()
    assert heads["value"].get_attribute("aria-sort") == "descending"
    assert shown_rows(opened, "All runs")[-1][5] == "" and shown_rows(opened, "All runs")[0][5] == values[-2]
    heads["instance"].find_element("tag name", "button").send_keys(" ")
    assert heads["value"].get_attribute("aria-sort") == "none"
    assert sorted(names) == sorted(row[1] for row in shown_rows(opened, "All runs")) != names


@in_chromium
def test_rows_are_filtered_by_words_and_by_choice(opened):
    """Words must all be there, choices are of a column's values; the count says how many rows are left."""
    search = of_table(opened, "All runs", "input")[0]
    search.send_keys("la0 MWR")
    assert {row[1] for row in shown_rows(opened, "All runs")} == {f"jobshop/la0{n}" for n in range(1, 5)}
    assert of_table(opened, "All runs", "output")[0].text == "4 of 27 rows, filtered"
    search.clear()
    search.send_keys("\ue003")
    for label in of_table(opened, "All runs", "label"):
        if label.text.startswith("status"):
            label.find_element("xpath", ".//option[text()='failed']").click()
    assert [row[0] for row in shown_rows(opened, "All runs")] == ["broken"]


@in_chromium
def test_a_gantt_chart_opens(opened):
    """A picture is hidden until its line is opened, and then it is drawn."""
    first = opened.find_element("css selector", "details.drawn")
    image = first.find_element("tag name", "img")
    assert not image.is_displayed()
    first.find_element("tag name", "summary").click()
    assert image.is_displayed()
    assert opened.execute_script("const i = arguments[0]; return i.complete && i.naturalWidth > 100", image)


@in_chromium
def test_paper_shows_pictures(opened):
    """What is closed is open while it is printed."""
    count = "return document.querySelectorAll('details.drawn:not([open])').length"
    closed = opened.execute_script(count)
    assert opened.execute_script(f"dispatchEvent(new Event('beforeprint')); {count}") == 0 < closed
    assert opened.execute_script(f"dispatchEvent(new Event('afterprint')); {count}") == closed


@in_chromium
def test_names_that_are_html_are_inert(opened):
    """Neither a script nor an image's error handler in a name has run."""
    assert opened.execute_script("return window.evil") is None
    assert any(EVIL_LABEL in row and EVIL_FILE in row for row in shown_rows(opened, "All runs"))
    assert opened.execute_script("return document.querySelectorAll('script').length") == 1


@in_chromium
def test_the_page_is_light_or_dark(opened):
    """It follows the system, and the button turns it round."""
    lightness = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    for scheme, is_dark in (("dark", True), ("light", False)):
        wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
        assert (opened.execute_script(lightness) < 128) == is_dark
    opened.find_element("id", "theme").click()
    assert opened.execute_script(lightness) < 128 and opened.find_element("id", "theme").text == "Light"


@in_chromium
def test_the_page_fits_a_phone(opened):
    """At 360 pixels nothing but tables and pictures is wider than the screen, also when all is open."""
    screen = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    opened.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert opened.execute_script("return document.documentElement.scrollWidth") == 360
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@in_chromium
def test_tables_are_saved_as_csv_and_markdown(opened):
    """What is shown, as it is sorted and filtered, goes into a file."""
    of_table(opened, "All runs", "input")[0].send_keys("window.evil mwr")
    shown = shown_rows(opened, "All runs")
    for button in of_table(opened, "All runs", ".bar button"):
        if button.text in ("CSV", "Markdown"):
            button.click()
    until = time.monotonic() + 20
    while len(found := {path.suffix: path for path in opened.downloads.iterdir()}.keys() & {".csv", ".md"}) < 2:
        assert time.monotonic() < until, found
        time.sleep(0.1)
    files = {path.suffix: path for path in opened.downloads.iterdir()}
    with files[".csv"].open(newline="") as file:
        assert list(csv.reader(file))[1:] == shown
    assert files[".md"].read_text().count("\n") == len(shown) + 2


@in_chromium
def test_long_tables_are_paged(browser, bench, tmp_path):
    """Of 250 rows 100 stand in the document at a time; filters look at all."""
    rows = rows_of(bench)
    lines = [json.dumps({**rows[n % 8], "key": f"{n:020}", "seed": n, "solution": None}) for n in range(250)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    browser.get(orl.write_report(tmp_path).as_uri())
    assert of_table(browser, "All runs", "output")[0].text == "1 to 100 of 250 rows"
    buttons = {button.text: button for button in of_table(browser, "All runs", ".bar button")}
    buttons["Next"].click()
    buttons["Next"].click()
    assert len(shown_rows(browser, "All runs")) == 50 and not buttons["Next"].is_enabled()
    of_table(browser, "All runs", "input")[0].send_keys(f"{7:020}")
    assert [row[2] for row in shown_rows(browser, "All runs")] == ["7"]
    assert browser.get_log("browser") == []
