import json
import re
import shutil
import subprocess

import pytest

from metrics.report import main, make_report
from metrics.reports.runs import read_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(run_folder, tmp_path_factory):
    """The report of the run, as a file; made once."""
    output = tmp_path_factory.mktemp("report")
    assert main(["--runs", f"ours={run_folder}", "--output", str(output)]) == 0
    return output / "index.html"


def test_page_says_how_it_was_measured(page):
    text = page.read_text()
    for words in ("python main.py", "commit abc", "metrics.compute_metrics --data", "copy the input", "190",
                  "no figure of GPU utilisation, since"):  # fmt: skip
        assert words in text
    assert text.count("<img src=") >= 2 * 2 * 4  # two tables, two tasks, at least a best case of four pictures


def test_equal_runs_make_equal_pages(run_folder):
    runs = [read_run(f"ours={run_folder / 'metrics' / 'epoch=2'}")]
    assert make_report(runs, "command") == make_report(runs, "command")


def test_pictures_that_are_gone_are_said_to_be(run_folder, tmp_path):
    table = json.loads((run_folder / "metrics" / "epoch=2" / "table.json").read_text())
    table["provenance"]["data"] = "/nowhere"
    shutil.copytree(run_folder / "metrics" / "epoch=2", tmp_path / "moved")
    (tmp_path / "moved" / "table.json").write_text(json.dumps(table))
    assert "Pictures are not shown: no folder /nowhere" in make_report([read_run(str(tmp_path / "moved"))], "command")


def test_bad_runs_are_one_sentence(tmp_path, capsys):
    assert main(["--runs", str(tmp_path / "absent"), "--output", str(tmp_path / "o")]) == 2
    assert "no run folder" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_tables_sort_and_pictures_zoom_in_a_browser(page):
    """A click on PSNR sorts downwards, a second one upwards; a click on a picture opens it large."""
    clicks = """<script>
      const table = document.querySelectorAll("table")[0], psnr = table.tHead.rows[0].cells[2];
      const column = () => [...table.tBodies[0].rows].map(row => row.cells[2].dataset.value).join(" ");
      psnr.click(); const down = column(); psnr.click(); const up = column();
      document.querySelector(".cases img").click();
      const shown = document.querySelector("dialog"), large = shown.firstElementChild.src.length > 100;
      document.body.innerHTML = `<p id=down>${down}</p><p id=up>${up}</p><p id=zoom>${shown.open && large}</p>`;
    </script></body>"""
    copy = page.with_name("clicked.html")
    copy.write_text(page.read_text().replace("</body>", clicks))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", copy.as_uri()]
    dom = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    found = dict(re.findall(r'<p id="(\w+)">([^<]*)</p>', dom))
    down = [float(value) for value in found["down"].split()]
    assert len(down) == 4 and down == sorted(down, reverse=True)
    assert [float(value) for value in found["up"].split()] == sorted(down)
    assert found["zoom"] == "true"
