"""Numbers with units, as people read them."""


def human_bytes(count: float) -> str:
    """Bytes in decimal units.

    Example:
        >>> human_bytes(12_345_678)
        '12.3 MB'
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def human_time(seconds: float) -> str:
    """Seconds in the largest unit of which there is at least one.

    Example:
        >>> human_time(9000)
        '2.5 h'
    """
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.4g} {unit}"
    return f"{seconds:.4g} s"
