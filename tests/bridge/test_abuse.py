"""What hostile and broken peers do costs a connection, never the bridge."""

import resource
import socket
import struct
import threading
from pathlib import Path

import pytest
from bridged import bridged, needs, run
from dicoms import CT, ct
from pynetdicom import AE
from pynetdicom.pdu import A_ASSOCIATE_RQ

from bridge import commandsets, negotiation
from bridge.negotiation import Proposed, Request
from dicomweb.standard.syntaxes import EXPLICIT

VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
CONTEXTS = (Proposed(1, VERIFICATION, (EXPLICIT,)), Proposed(3, CT, (EXPLICIT,)), Proposed(5, FIND, (EXPLICIT,)))
ABORT = 7


def dial(system) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", system.port), 30)
    sock.settimeout(30)
    return sock


def request(contexts=CONTEXTS) -> bytes:
    return negotiation.write_request(Request("RAW", "ROENTGATE", contexts), 16384)


def bad_item() -> bytes:
    """A request whose first presentation context says that it is longer than the PDU."""
    whole = request()
    place = whole.index(b"\x20\0", 74)
    return whole[: place + 2] + b"\xff\xff" + whole[place + 4 :]


def pdu(sock: socket.socket) -> tuple[int, bytes]:
    """The next PDU; type 0 at the end of the connection."""
    head = exactly(sock, 6)
    if len(head) < 6:
        return 0, b""
    kind, length = struct.unpack(">BxI", head)
    return kind, exactly(sock, length)


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        try:
            piece = sock.recv(count - len(data))
        except ConnectionResetError:
            return b""
        if not piece:
            break
        data += piece
    return data


def associated(system) -> socket.socket:
    sock = dial(system)
    sock.sendall(request())
    kind, _ = pdu(sock)
    assert kind == 2
    return sock


def fragment(data: bytes, control: int, context: int = 1) -> bytes:
    return struct.pack(">BxIIBB", 4, len(data) + 6, len(data) + 2, context, control) + data


def echo(number: int = 1) -> bytes:
    command = {
        "AffectedSOPClassUID": VERIFICATION,
        "CommandField": 0x30,
        "MessageID": number,
        "CommandDataSetType": 0x101,
    }
    return fragment(commandsets.write(command), 3)


def store() -> bytes:
    command = {
        "AffectedSOPClassUID": CT, "CommandField": 1, "MessageID": 1, "Priority": 0, "CommandDataSetType": 1,
        "AffectedSOPInstanceUID": "1.2.3",
    }  # fmt: skip
    return fragment(commandsets.write(command), 3, 3)


def serves(system) -> None:
    """Assert that somebody else is served."""
    association = system.associate(VERIFICATION)
    assert association.send_c_echo().Status == 0
    association.release()


def rest(sock: socket.socket) -> list[int]:
    """Types of the PDUs that come until the connection ends."""
    kinds = []
    while kind := pdu(sock)[0]:
        kinds.append(kind)
    return kinds


def test_silent_connections_keep_nobody_out_and_threads_are_bounded(tmp_path):
    with bridged(tmp_path, lobby=16) as system:
        before = threading.active_count()
        silent = [dial(system) for _ in range(100)]
        serves(system)
        assert threading.active_count() <= before + 16 + 4
        for sock in silent:
            sock.close()
        serves(system)


def test_silence_before_and_within_a_pdu_ends_the_connection(tmp_path):
    with bridged(tmp_path, request_seconds=0.3, pdu_seconds=0.3, idle_seconds=0.3) as system:
        for sent in (b"", request()[:40]):
            with dial(system) as sock:
                sock.sendall(sent)
                assert rest(sock) == []
        for sent in (b"", echo()[:20], store(), store() + fragment(b"\x08\x00", 0, 3)[:10]):
            with associated(system) as sock:
                sock.sendall(sent)
                assert set(rest(sock)) <= {ABORT}
        serves(system)


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">BxI", 1, 0xFFFFFFFF),
        struct.pack(">BxI", 4, 0xFFFFFFFF),
        struct.pack(">BxI", 0x99, 4) + b"1234",
        fragment(b"x", 3),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(64),
        request()[:2] + struct.pack(">I", 90) + request()[6:96],
        struct.pack(">BxI", 1, 68) + bytes(68),
        bad_item(),
    ],
    ids=["huge request", "data first", "unknown", "data before accept", "http", "cut", "zeros", "bad item length"],
)
def test_what_is_no_association_request_is_aborted(tmp_path, sent):
    with bridged(tmp_path, request_seconds=2.0, pdu_seconds=2.0, idle_seconds=2.0) as system:
        with dial(system) as sock:
            sock.sendall(sent)
            assert set(rest(sock)) <= {ABORT, 2, 3}
        serves(system)


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">BxI", 4, 0xFFFFFFFF),
        request(),
        struct.pack(">BxI", 0x99, 4) + b"1234",
        struct.pack(">BxI", 4, 3) + b"123",
        struct.pack(">BxIIBB", 4, 8, 0xFFFFFF, 1, 3) + b"12",
        fragment(b"12", 2),
        fragment(b"not a command set", 3),
        fragment(commandsets.write({"CommandField": 0x30, "MessageID": 1}), 3, context=99),
        b"".join(fragment(bytes(8000), 1) for _ in range(10)),
        store() + echo(),
    ],
    ids=[
        "huge PDU", "second request", "unknown", "short item", "item past its PDU", "data without command",
        "no command", "context not accepted", "endless command", "command within data",
    ],
)  # fmt: skip
def test_what_the_protocol_does_not_allow_aborts_the_association(tmp_path, sent):
    with bridged(tmp_path) as system:
        with associated(system) as sock:
            sock.sendall(sent)
            assert rest(sock) == [ABORT]
        serves(system)


def test_a_message_above_the_limit_is_aborted_and_never_held(tmp_path):
    piece = fragment(bytes(60_000), 0, 3)
    with bridged(tmp_path, message_bytes=1 << 20) as system:
        with associated(system) as sock:
            with_abort = False
            try:
                sock.sendall(store())
                for _ in range(200):
                    sock.sendall(piece)
            except OSError:
                with_abort = True
            assert with_abort or rest(sock) == [ABORT]
        serves(system)
        assert system.instances() == set()


def test_a_message_without_an_end_leaves_nothing(tmp_path):
    with bridged(tmp_path, held_bytes=1000) as system:
        with associated(system) as sock:
            sock.sendall(store() + b"".join(fragment(ct(1)[:2000], 0, 3) for _ in range(10)))
        serves(system)
        assert system.instances() == set()


def test_a_command_that_is_not_offered_is_answered(tmp_path):
    with bridged(tmp_path) as system, associated(system) as sock:
        command = {
            "AffectedSOPClassUID": VERIFICATION,
            "CommandField": 0x140,
            "MessageID": 1,
            "CommandDataSetType": 0x101,
        }
        sock.sendall(fragment(commandsets.write(command), 3))
        kind, data = pdu(sock)
        assert (kind, commandsets.read(data[6:])["Status"]) == (4, 0x0211)
        command = {"AffectedSOPClassUID": FIND, "CommandField": 0x20, "MessageID": 2, "CommandDataSetType": 0x101}
        sock.sendall(fragment(commandsets.write(command), 3, 1))
        kind, data = pdu(sock)
        assert (kind, commandsets.read(data[6:])["Status"]) == (4, 0x0122)
        sock.sendall(echo())
        kind, data = pdu(sock)
        assert commandsets.read(data[6:])["Status"] == 0


def test_messages_arrive_whole_wherever_they_are_cut(tmp_path):
    with bridged(tmp_path) as system, associated(system) as sock:
        whole = echo(1) + echo(2)
        for byte in whole:
            sock.sendall(bytes([byte]))
        answers = [commandsets.read(pdu(sock)[1][6:])["MessageIDBeingRespondedTo"] for _ in range(2)]
        assert answers == [1, 2]


def test_128_contexts_with_many_syntaxes_and_long_user_information(tmp_path):
    syntaxes = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(50, 110))
    contexts = tuple(Proposed(2 * number + 1, CT, (*syntaxes, EXPLICIT)) for number in range(128))
    with bridged(tmp_path) as system:
        with dial(system) as sock:
            sock.sendall(request(contexts))
            assert pdu(sock)[0] == 2
        read = A_ASSOCIATE_RQ()
        read.decode(request())
        long = request() + struct.pack(">BxHH", 0x58, 16_000, 0) + bytes(15_998)
        with dial(system) as sock:
            sock.sendall(long[:2] + struct.pack(">I", len(long) - 6) + long[6:])
            assert pdu(sock)[0] in (2, 3, ABORT)
        serves(system)


def test_a_query_of_ten_thousand_wildcards_is_answered(tmp_path):
    from pydicom.dataset import Dataset

    with bridged(tmp_path) as system:
        system.served.store(ct(1))
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.add_new(0x00081030, "UT", "*a?" * 3500)
        association = system.associate(FIND)
        statuses = [status.Status for status, _ in association.send_c_find(query, FIND)]
        assert statuses[-1] in (0x0000, 0xA700, 0xA900)
        association.release()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.long)])
def test_associations_that_come_and_go_leave_nothing_behind(tmp_path, count):
    def once() -> None:
        with associated(system) as sock:
            sock.sendall(echo())
            pdu(sock)
            sock.sendall(struct.pack(">BxI4x", 5, 4))
            assert rest(sock) == [6]

    with bridged(tmp_path) as system:
        for _ in range(50):
            once()
        threads, files, memory = threading.active_count(), descriptors(), resident()
        for _ in range(count):
            once()
        serves(system)
        assert threading.active_count() <= threads + 2
        assert descriptors() <= files + 4
        assert resident() - memory < (32 << 20)


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_both_ask_for_release_at_once(tmp_path):
    with bridged(tmp_path) as system:
        entity = AE("TESTER")
        entity.add_requested_context(VERIFICATION)
        associations = [entity.associate("127.0.0.1", system.port, ae_title="ROENTGATE") for _ in range(10)]
        for association in associations:
            association.release()
        assert all(association.is_released for association in associations)


@needs("termscu")
def test_nobody_ends_the_bridge_by_dcmtks_word_for_it(tmp_path):
    with bridged(tmp_path) as system:
        run("termscu", "-aec", "ROENTGATE", "127.0.0.1", system.port, status=None)
        serves(system)


@needs("echoscu")
def test_pdus_of_any_size_are_read(tmp_path):
    with bridged(tmp_path, pdu_bytes=4096) as system:
        for size in (4096, 16384, 131072):
            run("echoscu", "-pdu", size, "-aec", "ROENTGATE", "127.0.0.1", system.port)
