"""`roentgate share`: links are made for a server that runs, and are worthless once revoked."""

import json
import subprocess

import dicoms
import httpx
import pytest
import requests
from commands import COMMAND, environment, run, run_json, served
from dicomweb_client import DICOMwebClient

NEAR = {"ROENTGATE_ACCESS": "true", "ROENTGATE_ACCESS_REMEMBER_SECONDS": "0"}
STUDY = f"{dicoms.PREFIX}.1"


def test_a_link_that_is_made_opens_its_study_at_a_running_server_until_it_is_revoked(tmp_path):
    with served(tmp_path, **NEAR) as server:
        root = f"http://127.0.0.1:{server.port}"
        key = run(tmp_path, "key", "add", "ct", "--role", "write").stdout.strip()
        headers = {"content-type": "application/dicom", "x-api-key": key}
        for study in (1, 2):
            assert httpx.post(f"{root}/dicom-web/studies", content=dicoms.ct(study=study), headers=headers).is_success
        given = {**NEAR, "ROENTGATE_PUBLIC_URL": root}
        made = run_json_with(tmp_path, given, "share", "create", STUDY, "--days", "2", "--right", "download")
        assert made["url"].startswith(f"{root}/s/{made['id']}#")
        rows = httpx.get(f"{made['dicomweb']}/studies").json()
        assert [row["0020000D"]["Value"] for row in rows] == [[STUDY]]
        assert httpx.get(f"{made['dicomweb']}/studies/{dicoms.PREFIX}.2/metadata").status_code == 404
        (told,) = run_json(tmp_path, "share", "list")
        assert told == {name: value for name, value in made.items() if name not in ("url", "dicomweb")}
        shown = run(tmp_path, "share", "list").stdout
        assert made["id"] in shown
        assert made["url"].partition("#")[2] not in shown
        assert run(tmp_path, "share", "revoke", made["id"], **NEAR).stdout.endswith("opens nothing any more.\n")
        assert httpx.get(f"{made['dicomweb']}/studies").status_code == 401
        assert "there is no link" in run(tmp_path, "share", "revoke", made["id"], status=1).stderr
        events = "".join(path.read_text() for path in (tmp_path / "data" / "audit").iterdir())
        assert '"share created"' in events
        assert '"share revoked"' in events


def test_a_library_reads_a_shared_study_by_its_address_alone(tmp_path):
    """What a program that can show nothing does: dicomweb-client, given the link as the root of the services."""
    with served(tmp_path, **NEAR) as server:
        root = f"http://127.0.0.1:{server.port}"
        key = run(tmp_path, "key", "add", "ct", "--role", "write").stdout.strip()
        headers = {"content-type": "application/dicom", "x-api-key": key}
        for study, number in ((1, 1), (1, 2), (2, 1)):
            data = dicoms.ct(number, study=study)
            assert httpx.post(f"{root}/dicom-web/studies", content=data, headers=headers).is_success
        given = {**NEAR, "ROENTGATE_PUBLIC_URL": root}
        made = run_json_with(tmp_path, given, "share", "create", STUDY, "--right", "download")
        client = DICOMwebClient(made["dicomweb"], session=requests.Session())
        assert [row["0020000D"]["Value"] for row in client.search_for_studies()] == [[STUDY]]
        found = client.retrieve_study(STUDY)
        assert {one.SOPInstanceUID for one in found} == {f"{STUDY}.1.1", f"{STUDY}.1.2"}
        (metadata, _) = client.retrieve_study_metadata(STUDY)
        assert metadata["7FE00010"]["BulkDataURI"].startswith(made["dicomweb"])
        frames = client.retrieve_instance_frames(STUDY, f"{STUDY}.1", f"{STUDY}.1.1", [1])
        assert frames[0] == found[0].PixelData or frames[0] == found[1].PixelData
        with pytest.raises(requests.HTTPError, match="404"):
            client.retrieve_study_metadata(f"{dicoms.PREFIX}.2")
        with pytest.raises(requests.HTTPError, match="403"):
            client.store_instances(found[:1])


def run_json_with(folder, env, *arguments):
    return json.loads(run(folder, *arguments, "--json", **env).stdout)


def test_a_passphrase_comes_by_standard_input_and_what_makes_no_link_is_said(tmp_path):
    with served(tmp_path, **NEAR) as server:
        root = f"http://127.0.0.1:{server.port}"
        key = run(tmp_path, "key", "add", "ct", "--role", "write").stdout.strip()
        headers = {"content-type": "application/dicom", "x-api-key": key}
        assert httpx.post(f"{root}/dicom-web/studies", content=dicoms.ct(study=1), headers=headers).is_success
    made = subprocess.run(
        [*COMMAND, "share", "create", STUDY, "--passphrase"], cwd=tmp_path, env=environment(**NEAR), text=True,
        input="drei Affen\n", capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert "#" in made.stdout
    (told,) = run_json(tmp_path, "share", "list")
    assert told["passphrase"] is True
    assert "no such study" in run(tmp_path, "share", "create", "1.2.3", status=1, **NEAR).stderr
    assert "days is a number" in run(tmp_path, "share", "create", STUDY, "--days", "99", status=1, **NEAR).stderr
    assert "access = true" in run(tmp_path, "share", "create", STUDY, status=2).stderr


def test_all_links_of_somebody_are_revoked_at_once(tmp_path):
    with served(tmp_path, **NEAR) as server:
        key = run(tmp_path, "key", "add", "ct", "--role", "write").stdout.strip()
        headers = {"content-type": "application/dicom", "x-api-key": key}
        url = f"http://127.0.0.1:{server.port}/dicom-web/studies"
        assert httpx.post(url, content=dicoms.ct(study=1), headers=headers).is_success
        given = {**NEAR, "ROENTGATE_PUBLIC_URL": f"http://127.0.0.1:{server.port}"}
        made = [run_json_with(tmp_path, given, "share", "create", STUDY) for _ in range(2)]
        owner = made[0]["owner"]
        assert owner.startswith("command ")
        assert run_json_with(tmp_path, NEAR, "share", "revoke", "--owner", owner) == {"revoked": 2}
        assert run_json(tmp_path, "share", "list") == []
        assert httpx.get(f"{made[0]['dicomweb']}/studies").status_code == 401
