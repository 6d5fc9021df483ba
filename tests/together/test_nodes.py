"""`roentgate up` and a PACS of others: the web layer, the bridge's inner face and its job runner, each where it
really runs."""

import re
import time

import httpx
from commands import started
from dicoms import PREFIX, ct
from pacs import pacs

STUDY = f"{PREFIX}.1"


def test_a_pacs_is_echoed_searched_sent_to_and_looked_into(tmp_path):
    with (
        pacs(ct(9, study=2)) as there,
        started(tmp_path, "up", "--http-port", "0", "--dimse-port", "0") as (_, greeting),
    ):
        root = re.search(r"DICOMweb +(\S+)/dicom-web", greeting)[1]
        with httpx.Client(base_url=root, timeout=60) as client:
            node = {"host": "127.0.0.1", "port": there.port}
            assert client.put("/nodes/PACS", json=node).status_code == 200
            assert client.post("/aets/PACS/echo").json()["reached"] == "status"
            stored = client.post("/dicom-web/studies", content=ct(1), headers={"content-type": "application/dicom"})
            assert stored.status_code == 200
            job = client.post("/aets/PACS/send", json={"resources": [{"study": STUDY}]}).json()["id"]
            deadline = time.monotonic() + 60
            while (told := client.get(f"/jobs/{job}").json())["state"] != "done":
                assert time.monotonic() < deadline, told
            assert f"{STUDY}.1.1" in there.held
            found = client.get("/aets/PACS/studies").json()
            assert [row["0020000D"]["Value"][0] for row in found] == [STUDY, f"{PREFIX}.2"]
            assert len(client.get(f"/aets/PACS/studies/{PREFIX}.2/metadata").json()) == 1
            assert client.get(f"/dicom-web/studies/{PREFIX}.2/metadata").status_code == 404
