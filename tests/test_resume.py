"""Exact resume and several processes, through the command itself: slow, since each starts Python anew."""

import json
import signal
import time

import pytest
import torch

import main as command
from formats.run_folder import RUN_VARIABLE
from tests.runs import ROOT, assert_same_weights, launch, read_last, wait_until

RECIPE = [str(ROOT / "configs" / "recipes" / "acp_train_1.yaml"), str(ROOT / "configs" / "tiny" / "small.yaml")]


@pytest.fixture
def argv(tmp_path, pair_folder):
    """Arguments of a run of small pairs without pictures; its folder lies under the given name."""
    folder = pair_folder(size=16)
    data = [f"data.params.{split}.params.folder={folder}" for split in ("train", "validation")]
    quiet = ["lightning.callbacks.image_logger=null", "lightning.checkpoint.monitor=null", "resolution=16"]

    def make(name, *more, resume=None):
        start = ["--resume", str(resume)] if resume else ["--base", *RECIPE, "-n", name, "-l", str(tmp_path / name)]
        return [*start, *data, *quiet, "--limit_val_batches", "0", *map(str, more)]

    return make


def run(argv, launcher=()):
    process = launch(argv, launcher)
    message = process.communicate(timeout=500)[1]
    assert process.returncode == 0, message
    return message


def only(folder):
    (run_folder,) = folder.iterdir()
    return run_folder


def gradients(folder):
    """Of the first step, from AdamW's first moment: exp_avg = (1 - beta_1) g."""
    state = read_last(only(folder))["optimizer_states"][0]["state"]
    return [entry["exp_avg"] / 0.1 for entry in state.values()]


@pytest.mark.slow
def test_ten_kills_leave_the_weights_of_the_uninterrupted_run(argv, tmp_path):
    """kill -9 at random steps, ten times in one run; every resume takes the last whole checkpoint."""
    steps = ["--max_steps", 3000, "lightning.checkpoint.every_n_steps=5"]
    generator = torch.Generator().manual_seed(0)
    folder, resume, stops = tmp_path / "killed", None, []

    def last():
        return next(folder.glob("*/checkpoints/last.ckpt"), None)

    for _ in range(10):
        since = last().stat().st_mtime_ns if last() else 0
        process = launch(argv("killed", *steps, resume=resume))
        wait_until(lambda since=since: last() is not None and last().stat().st_mtime_ns > since, process)
        time.sleep(0.5 * torch.rand((), generator=generator).item())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        resume = last().parents[1]
        stops.append(torch.load(last(), weights_only=True)["global_step"])
    assert stops == sorted(set(stops)), "each part went on"
    final = ["--max_steps", stops[-1] + 7, "lightning.checkpoint.every_n_steps=5"]
    run(argv("killed", *final, resume=resume))
    run(argv("whole", *final))
    killed, whole = only(folder), only(tmp_path / "whole")
    assert_same_weights(killed, whole)
    assert read_last(killed)["global_step"] == read_last(whole)["global_step"] == stops[-1] + 7


@pytest.mark.slow
@pytest.mark.parametrize("start", ["ddp", "accumulated ddp", "torchrun"])
def test_two_processes_give_the_gradients_of_one(argv, tmp_path, start):
    """Two gloo processes with batches of 2, accumulated or not, and one with the whole batch: the same to 1e-6.

    By torchrun as well, where there is one folder, config and run.json all the same.
    """
    accumulated = 2 if "accumulated" in start else 1
    once = ["--max_steps", 1]
    run(argv("one", *once, f"data.params.batch_size={4 * accumulated}"))
    two = [*once, "data.params.batch_size=2", "--accumulate_grad_batches", accumulated]
    if start == "torchrun":
        message = run(argv("two", *two), ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"])
        folder = only(tmp_path / "two")
        assert message.count("run folder:") == 1
        assert {"config.yaml", "run.json", "metrics.csv", "checkpoints"} == {path.name for path in folder.iterdir()}
        (part,) = json.loads((folder / "run.json").read_text())["parts"]
        assert part["num_devices"] == 2
    else:
        run(argv("two", *two, "--devices", 2, "--strategy", "ddp"))
    pairs = list(zip(gradients(tmp_path / "one"), gradients(tmp_path / "two"), strict=True))
    assert max((a - b).abs().max().item() for a, b in pairs) <= 1e-6
    assert max(a.abs().max().item() for a, _ in pairs) > 1e-4


@pytest.mark.slow
def test_other_devices_go_on_as_one_would(argv, tmp_path):
    """3 steps of one process with 4 samples, 3 of two with 2 each: the run of one process, up to rounding."""
    run(argv("whole", "--max_steps", 6, "data.params.batch_size=4"))
    run(argv("part", "--max_steps", 3, "data.params.batch_size=4"))
    part = only(tmp_path / "part")
    two = ["data.params.batch_size=2", "--devices", 2, "--strategy", "ddp"]
    message = run(argv("part", "--max_steps", 6, *two, resume=part))
    assert "the same samples in each step" in message
    whole, resumed = (read_last(only(tmp_path / name)) for name in ("whole", "part"))
    assert resumed["global_step"] == 6
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(resumed["state_dict"][name], value, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_moments_in_shards_train_as_whole_ones_and_go_on_with_any_number_of_processes(argv, tmp_path):
    """`zero` on two processes gives the weights of ddp, bit for bit; its checkpoints go on in one, in two, in one."""
    two = ["data.params.batch_size=2", "--devices", 2]
    for strategy in ("ddp", "zero"):
        run(argv(strategy, "--max_steps", 6, *two, "--strategy", strategy))
    assert_same_weights(only(tmp_path / "ddp"), only(tmp_path / "zero"))
    run(argv("one", "--max_steps", 3, "data.params.batch_size=4", "--strategy", "zero"))
    run(argv("one", "--max_steps", 5, *two, "--strategy", "zero", resume=only(tmp_path / "one")))
    run(argv("one", "--max_steps", 6, "data.params.batch_size=4", "--devices", 1, resume=only(tmp_path / "one")))
    whole, resumed = (read_last(only(tmp_path / name)) for name in ("ddp", "one"))
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(resumed["state_dict"][name], value, atol=1e-4, rtol=1e-3)
    assert len(resumed["optimizer_states"][0]["state"]) == len(whole["optimizer_states"][0]["state"])


def call(monkeypatch, argv):
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    return command.main(argv)


def test_a_half_written_checkpoint_gives_way_to_the_one_before(argv, tmp_path, monkeypatch, caplog):
    assert call(monkeypatch, argv("run", "--max_steps", 4, "lightning.checkpoint.every_n_steps=2")) == 0
    last = next((tmp_path / "run").glob("*/checkpoints/last.ckpt"))
    previous = last.with_name("previous.ckpt")
    assert torch.load(previous, weights_only=True)["global_step"] in (2, 4)
    last.write_bytes(last.read_bytes()[:1000])
    assert call(monkeypatch, argv("run", "--max_steps", 5, resume=last.parents[1])) == 0
    assert f"{last} is half-written or damaged; going on from the previous one, {previous}" in caplog.text
    assert torch.load(last, weights_only=True)["global_step"] == 5


@pytest.mark.slow
def test_what_cannot_go_on_is_said(argv, tmp_path, monkeypatch, capsys):
    """Another recipe, other batches, as another number of processes makes them."""
    call(monkeypatch, argv("run", "--max_steps", 3))
    folder = next((tmp_path / "run").glob("*"))
    wider = "model.params.unet_config.params.model_channels=64"
    kept = (folder / "config.yaml").read_text()
    assert call(monkeypatch, argv("run", "--max_steps", 5, wider, resume=folder)) == 2
    assert (folder / "config.yaml").read_text() == kept, "a refused resume leaves the run as it was"
    assert "of another recipe" in capsys.readouterr().err
    assert call(monkeypatch, argv("run", "--max_steps", 5, "data.params.batch_size=5", resume=folder)) == 2
    assert "Resume with the same batch size and devices" in capsys.readouterr().err


@pytest.mark.slow
def test_half_precision_and_eight_times_two_train(argv, tmp_path, monkeypatch):
    """bfloat16 on a CPU, checkpointing and accumulation together."""
    more = ["--precision", "bf16-mixed", "--accumulate_grad_batches", 8, "data.params.batch_size=2"]
    use = "model.params.unet_config.params.use_checkpoint=true"
    assert call(monkeypatch, argv("run", "--max_steps", 2, *more, use)) == 0
    state = read_last(only(tmp_path / "run"))["state_dict"]
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())


@pytest.mark.slow
def test_training_from_cached_latents_through_the_command(argv, tmp_path, monkeypatch, capsys):
    """--cache-latents makes the cache, trains from it and resumes from it; a stale one is refused."""
    flag = ["--cache-latents", tmp_path / "cache"]
    assert call(monkeypatch, argv("run", "--max_steps", 3, *flag)) == 0
    assert (tmp_path / "cache" / "cache.json").is_file()
    assert call(monkeypatch, argv("again", "--max_steps", 2, *flag)) == 0
    online = argv("online", "--max_steps", 3)
    assert call(monkeypatch, online) == 0
    cached, fresh = (read_last(only(tmp_path / name))["state_dict"] for name in ("run", "online"))
    worst = max((cached[name] - fresh[name]).abs().max().item() for name in fresh if fresh[name].is_floating_point())
    assert worst < 0.01, "half-precision latents: almost the same training"
    assert call(monkeypatch, argv("stale", "resolution=8", "--max_steps", 2, *flag)) == 2
    assert "stale: resolution was 16 and is 8" in capsys.readouterr().err
