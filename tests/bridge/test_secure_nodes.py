"""Nodes behind TLS, with certificates on both sides: by DIMSE, and by DICOMweb with OAuth client credentials."""

import io
import json
import ssl
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass, field

import pydicom
import pytest
from authority import Authority
from bridged import needs, run
from dcmtk import dcmtk
from dicoms import PREFIX, ct
from exchanged import exchanged
from pacs import pacs
from ports import free_port
from postgresql import drop_database, new_database
from served import Served
from servers import running

STUDY = {"study": f"{PREFIX}.1"}
UIDS = {f"{PREFIX}.1.1.{number}" for number in range(1, 6)}


@pytest.fixture
def authority(tmp_path):
    folder = tmp_path / "certificates"
    folder.mkdir()
    return Authority(folder)


def mutual(authority, server) -> ssl.SSLContext:
    """TLS of a server that wants a certificate of its clients."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.load_cert_chain(*server)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def shown(authority, client=None):
    """What a node's settings say of certificates."""
    certificate, key = client or ("", "")
    return {"ca": str(authority.file), "client_cert": certificate, "client_key": key}


def layers(here, name):
    """The layers that an echo reached, and the one at which it ended with what is to say."""
    told = here.client.post(f"/aets/{name}/echo").json()
    reached = [layer["name"] for layer in told["layers"] if layer["ok"]]
    (failed,) = [(layer["name"], layer["detail"]) for layer in told["layers"] if not layer["ok"]] or [("", "")]
    assert told["ok"] == (not failed[0])
    return reached, *failed


def same(left: bytes, right: bytes) -> bool:
    return pydicom.dcmread(io.BytesIO(left)).to_json_dict() == pydicom.dcmread(io.BytesIO(right)).to_json_dict()


def test_jobs_and_echo_reach_a_node_over_tls_with_a_certificate(tmp_path, authority):
    tls = mutual(authority, authority.issue("pacs"))
    with exchanged(tmp_path / "web") as here, pacs(tls=tls) as there:
        here.add_pacs(there, tls=True, **shown(authority, authority.issue("us")))
        assert layers(here, "PACS") == (["name", "tcp", "tls", "association", "status"], "", "")
        objects = [ct(number) for number in range(1, 6)]
        here.served.store(*objects)
        job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]))
        assert job["state"] == "done", job
        for data in objects:
            sent = pydicom.dcmread(io.BytesIO(data))
            assert there.held[sent.SOPInstanceUID].to_json_dict() == sent.to_json_dict()
        here.client.delete(f"/dicom-web/studies/{PREFIX}.1")
        job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[STUDY]))
        assert (job["state"], job["progress"]["done"]) == ("done", 5), job
        assert here.instances() == UIDS
        held = {held.instance: here.served.archive.storage.read(held.key) for held in here.served.archive.index.walk()}
        assert all(same(held[pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID], data) for data in objects)


@pytest.mark.parametrize(
    ("issued", "said"),
    [
        ({"days": -1}, "expired"),
        ({"host": "127.0.0.9"}, "mismatch"),
    ],
    ids=["expired", "another name"],
)
def test_a_certificate_that_does_not_pass_ends_an_echo_and_a_job_at_tls(tmp_path, authority, issued, said):
    tls = mutual(authority, authority.issue("pacs", **issued))
    with exchanged(tmp_path / "web") as here, pacs(tls=tls) as there:
        here.add_pacs(there, tls=True, **shown(authority, authority.issue("us")))
        reached, failed, detail = layers(here, "PACS")
        assert (reached, failed) == (["name", "tcp"], "tls")
        assert said in detail
        here.served.store(ct())
        job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]), ("waiting", "failed"))
        while job["state"] == "waiting" and not job["error"]:
            job = here.end_of(job["id"], ("waiting", "failed"))
        assert said in job["error"]
        assert not there.held


def test_a_node_that_wants_a_certificate_of_ours_and_gets_none_is_told_at_tls(tmp_path, authority):
    tls = mutual(authority, authority.issue("pacs"))
    with exchanged(tmp_path / "web") as here, pacs(tls=tls) as there:
        here.add_pacs(there, tls=True, **shown(authority))
        reached, failed, detail = layers(here, "PACS")
        assert (reached, failed) == (["name", "tcp"], "tls")
        assert "client_cert" in detail


@needs("storescp")
def test_storescp_takes_objects_over_tls(tmp_path, authority):
    if "no OpenSSL" in run("storescp", "--version", status=None):
        pytest.skip("storescp was built without OpenSSL")
    certificate, key = authority.issue("storescp")
    port, folder = free_port(), tmp_path / "there"
    folder.mkdir()
    tls = ("+tls", key, certificate, "+cf", authority.file, "-rc")
    with dcmtk("storescp", *tls, "+xa", "+B", "-od", folder, port, port=port), exchanged(tmp_path / "web") as here:
        us = shown(authority, authority.issue("us"))
        here.add_node("STORESCP", host="127.0.0.1", port=port, tls=True, **us)
        assert layers(here, "STORESCP") == (["name", "tcp", "tls", "association", "status"], "", "")
        objects = [ct(number) for number in range(1, 6)]
        here.served.store(*objects)
        job = here.end_of(here.ask("/aets/STORESCP/send", resources=[STUDY]))
        assert job["state"] == "done", job
        arrived = {pydicom.dcmread(path).SOPInstanceUID: path.read_bytes() for path in folder.iterdir()}
        assert all(same(arrived.pop(pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID), data) for data in objects)
        assert not arrived


# -- DICOMweb -------------------------------------------------------------------------------------------------


@dataclass
class Guarded:
    """A server that lets in who shows a token which it gave out for client credentials (RFC 6749 4.4).

    Attributes:
        served: the application behind.
        tokens: that were given out.
        turned_away: paths that were asked for without one.
    """

    served: Served
    tokens: list[str] = field(default_factory=list)
    turned_away: list[str] = field(default_factory=list)

    async def app(self, scope, receive, send):
        if scope["type"] != "http":
            return
        shown = dict(scope["headers"]).get(b"authorization", b"").decode()
        if scope["path"] == "/token":
            body = b""
            while (message := await receive()).get("more_body") or message.get("body"):
                body += message["body"]
                if not message.get("more_body"):
                    break
            form = urllib.parse.parse_qs(body.decode())
            assert form == {"grant_type": ["client_credentials"], "scope": ["dicom"]}
            if shown == "Basic dXM6czNjcmV0":  # us:s3cret
                self.tokens.append(f"token-{len(self.tokens)}")
                told = {"access_token": self.tokens[-1], "token_type": "Bearer", "expires_in": 3600}
                await answer(send, 200, told)
            else:
                await answer(send, 401, {"error": "invalid_client"})
        elif shown.removeprefix("Bearer ") in self.tokens:
            await self.served.client.app(scope, receive, send)
        else:
            self.turned_away.append(scope["path"])
            await answer(send, 401, {"detail": "show a token"})


async def answer(send, status, value):
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def uptown(folder, authority, server):
    """Another Roentgate, behind TLS with certificates on both sides and a token service."""
    guarded = Guarded(Served(folder))
    certificate, key = server
    files = {"tls_cert": certificate, "tls_key": key, "tls_client_ca": str(authority.file)}
    with running(guarded.app, **files) as there:
        yield guarded, f"https://127.0.0.1:{there.port}"


def oauth(root, secret="s3cret"):
    return {
        "kind": "dicomweb", "url": f"{root}/dicom-web", "token_url": f"{root}/token", "client_id": "us",
        "client_secret": secret, "scope": "dicom",
    }  # fmt: skip


def test_two_hospitals_exchange_over_https_with_certificates_and_tokens(tmp_path, authority):
    us = shown(authority, authority.issue("us"))
    with (
        exchanged(tmp_path / "one") as here,
        uptown(tmp_path / "two", authority, authority.issue("them")) as (two, root),
    ):
        here.add_node("uptown", **oauth(root), **us)
        told = here.client.post("/aets/uptown/echo").json()
        assert told["ok"], told
        here.served.store(*(ct(number) for number in range(1, 4)))
        two.served.store(*(ct(number, study=7) for number in range(1, 4)))
        sent = here.end_of(here.ask("/aets/uptown/send", resources=[STUDY]))
        assert sent["state"] == "done", sent
        brought = here.end_of(here.ask("/aets/uptown/retrieve", resources=[{"study": f"{PREFIX}.7"}]))
        assert brought["state"] == "done", brought
        ours = {held.instance: held.digest for held in here.served.archive.index.walk()}
        theirs = {held.instance: held.digest for held in two.served.archive.index.walk()}
        assert ours == theirs
        assert len(ours) == 6
        assert two.turned_away == []
        assert two.tokens


@pytest.mark.parametrize(
    ("issued", "said"), [({"days": -1}, "expired"), ({"host": "127.0.0.9"}, "match")], ids=["expired", "another name"]
)
def test_a_web_server_whose_certificate_does_not_pass_is_told_at_tls(tmp_path, authority, issued, said):
    us = shown(authority, authority.issue("us"))
    server = authority.issue("them", **issued)
    with exchanged(tmp_path / "one") as here, uptown(tmp_path / "two", authority, server) as (_, root):
        here.add_node("uptown", **oauth(root), **us)
        reached, failed, detail = layers(here, "uptown")
        assert (reached, failed) == (["name", "tcp"], "tls")
        assert said in detail
        here.served.store(ct())
        job = here.end_of(here.ask("/aets/uptown/send", resources=[STUDY]), ("waiting",))
        while not job["error"]:
            job = here.end_of(job["id"], ("waiting",))
        assert said in job["error"]


def test_a_web_server_that_gives_no_token_fails_the_job_with_its_reason(tmp_path, authority):
    us = shown(authority, authority.issue("us"))
    with (
        exchanged(tmp_path / "one") as here,
        uptown(tmp_path / "two", authority, authority.issue("them")) as (two, root),
    ):
        here.add_node("uptown", **oauth(root, "wrong"), **us)
        here.served.store(ct())
        job = here.end_of(here.ask("/aets/uptown/send", resources=[STUDY]))
        assert job["state"] == "failed"
        assert "invalid_client" in job["error"]
        assert not two.served.archive.index.walk()


# -- PostgreSQL -----------------------------------------------------------------------------------------------


@pytest.fixture
def database():
    url = new_database()
    yield url
    drop_database(url)


def test_jobs_run_from_end_to_end_on_postgresql(tmp_path, database):
    with exchanged(tmp_path, index=database) as here, pacs() as there:
        try:
            there.refuse = {f"{PREFIX}.1.1.2"}
            here.add_pacs(there)
            here.served.store(*(ct(number) for number in range(1, 6)))
            job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]))
            assert (job["state"], job["progress"]["failed"]) == ("failed", 1)
            assert set(there.held) == UIDS - there.refuse
            there.refuse.clear()
            assert here.client.post(f"/jobs/{job['id']}/retry").status_code == 200
            again = here.end_of(job["id"])
            assert (again["state"], again["progress"]["skipped"]) == ("done", 4)
            here.client.delete(f"/dicom-web/studies/{PREFIX}.1")
            assert here.instances() == set()
            job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[STUDY]))
            assert (job["state"], job["progress"]["done"]) == ("done", 5), job
            assert here.instances() == UIDS
            listed = here.client.get("/jobs").json()["jobs"]
            assert [each["state"] for each in listed] == ["done", "done"]
        finally:
            here.served.archive.close()
