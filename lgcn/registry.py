"""One small registry: names to things, with errors that list the choices."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from lgcn.checks import InputError, check_choice

T = TypeVar("T")


class Registry(Generic[T]):
    """Names and the things of one kind that they stand for.

    Args:
        kind: what is registered, in the words of an error message ("backbone", "scheme").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> T:
        """Registers ``thing``; a name can be taken only once."""
        if name in self._things:
            raise InputError(f"Expected a new {self.kind} name (got '{name}', which is taken). Choose another name.")
        self._things[name] = thing
        return thing

    def register(self, name: str) -> Callable[[T], T]:
        """:meth:`add` as a decorator."""
        return lambda thing: self.add(name, thing)

    def names(self) -> list[str]:
        return sorted(self._things)

    def __getitem__(self, name: str) -> T:
        return self._things[check_choice(self.kind, name, self.names())]

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind}: {', '.join(self.names())})"
