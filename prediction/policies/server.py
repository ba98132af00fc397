"""Serves a policy over HTTP, for a simulator in another process, environment or machine.

    python -m prediction.policies.server --policy logs/<run> --port 8700

Two requests, both npz in and npz out, without pickles: POST /reset {instruction, task, seed} says which cameras the
policy wants, and of which size (0: as they are drawn); POST /act takes an observation (pixels/<camera>, agent_pos,
command, instruction, seconds) and answers `targets` (K, 14). Listens on this machine only, unless --host says
otherwise; bodies are limited, connections time out.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from commands.errors import UserError
from commands.run import run_command
from prediction.policies.kinds import ACT, AS_DRAWN, LARGEST_BODY, RESET, as_observation, load_policy, pack, unpack

log = logging.getLogger(__name__)

IDLE = 60.0  # seconds that a connection may say nothing


def make_server(policy: Any, host: str = "127.0.0.1", port: int = 0) -> HTTPServer:
    """A server of one policy; port 0 takes a free one. Requests wait for each other, as a policy has state."""

    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE

        def do_POST(self) -> None:  # noqa: N802 - http.server's name
            """Answer one request."""
            try:
                body = _read_body(self)
                values = as_observation(unpack(body, "the request"))
                self._answer(200, _respond(policy, self.path, values))
            except UserError as error:
                self._answer(400, str(error).encode())
            except Exception as error:  # the policy's own fault: said to the caller, logged with its traceback
                log.exception("the policy failed")
                self._answer(500, f"the policy raised {type(error).__name__}: {error}".encode())

        def _answer(self, code: int, body: bytes) -> None:
            try:
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError as error:  # the caller waited no longer
                log.warning("%s hung up before the answer: %s", self.address_string(), error)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Keep single requests out of the log."""

    return HTTPServer((host, port), Handler)


def _read_body(handler: BaseHTTPRequestHandler) -> bytes:
    length = handler.headers.get("Content-Length", "")
    if not length.isdecimal() or int(length) > LARGEST_BODY:
        handler.close_connection = True
        raise UserError(f"a request of {length or 'unknown'} bytes; wanted at most {LARGEST_BODY}.")
    return handler.rfile.read(int(length))


def _respond(policy: Any, path: str, values: dict[str, Any]) -> bytes:
    if path == RESET:
        policy.reset(str(values.get("instruction", "")), str(values.get("task", "")), int(values.get("seed", 0)))
        size = AS_DRAWN if policy.size is None else policy.size
        return pack({"cameras": list(policy.cameras) or [""], "size": size, "privileged": policy.privileged})
    if path == ACT:
        return pack({"targets": policy.act(values)})
    raise UserError(f"there is no {path}; wanted {RESET} or {ACT}.")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m prediction.policies.server", description=__doc__.split("\n")[0])
    parser.add_argument("--policy", required=True, help="run folder or package.module:function")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8700)
    options = parser.parse_args(argv)

    def run() -> None:
        with make_server(load_policy(options.policy), options.host, options.port) as server:
            log.info("serving %s at http://%s:%d", options.policy, *server.server_address[:2])
            server.serve_forever()

    return run_command("python -m prediction.policies.server", run, interrupted="stopped.")


if __name__ == "__main__":
    sys.exit(main())
