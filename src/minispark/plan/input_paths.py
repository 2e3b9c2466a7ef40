"""What an input path means, for JSON jobs and for the command line.

- The name of an existing file is that file, even if the name looks like a pattern.
- A directory is all files in it and in the directories below it, at any depth. Left out are names
  that begin with ``.`` or ``_`` (but not ``_k=v``, a partition), names that end in ``.crc``, and
  empty files. The other files must have the same format, by their endings.
- A pattern is what Polars matches with it: hidden files too, if they match.
- The format of a file is known from its ending; before ``.gz``, ``.zst`` or ``.zlib`` comes the
  ending that counts. Files with other endings are text lines.

Covers: the files of a path in Polars' order, what Polars is given to read the same files, and their
format. Does not cover: which paths a job may name (`minispark.jobs.paths`).
"""

from __future__ import annotations

import codecs
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from glob import escape, has_magic
from pathlib import Path, PurePath
from typing import Final

from minispark.errors import UsageError
from minispark.plan.scan_files import first_bytes, is_compressed, listed

ENDINGS: Final[Mapping[str, str]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
    ".txt": "text",
}
"""Formats by the endings of files."""
HIDDEN: Final = (".", "_")
"""Names that begin so are left out of directories."""
_COMPRESSED: Final = frozenset({".gz", ".zst", ".zlib"})
_CHECKSUMS: Final = ".crc"
_DELTA_LOG: Final = "_delta_log"
_BINARY_FORMATS: Final = frozenset({"parquet", "arrow"})
_SNIFFED_BYTES: Final = 4096
_SNIFFED_FILES: Final = 100
"""More files are not looked at: reading them says what is wrong, but in the words of Polars."""
_SHOWN_ENDINGS: Final = 5


class Listing(Enum):
    """How Polars lists the files of a path by itself."""

    SAME = "from the path alone"
    HIDDEN_PREFIX = "if it leaves out names that begin as in `HIDDEN`"
    NAMED = "not: each file has to be named"


@dataclass(frozen=True, slots=True)
class InputFiles:
    """The files of one path, in Polars' order, and the path or pattern for Polars."""

    source: str
    files: tuple[str, ...]
    listing: Listing = Listing.SAME
    hive: bool = False
    """Whether a directory between the path and a file is a partition, ``k=v``."""


def files_of(path: str, *, start: Path | None = None) -> InputFiles:
    """Return the files of an absolute path: a file, a directory or a pattern.

    ``start`` is a directory whose own name is no pattern, if ``path`` lies in it. The files are
    none if nothing matches, or only empty files do.

    Raises
    ------
    UsageError
        The files of the path cannot be listed.
    """
    if is_directory(path):
        return _files_in(path)
    pattern = path
    if has_magic(path):
        if _exists(path):
            pattern = escape(path)
        elif start is not None and Path(path).is_relative_to(start):
            pattern = str(Path(escape(str(start))) / Path(path).relative_to(start))
    return InputFiles(pattern, listed([pattern], glob=True))


def is_directory(path: str) -> bool:
    """Whether a path is a directory; false for a name that is too long for one."""
    return _exists(path) and Path(path).is_dir()


def empty_files(path: str) -> list[Path]:
    """Return the files of a path that `files_of` returned no files for."""
    if is_directory(path):
        return [file for file in sorted(Path(path).rglob("*")) if _is_data(file, path)]
    files = [Path(path)] if _exists(path) else Path("/").glob(path.lstrip("/"))
    return [file for file in files if file.is_file()]


def polars_sources(
    inputs: Sequence[InputFiles], *, parquet: bool
) -> tuple[list[str], list[str] | None]:
    """Return the paths with which Polars reads the same files, and its ``hidden_file_prefix``.

    Raises
    ------
    UsageError
        Polars would not take the columns of partitions from the names of directories.
    """
    if parquet and len(inputs) == 1 and inputs[0].listing is Listing.HIDDEN_PREFIX:
        return [inputs[0].source], list(HIDDEN)
    sources: list[str] = []
    for each in inputs:
        if each.listing is Listing.SAME:
            sources.append(each.source)
            continue
        if parquet and each.hive:
            msg = "holds other directories beside those of partitions, such as k=v"
            hint = f"Name the files by a pattern, such as {each.source}/*/*.parquet."
            raise UsageError(msg, code="MS-168", file=each.source, hint=hint)
        sources += map(escape, each.files)
    return sources, None


def ending(path: str) -> str:
    """Return the ending of a file's name in lower case, without that of its compression."""
    endings = [suffix.lower() for suffix in PurePath(path).suffixes]
    return next((each for each in reversed(endings) if each not in _COMPRESSED), "")


def check_same_format(files: Iterable[str], path: str, *, directory: bool = False) -> None:
    """Refuse files of different formats, by their endings; ``directory``: they are of a directory.

    Raises
    ------
    UsageError
        The files have endings of different formats; the message names the endings.
    """
    endings = Counter(map(ending, files))
    if len({ENDINGS.get(each, each) for each in endings}) <= 1:
        return
    common = endings.most_common()
    shown = ", ".join(f"{each or 'none'} ({n})" for each, n in common[:_SHOWN_ENDINGS])
    more = ", ..." if len(common) > _SHOWN_ENDINGS else ""
    best = next((each for each, _ in common if each in ENDINGS), "")
    pattern = f" by a pattern: {path.rstrip('/')}/**/*{best}" if directory else ""
    hint = f"Name the files of one format{pattern}."
    msg = f"holds files with different endings: {shown}{more}"
    raise UsageError(msg, code="MS-168", file=path, hint=hint)


def format_of(files: Sequence[str], path: str) -> str:
    """Return the format of files, one of `ENDINGS`.

    Raises
    ------
    UsageError
        The files have different formats, or no text where their format is text.
    """
    check_same_format(files, path)
    known = ENDINGS.get(ending(files[0]))
    if known in _BINARY_FORMATS:
        return known
    for file in files[:_SNIFFED_FILES]:
        if not _is_text(first_bytes(file, _SNIFFED_BYTES)):
            shown = ending(file)
            kind = f"a file that ends in {shown}" if shown else "a file without an ending"
            msg = (
                f"is {kind} and holds no UTF-8 text"
                if len(files) == 1
                else f"has {kind} without UTF-8 text"
            )
            hint = f"Look at {file}. Endings of tables are: {', '.join(ENDINGS)}."
            raise UsageError(msg, code="MS-168", file=file, hint=hint)
    return known or "text"


def _files_in(directory: str) -> InputFiles:
    if (Path(directory) / _DELTA_LOG).is_dir():
        msg = "is a Delta table, whose files also contain deleted rows"
        hint = "Export the table to a directory of Parquet files."
        raise UsageError(msg, code="MS-168", file=directory, hint=hint)
    everything = listed([f"{escape(directory)}/**/*"], glob=True)
    files = tuple(file for file in everything if _is_visible(file, directory))
    hive = any("=" in os.path.relpath(Path(file).parent, directory) for file in files)
    if not files:
        endings = sorted({file.suffix for file in empty_files(directory)})
        source = f"{escape(directory)}/**/*{endings[0] if endings else ''}"
        return InputFiles(source if everything else directory, ())
    if len({Path(file).suffix for file in files}) > 1:
        return InputFiles(directory, files, Listing.NAMED, hive)
    if len(files) == len(everything):
        magic = has_magic(directory)
        source = f"{escape(directory)}/**/*" if magic else directory
        return InputFiles(source, files, Listing.SAME, hive)
    not_hidden = sum(not Path(file).name.startswith(HIDDEN) for file in everything)
    if not_hidden == len(files) and not has_magic(directory):
        return InputFiles(directory, files, Listing.HIDDEN_PREFIX, hive)
    return InputFiles(directory, files, Listing.NAMED, hive)


def _is_data(file: Path, directory: str) -> bool:
    return file.is_file() and _is_visible(str(file), directory)


def _is_visible(file: str, directory: str) -> bool:
    parts = PurePath(os.path.relpath(file, directory)).parts
    hidden = any(part[0] == "." or (part[0] == "_" and "=" not in part) for part in parts)
    return not (hidden or file.lower().endswith(_CHECKSUMS))


def _is_text(first: bytes) -> bool:
    if is_compressed(first):
        return True
    try:
        # The last character may be cut.
        text = codecs.getincrementaldecoder("utf-8")().decode(first)
    except UnicodeDecodeError:
        return False
    return "\0" not in text


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False
