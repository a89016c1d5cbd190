import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import lgcn
from lgcn.checks import InputError, InputFileError
from lgcn.cli import main as cli


def stub(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> None:
    """Makes `lgcn evaluate` return or raise ``outcome``."""

    def run(arguments: Any) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    module = SimpleNamespace(add_arguments=lambda parser: parser.add_argument("--model"), run=run)
    monkeypatch.setattr(cli, "import_module", lambda name: module)


def test_help_names_the_commands_and_loads_nothing_heavy() -> None:
    code = "import sys; from lgcn.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command, summary in cli.COMMANDS.items():
        assert command in done.stdout
        assert summary in done.stdout
    assert {"torch", "numpy", "lightning", "timm"}.isdisjoint(done.stdout.splitlines()[-1].split())


def test_a_deprecation_inside_other_packages_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: Any) -> None:
        warnings.warn("`torch.jit.script` is deprecated. Please switch.", FutureWarning, stacklevel=1)

    module = SimpleNamespace(add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(cli, "import_module", lambda name: module)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert cli.main(["evaluate"]) == 0
    assert not shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"lgcn {lgcn.__version__}\n"


@pytest.mark.parametrize("argv", [[], ["train"], ["--nothing"]])
def test_wrong_commands_end_with_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert "usage: lgcn" in capsys.readouterr().err


@pytest.mark.parametrize(("outcome", "status"), [(None, 0), (0, 0), (3, 3), (KeyboardInterrupt(), 130)])
def test_the_status_of_a_command(monkeypatch: pytest.MonkeyPatch, outcome: Any, status: int) -> None:
    stub(monkeypatch, outcome)
    assert cli.main(["evaluate", "--model", "x"]) == status


@pytest.mark.parametrize("error", [InputError("no such thing"), InputFileError("no such thing")])
def test_bad_input_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    stub(monkeypatch, error)
    assert cli.main(["evaluate"]) == 2
    assert capsys.readouterr().err == "lgcn: error: no such thing\n"


def test_errors_of_the_program_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["evaluate"])


def test_a_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    code = (
        "import sys; from types import SimpleNamespace; from lgcn.cli import main as cli\n"
        "run = lambda arguments: [print('x' * 100) for _ in range(10000)] and None\n"
        "cli.import_module = lambda name: SimpleNamespace(add_arguments=lambda parser: None, run=run)\n"
        "sys.exit(cli.main(['evaluate']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_fit_gets_its_arguments_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def run(argv: list[str]) -> int:
        seen.extend(argv)
        return 0

    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(run=run))
    assert cli.main(["fit", "--help", "--config", "x"]) == 0
    assert seen == ["--help", "--config", "x"]
