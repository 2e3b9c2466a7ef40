"""Numbers and times as people write them."""

from __future__ import annotations


def many(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 task``, ``1,200 tasks``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def count_words(number: float | None) -> str:
    """Return ``950``, ``12,400``, ``12.0 M``, or a dash where nothing was counted."""
    if number is None:
        return "-"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,.0f}"


def bytes_words(size: float | None) -> str:
    """Return ``81.3 MB``."""
    if size is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def duration_words(seconds: float | None) -> str:
    """Return ``12 ms``, ``2.3 s``, ``4 min 10 s``, ``2 h 5 min``, or a dash."""
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
