"""When our certificates end, as a gauge: whoever is told weeks before renews them in time."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from dicomweb.telemetry.measures import Gauge


def certificates(files: Mapping[str, str]) -> Iterator[Gauge]:
    """Yield when the first certificate of each file ends.

    Args:
        files: PEM files by what they are for; those that are "" or cannot be read are passed over.
    """
    ends = {use: _end(Path(file)) for use, file in files.items() if file}
    values = [((use,), end) for use, end in ends.items() if end is not None]
    if values:
        doc = "When the certificate of a port ends."
        yield Gauge("roentgate_certificate_end_timestamp_seconds", doc, ("port",), values)


def _end(file: Path) -> float | None:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        found = load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return None
    return found[0].not_valid_after_utc.timestamp()
