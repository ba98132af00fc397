"""The web page: bad input gives one sentence, a browser sees the picture, nothing is asked of other machines."""

import os
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edit_app
from tests.tiny_checkpoint import write_tiny_checkpoint

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SENTENCE = "stack blocks"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def service(tiny_model_config, tmp_path, pair_folder):
    checkpoint = write_tiny_checkpoint(tmp_path / "model", tiny_model_config)
    data = pair_folder(num_episodes=4, length=12)
    service = edit_app.load_service(
        edit_app.make_parser().parse_args(["--ckpt", str(checkpoint), "--data", str(data), "--split", "test"])
    )
    yield service
    service.close()


@pytest.fixture
def page(service):
    pytest.importorskip("gradio")
    page = edit_app.launch(service, "127.0.0.1", free_port(), wait=False)
    yield page
    page.close()


@pytest.fixture
def address(page):
    return page.local_url.rstrip("/")


@pytest.fixture
def frame(tmp_path) -> Path:
    path = tmp_path / "frame.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(path)
    return path


def test_a_browser_uploads_predicts_and_sees_the_picture(address, frame, tmp_path):
    """And asks nothing of any other machine, fonts included."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    elsewhere, faults = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        own = (address, "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(own) else elsewhere.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address, timeout=60_000)
        page.wait_for_selector("#predict", timeout=60_000)
        page.set_input_files("#frame input[type=file]", str(frame))
        page.wait_for_selector("#frame img", timeout=30_000)
        page.click("#predict")
        page.wait_for_selector("#prediction img", timeout=60_000)
        page.wait_for_function("document.querySelector('#status').innerText.includes('predicted')", timeout=30_000)
        width = page.evaluate("document.querySelector('#prediction img').naturalWidth")
        page.screenshot(path=str(tmp_path / "page.png"))
        browser.close()
    assert width == 256, "8 pixels, enlarged to be seen"
    assert not elsewhere and not faults


def make_client(address):
    return pytest.importorskip("gradio_client").Client(address, verbose=False, analytics_enabled=False)


def ask(client, frame, sentence=SENTENCE, **changes):
    import gradio_client

    asked = {"horizon": 3, "steps": 2, "sampler": "ddim", "text": 1.0, "image": 1.0, "seed": 0} | changes
    return client.predict(gradio_client.handle_file(str(frame)), sentence, *asked.values(), api_name="/predict")


def test_the_page_answers_with_a_policy_against_other_machines(address):
    import httpx

    policy = httpx.get(address).headers["content-security-policy"]
    assert policy.startswith("default-src 'self'") and "http" not in policy


def call_api(address, picture, sentence=SENTENCE):
    """What the page's API answers to whatever a caller sends as the picture."""
    import httpx

    call = f"{address}/gradio_api/call/predict"
    begun = httpx.post(call, json={"data": [picture, sentence, 3, 2, "ddim", 1.0, 1.0, 0]}, timeout=30)
    return httpx.get(f"{call}/{begun.json()['event_id']}", timeout=30).text


def test_a_call_of_the_api_opens_what_was_uploaded_and_nothing_else(address, service, frame):
    """With or without gradio's own mark, by links and by `..`; a FIFO is not waited for, an address not asked."""
    import httpx

    meta = {"meta": {"_type": "gradio.FileData"}}
    with frame.open("rb") as file:
        upload = httpx.post(f"{address}/gradio_api/upload", files={"files": file}).json()[0]
    link, pipe = service.uploads / "link.png", service.uploads / "pipe.png"
    link.symlink_to(frame)
    os.mkfifo(pipe)
    (service.uploads / "folder.png").mkdir()
    outside = "was not uploaded to this page"
    for picture, said in (
        ({"path": upload} | meta, "event: complete"),
        ({"path": str(frame)}, outside),
        ({"path": str(frame)} | meta, outside),
        ({"path": f"{service.uploads}/../{frame.name}"}, outside),
        ({"path": str(link)}, outside),
        ({"path": str(frame), "is_stream": True} | meta, outside),
        ({"path": "http://127.0.0.1:9/frame.png"} | meta, outside),
        ({"path": upload, "deep": [{"path": "/etc/hostname"} | meta]} | meta, outside),
        ({"path": str(pipe)}, "no regular file"),
        ({"path": str(service.uploads / "folder.png")}, "no regular file"),
        ({"url": "http://127.0.0.1:9/frame.png"}, "event: error"),
    ):
        answer = call_api(address, picture)
        assert said in answer and ("event: error" in answer) is (picture.get("path") != upload or "deep" in picture)
    assert outside in call_api(address, {"path": upload} | meta, {"path": "http://127.0.0.1:9/a"} | meta)


def test_an_example_is_copied_for_the_visitor_who_picks_it(page, address, service):
    """The data set's folder itself is not served."""
    import httpx

    source = service.examples.source(next(iter(service.examples.pairs)))
    assert httpx.get(f"{address}/gradio_api/file={source}").status_code == 403
    picture = next(block for block in page.blocks.values() if getattr(block, "elem_id", None) == "frame")
    copy = Path(picture.postprocess(str(source)).path)
    assert copy.read_bytes() == source.read_bytes() and service.check_upload(str(copy)) == copy.resolve()


@pytest.mark.slow
def test_two_hundred_mixed_requests_eight_at_a_time(address, frame, tmp_path):
    """None is lost; bad ones get their sentence; memory stays flat over the second half."""
    psutil = pytest.importorskip("psutil")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    client = make_client(address)
    kinds = [
        lambda: ask(client, frame),
        lambda: ask(client, frame, steps=5, sampler="dpm_solver", seed=3),
        lambda: ask(client, frame, horizon=9, text=3.0),
        lambda: ask(client, bad),
        lambda: ask(client, frame, sentence="  "),
    ]
    expected = [None, None, None, "not a readable picture", "instruction is empty"]
    memory = []

    def one(number):
        try:
            kinds[number % 5]()
            outcome = None
        except Exception as error:
            outcome = str(error)
        memory.append(psutil.Process().memory_info().rss)
        return outcome

    begun = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(one, range(200)))
    for number, outcome in enumerate(outcomes):
        wanted = expected[number % 5]
        assert (outcome is None) if wanted is None else (wanted in outcome), f"request {number}: {outcome}"
    growth = (max(memory[150:]) - max(memory[50:100])) / 2**20
    print(f"200 requests in {time.perf_counter() - begun:.0f} s, memory grew by {growth:.1f} MiB after the first half")
    assert growth < 64


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "99999"], "outside 1 to 65535"),
        (["--port", "TAKEN"], "port TAKEN is taken"),
        (["--host", "203.0.113.1"], "cannot listen on"),
        (["--ckpt", "absent.ckpt", "--data", "absent"], "no folder absent"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_sentence(arguments, said, capsys):
    pytest.importorskip("gradio")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        port = [] if "--port" in arguments else ["--port", str(free_port())]
        assert edit_app.main([word.replace("TAKEN", taken) for word in (*arguments, *port)]) == 2
    error = capsys.readouterr().err
    assert said.replace("TAKEN", taken) in error and "Traceback" not in error


def test_a_fault_of_ours_is_logged_and_not_shown(caplog):
    assert "its log says more" in edit_app.sentence_for_user(RuntimeError("secret detail"))
    assert "secret detail" in caplog.text
