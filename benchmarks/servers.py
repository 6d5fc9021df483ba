"""The servers under test, as processes: started on a free loopback port, measured by what the kernel says."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PROCESS_CLOCK = 2
"""The clock of a process's CPU time, to the nanosecond (clock_getcpuclockid(3)); /proc has ticks of 10 ms."""


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():  # whichever thread started it
                found += map(int, (task / "children").read_text().split())
    return found


def cpu_of(pids: Iterable[int]) -> float:
    """Return the CPU seconds that processes have used so far, their children that have ended included."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[13:15])) / _TICK
    return total


class Server:
    """One product as a process with its children.

    Attributes:
        jpeg_2000: whether it can decode and make JPEG 2000.
    """

    name = ""
    jpeg_2000 = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start_seconds = 0.0

    @property
    def base(self) -> str:
        """The path of the DICOMweb services."""
        return "/dicom-web"

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """What it runs with."""
        return dict(os.environ)

    def start(self) -> None:
        """Start it and wait for its first answer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = (self.folder / "log").open("wb")
        begin = time.monotonic()
        self.process = subprocess.Popen(
            self.command(), env=self.environment(), stdout=log, stderr=log, start_new_session=True
        )
        while time.monotonic() - begin < 30:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", f"{self.base}/studies?limit=1")
                if connection.getresponse().status < 500:
                    self.start_seconds = time.monotonic() - begin
                    return
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.01)
        raise SystemExit(f"{self.name} did not answer within 30 s")

    def stop(self) -> None:
        """End it and its children."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self.process = None

    def pids(self) -> list[int]:
        """The process and all below it."""
        assert self.process is not None
        return tree(self.process.pid)

    def cpu(self) -> float:
        """CPU seconds used so far, also by children that have ended since."""
        return cpu_of(self.pids())

    def memory(self, field: str = "Pss") -> int:
        """Bytes of memory: proportional set size, or another field of smaps_rollup."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith(f"{field}:"):
                        total += int(line.split()[1]) * 1024
        return total

    def peak(self) -> int:
        """Peak resident bytes since `reset_peak`."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        total += int(line.split()[1]) * 1024
        return total

    def reset_peak(self) -> None:
        """Let the kernel count peaks anew."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")


class Roentgate(Server):
    """Ours, with the embedded default."""

    name = "roentgate"

    def command(self) -> list[str]:
        """The console script of the interpreter that runs the benchmark."""
        return [str(Path(sys.executable).with_name("roentgate")), "serve"]

    def environment(self) -> dict[str, str]:
        """Its data folder and port."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ROENTGATE_")}
        return {**kept, "ROENTGATE_DATA": str(self.folder / "data"), "ROENTGATE_HTTP_PORT": str(self.port)}


class Orthanc(Server):
    """Debian's Orthanc with its DICOMweb plug-in, set up so that its known packaging faults do not count."""

    name = "orthanc"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._stack = _larger_stacks(folder)
        self.jpeg_2000 = self._stack is not None

    @staticmethod
    def present() -> bool:
        """Whether it and the plug-in are installed."""
        return shutil.which("Orthanc") is not None and bool(_plugins("OrthancDicomWeb"))

    def command(self) -> list[str]:
        """Orthanc with a configuration written for this run."""
        settings = {
            "Name": "bench",
            "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [*_plugins("OrthancDicomWeb"), *(_plugins("OrthancGdcm") if self._stack else [])],
            # All else crashes in the GDCM of Debian
            "Gdcm": {"Enable": True, "RestrictTransferSyntaxes": [f"1.2.840.10008.1.2.4.{n}" for n in range(90, 94)]},
            "HttpThreadsCount": 50,
            "KeepAlive": True,
            "TcpNoDelay": True,
            "StorageAccessOnFind": "Never",
            "SyncStorageArea": True,
            "DefaultEncoding": "Utf8",
            "OverwriteInstances": False,
            "DicomWeb": {
                "Enable": True,
                "Root": "/dicom-web/",
                "StudiesMetadata": "Full",
                "SeriesMetadata": "Full",
                "PublicRoot": "/dicom-web/",
            },
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(settings))
        return ["Orthanc", str(path)]

    def environment(self) -> dict[str, str]:
        """With the socket option that its Debian build needs."""
        preload = {"LD_PRELOAD": str(self._stack)} if self._stack else {}
        return {**os.environ, "TCP_NODELAY": "1", **preload}


def _larger_stacks(folder: Path) -> Path | None:
    """Compile what keeps JPEG 2000 from crashing Orthanc; None without a compiler or its GDCM plug-in."""
    made = folder.with_name("stack.so")
    compiler = shutil.which("cc")
    if compiler is None or not _plugins("OrthancGdcm"):
        return None
    source = Path(__file__).with_name("stack.c")
    made.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(made), str(source), "-ldl"], check=True)
    return made


def _plugins(name: str) -> list[str]:
    return [str(path) for path in Path("/usr/share/orthanc/plugins").glob(f"lib{name}*.so")][:1]


@contextlib.contextmanager
def running(servers: list[Server]) -> Iterator[None]:
    """Start servers; stop them whatever happens."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.stop()
