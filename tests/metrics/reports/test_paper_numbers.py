import pytest

from metrics.reports.paper_numbers import ALIASES, read_papers
from metrics.reports.run_facts import FACTS, NAME

PAPERS = read_papers()
KINDS = ("config", "unet", "part", "benchmark", "curve")


def _rows(paper):
    return [row for sheet in PAPERS[paper].sheets for row in sheet.scores]


def test_each_paper_has_its_tables_whole():
    """Numbers of rows as the papers print them."""
    found = {
        name: {sheet.number: len(sheet.scores or sheet.gains or sheet.facts) for sheet in paper.sheets}
        for name, paper in PAPERS.items()
    }
    assert found == {
        "afp": {"table 1": 4, "table S5": 29},
        "acp": {"table 1": 18, "figure 6": 2, "table 2": 12},
        "light_future": {"figures 1 and 2": 1, "table 1": 4, "table 2": 2, "table 3": 2, "section 5.9": 2, "table 4": 7,
                         "table 5": 6},
        "morpheus": {"table 1": 15, "table 2": 3, "table 3": 14},
    }  # fmt: skip
    rows = [row for row in _rows("acp") if row.ssim is not None]
    assert len({(row.recipe, row.task) for row in rows}) == len(rows) == 18, "six recipes by three tasks"
    assert {row.task for row in rows} == set(ALIASES.values())


@pytest.mark.parametrize("paper", PAPERS)
def test_scores_are_possible_tables_rectangular_and_sources_known(paper):
    numbers = [(row.ssim, row.psnr) for row in _rows(paper) if isinstance(row.ssim, float)]
    assert all(0 < ssim < 1 and 5 < psnr < 70 for ssim, psnr in numbers)
    for sheet in PAPERS[paper].sheets:
        if any(isinstance(row.psnr, float) and row.psnr > 50 for row in sheet.scores):
            assert sheet.convention == "as published", "48 dB is an error of one level in every value"
        assert all(len(row) == len(sheet.headings) for row in sheet.facts)
        assert all(isinstance(cell, str) for row in sheet.facts for cell in row)
        own = [source for sources in (sheet.own_rows or {}).values() for source in sources]
        assert all(len(sources) == len(sheet.headings) - 1 for sources in (sheet.own_rows or {}).values())
        for source in (*filter(None, sheet.sources), *own):
            assert all(name in FACTS or name.split(".")[0] in KINDS for name in NAME.findall(source))


def test_gains_are_differences_of_the_printed_rows():
    rows = {row.recipe: row for row in _rows("light_future")}
    (gains,) = [sheet.gains for sheet in PAPERS["light_future"].sheets if sheet.gains]
    for gain in gains:
        assert rows[gain.end].ssim - rows[gain.start].ssim == pytest.approx(gain.ssim)
        assert rows[gain.end].psnr - rows[gain.start].psnr == pytest.approx(gain.psnr)
