"""DIMSE over TLS: BCP 195, certificates on both sides, and nothing else on that port."""

import contextlib
import socket
import ssl
import subprocess

import pytest
from bridged import bridged, needs, run
from dicoms import CT, PREFIX, ct
from ports import free_port
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from bridge import negotiation
from bridge.negotiation import Proposed, Request

VERIFICATION = "1.2.840.10008.1.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A folder with an authority, certificates of it, and one of another authority."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "other"):
        names = f"-keyout {authority}.key -out {authority}.pem -subj /CN={authority}"
        openssl(*f"req -x509 -newkey rsa:2048 -nodes -days 2 {names}".split())
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        openssl(*f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}".split())
        signed = f"-CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 2 -extfile names"
        openssl(*f"x509 -req -in {name}.csr {signed} -out {name}.pem".split())
    return folder


def secure(tmp_path, pki, mutual: bool = True, nodes: str = "", **more):
    settings = {
        "tls_port": free_port(),
        "tls_cert": str(pki / "server.pem"),
        "tls_key": str(pki / "server.key"),
        "tls_client_ca": str(pki / "ca.pem") if mutual else "",
    }
    return bridged(tmp_path, nodes, **settings, **more)


def context(pki, name: str = "client", ca: str = "ca") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=pki / f"{ca}.pem")
    if name:
        made.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    return made


def echo(port: int, tls: ssl.SSLContext) -> bool:
    """Whether an association comes about; refused certificates of ours show when the answer is read."""
    request = Request("TESTER", "ROENTGATE", (Proposed(1, VERIFICATION, (ExplicitVRLittleEndian,)),))
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        try:
            with tls.wrap_socket(sock, server_hostname="127.0.0.1") as secured:
                secured.sendall(negotiation.write_request(request, 16384))
                return secured.recv(1) == b"\x02"
        except OSError:
            return False


def test_a_peer_with_a_certificate_is_served(tmp_path, pki):
    with secure(tmp_path, pki) as system:
        assert echo(system.bridge.tls_port, context(pki))


@pytest.mark.parametrize("name", ["", "stranger"])
def test_a_peer_without_one_or_with_a_strange_one_is_not(tmp_path, pki, name, caplog):
    with secure(tmp_path, pki) as system:
        assert not echo(system.bridge.tls_port, context(pki, name))
        assert echo(system.bridge.tls_port, context(pki))
        assert "no TLS" in caplog.text


def test_without_authorities_nobody_is_asked_for_a_certificate(tmp_path, pki):
    with secure(tmp_path, pki, mutual=False) as system:
        assert echo(system.bridge.tls_port, context(pki, ""))


def test_plain_words_and_weak_ciphers_come_to_nothing(tmp_path, pki):
    with secure(tmp_path, pki, mutual=False) as system:
        with socket.create_connection(("127.0.0.1", system.bridge.tls_port), 10) as sock:
            sock.sendall(b"\x01\x00" + bytes(300))
            sock.settimeout(10)
            with contextlib.suppress(OSError):
                while sock.recv(4096):
                    pass
        for change in ("AES128-SHA", "AES256-SHA256"):  # no forward secrecy, no authenticated encryption
            weak = context(pki, "")
            weak.maximum_version = ssl.TLSVersion.TLSv1_2
            weak.set_ciphers(change)
            assert not echo(system.bridge.tls_port, weak)
        assert echo(system.bridge.tls_port, context(pki, ""))


def test_a_certificate_that_changes_is_read_again(tmp_path, pki):
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    certificate.write_bytes((pki / "stranger.pem").read_bytes())
    key.write_bytes((pki / "stranger.key").read_bytes())
    settings = {"tls_port": free_port(), "tls_cert": str(certificate), "tls_key": str(key)}
    with bridged(tmp_path, **settings) as system:
        assert not echo(system.bridge.tls_port, context(pki, ""))
        certificate.write_bytes((pki / "server.pem").read_bytes())
        key.write_bytes((pki / "server.key").read_bytes())
        assert echo(system.bridge.tls_port, context(pki, ""))


def test_objects_move_over_tls_to_a_node_that_wants_it(tmp_path, pki):
    received = []

    def store(event: evt.Event) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        return 0

    entity = AE("STORESCP")
    entity.add_supported_context(CT, ExplicitVRLittleEndian)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki / "ca.pem")
    theirs.load_cert_chain(pki / "server.pem", pki / "server.key")
    theirs.verify_mode = ssl.CERT_REQUIRED
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=theirs, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    node = f"""
[nodes.STORESCP]
host = "127.0.0.1"
port = {server.socket.getsockname()[1]}
tls = true
ca = "{pki / "ca.pem"}"
client_cert = "{pki / "client.pem"}"
client_key = "{pki / "client.key"}"
"""
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", f"{PREFIX}.1"
    try:
        with bridged(tmp_path, node) as system:
            system.served.store(ct(1), ct(2))
            association = system.associate(STUDY_MOVE)
            answers = [status for status, _ in association.send_c_move(query, "STORESCP", STUDY_MOVE)]
            association.release()
            assert answers[-1].Status == 0
            assert len(received) == 2
    finally:
        server.shutdown()
        server.server_close()


@needs("echoscu")
def test_echoscu_and_storescu_speak_tls(tmp_path, pki):
    if "no OpenSSL" in run("echoscu", "--version", status=None):
        pytest.skip("echoscu was built without OpenSSL")
    tls = ["+tls", pki / "client.key", pki / "client.pem", "+cf", pki / "ca.pem", "-aec", "ROENTGATE"]
    (tmp_path / "1.dcm").write_bytes(ct(1))
    with secure(tmp_path, pki) as system:
        run("echoscu", *tls, "127.0.0.1", system.bridge.tls_port)
        run("storescu", *tls, "127.0.0.1", system.bridge.tls_port, tmp_path / "1.dcm")
        assert system.instances() == {f"{PREFIX}.1.1.1"}
