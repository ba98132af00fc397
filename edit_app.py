"""A web page that predicts the future frame: upload a frame and type what the robot does.

    python edit_app.py
    python edit_app.py --data data/prepared --split test
    python edit_app.py --ckpt logs/<run> --host 0.0.0.0 --port 8000

It listens on this machine alone unless --host says otherwise, and neither it nor the page asks anything of any other
machine. It opens the pictures that were uploaded to it and those of --data, no other file. Nothing imports this file.
"""

import argparse
import errno
import logging
import os
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from commands.errors import MissingPackageError, UserError, sentence_for
from commands.run import run_command

if TYPE_CHECKING:
    from prediction.service import DrawnFuture, PredictionService

log = logging.getLogger("edit_app")

STOPPED = "stopped; the same command starts it again."
DATA = Path("demo/prepared")  # of `make demo`; its examples are offered where it is there
OUT_OF_MEMORY = "start edit_app.py with a lower --resolution, or with --tiny-decoder"
MAX_WAITING = 64  # requests in the queue; more are told to come back
MAX_AT_ONCE = 8  # requests in work, in common batches where they fit
NUM_EXAMPLES = 24
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss: data: blob:; "
    "frame-ancestors 'self'; form-action 'self'"
)  # the browser itself refuses to ask other machines for scripts, fonts or pictures


def make_parser() -> argparse.ArgumentParser:
    """Flags of the model, the examples and the address."""
    from prediction.model_request import add_model_flags

    usage = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(
        prog="edit_app.py",
        description=usage[0],
        epilog="examples:\n" + usage[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_model_flags(parser.add_argument)
    parser.add_argument("--data", type=Path, help=f"prepared data set to offer examples of; default: {DATA} if there")
    parser.add_argument("--split", default="test", help="of that data set: train, val, test (default) or all")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine alone")
    parser.add_argument("--port", type=int, default=7860)
    return parser


def build_page(service: "PredictionService"):  # noqa: ANN201 - gradio.Blocks is imported late, so that --help is fast
    """The page with its widgets and what they call."""
    import gradio as gr

    make_page = _make_page_class(gr, service)
    with make_page(title="Future frame prediction", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown("# What will the robot see?\nA frame and a sentence in, the frame ahead out.")
        with gr.Row():
            with gr.Column(scale=2):
                asked = _request_widgets(gr, service)
                with gr.Row():
                    go = gr.Button("Predict", variant="primary", elem_id="predict")
                    stop = gr.Button("Stop", elem_id="stop")
            with gr.Column(scale=3):
                shown = _answer_widgets(gr)
                future = gr.State(None)

        def answer(*values: Any) -> Iterator[dict]:
            from prediction.service import PageRequest

            try:
                for update in service.predict(PageRequest(*values)):
                    drawn = update.pop("future", None)
                    told = {shown[name]: value for name, value in update.items()}
                    yield (
                        told
                        if drawn is None
                        else {**told, future: drawn, shown["scrub"]: gr.update(**slider_of(drawn))}
                    )
            except Exception as error:
                raise gr.Error(sentence_for_user(error), print_exception=False) from error

        limits = {"concurrency_limit": MAX_AT_ONCE, "concurrency_id": "predict", "show_progress": "minimal"}
        run = go.click(answer, asked, [*shown.values(), future], api_name="predict", **limits)
        scrubbed = [shown[name] for name in ("prediction", "difference", "truth")]
        shown["scrub"].input(
            lambda drawn, time: list(drawn.at(time).values()),
            [future, shown["scrub"]],
            scrubbed,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )
        stop.click(lambda: "Stopped.", None, shown["status"], cancels=[run], api_visibility="private")
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=MAX_AT_ONCE)


def slider_of(future: "DrawnFuture") -> dict[str, Any]:
    """Settings of the slider through a drawn future; hidden where there is one frame."""
    times = future.times
    if len(times) < 2:
        return {"visible": False}
    shown = times[-1] if future.unit == "seconds" else times[0]
    label = f"Through the predicted future, in {future.unit}"
    span = {"minimum": times[0], "maximum": times[-1], "step": times[1] - times[0]}
    return {**span, "value": shown, "label": label, "visible": True}


def sentence_for_user(error: Exception) -> str:
    """The message that a user of the page reads; our own errors go to the log."""
    sentence = sentence_for(error, OUT_OF_MEMORY)
    if sentence is None:
        log.error("a request failed", exc_info=error)
        return "this request failed by a fault of the server; its log says more."
    return sentence


def _make_page_class(gr: ModuleType, service: "PredictionService") -> type:
    """Gradio's page, restricted: a call of its API may name only uploaded files, for every widget."""

    class Page(gr.Blocks):
        """Refuses every other file and every address before gradio copies, downloads or opens it.

        Gradio itself checks only those parts of a call that carry its `meta`, and downloads what is an address.
        """

        is_template = True

        async def preprocess_data(self, block_fn: Any, inputs: list, *others: Any, **named: Any) -> list:
            """Values of the widgets of a call, once all files in it are uploads."""
            try:
                for name in named_files(inputs):
                    service.check_upload(name)
            except UserError as error:
                raise gr.Error(str(error), print_exception=False) from error
            return await super().preprocess_data(block_fn, inputs, *others, **named)

    return Page


def named_files(value: Any) -> Iterator[str]:
    """Everything that a call of the page's API names as a file, at any depth: the `path` of its mappings."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, dict):
            if value.get("path") is not None:
                yield str(value["path"])
            waiting += value.values()


def _make_picture_class(gr: ModuleType) -> type:
    """Gradio's picture with our own reading and writing of files."""
    from gradio.data_classes import ImageData
    from PIL import Image

    class Picture(gr.Image):
        """Hands an upload on unread: formats.pictures opens it, and says in one sentence what is wrong with it.

        Each result has a file of its own. Gradio's is named by its content and written again while another user,
        who got the same picture, still reads it.
        """

        is_template = True  # the browser shows it as its parent

        def preprocess(self, payload: Any) -> str | None:
            """Path of the upload."""
            return payload.path if payload else None

        def postprocess(self, value: Any) -> Any:
            """File of a result: an array, a picture, or the path of an example, which is copied."""
            if value is None:
                return None
            name = f"example{Path(value).suffix}" if isinstance(value, str | Path) else "prediction.png"
            path = Path(self.GRADIO_CACHE) / uuid.uuid4().hex / name
            path.parent.mkdir(parents=True)
            if isinstance(value, str | Path):
                shutil.copyfile(value, path)
            else:
                (value if isinstance(value, Image.Image) else Image.fromarray(value)).save(path)
            return ImageData(path=str(path), orig_name=path.name)

    return Picture


def _request_widgets(gr: ModuleType, service: "PredictionService") -> list:
    """Widgets that make a PageRequest, in the order of its fields."""
    from formats.tasks import SENTENCES
    from ldm.models.diffusion.sampling import SAMPLERS
    from prediction.service import MAX_STEPS

    own, examples = service.loaded.predictor.options, service.examples
    sentences = examples.instructions() if examples else list(SENTENCES)
    example = gr.State(None)
    picture = _make_picture_class(gr)(
        type="filepath", sources=["upload", "clipboard"], label="Frame", elem_id="frame", height=300
    )
    chosen = (
        gr.Dropdown(examples.choose(NUM_EXAMPLES), value=None, label="or an example", elem_id="example")
        if examples
        else None
    )
    sentence = gr.Dropdown(sentences, allow_custom_value=True, label="What the robot does", elem_id="sentence")
    horizon = _horizon_widget(gr, service)
    with gr.Accordion("Sampling", open=False):
        steps = gr.Slider(1, MAX_STEPS, own.steps, step=1, label="Steps")
        sampler = gr.Dropdown(list(SAMPLERS), value=own.sampler, label="Sampler")
        text = gr.Slider(0, 20, own.text_scale, step=0.1, label="Guidance towards the sentence (1: none)")
        image = gr.Slider(0, 5, own.image_scale, step=0.05, label="Guidance towards the frame (1: none)")
        seed = gr.Number(0, precision=0, label="Seed: same seed, same picture")
    for change in (picture.upload, picture.clear):
        change(lambda: None, None, example, api_visibility="private")
    if chosen is not None:
        chosen.input(
            lambda name: (str(examples.source(name)), examples.pairs[name].instruction, name),
            chosen,
            [picture, sentence, example],
            api_visibility="private",
        )
    return [picture, sentence, horizon, steps, sampler, text, image, seed, example]


def _horizon_widget(gr: ModuleType, service: "PredictionService") -> Any:
    """How far ahead, as the model counts."""
    from prediction.service import MAX_HORIZONS, SCRUB_SECONDS

    predictor, unit = service.loaded.predictor, service.loaded.horizon or 1
    if predictor.takes_seconds:
        least, most = predictor.seconds_range
        own = predictor.times(None, 1)[0]
        return gr.Slider(
            least, most, own, step=SCRUB_SECONDS, label="How far ahead, in seconds, drawn directly", elem_id="horizon"
        )
    ahead = "How far ahead, in frames" if service.loaded.horizon else "How far ahead, times the model's horizon"
    return gr.Slider(unit, MAX_HORIZONS * unit, unit, step=unit, label=ahead, elem_id="horizon")


def _answer_widgets(gr: ModuleType) -> dict:
    """Widgets that show an answer, by the names that the service gives its parts."""
    captions = {"prediction": "Prediction", "difference": "What changes", "truth": "Truth, where known"}
    # Not gradio's share button: it would send the picture to another machine.
    picture = {"format": "png", "interactive": False, "show_label": False, "buttons": ["download", "fullscreen"]}
    make_picture = _make_picture_class(gr)
    shown = {"status": gr.Markdown("", elem_id="status")}
    with gr.Row():
        for name, caption in captions.items():
            with gr.Column(min_width=180):
                gr.Markdown(f"**{caption}**")
                shown[name] = make_picture(label=caption, elem_id=name, height=280, **picture)
    shown["scrub"] = gr.Slider(0, 1, 0, label="Through the predicted future", elem_id="scrub", visible=False)
    gr.Markdown("**Step by step**")
    shown["strip"] = make_picture(label="Step by step", elem_id="strip", **picture)
    return shown


class PolicyMiddleware:
    """Tells browsers, with every response, to request nothing from other machines."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """ASGI."""

        async def send_with_policy(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def check_port(host: str, port: int) -> None:
    """Refuse a port that another program has.

    Raises:
        UserError: in one sentence.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port} is outside 1 to 65535.")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UserError(f"port {port} is taken, perhaps by another edit_app; choose another --port.") from None
            raise UserError(
                f"cannot listen on {host}:{port} ({error.strerror}); choose another --host or --port."
            ) from None


def load_service(opt: argparse.Namespace) -> "PredictionService":
    """Model, queue, examples, and a folder of its own for uploads.

    Raises:
        UserError: if the checkpoint or the data set is not there.
    """
    from formats.prepared_folder import INDEX
    from prediction.load import load_predictor
    from prediction.model_request import ModelRequest
    from prediction.request_queue import PredictionQueue
    from prediction.service import Examples, PredictionService

    folder = opt.data or (DATA if (DATA / INDEX).is_file() else None)
    examples = Examples.read(folder, opt.split) if folder else None
    loaded = load_predictor(ModelRequest.of(vars(opt)))
    # Gradio's own folder would be that of all gradio programs of this user.
    uploads = Path(tempfile.mkdtemp(prefix="edit_app-", dir=os.environ.get("TMPDIR")))
    return PredictionService(loaded, PredictionQueue(loaded.predictor, MAX_AT_ONCE), examples, uploads)


def launch(service: "PredictionService", host: str, port: int, *, wait: bool):  # noqa: ANN201 - as build_page
    """Serve the page; returns it, at once unless told to wait."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(service.uploads)
    from starlette.middleware import Middleware

    from prediction.service import MAX_UPLOAD

    page = build_page(service)
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        ssr_mode=False,
        pwa=False,
        footer_links=[],
        max_file_size=MAX_UPLOAD,
        prevent_thread_lock=not wait,
        app_kwargs={"middleware": [Middleware(PolicyMiddleware)]},
    )
    return page


def run(opt: argparse.Namespace) -> int:
    """Load, serve until Ctrl-C."""
    check_port(opt.host, opt.port)
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingPackageError(f"the web page needs {error.name}; install it with: pip install '.[app]'") from None
    service = load_service(opt)
    try:
        print(f"http://{opt.host}:{opt.port}  (Ctrl-C ends it)", flush=True)
        launch(service, opt.host, opt.port, wait=True)
    finally:
        service.close()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, and serve; see commands.run for how it ends."""

    def body() -> int:
        return run(make_parser().parse_args(argv))

    return run_command("edit_app.py", body, interrupted=STOPPED, out_of_memory=OUT_OF_MEMORY, level=logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
