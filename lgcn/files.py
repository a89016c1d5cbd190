"""Atomic writing of files, their real paths, and reversible escaping of their names."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_OUTER_SPACES = re.compile(r"^ +| +$")
_SURROGATE = re.compile("[\ud800-\udfff]")


@contextmanager
def replace_when_done(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it to ``path`` unless the block raises.

    The temporary name keeps the suffix, so that writers that choose a format by it still do. A link is followed, and
    a device or a pipe, such as ``/dev/stdout``, is written to directly. Libraries that write with C code may miss
    a full disk: use :func:`write_from_memory` for them.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    if path.is_symlink():
        path = Path(real_path(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Short, because the file name may already be as long as the file system allows.
    temporary = path.with_name(f".{path.stem[:16]}.{token_hex(4)}{path.suffix[:16]}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    r"""Write ``text`` to ``path`` as UTF-8, whole or not at all.

    What UTF-8 cannot encode (the bytes of a file name that is not UTF-8) is written as ``\udcff``, see
    :func:`printable`.
    """
    with replace_when_done(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def write_from_memory(path: str | Path) -> Iterator[io.BytesIO]:
    """Yield a buffer; write its content to ``path``, whole or not at all, unless the block raises.

    For images and plots: the C code of Pillow's encoders reports success when the disk fills up, and leaves a truncated
    file.
    """
    buffer = io.BytesIO()
    yield buffer
    with replace_when_done(path) as temporary, temporary.open("wb") as file:
        file.write(buffer.getbuffer())


def real_path(path: str | os.PathLike[str]) -> str:
    """The absolute path without links, as from :meth:`Path.resolve`, but also for links in a circle."""
    return os.path.realpath(path)


def printable(text: str, encoding: str = "utf-8") -> str:
    r"""``text`` in one line that ``encoding`` can encode: every other character becomes an escape sequence.

    File names may hold line breaks, control characters, and bytes that are not UTF-8 (which Python holds as lone
    surrogates): they become ``\x0a``, ``\u2028`` or ``\udcff``. Use it for messages and reports, and
    :func:`escape_name` where the name must be read back.

    >>> printable("a\nb")
    'a\\x0ab'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escaped, text)).encode(encoding, "backslashreplace").decode(encoding)


def escape_name(name: str, encoding: str = "utf-8") -> str:
    r"""A file name escaped like :func:`printable`, such that :func:`unescape_name` restores it.

    Names without special characters do not change; backslashes do not either, unless an escape sequence seems to
    follow. Spaces at either end, which readers of CSV strip, become ``\x20``.
    """
    escaped = printable(_ESCAPE.sub(lambda escape: rf"\x5c{escape[0][1:]}", name), encoding)
    return _OUTER_SPACES.sub(lambda spaces: len(spaces[0]) * r"\x20", escaped)


def unescape_name(name: str) -> str:
    r"""The inverse of :func:`escape_name`.

    >>> unescape_name(r"a\x0ab")
    'a\nb'
    """

    def character(escape: re.Match[str]) -> str:
        code = int(escape[1] or escape[2] or escape[3], 16)
        return chr(code) if code <= 0x10FFFF else escape[0]

    return _ESCAPE.sub(character, name)


def escape_surrogates(json_text: str) -> str:
    r"""JSON that UTF-8 can encode: lone surrogates, which stand for bytes of file names, become ``\udcff``.

    That is JSON's own escape sequence: ``json.loads`` restores the name.
    """
    return _SURROGATE.sub(lambda surrogate: f"\\u{ord(surrogate[0]):04x}", json_text)


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
