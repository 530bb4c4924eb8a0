"""Serve a page on the loopback interface, for programs on this machine alone."""

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from vqvae.errors import UserError

_HOST = "127.0.0.1"
_OWN = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")  # browsers leave out port 80


class PageServer:
    """A server of one page at ``/``.

    Args:
        html: the page.
        port: the port to listen on; 0 takes a free one.

    Attributes:
        address: the address of the page, such as ``http://127.0.0.1:8080/``.

    Raises:
        UserError: when the port cannot be listened on.
    """

    def __init__(self, html: bytes, port: int = 0) -> None:
        try:
            self._server = ThreadingHTTPServer((_HOST, port), _handler(html))
        except (OSError, OverflowError) as error:
            raise UserError(f"cannot serve on {_HOST}:{port}: {error}") from None
        self._server.daemon_threads = True
        self.address = f"http://{_HOST}:{self._server.server_port}/"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.server_close()

    def serve(self) -> None:
        """Answer requests until an exception, such as a KeyboardInterrupt, ends it."""
        self._server.serve_forever()

    def stop(self) -> None:
        """End ``serve`` in another thread."""
        self._server.shutdown()


def _handler(html: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET and HEAD of the page; every other request is refused."""

        server_version, sys_version = "vqvae", ""

        def do_GET(self) -> None:  # the name that http.server calls
            if self._answer():
                self.wfile.write(html)

        def do_HEAD(self) -> None:
            self._answer()

        def _answer(self) -> bool:
            """Send the head of the answer; return whether the page follows."""
            host = self.headers.get("Host", "")
            if not _OWN.fullmatch(host):  # a page of the web that names this machine by a name of its own
                self.send_error(403)
            elif self.path.partition("?")[0] != "/":
                self.send_error(404)
            else:
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(html)))
                self.end_headers()
                return True
            return False

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    return Handler
