"""The chart, rendered by real Helms, and held to what it promises."""

import functools
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import chart
import pytest
import yaml
from helms import helm

from dicomweb.config import Config, settings
from dicomweb.web.routes import TABLE

CASES = {path.stem: path for path in sorted((chart.CHART / "ci").glob("*.yaml"))}
WORKLOADS = ("Deployment", "StatefulSet")
NAMES = {f"ROENTGATE_{spec.name.upper()}" for spec in settings()}
GOOD = ("bridgeToken.existingSecret=b",)
MANY = (
    *GOOD,
    *("index.kind=postgresql", "index.existingSecret=i", "storage.kind=s3", "storage.bucket=b", "web.replicas=2"),
)  # fmt: skip
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


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Specifications of all pods by the name of what makes them."""
    made = [each for each in objects if each["kind"] in WORKLOADS]
    found = {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in made}
    return found | {name: each["spec"] for name, each in of("Pod", objects).items()}


def variables(objects: list[dict[str, Any]], workload: dict[str, Any]) -> dict[str, str]:
    """The environment of a workload's first container, as its pods see it; secrets are "secret"."""
    container = workload["spec"]["template"]["spec"]["containers"][0]
    maps = of("ConfigMap", objects)
    seen: dict[str, str] = {}
    for source in container["envFrom"]:
        seen |= maps[source["configMapRef"]["name"]]["data"]
    return seen | {each["name"]: each.get("value", "secret") for each in container["env"]}


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
        if not each["apiVersion"].startswith("monitoring.coreos.com/"):
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
    ],
)
def test_a_slip_in_a_value_fails_the_install(value):
    assert "values don't meet the specifications" in refused(*GOOD, value)


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
        environ = variables(objects, workload)
        assert {name for name in environ if name.startswith("ROENTGATE_")} <= NAMES
        if environ.get("ROENTGATE_INDEX") == "secret":
            environ["ROENTGATE_INDEX"] = "postgresql://somebody@database/archive"
        config = Config.read(environ)
        if workload["metadata"]["name"].endswith("-web"):
            config.check_exposure()


def test_settings_reach_both_programs_as_they_were_written():
    objects = rendered(file="postgres-s3")
    for workload in (each for each in objects if each["kind"] in WORKLOADS):
        config = Config.read({**variables(objects, workload), "ROENTGATE_INDEX": "postgresql://a@b/c"})
        assert (config.search_page, config.zero_preamble) == (500, True)
        assert config.cors_origins == ("https://viewer.example", "https://other.example")
    web = of("Deployment", objects)["rel-roentgate-web"]
    config = Config.read({**variables(objects, web), "ROENTGATE_INDEX": "postgresql://a@b/c"})
    assert (config.storage, config.workers, config.access) == ("s3://images/archive", 2, True)


@every_case
def test_web_and_bridge_find_each_other(case):
    objects = rendered(file=case)
    services = of("Service", objects)
    for workload in (each for each in objects if each["kind"] in WORKLOADS):
        environ = variables(objects, workload)
        for name in ("ROENTGATE_DICOMWEB", "ROENTGATE_BRIDGE_URL"):
            if name in environ:
                host, port = re.findall(r"http://([^/:]+):(\d+)", environ[name])[0]
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
            assert sum(wanted["matchLabels"].items() <= labels.items() for labels, _ in made) == 1
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
def test_pods_are_restricted(case):
    for spec in pods(rendered(file=case)).values():
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False, "Kubernetes would set variables that look like settings"
        security = spec["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        own = spec["containers"][0]
        assert own["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert own["resources"]["limits"]["memory"]
        assert own["resources"]["requests"]["cpu"]
        for volume in spec.get("volumes", []):
            assert "hostPath" not in volume
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"]


@every_case
def test_what_is_written_has_a_volume(case):
    objects = rendered(file=case)
    for workload in (each for each in objects if each["kind"] in WORKLOADS):
        spec = workload["spec"]["template"]["spec"]
        mounts = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        known = {volume["name"] for volume in spec["volumes"]}
        known |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} <= known
        environ = variables(objects, workload)
        for name in ("ROENTGATE_DATA", "ROENTGATE_SCRATCH", "ROENTGATE_CACHE", "TMPDIR"):
            if name in environ:
                assert any(environ[name].startswith(mount) for mount in mounts), name


@every_case
def test_secrets_are_named_and_never_rendered(case):
    objects = rendered(file=case)
    assert of("Secret", objects) == {}
    for each in of("ConfigMap", objects).values():
        assert not {"ROENTGATE_INDEX", "ROENTGATE_BRIDGE_TOKEN"} & each["data"].keys()
    secret = {f"ROENTGATE_{spec.name.upper()}" for spec in settings() if spec.secret}
    assert not secret & {f"ROENTGATE_{name.upper()}" for name in _known_settings()}


def _known_settings() -> set[str]:
    return set(json.loads(chart.SCHEMA.read_text())["properties"]["settings"]["properties"])


# -- running -------------------------------------------------------------------------------------------------
@every_case
def test_probes_ask_for_health_and_liveness_never_asks_the_back_ends(case):
    there = {path for path, _ in TABLE}
    for workload in (each for each in rendered(file=case) if each["kind"] in WORKLOADS):
        own = workload["spec"]["template"]["spec"]["containers"][0]
        named = {port["name"] for port in own["ports"]}
        paths = {kind: own[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
        assert paths == {"startup": "/health/live", "readiness": "/health/ready", "liveness": "/health/live"}
        assert set(paths.values()) <= there
        for kind in paths:
            assert own[f"{kind}Probe"]["httpGet"]["port"] in named


@every_case
def test_a_pod_that_goes_has_time_for_all_that_is_under_way(case):
    objects = rendered(file=case)
    for workload in (each for each in objects if each["kind"] in WORKLOADS):
        spec = workload["spec"]["template"]["spec"]
        environ = variables(objects, workload)
        assert spec["terminationGracePeriodSeconds"] > float(environ["ROENTGATE_GRACEFUL_SECONDS"]) + 10
        assert spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]


def test_the_embedded_archive_is_one_pod_with_a_volume_that_stays():
    web = of("StatefulSet", rendered(file="sqlite-single"))["rel-roentgate-web"]
    assert web["spec"]["replicas"] == 1
    assert web["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "100Gi"


def test_replicas_roll_without_a_gap():
    objects = rendered(file="postgres-s3")
    for name in ("rel-roentgate-web", "rel-roentgate-bridge"):
        assert of("Deployment", objects)[name]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert of("PodDisruptionBudget", objects)[name]["spec"]["maxUnavailable"] == 1


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
    own = bridge["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "data", "mountPath": "/data"} in own["volumeMounts"]
    program, flag, script = own["lifecycle"]["preStop"]["exec"]["command"]
    assert (program, flag) == ("python3", "-c")
    compile(script, "preStop", "exec")
    assert "\\nroentgate_spool_objects 0.0\\n" in script


def test_dimse_keeps_the_address_of_the_peer():
    service = of("Service", rendered(file="everything-on"))["pacs-dimse"]["spec"]
    assert service["externalTrafficPolicy"] == "Local"
    assert service["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [(104, "dimse"), (2762, "dimse-tls")]


def test_network_policies_let_in_who_is_named():
    policies = of("NetworkPolicy", rendered(file="everything-on"))
    dimse, inside, health = policies["pacs-bridge"]["spec"]["ingress"]
    assert dimse["from"] == [{"ipBlock": {"cidr": "10.20.0.0/16"}}]
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


def test_the_smoke_pod_runs_python():
    for case in CASES:
        (pod,) = of("Pod", rendered(file=case)).values()
        compile(pod["spec"]["containers"][0]["command"][2], "smoke", "exec")
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"


def test_extra_objects_are_templates():
    assert of("ConfigMap", rendered(file="everything-on"))["rel-more"]["data"] == {"a": "b"}


def test_the_digest_wins_over_the_tag():
    own = pods(rendered(file="everything-on"))["pacs-web"]["containers"][0]
    assert own["image"] == f"registry.example/roentgate@sha256:{'0' * 64}"


# -- alerts --------------------------------------------------------------------------------------------------
ALERTS = chart.CHART / "files" / "alerts.yaml"


def test_alerts_speak_of_measures_that_there_are():
    code = "".join(path.read_text() for top in ("dicomweb", "bridge") for path in (chart.ROOT / top).rglob("*.py"))
    named = set(re.findall(r"roentgate_\w+", ALERTS.read_text()))
    known = set(re.findall(r'"(roentgate_\w+)"', code))
    for name in named:
        assert name in known or re.sub("_(bucket|count|sum)$", "", name) in known, name


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: apt install prometheus")
def test_alerts_fire_when_they_should(tmp_path):
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).parent / "alerts_test.yaml", tmp_path)
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rule_of_the_chart_is_that_file():
    rule = of("PrometheusRule", rendered(file="everything-on"))["pacs"]
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
