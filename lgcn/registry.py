"""Registry of objects by name; an unknown name is an error that lists the choices."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, overload

from lgcn.checks import InputError, check_choice

T = TypeVar("T")

OWN_HINT = (
    "If it is your own, import the module that registers it before, on the command line with lgcn --import MODULE "
    "COMMAND ..."
)
"""End of an error about a name that nothing is registered under."""


class Registry(Generic[T]):
    """Map names to objects of one kind.

    >>> shapes: Registry[int] = Registry("shape")
    >>> shapes.register("square", 4)
    4
    >>> shapes["square"]
    4

    Args:
        kind: kind of the objects, used in error messages ("backbone", "scheme").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}

    @overload
    def register(self, name: str, thing: T) -> T: ...

    @overload
    def register(self, name: str) -> Callable[[T], T]: ...

    def register(self, name: str, thing: T | None = None) -> T | Callable[[T], T]:
        """Register ``thing`` under ``name``; without ``thing``, return a decorator that does.

        Args:
            name: a new name; the object's own if it has an attribute ``name``.
            thing: a class, a function or an object.

        Returns:
            ``thing``, or the decorator, which returns what it decorates.

        Raises:
            InputError: if the name is taken or differs from the object's own.
        """
        if thing is None:
            return lambda decorated: self.register(name, decorated)
        own = getattr(thing, "name", name)
        if isinstance(own, str) and own != name:
            raise InputError(f"Expected 'name' to be the {self.kind}'s own, '{own}' (got '{name}').")
        if name in self._things:
            raise InputError(f"Expected a new {self.kind} name (got '{name}', which is taken). Choose another name.")
        self._things[name] = thing
        return thing

    def names(self) -> list[str]:
        """Return the registered names in alphabetical order."""
        return sorted(self._things)

    def __getitem__(self, name: str) -> T:
        return self._things[check_choice(self.kind, name, self.names(), OWN_HINT)]

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind}: {', '.join(self.names())})"
