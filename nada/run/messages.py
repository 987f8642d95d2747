"""Format unchecked values of a file for an error message."""


def shown(value, most: int = 80) -> str:
    """A value of a file for a message: one line, printable, at most `most` characters.

    A container is shown by its type only: nested shared lists can have endless text.
    """
    if isinstance(value, str | bytes):
        value = value[: 5 * most]
    elif isinstance(value, int) and value.bit_length() > 64:
        value = f"a number of {value.bit_length()} bits"
    elif not isinstance(value, int | float | BaseException | None):
        value = f"a {type(value).__name__}"
    clean = "".join(c if c.isprintable() else " " for c in str(value)[: 5 * most])
    clean = " ".join(clean.split())
    return clean if len(clean) <= most else clean[: most - 3] + "..."


def quoted(value) -> str:
    """A value of a file for a message, as Python writes it: text in quotes, short lists."""
    if isinstance(value, str):
        return f"'{shown(value)}'"
    if isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value[:9]):
        return f"[{', '.join(shown(v, 20) for v in value[:8])}{', ...' if len(value) > 8 else ''}]"
    return shown(value)
