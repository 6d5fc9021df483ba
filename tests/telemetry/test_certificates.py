"""When certificates end."""

import time

from authority import Authority

from dicomweb.telemetry.certificates import certificates


def test_the_end_of_each_certificate_is_told_and_what_cannot_be_read_is_passed_over(tmp_path):
    authority = Authority(tmp_path)
    soon, _ = authority.issue("soon", days=3)
    over, _ = authority.issue("over", days=-1)
    (tmp_path / "broken.pem").write_text("no certificate")
    files = {"http": soon, "dimse": over, "none": "", "away": "/nowhere.pem", "broken": str(tmp_path / "broken.pem")}
    (gauge,) = certificates(files)
    ends = {port: (end - time.time()) / 86400 for (port,), end in gauge.values}
    assert {port: round(days) for port, days in ends.items()} == {"http": 3, "dimse": -1}


def test_without_certificates_nothing_is_told():
    assert list(certificates({"http": ""})) == []
