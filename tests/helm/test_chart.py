"""The chart, rendered by real Helms, and held to what it promises."""

import functools
import importlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chart
import pytest
import yaml
from helms import helm

from dicomweb.cli import parser
from dicomweb.config import IN_FILES, Config, settings
from dicomweb.standard.nodes import read_nodes
from dicomweb.telemetry.measures import MEASURES, Histogram
from dicomweb.web.routes import TABLE

CASES = {path.stem: path for path in sorted((chart.CHART / "ci").glob("*.yaml"))}
WORKLOADS = ("Deployment", "StatefulSet")
NAMES = {spec.variable for spec in settings()} | {f"ROENTGATE_{name.upper()}_FILE" for name in IN_FILES}
GOOD = ("bridgeToken.existingSecret=b",)
MANY = (
    *GOOD,
    *("index.kind=postgresql", "index.existingSecret=i", "storage.kind=s3", "storage.bucket=b", "web.replicas=2"),
)  # fmt: skip
ROUTED = ("web.httpRoute.enabled=true", "web.httpRoute.parentRefs[0].name=g", "web.httpRoute.hostnames[0]=a.b")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def ask(version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm(version), *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    known = ("--api-versions", "monitoring.coreos.com/v1")
    return ask(version, "template", "rel", str(chart.CHART), "--namespace", "pacs", *known, *arguments)


def rendered(*values: str, file: str = "", version: str = "4") -> list[dict[str, Any]]:
    return _rendered(values, file, version)


@functools.lru_cache(maxsize=64)
def _rendered(values: tuple[str, ...], file: str, version: str) -> list[dict[str, Any]]:
    chosen = [word for each in values for word in ("--set", each)]
    done = template(version, *chosen, *(("-f", str(CASES[file])) if file else ()))
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def refused(*values: str) -> str:
    done = template("4", *(word for each in values for word in ("--set", each)))
    assert done.returncode != 0, "this should be refused"
    return done.stderr


def of(kind: str, objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def own(spec: dict[str, Any]) -> dict[str, Any]:
    """Our container of a pod."""
    container: dict[str, Any] = spec["containers"][0]
    return container


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Specifications of all pods by the name of what makes them."""
    made = [each for each in objects if each["kind"] in (*WORKLOADS, "Job")]
    found = {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in made}
    return found | {name: each["spec"] for name, each in of("Pod", objects).items()}


def variables(objects: list[dict[str, Any]], workload: dict[str, Any], secrets: Path) -> dict[str, str]:
    """The environment of a workload's first container, as its pods see it; files of secrets are made below a folder."""
    container = own(workload["spec"]["template"]["spec"])
    maps = of("ConfigMap", objects)
    seen: dict[str, str] = {}
    for source in container.get("envFrom", []):
        seen |= maps[source["configMapRef"]["name"]]["data"]
    seen |= {each["name"]: each.get("value", "pod-0") for each in container["env"]}
    for name, value in seen.items():
        if name.endswith("_FILE") and value.startswith("/secrets/"):
            file = secrets / value.strip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("postgresql://somebody@database/archive" if "INDEX" in name else "secret")
            seen[name] = str(file)
    return seen


every_case = pytest.mark.parametrize("case", CASES)


# -- what Helm itself says -----------------------------------------------------------------------------------
@pytest.mark.parametrize("version", ["3", "4"])
@every_case
def test_it_lints_strictly(version, case):
    done = ask(version, "lint", "--strict", str(chart.CHART), "-f", str(CASES[case]))
    assert done.returncode == 0, done.stdout + done.stderr


@every_case
def test_helm_3_and_4_render_the_same(case):
    def by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
        return {(each["kind"], each["metadata"]["name"]): each for each in objects}

    assert by_name(rendered(file=case, version="3")) == by_name(rendered(file=case, version="4"))


@every_case
@pytest.mark.parametrize("version", ["1.27", "1.31", "1.37"])
def test_kubernetes_takes_what_it_renders(case, version):
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for each in rendered(file=case):
        if not each["apiVersion"].startswith(("monitoring.coreos.com/", "gateway.networking.k8s.io/")):
            validate.validate(each, version, strict=True)


def test_the_schema_is_that_of_the_values_and_of_the_settings():
    assert chart.SCHEMA.read_text() == chart.write_schema(), "run `make readme`"


def test_what_the_chart_keeps_to_itself_are_settings():
    assert {spec.name for spec in settings()} >= chart.OURS


@pytest.mark.parametrize(
    "value",
    [
        "webb.replicas=1",
        "web.replcas=1",
        "settings.serch_page=5",
        "settings.http_host=::",
        "bridge.service.nodePort=104",
        "web.service.port=70000",
        "index.kind=mysql",
        "bridge.aet=ABCDEFGHIJKLMNOPQ",
        "drain.gracefulSeconds=soon",
        "bridge.moreServices[0].type=NodePort",
        "bridge.moreServices[0].name=Ward",
        "nodes.CT1.prot=104",
        "nodes.CT1.port=many",
        "networkPolicy.dimseFrom[0]=ct1.example",
        "bridge.service.loadBalancerSourceRanges[0]=all",
        "commonLabels.team=7",
        "web.extraEnv[0]=A",
    ],
)
def test_a_slip_in_a_value_fails_the_install(value):
    assert "values don't meet the specifications" in refused(*GOOD, value)


def _closed(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Paths of all objects whose names are known."""
    if "properties" in schema:
        yield path
        for name, each in schema["properties"].items():
            yield from _closed(each, f"{path}.{name}".strip("."))


CLOSED = list(_closed(json.loads(chart.SCHEMA.read_text())))


def test_k2_the_schema_is_closed_at_every_level():
    def check(schema: dict[str, Any], path: str) -> None:
        if schema.get("type") == "array":
            assert "items" in schema, path
            check(schema["items"], f"{path}[]")
        elif schema.get("type") == "object" and "properties" in schema:
            assert schema["additionalProperties"] is False, path
            for name, each in schema["properties"].items():
                check(each, f"{path}.{name}")
        elif schema.get("type") == "object":
            last = path.rpartition(".")[2].removesuffix("[]")
            assert last in {*chart.FREE, "global"} or isinstance(schema.get("additionalProperties"), dict), path

    check(json.loads(chart.SCHEMA.read_text()), "")
    assert len(CLOSED) > 30


def test_k2_a_slip_at_any_level_fails_the_install():
    slips = [f"{path}.tpyo=1".strip(".") for path in CLOSED]
    said = refused(*GOOD, *slips)
    for path in CLOSED:
        where = "/" * bool(path) + path.replace(".", "/")
        assert f"at '{where}'" in said, path
    assert said.count("'tpyo'") >= len(CLOSED)


def test_the_readme_of_the_chart_lists_every_value():
    table = chart.README.read_text()
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())

    def check(value: Any, path: str) -> None:
        if isinstance(value, dict) and value and f"| `{path}` |" not in table:
            for name, each in value.items():
                check(each, f"{path}.{name}".strip("."))
        else:
            assert f"| `{path}` |" in table, path

    check(values, "")


def test_k16_what_registries_show_is_there():
    told = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    assert told["kubeVersion"] == ">=1.27.0-0"
    notes = told["annotations"]
    assert notes["artifacthub.io/license"] == "MIT"
    (image,) = yaml.safe_load(notes["artifacthub.io/images"])
    assert image["image"] == f"roentgate:{told['appVersion']}"
    for change in yaml.safe_load(notes["artifacthub.io/changes"]):
        assert change["kind"] in {"added", "changed", "deprecated", "removed", "fixed", "security"}
        assert change["description"]


@pytest.mark.parametrize("version", ["3", "4"])
def test_k16_the_package_holds_what_is_needed_and_no_more(version, tmp_path):
    done = ask(version, "package", str(chart.CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as packed:
        names = {name.removeprefix("roentgate/") for name in packed.getnames()}
    assert {"README.md", "values.schema.json", "files/alerts.yaml", "files/dashboard.json"} <= names
    assert not [name for name in names if name.startswith("ci")]


def test_it_has_the_version_of_the_program():
    project = tomllib.loads((chart.ROOT / "pyproject.toml").read_text())["project"]
    assert yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["appVersion"] == project["version"]


# -- what goes together --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((*GOOD, "web.replicas=2"), "More than one web replica needs"),
        ((*GOOD, "web.autoscaling.enabled=true"), "More than one web replica needs"),
        ((*MANY, "storage.kind=file"), "More than one web replica needs"),
        ((*MANY, "index.kind=sqlite"), "More than one web replica needs"),
        ((*GOOD, "index.kind=postgresql"), "needs index.existingSecret"),
        ((*GOOD, "storage.kind=s3"), "needs storage.bucket"),
        ((*GOOD, "bridge.unknownAets=everything"), "set bridge.insecureAcceptAny"),
        ((), "needs bridgeToken.existingSecret"),
        ((*GOOD, "auth.mode=none", "web.ingress.enabled=true", "web.ingress.host=a.b"), "auth.mode none is refused"),
        ((*GOOD, "auth.mode=none", "web.service.type=LoadBalancer"), "auth.mode none is refused"),
        ((*GOOD, "auth.mode=oidc"), "needs auth.oidc.issuer"),
        ((*GOOD, "web.ingress.enabled=true"), "needs web.ingress.host"),
        ((*GOOD, "bridge.tls.enabled=true"), "needs bridge.tls.existingSecret"),
        ((*GOOD, "drain.terminationGracePeriodSeconds=310"), "must be longer than"),
        ((*GOOD, "bridge.spool.enabled=true", "drain.terminationGracePeriodSeconds=430"), "must be longer than"),
        ((*GOOD, *ROUTED, "auth.mode=none"), "auth.mode none is refused"),
        ((*GOOD, "web.httpRoute.enabled=true"), "needs web.httpRoute.parentRefs"),
        ((*GOOD, *ROUTED, "web.ingress.enabled=true", "web.ingress.host=a.b"), "are both enabled"),
        ((*GOOD, "bridge.tcpRoute.enabled=true"), "needs bridge.tcpRoute.parentRefs"),
        ((*GOOD, "bridge.tlsRoute.enabled=true", "bridge.tlsRoute.parentRefs[0].name=g"), "needs bridge.tls.enabled"),
        ((*GOOD, "bridge.service.nodePort=30104"), "A nodePort needs a Service of type"),
        ((*GOOD, "bridge.moreServices[0].name=a", "bridge.moreServices[0].nodePort=30104"), "A nodePort needs"),
        ((*GOOD, "bridge.service.loadBalancerSourceRanges[0]=10.0.0.0/8"), "nothing else enforces them"),
        ((*GOOD, "web.enabled=false"), "The bridge serves one DICOMweb server"),
        ((*GOOD, "bridge.dicomweb=https://a.b/dicom-web"), "The bridge serves one DICOMweb server"),
        (("web.enabled=false", "bridge.enabled=false"), "there is nothing to install"),
        ((*GOOD, "nodes.A.password=x"), "put nodes.toml into a Secret"),
        ((*GOOD, "nodes.A.client_secret=x"), "put nodes.toml into a Secret"),
        ((*GOOD, "nodes.A.port=104", "nodesSecret.existingSecret=n"), "keep one"),
        ((*MANY, "web.autoscaling.enabled=true", "web.autoscaling.minReplicas=9"), "is more than maxReplicas"),
        ((*GOOD, "trust.configMap=a", "trust.existingSecret=b"), "keep one"),
        ((*GOOD, "web.tls.enabled=true"), "needs web.tls.existingSecret"),
        ((*GOOD, "metrics.serviceMonitor.enabled=true"), "needs metrics.serviceMonitor.keySecret"),
        ((*GOOD, "bridge.service.loadBalancerClass=a"), "loadBalancerClass needs a Service of type LoadBalancer"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(values, sentence):
    assert sentence in refused(*values)


@every_case
def test_every_setting_that_is_rendered_is_one_and_the_server_starts_with_them(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = rendered(file=case)
    workloads = [each for each in objects if each["kind"] in WORKLOADS]
    for workload in workloads:
        environ = variables(objects, workload, tmp_path)
        assert {name for name in environ if name.startswith("ROENTGATE_")} <= NAMES
        config = Config.read(environ)
        if workload["metadata"]["name"].endswith("-web"):
            config.check_exposure()


def test_settings_reach_both_programs_as_they_were_written(tmp_path):
    objects = rendered(file="postgres-s3")
    for workload in (each for each in objects if each["kind"] in WORKLOADS):
        config = Config.read(variables(objects, workload, tmp_path))
        assert (config.search_page, config.zero_preamble) == (500, True)
        assert config.cors_origins == ("https://viewer.example", "https://other.example")
    web = of("Deployment", objects)["rel-roentgate-web"]
    config = Config.read(variables(objects, web, tmp_path))
    assert (config.storage, config.workers, config.access) == ("s3://images/archive", 2, True)


def test_large_numbers_of_a_file_of_values_stay_whole_numbers(tmp_path):
    """Helm reads numbers of YAML as floating point, and writes those from a million on as 1e+06."""
    wanted = {"limit_request_bytes": 8589934592, "limit_archive_bytes": 5000000000000, "limit_parts": 1000000}
    settings = {**wanted, "limit_query_seconds": 30.5}
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"settings": settings, "web": {"codecBytes": 3 << 30}}))
    for version in ("3", "4"):
        done = template(version, "-f", str(CASES["sqlite-single"]), "-f", str(values))
        assert done.returncode == 0, done.stderr
        objects = [each for each in yaml.safe_load_all(done.stdout) if each]
        config = Config.read(variables(objects, of("StatefulSet", objects)["rel-roentgate-web"], tmp_path))
        assert {name: getattr(config, name) for name in settings} == settings
        assert config.limit_codec_bytes == 3 << 30


SIZES = {"Mi": 1 << 20, "Gi": 1 << 30}


@every_case
def test_what_images_may_take_fits_into_the_memory_of_the_pod(case, tmp_path):
    objects = rendered(file=case)
    for workload in (
        each for each in objects if each["metadata"]["name"].endswith("-web") and each["kind"] in WORKLOADS
    ):
        config = Config.read(variables(objects, workload, tmp_path))
        limit = own(workload["spec"]["template"]["spec"])["resources"]["limits"]["memory"]
        images = config.codec_processes * config.limit_codec_bytes
        if case != "postgres-s3":  # two workers: who sets that sets the limit too
            assert images + (1 << 30) <= int(limit[:-2]) * SIZES[limit[-2:]]


@every_case
def test_web_and_bridge_find_each_other(case, tmp_path):
    objects = rendered(file=case)
    services = of("Service", objects)
    for workload in (each for each in objects if each["kind"] in WORKLOADS):
        environ = variables(objects, workload, tmp_path)
        for name in ("ROENTGATE_DICOMWEB", "ROENTGATE_BRIDGE_URL"):
            if name in environ and ".example" not in environ[name]:
                host, port = re.findall(r"https?://([^/:]+):(\d+)", environ[name])[0]
                assert int(port) in {each["port"] for each in services[host]["spec"]["ports"]}, name


@every_case
def test_selectors_ports_and_labels_fit_together(case):
    objects = rendered(file=case)
    made = [
        (each["spec"]["template"]["metadata"]["labels"], each["spec"]["template"]["spec"])
        for each in objects
        if each["kind"] in WORKLOADS
    ]
    for each in objects:
        if each["kind"] in WORKLOADS:
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert each["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for service in of("Service", objects).values():
        chosen = [spec for labels, spec in made if service["spec"]["selector"].items() <= labels.items()]
        assert len(chosen) == 1, service["metadata"]["name"]
        named = {port["name"] for port in chosen[0]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        for each in of(kind, objects).values():
            wanted = each["spec"].get("selector") or each["spec"]["podSelector"]
            ends = wanted["matchLabels"]["app.kubernetes.io/component"] in ("migrate", "smoke")
            assert sum(wanted["matchLabels"].items() <= labels.items() for labels, _ in made) == (0 if ends else 1)
    for monitor in of("ServiceMonitor", objects).values():
        ports = {
            port["name"]
            for service in of("Service", objects).values()
            if monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
            for port in service["spec"]["ports"]
        }
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
    for spec in pods(objects).values():
        for container in spec["containers"][:1]:
            mounted = [mount["name"] for mount in container.get("volumeMounts", [])]
            assert len(mounted) == len(set(mounted))


@every_case
def test_names_are_names(case):
    objects = rendered(file=case)
    for each in objects:
        assert DNS_LABEL.fullmatch(each["metadata"]["name"])
    for spec in pods(objects).values():
        for port in spec["containers"][0].get("ports", []):
            assert re.fullmatch("[a-z0-9-]{1,15}", port["name"])
            assert 1024 <= port["containerPort"] <= 65535


def test_a_long_release_name_still_gives_names():
    case = str(CASES["everything-on"])
    done = ask("4", "template", "r" * 53, str(chart.CHART), "-f", case, "--set", "fullnameOverride=")
    assert done.returncode == 0, done.stderr
    for each in yaml.safe_load_all(done.stdout):
        assert not each or len(each["metadata"]["name"]) <= 63


# -- hardening -----------------------------------------------------------------------------------------------
@every_case
def test_k10_pods_are_restricted(case):
    for spec in pods(rendered(file=case)).values():
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False, "Kubernetes would set variables that look like settings"
        security = spec["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        container = own(spec)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"]["cpu"]
        assert container["resources"]["limits"]["memory"]
        for kind in ("requests", "limits"):
            assert container["resources"][kind]["ephemeral-storage"]
        for volume in spec.get("volumes", []):
            assert "hostPath" not in volume
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"]


@every_case
def test_what_is_written_has_a_volume(case, tmp_path):
    objects = rendered(file=case)
    for workload in (each for each in objects if each["kind"] in WORKLOADS):
        spec = workload["spec"]["template"]["spec"]
        mounts = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        known = {volume["name"] for volume in spec["volumes"]}
        known |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} <= known
        environ = variables(objects, workload, tmp_path)
        for name in ("ROENTGATE_DATA", "ROENTGATE_SCRATCH", "ROENTGATE_CACHE", "TMPDIR"):
            if name in environ:
                assert any(environ[name].startswith(mount) for mount in mounts), name


@every_case
def test_k9_secrets_are_named_and_never_rendered(case, tmp_path):
    objects = rendered(file=case)
    assert of("Secret", objects) == {}
    filed = {f"ROENTGATE_{name.upper()}" for name in IN_FILES} - {"ROENTGATE_DICOMWEB"}
    for each in of("ConfigMap", objects).values():
        assert not filed & each["data"].keys()
    for spec in pods(objects).values():
        for each in own(spec).get("env", []):
            assert "secretKeyRef" not in str(each), "secrets are files, which may change"
            assert each["name"] not in filed
    secret = {spec.variable for spec in settings() if spec.secret}
    assert not secret & {f"ROENTGATE_{name.upper()}" for name in _known_settings()}


@every_case
def test_k9_each_file_of_a_secret_is_mounted_from_the_secret_that_is_named(case):
    for name, spec in pods(rendered(file=case)).items():
        container = own(spec)
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        files = [each["value"] for each in container["env"] if each["name"].endswith("_FILE")]
        for file in files:
            folder, _, last = file.rpartition("/")
            volume = volumes[mounts[folder]["name"]]["secret"]
            assert mounts[folder]["readOnly"] is True
            assert "subPath" not in mounts[folder], "what is mounted so never changes"
            assert volume["secretName"], name
            assert [item["path"] for item in volume["items"]] == [last]


def _known_settings() -> set[str]:
    return set(json.loads(chart.SCHEMA.read_text())["properties"]["settings"]["properties"])


# What these rules ask for is somebody else's to give: the namespace is Helm's, digest and pull policy the installer's,
# CPU limits slow down what has nothing to wait for, probes mean nothing to pods that end
NOT_OURS = "CKV_K8S_21,CKV_K8S_11,CKV_K8S_43,CKV_K8S_15,CKV_K8S_8,CKV_K8S_9"


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", ["sqlite-single", "postgres-s3", "gateway"])
def test_k10_checkov_finds_nothing(case, tmp_path):
    checkov = os.environ.get("ROENTGATE_TEST_CHECKOV") or shutil.which("checkov")
    if not checkov:
        pytest.skip("no checkov: pip install it into an environment of its own and name it in ROENTGATE_TEST_CHECKOV")
    (tmp_path / "rendered.yaml").write_text(yaml.safe_dump_all(rendered(file=case)))
    done = subprocess.run(
        [checkov, "-d", str(tmp_path), "--framework", "kubernetes", "--skip-download", "--compact", "--quiet",
         "--skip-check", NOT_OURS, "-o", "json"],
        capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["summary"]["passed"] > 100
    assert [(each["check_name"], each["resource"]) for each in told["results"]["failed_checks"]] == []


@every_case
def test_k11_every_pod_is_under_a_network_policy(case):
    objects = rendered(file=case)
    policies = [each["spec"]["podSelector"] for each in of("NetworkPolicy", objects).values()]
    if case == "minimal-rbac":
        assert policies == []
        return
    labelled = [
        each["spec"]["template"]["metadata"]["labels"] for each in objects if each["kind"] in (*WORKLOADS, "Job")
    ]
    labelled += [each["metadata"]["labels"] for each in of("Pod", objects).values()]
    for labels in labelled:
        component = labels["app.kubernetes.io/component"]
        chosen = [each for each in policies if each["matchLabels"].items() <= labels.items()]
        assert len(chosen) == 1, component


def test_k11_the_migration_may_reach_the_database_before_anything_else_is_there():
    def hooks(objects: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
        found = {each["kind"]: each["metadata"].get("annotations", {}) for each in objects}
        return {kind: notes for kind, notes in found.items() if "helm.sh/hook" in notes}

    policy = of("NetworkPolicy", rendered(file="postgres-s3"))["rel-roentgate-migrate"]
    job = of("Job", rendered(file="postgres-s3"))["rel-roentgate-migrate"]
    made = hooks([policy, job])
    for name in ("helm.sh/hook", "helm.sh/hook-delete-policy"):
        assert made["NetworkPolicy"][name] == made["Job"][name]
    assert int(made["NetworkPolicy"]["helm.sh/hook-weight"]) < int(made["Job"]["helm.sh/hook-weight"])
    assert policy["spec"]["egress"] == [{}]
    assert "ingress" not in policy["spec"]
    assert "rel-roentgate-migrate" not in of("NetworkPolicy", rendered(file="sqlite-single"))


# -- running -------------------------------------------------------------------------------------------------
@every_case
def test_probes_ask_for_health_and_liveness_never_asks_the_back_ends(case):
    there = {path for path, _ in TABLE}
    for workload in (each for each in rendered(file=case) if each["kind"] in WORKLOADS):
        container = own(workload["spec"]["template"]["spec"])
        named = {port["name"] for port in container["ports"]}
        paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
        assert paths == {"startup": "/health/live", "readiness": "/health/ready", "liveness": "/health/live"}
        assert set(paths.values()) <= there
        for kind in paths:
            assert container[f"{kind}Probe"]["httpGet"]["port"] in named


@every_case
def test_a_pod_that_goes_has_time_for_all_that_is_under_way(case, tmp_path):
    objects = rendered(file=case)
    for workload in (each for each in objects if each["kind"] in WORKLOADS):
        spec = workload["spec"]["template"]["spec"]
        environ = variables(objects, workload, tmp_path)
        assert spec["terminationGracePeriodSeconds"] > float(environ["ROENTGATE_GRACEFUL_SECONDS"]) + 10
        assert spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]


def test_the_embedded_archive_is_one_pod_with_a_volume_that_stays():
    web = of("StatefulSet", rendered(file="sqlite-single"))["rel-roentgate-web"]
    assert web["spec"]["replicas"] == 1
    assert web["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "100Gi"


def test_replicas_roll_without_a_gap():
    objects = rendered(file="postgres-s3")
    for name in ("rel-roentgate-web", "rel-roentgate-bridge"):
        budget = of("PodDisruptionBudget", objects)[name]["spec"]
        assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    web = of("Deployment", objects)["rel-roentgate-web"]
    assert web["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    bridge = of("Deployment", rendered(file="minimal-rbac"))["rel-roentgate-bridge"]
    assert bridge["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize("case", ["postgres-s3", "bridge-only"])
def test_what_the_bridge_acknowledged_outlives_its_pod(case, tmp_path):
    """Requests for storage commitment, and in front of another server jobs, lie below its data."""
    objects = rendered(file=case)
    bridge = of("StatefulSet", objects)["rel-roentgate-bridge"]
    (claim,) = bridge["spec"]["volumeClaimTemplates"]
    mounts = {each["name"]: each["mountPath"] for each in own(bridge["spec"]["template"]["spec"])["volumeMounts"]}
    config = Config.read(variables(objects, bridge, tmp_path))
    assert str(config.data) == mounts[claim["metadata"]["name"]]
    assert config.ledger.is_relative_to(config.data)
    assert bridge["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"


def test_a_changed_setting_restarts_the_pods():
    def sums(*values: str) -> set[str]:
        made = [each for each in rendered(*GOOD, *values) if each["kind"] in WORKLOADS]
        return {each["spec"]["template"]["metadata"]["annotations"]["checksum/config"] for each in made}

    assert sums() == sums()
    assert not sums() & sums("settings.search_page=7")


def test_with_a_spool_the_bridge_keeps_its_volume_and_empties_it_before_it_goes():
    objects = rendered(file="everything-on")
    bridge = of("StatefulSet", objects)["pacs-bridge"]
    assert bridge["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    container = own(bridge["spec"]["template"]["spec"])
    assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["roentgate", "spool", "--drain", "120", "--after", "10"]
    parser().parse_args(command[1:])


def test_dimse_keeps_the_address_of_the_peer():
    service = of("Service", rendered(file="everything-on"))["pacs-dimse"]["spec"]
    assert service["externalTrafficPolicy"] == "Local"
    assert service["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [(104, "dimse"), (2762, "dimse-tls")]


def test_network_policies_let_in_who_is_named():
    policies = of("NetworkPolicy", rendered(file="everything-on"))
    dimse, inside, health = policies["pacs-bridge"]["spec"]["ingress"]
    smoke, devices, gateway = dimse["from"]
    assert smoke["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "smoke"
    assert gateway == {"podSelector": {"matchLabels": {"app": "gateway"}}}
    assert devices == {"ipBlock": {"cidr": "10.20.0.0/16"}}
    assert inside["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "web"
    assert health["from"] == [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
    names = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    assert names in policies["pacs-web"]["spec"]["egress"]


def test_the_autoscaler_leaves_the_number_of_replicas_alone():
    objects = rendered(file="everything-on")
    assert "replicas" not in of("Deployment", objects)["pacs-web"]["spec"]
    scaler = of("HorizontalPodAutoscaler", objects)["pacs-web"]["spec"]
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300


def test_without_the_operator_nothing_of_it_is_rendered():
    done = ask("4", "template", "rel", str(chart.CHART), "-f", str(CASES["everything-on"]))
    assert done.returncode == 0
    assert "monitoring.coreos.com" not in done.stdout


@every_case
def test_k15_the_smoke_pod_runs_a_command_that_there_is(case):
    objects = rendered(file=case)
    (pod,) = of("Pod", objects).values()
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    given = parser().parse_args(own(pod["spec"])["args"])
    services = of("Service", objects)
    if ".example" not in given.url:
        host, port = re.findall(r"https?://([^/:]+):(\d+)/", given.url)[0]
        assert int(port) in {each["port"] for each in services[host]["spec"]["ports"]}
    if given.dimse:
        host, port = given.dimse.partition("@")[2].split(":")
        assert int(port) in {each["port"] for each in services[host]["spec"]["ports"]}
    assert given.look == (case not in {"everything-on", "web-only"})


def test_k15_notes_tell_where_everything_is_and_what_to_try():
    done = ask(
        "4", "install", "rel", str(chart.CHART), "--dry-run=client", "-n", "pacs", "-f", str(CASES["everything-on"])
    )
    notes = done.stdout.partition("NOTES:")[2]
    for told in ("https://pacs.example/dicom-web", "ROENTGATE@pacs-dimse.pacs.svc:104 (LoadBalancer)",
                 "ROENTGATE@pacs-dimse-theatre.pacs.svc:104 (NodePort)", "ROENTGATE@pacs-dimse-ward.pacs.svc:11112",
                 "echo+store", "helm test rel --namespace pacs"):  # fmt: skip
        assert told in notes, told
    key = re.findall(r"-- (roentgate key add .*)\)", notes)[0]
    assert parser().parse_args(key.split()[1:]).role == ["admin"]
    assert re.search(r"exec deploy/pacs-web --container web ", notes)
    assert "settings.trusted_proxies" in notes
    assert 'curl --header "Authorization: Bearer $KEY" http://127.0.0.1:8080/dicom-web/studies' in notes


@pytest.mark.parametrize(
    ("value", "told", "untold"),
    [
        ("maintenance=true", "nothing serves", "helm test"),
        ("settings.trusted_proxies[0]=10.1.0.0/16", "helm test", "settings.trusted_proxies"),
    ],
)
def test_notes_tell_what_holds(value, told, untold):
    case = str(CASES["everything-on"])
    done = ask("4", "install", "rel", str(chart.CHART), "--dry-run=client", "-f", case, "--set", value)
    notes = done.stdout.partition("NOTES:")[2]
    assert told in notes
    assert untold not in notes


def test_k6_each_service_of_dimse_leads_to_the_bridge():
    services = of("Service", rendered(file="everything-on"))
    for name, port in (("pacs-dimse-theatre", 104), ("pacs-dimse-ward", 11112)):
        spec = services[name]["spec"]
        assert [(each["port"], each["targetPort"]) for each in spec["ports"]] == [(port, "dimse")]
        assert spec["selector"] == services["pacs-dimse"]["spec"]["selector"]
        assert spec["sessionAffinity"] == "None"
    assert services["pacs-dimse-theatre"]["spec"]["externalTrafficPolicy"] == "Local"
    assert services["pacs-dimse-theatre"]["metadata"]["annotations"] == {"a.example/b": "c"}
    assert "externalTrafficPolicy" not in services["pacs-dimse-ward"]["spec"]


@pytest.mark.parametrize("case", ["everything-on", "gateway"])
def test_k6_routes_of_a_gateway_lead_to_ports_that_there_are(case):
    objects = rendered(file=case)
    services = of("Service", objects)
    routes = [each for each in objects if each["apiVersion"].startswith("gateway.networking.k8s.io/")]
    assert {each["kind"] for each in routes} == ({"TCPRoute", "TLSRoute"} if case == "everything-on" else {"HTTPRoute"})
    for route in routes:
        assert route["spec"]["parentRefs"][0]["name"] == "public"
        (backend,) = route["spec"]["rules"][0]["backendRefs"]
        assert backend["port"] in {each["port"] for each in services[backend["name"]]["spec"]["ports"]}
    if case == "gateway":
        assert of("ConfigMap", objects)["rel-roentgate-web"]["data"]["ROENTGATE_PUBLIC_URL"] == "https://pacs.example"


def test_k8_the_tables_are_brought_up_to_date_before_anything_rolls():
    (job,) = of("Job", rendered(file="postgres-s3")).values()
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    spec = job["spec"]["template"]["spec"]
    assert parser().parse_args(own(spec)["args"]).command == "migrate"
    named = str(spec)
    for each in rendered(file="postgres-s3"):
        if each["kind"] in ("ConfigMap", "ServiceAccount"):
            assert f"'{each['metadata']['name']}'" not in named, "hooks run before it is there"
    assert "envFrom" not in own(spec)
    assert "serviceAccountName" not in spec
    assert of("Job", rendered(file="sqlite-single")) == {}


def test_nodes_of_the_values_are_a_nodes_toml(tmp_path):
    objects = rendered(file="everything-on")
    device, uptown = read_nodes(of("ConfigMap", objects)["pacs-nodes"]["data"]["nodes.toml"])
    assert (device.name, device.port, device.allow, device.charset) == ("CT1", 104, ("echo", "store"), "ISO_IR 100")
    assert (uptown.kind, uptown.url) == ("dicomweb", "https://uptown.example/dicom-web")
    mounts = own(pods(objects)["pacs-web"])["volumeMounts"]
    environ = variables(objects, of("Deployment", objects)["pacs-web"], tmp_path)
    assert f"{environ['ROENTGATE_DATA']}/nodes.toml" in [mount["mountPath"] for mount in mounts]
    bridge = own(pods(rendered(file="bridge-only"))["rel-roentgate-bridge"])
    assert "/data/nodes.toml" in [mount["mountPath"] for mount in bridge["volumeMounts"]]


def test_k10_each_pod_has_a_folder_of_its_own_for_the_audit_trail():
    wanted = {"postgres-s3": "/audit/$(POD_NAME)", "gateway": "/audit/$(POD_NAME)",
              "sqlite-single": "/data/audit/$(POD_NAME)"}  # fmt: skip
    for case, folder in wanted.items():
        spec = pods(rendered(file=case))["rel-roentgate-web"]
        names = [each["name"] for each in own(spec)["env"]]
        assert names.index("POD_NAME") < names.index("ROENTGATE_AUDIT_FOLDER"), "else it is not put in"
        assert {each["name"]: each.get("value") for each in own(spec)["env"]}["ROENTGATE_AUDIT_FOLDER"] == folder
    volumes = {each["name"]: each for each in pods(rendered(file="gateway"))["rel-roentgate-web"]["volumes"]}
    assert volumes["audit"]["persistentVolumeClaim"] == {"claimName": "audit"}


def test_k12_pods_are_spread_over_zones_and_hosts():
    for name in ("rel-roentgate-web", "rel-roentgate-bridge"):
        spec = pods(rendered(file="postgres-s3"))[name]
        keys = [each["topologyKey"] for each in spec["topologySpreadConstraints"]]
        assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        labels = spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
        assert labels["app.kubernetes.io/component"] == name.rpartition("-")[2]


def test_k14_what_people_add_reaches_the_pods():
    objects = rendered(file="everything-on")
    spec = pods(objects)["pacs-web"]
    assert {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"} in own(spec)["env"]
    assert {"name": "ca", "configMap": {"name": "ca"}} in spec["volumes"]
    assert {"name": "ca", "mountPath": "/ca"} in own(spec)["volumeMounts"]
    assert [each["name"] for each in spec["initContainers"]] == ["wait"]
    assert [each["name"] for each in spec["containers"]] == ["web", "side"]
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("high", "gvisor")
    assert spec["dnsConfig"] == {"options": [{"name": "ndots", "value": "1"}]}
    assert spec["serviceAccountName"] == "pacs"
    assert spec["nodeSelector"] == {"disk": "fast"}
    assert spec["tolerations"] == [{"operator": "Exists"}]
    made = of("Deployment", objects)["pacs-web"]["spec"]["template"]["metadata"]
    assert made["annotations"]["a.example/b"] == "c"
    assert made["labels"]["mesh.example/inject"] == "true"
    assert (
        of("StatefulSet", objects)["pacs-bridge"]["spec"]["template"]["metadata"]["labels"]["mesh.example/inject"]
        == "false"
    )
    for each in pods(objects).values():
        assert each["hostAliases"] == [{"ip": "10.20.0.7", "hostnames": ["ct1.example"]}]
    for each in objects:
        if each["metadata"]["name"] != "rel-more":
            assert each["metadata"]["labels"]["team"] == "imaging", each["metadata"]["name"]


def test_k14_a_pod_may_use_no_account_of_its_own():
    objects = rendered(file="minimal-rbac")
    assert of("ServiceAccount", objects) == {}
    assert pods(objects)["rel-roentgate-web"]["serviceAccountName"] == "default"
    assert not [each for each in objects if "Role" in each["kind"]]


def test_k14_platforms_that_choose_users_by_themselves_are_let():
    nulls = [f"podSecurityContext.{name}=null" for name in ("runAsUser", "runAsGroup", "fsGroup")]
    for spec in pods(rendered(*nulls, file="postgres-s3")).values():
        assert spec["securityContext"] == {
            "runAsNonRoot": True, "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}
        }  # fmt: skip


@pytest.mark.parametrize(("case", "kind"), [("everything-on", "configMap"), ("gateway", "secret")])
def test_authorities_of_the_hospital_reach_whatever_opens_connections(case, kind, tmp_path):
    objects = rendered(file=case)
    for spec in pods(objects).values():
        mounts = {each["mountPath"]: each["name"] for each in own(spec)["volumeMounts"]}
        volume = {each["name"]: each for each in spec["volumes"]}[mounts["/trust"]]
        assert volume[kind]["items"] == [{"key": "ca.crt" if kind == "configMap" else "bundle.pem", "path": "ca.crt"}]
    web = next(each for each in objects if each["metadata"]["name"].endswith("-web") and each["kind"] in WORKLOADS)
    seen = variables(objects, web, tmp_path)
    if case == "everything-on":
        for name in ("AWS_CA_BUNDLE", "PGSSLROOTCERT", "ROENTGATE_OIDC_CA"):
            assert seen[name] == "/trust/ca.crt", name
        job = own(pods(objects)["pacs-migrate"])
        assert {"name": "PGSSLROOTCERT", "value": "/trust/ca.crt"} in job["env"]
    else:
        assert "/trust" not in str(seen), "it is embedded, and its bridge knows the web server by another authority"


def test_authorities_of_the_hospital_are_those_of_another_server_of_the_bridge(tmp_path):
    objects = rendered("trust.configMap=ca", file="bridge-only")
    bridge = of("StatefulSet", objects)["rel-roentgate-bridge"]
    assert variables(objects, bridge, tmp_path)["ROENTGATE_DICOMWEB_CA"] == "/trust/ca.crt"
    (pod,) = of("Pod", objects).values()
    assert {"name": "ROENTGATE_DICOMWEB_CA", "value": "/trust/ca.crt"} in own(pod["spec"])["env"]


def test_with_tls_everybody_calls_the_web_server_by_https(tmp_path):
    objects = rendered(file="gateway")
    web, bridge = of("StatefulSet", objects)["rel-roentgate-web"], of("StatefulSet", objects)["rel-roentgate-bridge"]
    container = own(web["spec"]["template"]["spec"])
    for kind in ("startup", "readiness", "liveness"):
        assert container[f"{kind}Probe"]["httpGet"]["scheme"] == "HTTPS"
    config = Config.read(variables(objects, bridge, tmp_path))
    assert config.dicomweb == "https://rel-roentgate-web:8080/pacs/dicom-web"
    (pod,) = of("Pod", objects).values()
    assert config.dicomweb in own(pod["spec"])["args"]
    for spec in (bridge["spec"]["template"]["spec"], pod["spec"]):
        (volume,) = [each["secret"] for each in spec["volumes"] if each["name"] == "web-ca"]
        assert (volume["secretName"], volume["items"]) == ("web-tls", [{"key": "ca.crt", "path": "ca.crt"}]), "no key"
        assert "/secrets/web-ca/ca.crt" in str([own(spec)["env"], variables(objects, bridge, tmp_path)])
    http, health = of("ServiceMonitor", objects)["rel-roentgate"]["spec"]["endpoints"]
    assert (http["scheme"], http["tlsConfig"]["serverName"]) == ("https", "rel-roentgate-web")
    assert "scheme" not in health


def test_the_migration_has_what_its_database_asks_for():
    spec = pods(rendered(file="everything-on"))["pacs-migrate"]
    assert {"name": "PGSSLCERT", "value": "/client/tls.crt"} in own(spec)["env"]
    assert {"name": "client", "mountPath": "/client", "readOnly": True} in own(spec)["volumeMounts"]
    assert {"name": "client", "secret": {"secretName": "archive-client", "defaultMode": 288}} in spec["volumes"]
    assert spec["nodeSelector"] == {"disk": "fast"}, "it has to find a node as the web server does"


@pytest.mark.parametrize("case", ["postgres-s3", "sqlite-single", "everything-on"])
def test_in_maintenance_one_pod_waits_with_everything_that_the_server_has(case):
    serving = rendered(file=case)
    waiting = rendered("maintenance=true", file=case)
    name = "pacs" if case == "everything-on" else "rel-roentgate"
    kind = "StatefulSet" if case == "sqlite-single" else "Deployment"
    web = of(kind, waiting)[f"{name}-web"]["spec"]
    assert web["replicas"] == 1
    assert of("StatefulSet", waiting)[f"{name}-bridge"]["spec"]["replicas"] == 0
    assert not of("Job", waiting)
    assert not of("HorizontalPodAutoscaler", waiting)
    before, now = own(of(kind, serving)[f"{name}-web"]["spec"]["template"]["spec"]), own(web["template"]["spec"])
    for same in ("env", "envFrom", "volumeMounts", "image", "resources", "securityContext"):
        assert now[same] == before[same], same
    assert not {"args", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle"} & now.keys()
    waits = subprocess.Popen(now["command"])
    waits.terminate()
    waits.wait(20)


def test_extra_objects_are_templates():
    assert of("ConfigMap", rendered(file="everything-on"))["rel-more"]["data"] == {"a": "b"}


def test_the_digest_wins_over_the_tag():
    container = own(pods(rendered(file="everything-on"))["pacs-web"])
    assert container["image"] == f"registry.example/roentgate@sha256:{'0' * 64}"


# -- alerts --------------------------------------------------------------------------------------------------
ALERTS = chart.CHART / "files" / "alerts.yaml"
ALERT_TESTS = sorted(Path(__file__).parent.glob("alerts_*test.yaml"))


DASHBOARD = chart.CHART / "files" / "dashboard.json"


@pytest.mark.parametrize("file", [ALERTS, DASHBOARD], ids=["alerts", "dashboard"])
def test_k13_alerts_and_dashboard_speak_of_measures_that_there_are(file):
    code = "".join(path.read_text() for top in ("dicomweb", "bridge") for path in (chart.ROOT / top).rglob("*.py"))
    named = set(re.findall(r"roentgate_\w+", file.read_text()))
    assert len(named) > 20
    known = set(re.findall(r'"(roentgate_\w+)"', code))
    for name in named:
        assert name in known or re.sub("_(bucket|count|sum)$", "", name) in known, name


# What Prometheus and its operator add, and what only a histogram's buckets have
FOREIGN = {"instance", "namespace", "pod", "le"}


@pytest.mark.parametrize("file", [ALERTS, DASHBOARD], ids=["alerts", "dashboard"])
def test_k13_alerts_and_dashboard_use_labels_that_the_measures_have(file):
    for top in ("dicomweb", "bridge"):
        for path in (chart.ROOT / top).rglob("*.py"):
            if "telemetry.measures import" in path.read_text() and path.stem not in ("exposition", "together"):
                module = path.relative_to(chart.ROOT).with_suffix("").as_posix().replace("/", ".")
                importlib.import_module(module.removesuffix(".__init__"))
    text = file.read_text().replace('\\"', '"')
    checked = 0
    for name, matchers in re.findall(r"(roentgate_\w+)\{([^}]*)\}", text):
        measure = MEASURES.get(name) or MEASURES.get(re.sub("_(bucket|count|sum)$", "", name))
        if measure is not None:
            used = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", matchers))
            assert used <= {*measure.labels, *FOREIGN}, name
            checked += 1
            if name.endswith("_bucket"):
                assert isinstance(measure, Histogram), name
    assert checked >= 5


def test_k13_the_dashboard_is_one_that_grafana_reads():
    board = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    places = []
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for other in places:
            apart_x = place["x"] >= other["x"] + other["w"] or other["x"] >= place["x"] + place["w"]
            apart_y = place["y"] >= other["y"] + other["h"] or other["y"] >= place["y"] + place["h"]
            assert apart_x or apart_y, panel["title"]
        places.append(place)
        assert panel["type"] == "row" or panel["targets"]
    for name, board_ in of("ConfigMap", rendered(file="everything-on")).items():
        if name == "pacs-dashboard":
            assert json.loads(board_["data"]["roentgate.json"]) == board
            assert board_["metadata"]["labels"]["grafana_dashboard"] == "1"
            break
    else:
        raise AssertionError("it is not rendered")


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: apt install prometheus")
def test_alerts_fire_when_they_should(tmp_path):
    shutil.copy(ALERTS, tmp_path)
    for file in ALERT_TESTS:
        shutil.copy(file, tmp_path)
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", *(file.name for file in ALERT_TESTS)]):
        done = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_seen_to_fire_and_to_keep_quiet():
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    tried = [test for file in ALERT_TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    expected = [each for test in tried for each in test["alert_rule_test"]]
    for fires in (True, False):
        seen = {each["alertname"] for each in expected if bool(each["exp_alerts"]) is fires}
        assert seen == {rule["alert"] for rule in rules}, fires


def test_alerts_say_of_which_release_they_speak():
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            summed = re.findall(r"\b(?:sum|max|min|count)\b(?: by \(([^)]*)\))?", rule["expr"])
            assert all("namespace" in labels for labels in summed), rule["alert"]


def test_operations_say_what_to_do_about_each_alert():
    told = (chart.ROOT / "docs" / "operations.md").read_text()
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert re.search(rf"\b{rule['alert'].removeprefix('Roentgate')}\b", told), rule["alert"]


def test_the_rule_of_the_chart_is_that_file():
    rule = of("PrometheusRule", rendered(file="everything-on"))["pacs"]
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
