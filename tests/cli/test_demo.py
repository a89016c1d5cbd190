import socket
import sys

import pytest

from lgcn.checks import InputError
from lgcn.cli import demo
from lgcn.cli.main import main


def test_without_gradio_there_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo"]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.startswith("lgcn: error: Expected Gradio for the page")
    assert printed.err.endswith("pip install 'lgcn[demo]'\n")
    assert printed.err.count("\n") == 1


def test_a_port_that_is_taken_is_refused_and_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken = server.getsockname()[1]
        with pytest.raises(InputError, match=rf"'--port' to be free \(got {taken}: .*in use"):
            demo.find_port("127.0.0.1", taken)
        monkeypatch.setattr(demo, "FIRST_PORT", taken)
        assert demo.find_port("127.0.0.1", None) > taken
    assert demo.find_port("127.0.0.1", taken) == taken


@pytest.mark.parametrize(("host", "port", "message"), [("1.2.3.4", None, "--host"), ("127.0.0.1", 0, "1 to 65535")])
def test_what_cannot_be_served_at_is_refused(host: str, port: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        demo.find_port(host, port)
