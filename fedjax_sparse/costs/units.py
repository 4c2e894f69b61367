"""Numbers with units, as people read them."""


def human_bytes(count: float) -> str:
    """Bytes in decimal units, such as 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
