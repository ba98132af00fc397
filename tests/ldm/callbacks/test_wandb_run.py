"""Laws of the run on W&B."""

import sys

import pytest

from ldm.callbacks import wandb_run
from ldm.callbacks.wandb_run import ID_FILE, choose_mode, keep_run_id, make_wandb_logger


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_wandb_is_offline_unless_logged_in(monkeypatch, tmp_path):
    assert choose_mode() == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")
    assert choose_mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode() == "disabled", "what the user says goes before"


def test_a_run_folder_keeps_its_id_and_without_wandb_there_is_no_logger(tmp_path, monkeypatch, caplog):
    first, other = keep_run_id(tmp_path / "a"), keep_run_id(tmp_path / "b")
    assert keep_run_id(tmp_path / "a") == first != other
    assert (tmp_path / "a" / ID_FILE).read_text().strip() == first
    monkeypatch.setattr(wandb_run, "is_first_process", lambda: False)
    keep_run_id(tmp_path / "c")
    assert not (tmp_path / "c").exists(), "only the first process writes it"
    monkeypatch.setattr(wandb_run, "find_spec", lambda name: None)
    assert make_wandb_logger(tmp_path, {}) is None and "metrics go to metrics.csv only" in caplog.text


def test_a_resume_asks_for_the_same_run(tmp_path, monkeypatch):
    """What wandb.init is asked, both times, by way of Lightning."""
    wandb = pytest.importorskip("wandb")
    asked = []

    class Run:
        def define_metric(self, *args, **kwargs):
            pass

    monkeypatch.setattr(wandb, "init", lambda **options: asked.append(options) or Run())
    monkeypatch.setattr(sys.modules["wandb"], "run", None)
    for steps in (1, 2):
        assert make_wandb_logger(tmp_path / "run", {"steps": steps}).experiment is not None
    assert asked[0]["id"] == asked[1]["id"] == (tmp_path / "run" / ID_FILE).read_text().strip()
    for options in asked:
        assert (options["resume"], options["mode"], options["name"]) == ("allow", "offline", "run")


@pytest.mark.slow
def test_offline_works_without_a_login(tmp_path):
    """The real package, twice: two local parts of one run."""
    pytest.importorskip("wandb")
    for step in (1, 2):
        logger = make_wandb_logger(tmp_path, {"steps": step})
        logger.log_metrics({"loss": 1.0 / step}, step)
        logger.experiment.finish()
    parts = list((tmp_path / "wandb").glob(f"offline-run-*-{(tmp_path / ID_FILE).read_text().strip()}"))
    assert len(parts) == 2
