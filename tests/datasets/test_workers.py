from types import SimpleNamespace
from typing import Any

import pytest

from lgcn.checks import InputError
from lgcn.datasets.workers import one_message


def trainer(world_size: int, killed: list[int] | None = None) -> Any:
    launcher = None if killed is None else SimpleNamespace(kill=killed.append)
    return SimpleNamespace(world_size=world_size, strategy=SimpleNamespace(launcher=launcher))


def test_the_process_that_starts_the_others_ends_them() -> None:
    killed: list[int] = []
    with pytest.raises(InputError, match="cut off"), one_message(trainer(2, killed)):
        raise InputError("cut off")
    assert len(killed) == 1


def test_a_process_that_others_leave_says_no_more_than_that() -> None:
    with pytest.raises(InputError, match="another process of this run"), one_message(trainer(2)):
        raise RuntimeError("[pair.cc:561] Connection closed by peer [127.0.0.1]:5523.")


@pytest.mark.parametrize(("world_size", "message"), [(1, "Connection closed by peer"), (2, "a bug")])
def test_other_errors_are_not_hidden(world_size: int, message: str) -> None:
    with pytest.raises(RuntimeError, match=message), one_message(trainer(world_size)):
        raise RuntimeError(message)


def test_nothing_else_is_touched() -> None:
    with one_message(trainer(2, [])):
        pass
    with pytest.raises(InputError, match="alone"), one_message(trainer(1)):
        raise InputError("alone")
