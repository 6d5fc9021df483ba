"""Warning headers: what was done otherwise than asked (PS3.18 8.3.4, RFC 7234 5.5)."""


def write_warning(service: str, text: str) -> bytes:
    """Write a Warning header with code 299 (PS3.18 8.3.4.2, RFC 7234 5.5). The text may hold anything that a
    client sent, so that whatever is not printable ASCII goes out escaped."""
    printable = text.encode("ascii", "backslashreplace").decode()
    printable = "".join(c if c.isprintable() else " " for c in printable)
    quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 {service} "{quoted}"'.encode("ascii")
