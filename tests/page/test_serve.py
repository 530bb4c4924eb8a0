"""``vqvae page RUN --serve`` answers on the loopback interface until Ctrl-C."""

import http.client
import signal
import subprocess
import sys
import urllib.request
from urllib.error import HTTPError

import pytest

from vqvae.cli import main
from vqvae.errors import UserError
from vqvae.page import PageServer


def test_the_page_is_served_until_ctrl_c(tokenizer_run, tmp_path):
    words = [sys.executable, "-m", "vqvae", "page", str(tokenizer_run.path), "--serve"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path) as process:
        try:
            line = process.stdout.readline()
            address, _, rest = line.partition(" ")
            assert address.startswith("http://127.0.0.1:") and rest == "(Ctrl-C ends)\n", process.stderr.read()
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
                html = answer.read().decode()
            assert html.endswith("</html>\n") and "vqvaePage" in html
            with pytest.raises(HTTPError, match="404"):
                urllib.request.urlopen(address + "other", timeout=60)
            with pytest.raises(HTTPError, match="403"):  # a name of the web that leads to this machine
                asked = urllib.request.Request(address, headers={"Host": "example.com"})
                urllib.request.urlopen(asked, timeout=60)
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0 and out == ""
    assert "Traceback" not in errors and "stopped" not in errors
    assert list(tmp_path.iterdir()) == []


def test_the_head_of_the_page_is_served_alone():
    import threading

    with PageServer(b"<html>") as server:
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        port = int(server.address.rstrip("/").rpartition(":")[2])
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        asked.request("HEAD", "/")
        answer = asked.getresponse()
        assert answer.status == 200 and answer.headers["Content-Length"] == "6" and answer.read() == b""
        with pytest.raises(UserError, match=f"cannot serve on 127.0.0.1:{port}"):
            PageServer(b"", port)
        server.stop()
        thread.join(60)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),  # of port 80
        ("localhost", 200),
        ("localhost:80", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("example.com", 403),
        ("example.com:80", 403),
        ("localhost.example.com", 403),
        ("127.0.0.1.example.com:80", 403),
        ("[2001:db8::1]:80", 403),
        ("", 403),
    ],
)
def test_requests_by_a_name_of_this_machine_are_answered_with_and_without_a_port(host, status):
    import threading

    with PageServer(b"<html>") as server:
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        port = int(server.address.rstrip("/").rpartition(":")[2])
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        asked.request("GET", "/", headers={"Host": host})
        assert asked.getresponse().status == status
        asked.close()
        server.stop()
        thread.join(60)


def test_a_port_without_serve_is_refused(tokenizer_run, capsys):
    with pytest.raises(SystemExit) as end:
        main(["page", str(tokenizer_run.path), "--port", "8000"])
    assert end.value.code == 2 and "--port is the port of --serve" in capsys.readouterr().err
