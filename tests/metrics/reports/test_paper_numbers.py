import pytest

from metrics.reports.paper_numbers import HAMMER, HANDOVER, PAPERS, STACK, FactSheet, ScoreSheet


def _rows(paper):
    return [row for sheet in PAPERS[paper].sheets if isinstance(sheet, ScoreSheet) for row in sheet.rows]


def test_each_paper_has_its_tables():
    assert {name: [sheet.number for sheet in paper.sheets] for name, paper in PAPERS.items()} == {
        "afp": ["1", "S5"],
        "acp": ["1", "2"],
        "light_future": ["1", "2", "3", "4", "5"],
        "morpheus": ["2", "3"],
    }


def test_acp_prints_six_recipes_by_three_tasks():
    rows = _rows("acp")
    assert len({(row.recipe, row.task) for row in rows}) == len(rows) == 18
    assert {row.task for row in rows} == {HAMMER, HANDOVER, STACK}


@pytest.mark.parametrize("paper", PAPERS)
def test_scores_are_possible_and_tables_rectangular(paper):
    assert all(0 < row.ssim < 1 and 5 < row.psnr < 70 for row in _rows(paper))
    for sheet in PAPERS[paper].sheets:
        if isinstance(sheet, FactSheet):
            assert all(len(row) == len(sheet.headings) for row in sheet.rows)
            assert sheet.own_row or len(sheet.ours) == len(sheet.rows)


def test_numbers_of_the_papers_that_exceed_8_bits_are_called_as_published():
    """48 dB is an error of one level in every value."""
    for name, paper in PAPERS.items():
        if max(row.psnr for row in _rows(name)) > 50:
            assert paper.convention.startswith("as published")
