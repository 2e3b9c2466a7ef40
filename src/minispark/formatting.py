"""Numbers and times as text: short forms (``12.0 M``) and exact forms (``12,000,000``)."""

from __future__ import annotations

from datetime import UTC, datetime

_AGES = ((86_400, "day", "days"), (3_600, "hour", "hours"), (60, "min", "min"), (1, "s", "s"))


def many(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 task``, ``1,200 tasks``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def count_words(number: float | None) -> str:
    """Return ``950``, ``12,400``, ``12.0 M``, or a dash for None."""
    if number is None:
        return "-"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,.0f}"


def bytes_words(size: float | None) -> str:
    """Return ``81.3 MB``, or a dash for None."""
    if size is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def duration_words(seconds: float | None) -> str:
    """Return ``12 ms``, ``2.3 s``, ``4 min 10 s``, ``2 h 5 min``, or a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def age_words(seconds: float) -> str:
    """Return ``just now``, ``12 s ago``, ``3 min ago``, ``1 hour ago``, ``4 days ago``."""
    if seconds < 5:
        return "just now"
    size, one, several = next(unit for unit in _AGES if seconds >= unit[0])
    count = int(seconds // size)
    return f"{count} {one if count == 1 else several} ago"


def count_text(number: int | None) -> str:
    """Return ``12,000,000``, or a dash for None."""
    return "-" if number is None else f"{number:,}"


def duration_text(seconds: float | None) -> str:
    """Return ``0.034 s`` or ``2.31 s``, or a dash for None."""
    if seconds is None:
        return "-"
    return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.2f} s"


def rate_text(records: int, seconds: float) -> str:
    """Return records per second in three digits: ``1.25 M records/s``."""
    rate = records / seconds if seconds > 0 else 0.0
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if rate >= size:
            return f"{rate / size:.3g} {unit} records/s"
    return f"{rate:.3g} records/s"


def local_time(at: float, pattern: str = "%F %T") -> str:
    """Return seconds since the epoch as a time in the zone of this machine."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime(pattern)
