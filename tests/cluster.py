"""Pods of rendered manifests as processes of this machine: their arguments, environment, volumes, probes and hooks are
those that Kubernetes would use; names of Services lead to ports of loopback, and paths of mounts to folders.

With an image (a bundle that umoci unpacked) they run in it, by runc, with a root that cannot be written.
"""

import contextlib
import copy
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands import environment
from ports import free_port

Object = dict[str, Any]
COMMAND = [sys.executable, "-W", "error", "-m", "dicomweb"]
USER = 10001


@dataclass
class Pod:
    """A pod under way."""

    name: str
    container: Object
    spec: Object
    ports: Mapping[int, int]
    mounts: Mapping[str, Path]
    environ: Mapping[str, str]
    runtime: "Cluster"
    process: "subprocess.Popen[bytes] | None" = None
    log: Path = Path()

    def port(self, name: str) -> int:
        """The port of loopback that a named port of the container is."""
        return next(self.ports[each["containerPort"]] for each in self.container["ports"] if each["name"] == name)

    def ask(self, kind: str) -> int:
        """Ask a probe as the kubelet does; return the status, 0 where nobody answers."""
        probe = self.container[f"{kind}Probe"]
        get = probe["httpGet"]
        url = f"{get.get('scheme', 'HTTP').lower()}://127.0.0.1:{self.port(get['port'])}{get['path']}"
        unchecked = ssl._create_unverified_context()  # as the kubelet asks
        try:
            with urllib.request.urlopen(url, timeout=probe.get("timeoutSeconds", 1) + 4, context=unchecked) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def wait_for(self, kind: str) -> None:
        """Wait until a probe succeeds, as often as it may fail."""
        probe = self.container[f"{kind}Probe"]
        end = time.monotonic() + max(probe["periodSeconds"] * probe.get("failureThreshold", 3), 60)
        while self.ask(kind) != 200:
            assert self.process is None or self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, f"{kind} of {self.name}: {self.log.read_text()}"
            if self.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(0.1)

    def exec(self, *command: str, status: int | None = 0) -> str:
        """Run a command in the pod, as `kubectl exec` does; return what it printed."""
        done = self.runtime.exec(self, command)
        assert status is None or done.returncode == status, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def stop(self) -> int:
        """Let it go as the kubelet does: its hook, SIGTERM, and after the grace SIGKILL. Return the exit status."""
        assert self.process is not None
        hook = self.container.get("lifecycle", {}).get("preStop")
        begun = time.monotonic()
        if hook:
            self.exec(*hook["exec"]["command"], status=None)
        self.runtime.signal(self, signal.SIGTERM)
        left = self.spec["terminationGracePeriodSeconds"] - (time.monotonic() - begun)
        return self.process.wait(left)


@dataclass
class Cluster:
    """What is rendered, and where it runs.

    Attributes:
        objects: all manifests.
        folder: for volumes and logs.
        secrets: contents by name and key.
        bundle: an unpacked image; None runs the code as it is here.
    """

    objects: Sequence[Object]
    folder: Path
    secrets: Mapping[str, Mapping[str, str]]
    bundle: Path | None = None
    pods: list[Pod] = field(default_factory=list)

    def of(self, kind: str) -> dict[str, Object]:
        """Objects of a kind by name."""
        return {each["metadata"]["name"]: each for each in self.objects if each["kind"] == kind}

    @contextlib.contextmanager
    def running(self) -> Iterator["Cluster"]:
        """End all pods that are left."""
        try:
            yield self
        finally:
            for pod in self.pods:
                if pod.process is not None and pod.process.poll() is None:
                    self.signal(pod, signal.SIGKILL)
                    pod.process.wait()
                if self.bundle is not None:
                    subprocess.run(["runc", "delete", "--force", pod.name], capture_output=True, check=False)

    def pod(self, name: str, spec: Object) -> Pod:
        """Make the pod of a specification: volumes, ports and environment."""
        container = spec["containers"][0]
        place = self.folder / name
        mounts = {
            mount["mountPath"]: self._volume(place, mount, spec["volumes"])
            for mount in container.get("volumeMounts", [])
        }
        ports = {each["containerPort"]: free_port() for each in container.get("ports", [])}
        pod = Pod(f"{name}-{os.getpid()}", container, spec, ports, mounts, {}, self, log=place / "log")
        self.pods.append(pod)
        return pod

    def start(self, pod: Pod) -> Pod:
        """Start its container."""
        pod.environ = self._environ(pod)
        with pod.log.open("wb") as log:
            pod.process = subprocess.Popen(self._command(pod), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                           env=self._outside(pod), cwd=pod.log.parent)  # fmt: skip
        return pod

    def finish(self, pod: Pod, seconds: float = 120) -> str:
        """Run a pod that ends by itself, well, and return what it said."""
        self.start(pod)
        assert pod.process is not None
        assert pod.process.wait(seconds) == 0, pod.log.read_text()
        return pod.log.read_text()

    def exec(self, pod: Pod, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """See Pod.exec."""
        words = list(command)
        if self.bundle is not None:
            words = ["runc", "exec", "--user", str(USER), pod.name, *words]
        elif words[0] == "roentgate":
            words = [*COMMAND, *words[1:]]
        return subprocess.run(words, env=self._outside(pod), cwd=pod.log.parent, capture_output=True, text=True,
                              timeout=300, check=False)  # fmt: skip

    def signal(self, pod: Pod, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        assert pod.process is not None
        if self.bundle is not None:
            subprocess.run(["runc", "kill", pod.name, str(int(number))], capture_output=True, check=False)
        else:
            pod.process.send_signal(number)

    # -- what a pod is given ----------------------------------------------------------------------------------

    def _volume(self, place: Path, mount: Object, volumes: Sequence[Object]) -> Path:
        """The folder or file that a mount shows; a claim and an emptyDir are empty folders."""
        folder = place / "volumes" / mount["name"]
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, USER, USER) if os.geteuid() == 0 else None
        volume = next((each for each in volumes if each["name"] == mount["name"]), {})
        content: dict[str, str] = {}
        if "secret" in volume:
            told = self.secrets[volume["secret"]["secretName"]]
            content = {each["path"]: told[each["key"]] for each in volume["secret"]["items"]}
        elif "configMap" in volume:
            content = self.of("ConfigMap")[volume["configMap"]["name"]]["data"]
        for name, text in content.items():
            (folder / name).write_text(text)
        return folder / mount["subPath"] if "subPath" in mount else folder

    def _environ(self, pod: Pod) -> dict[str, str]:
        """Its environment: `$(NAME)` is put in, and names of Services, ports and paths are those of this machine."""
        seen: dict[str, str] = {}
        for source in pod.container.get("envFrom", []):
            seen |= self.of("ConfigMap")[source["configMapRef"]["name"]]["data"]
        for each in pod.container.get("env", []):
            value = each.get("value", pod.name)
            seen[each["name"]] = re.sub(r"\$\((\w+)\)", lambda found: seen[found[1]], value)
        return {name: self._here(pod, name, value) for name, value in seen.items()}

    def _here(self, pod: Pod, name: str, value: str) -> str:
        if name.endswith("_PORT") and int(value) in pod.ports:
            return str(pod.ports[int(value)])
        if name.endswith("_HOST"):
            return "127.0.0.1"
        return self.reached(self._path(pod, value))

    def _path(self, pod: Pod, value: str) -> str:
        if self.bundle is None:
            for place in sorted(pod.mounts, key=len, reverse=True):
                if value == place or value.startswith(f"{place}/"):
                    return f"{pod.mounts[place]}{value[len(place) :]}"
        return value

    def reached(self, text: str) -> str:
        """Put addresses of this machine for those of Services, as DNS and kube-proxy do."""
        for name, service in self.of("Service").items():
            for port in service["spec"]["ports"]:
                chosen = [
                    each for each in self.pods if service["spec"]["selector"].items() <= self._labels(each).items()
                ]
                if chosen:
                    at = f"127.0.0.1:{chosen[0].port(port['targetPort'])}"
                    text = re.sub(rf"\b{re.escape(name)}(\.[a-z.]+)?:{port['port']}\b", at, text)
        return text

    def _labels(self, pod: Pod) -> Mapping[str, str]:
        for each in self.objects:
            made = each.get("spec", {}).get("template", {})
            if made.get("spec") is pod.spec:
                labels: Mapping[str, str] = made["metadata"]["labels"]
                return labels
        return {}

    def _outside(self, pod: Pod) -> dict[str, str]:
        return environment() if self.bundle is not None else environment(**pod.environ)

    def _command(self, pod: Pod) -> list[str]:
        words = [self._path(pod, self.reached(word)) for word in pod.container["args"]]
        words = [re.sub(r"(?<==)(/.*)", lambda found: self._path(pod, found[1]), word) for word in words]
        if self.bundle is None:
            return [*COMMAND, *words]
        return ["runc", "run", "-b", str(self._bundle(pod, words)), pod.name]

    def _bundle(self, pod: Pod, words: Sequence[str]) -> Path:
        """A bundle of its own over the same root: what the pod's security context says holds."""
        assert self.bundle is not None
        config = copy.deepcopy(json.loads((self.bundle / "config.json").read_text()))
        shown = config["process"]
        security = {**pod.spec["securityContext"], **pod.container["securityContext"]}
        kept = [each for each in shown["env"] if each.partition("=")[0] not in pod.environ]
        shown |= {
            "terminal": False,
            "noNewPrivileges": not security["allowPrivilegeEscalation"],
            "args": [*_entry(shown["args"]), *words],
            "env": [*kept, *(f"{name}={value}" for name, value in pod.environ.items())],
            "user": {"uid": security["runAsUser"], "gid": security["runAsGroup"]},
        }
        assert security["capabilities"] == {"drop": ["ALL"]}
        shown["capabilities"] = {kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")}
        config["root"] = {"path": str(self.bundle / "rootfs"), "readonly": security["readOnlyRootFilesystem"]}
        config["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
        config["mounts"] = [
            each
            for each in config["mounts"]
            if each["type"] not in ("cgroup", "cgroup2") and each["destination"] not in pod.mounts
        ] + [
            {"destination": place, "type": "bind", "source": str(path), "options": ["rbind", "nosuid", "nodev", "rw"]}
            for place, path in sorted(pod.mounts.items())
        ]
        folder = pod.log.parent / "bundle"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        return folder


def _entry(args: Sequence[str]) -> Sequence[str]:
    """The image's entry point without its default arguments."""
    return args[:1]
