"""C-GET and C-MOVE: what arrives equals what was stored, and the counts say what happened."""

import io
import threading

import pydicom
import pytest
from bridged import bridged, needs, receiving, run
from dicoms import CT, PREFIX, ct, dataset, part10
from ports import free_port
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless
from pynetdicom import AE, build_role, evt
from served import compressed, written

from bridge.plans import candidates, plan
from bridge.sources import Instance
from dicomweb.standard.syntaxes import EXPLICIT, IMPLICIT, JPEG_BASELINE, JPEG_LS, RLE

PATIENT_MOVE, STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_GET, STUDY_GET = "1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.3"
MR, SECONDARY = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"
NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def node(port: int, more: str = "") -> str:
    return f'[nodes.STORESCP]\nhost = "127.0.0.1"\nport = {port}\n{more}\n'


def keys(**values) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


SERIES = {"StudyInstanceUID": f"{PREFIX}.1", "SeriesInstanceUID": f"{PREFIX}.1.2"}
STUDY = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=f"{PREFIX}.1")


def move(system, query: Dataset, to: str = "STORESCP", model: str = STUDY_MOVE):
    """All answers to a C-MOVE, and the identifier of the last one."""
    association = system.associate(model)
    answers, identifier = [], None
    for status, found in association.send_c_move(query, to, model):
        answers.append(status)
        identifier = found
    association.release()
    return answers, identifier


def counts(status: Dataset) -> tuple[int, int, int]:
    return (
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


def read(data: bytes) -> pydicom.dataset.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


def by_uid(objects: list[bytes]) -> dict[str, pydicom.dataset.FileDataset]:
    return {str(read(data).SOPInstanceUID): read(data) for data in objects}


def same(received: list[bytes], sent: list[bytes]) -> None:
    """Assert that what arrived has the data sets of what was sent."""
    left, right = by_uid(received), by_uid(sent)
    assert left.keys() == right.keys()
    for uid, one in left.items():
        assert Dataset(one) == Dataset(right[uid]), uid


@pytest.mark.parametrize(
    ("query", "model", "wanted"),
    [
        (STUDY, STUDY_MOVE, {(1, 1, 1), (1, 1, 2), (1, 2, 1)}),
        (keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=[f"{PREFIX}.1", f"{PREFIX}.2"]), STUDY_MOVE, None),
        (keys(QueryRetrieveLevel="PATIENT", PatientID="P2"), PATIENT_MOVE, {(2, 1, 1)}),
        (keys(QueryRetrieveLevel="SERIES", **SERIES), STUDY_MOVE, {(1, 2, 1)}),
        (keys(QueryRetrieveLevel="IMAGE", **SERIES, SOPInstanceUID=f"{PREFIX}.1.2.1"), STUDY_MOVE, {(1, 2, 1)}),
        (keys(QueryRetrieveLevel="IMAGE", SOPInstanceUID=f"{PREFIX}.1.1.2"), STUDY_MOVE, {(1, 1, 2)}),
    ],
    ids=["study", "studies", "patient", "series", "image", "image alone"],
)  # fmt: skip
def test_every_level_moves_its_instances(tmp_path, query, model, wanted):
    places = [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1)]
    objects = {place: ct(place[2], study=place[0], series=place[1]) for place in places}
    with receiving([(CT, NATIVE)]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        system.served.store(*objects.values())
        answers, _ = move(system, query, model=model)
        chosen = set(places) if wanted is None else wanted
        assert answers[-1].Status == 0
        assert counts(answers[-1]) == (len(chosen), 0, 0)
        same(receiver.received, [objects[place] for place in chosen])
        assert answers[0].Status == 0xFF00
        assert answers[0].NumberOfRemainingSuboperations == len(chosen)
        assert {name for name, _ in receiver.commands} == {"TESTER"}


def test_nothing_that_matches_is_success_with_zero_counts(tmp_path):
    with receiving([(CT, NATIVE)]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        answers, _ = move(system, STUDY)
        assert [answer.Status for answer in answers] == [0]
        assert counts(answers[0]) == (0, 0, 0)


@pytest.mark.parametrize("to", ["NOBODY", "TESTER"])
def test_an_unknown_destination_is_a801_and_nothing_is_sent(tmp_path, to):
    with receiving([(CT, NATIVE)]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        system.served.store(ct(1))
        answers, _ = move(system, STUDY, to)
        assert [answer.Status for answer in answers] == [0xA801]
        assert "no node has the AE title" in answers[0].ErrorComment
        assert receiver.received == []


@pytest.mark.parametrize(("allowed", "status"), [("ELSEWHERE", 0x0124), ("STORESCP", 0)])
def test_a_node_may_have_objects_moved_to_its_destinations_only(tmp_path, caplog, allowed, status):
    with receiving([(CT, NATIVE)]) as receiver:
        more = f'[nodes.TESTER]\nsources = ["127.0.0.1"]\nallow = ["move"]\ndestinations = ["{allowed}"]\n'
        with bridged(tmp_path, node(receiver.port) + more) as system:
            system.served.store(ct(1))
            answers, _ = move(system, STUDY)
            assert answers[-1].Status == status
            assert len(receiver.received) == (0 if status else 1)
            if status:
                assert answers[-1].ErrorComment == "node TESTER may not have objects moved to STORESCP"
                assert "Add that node to its destinations" in caplog.text


def test_some_that_fail_are_b000_and_listed(tmp_path):
    with receiving([(CT, NATIVE)]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        receiver.statuses = [0, 0xA700, 0, 0xB007, 0]
        system.served.store(*(ct(number) for number in range(1, 6)))
        answers, identifier = move(system, STUDY)
        assert answers[-1].Status == 0xB000
        assert counts(answers[-1]) == (3, 1, 1)
        assert identifier.FailedSOPInstanceUIDList == f"{PREFIX}.1.1.2"


def test_all_that_fail_are_a702(tmp_path):
    with receiving([(CT, NATIVE)]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        receiver.statuses = [0xA700, 0xA700]
        system.served.store(ct(1), ct(2))
        answers, identifier = move(system, STUDY)
        assert answers[-1].Status == 0xA702
        assert counts(answers[-1]) == (0, 2, 0)
        assert len(identifier.FailedSOPInstanceUIDList) == 2


def test_a_destination_that_is_down_fails_all_at_once(tmp_path):
    with bridged(tmp_path, node(9)) as system:
        system.served.store(ct(1), ct(2))
        answers, _ = move(system, STUDY)
        assert answers[-1].Status == 0xA702
        assert counts(answers[-1]) == (0, 2, 0)


def test_classes_that_the_destination_does_not_take_are_listed_and_others_arrive(tmp_path):
    with receiving([(CT, NATIVE)]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        system.served.store(ct(1), ct(2, SOPClassUID=SECONDARY), ct(3))
        answers, identifier = move(system, STUDY)
        assert (answers[-1].Status, counts(answers[-1])) == (0xB000, (2, 1, 0))
        assert identifier.FailedSOPInstanceUIDList == f"{PREFIX}.1.1.2"


@pytest.mark.parametrize("stored", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("taken", [[ImplicitVRLittleEndian], [ExplicitVRLittleEndian]])
def test_native_objects_reach_those_that_read_one_encoding_only(tmp_path, stored, taken):
    data = part10(dataset(1), stored) if stored == DeflatedExplicitVRLittleEndian else written(dataset(1), stored)
    with receiving([(CT, taken)]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        system.served.store(data)
        answers, _ = move(system, STUDY)
        assert (answers[-1].Status, counts(answers[-1])) == (0, (1, 0, 0))
        assert read(receiver.received[0]).file_meta.TransferSyntaxUID == taken[0]
        same(receiver.received, [ct(1)])


def test_compressed_objects_pass_as_they_are_where_they_are_taken(tmp_path):
    data = compressed([b"\xff\xd8 as it is \xff\xd9"], JPEGLSLossless)
    with receiving([(CT, [JPEGLSLossless])]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        system.served.store(data, ct(2))
        answers, _ = move(system, STUDY)
        assert counts(answers[-1])[0] >= 1
        assert Dataset(by_uid(receiver.received)[f"{PREFIX}.1.1.1"]) == Dataset(read(data))


def test_compressed_objects_are_decoded_where_they_are_not_taken(tmp_path):
    from imagecodecs import jpegls_encode

    pixels = pydicom.dcmread(io.BytesIO(ct(1))).pixel_array
    data = compressed([jpegls_encode(pixels)], JPEGLSLossless)
    with receiving([(CT, [ImplicitVRLittleEndian])]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        system.served.store(data)
        answers, _ = move(system, STUDY)
        assert (answers[-1].Status, counts(answers[-1])) == (0, (1, 0, 0))
        assert read(receiver.received[0]).file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert (read(receiver.received[0]).pixel_array == pixels).all()


def test_an_object_that_nobody_can_decode_is_counted_as_failed(tmp_path):
    data = compressed([b"\xff\xd8 broken \xff\xd9"], JPEGLSLossless)
    with receiving([(CT, NATIVE)]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        system.served.store(data, ct(2))
        answers, identifier = move(system, STUDY)
        assert (answers[-1].Status, counts(answers[-1])) == (0xB000, (1, 1, 0))
        assert identifier.FailedSOPInstanceUIDList == f"{PREFIX}.1.1.1"


def test_a_cancelled_move_stops_with_counts(tmp_path):
    received: list[str] = []
    cancelled = threading.Event()

    def slow(event: evt.Event) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        if len(received) == 2:
            association.send_c_cancel(1, None, STUDY_MOVE)
            cancelled.wait(1.0)  # the receiver is slow once; the requester's word arrives meanwhile
        return 0

    handlers = [(evt.EVT_C_STORE, slow)]
    with receiving([(CT, NATIVE)], handlers=handlers) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        system.served.store(*(ct(number) for number in range(1, 40)))
        association = system.associate(STUDY_MOVE)
        statuses = [status for status, _ in association.send_c_move(STUDY, "STORESCP", STUDY_MOVE)]
        association.release()
        assert statuses[-1].Status == 0xFE00
        done = statuses[-1].NumberOfCompletedSuboperations
        assert 0 < done < 39
        assert statuses[-1].NumberOfRemainingSuboperations + done == 39


def test_wildcards_and_nothing_at_all_are_refused(tmp_path):
    with receiving([(CT, NATIVE)]) as receiver, bridged(tmp_path, node(receiver.port)) as system:
        system.served.store(ct(1))
        for query in (keys(QueryRetrieveLevel="STUDY"), keys(QueryRetrieveLevel="PATIENT", PatientID="*")):
            answers, _ = move(system, query, model=PATIENT_MOVE)
            assert [answer.Status for answer in answers] == [0xA900]
        assert receiver.received == []


# -- C-GET ---------------------------------------------------------------------------------------------------
def get(system, query: Dataset, contexts=((CT, NATIVE),), model: str = STUDY_GET, roles=None):
    received: list[bytes] = []

    def store(event: evt.Event) -> int:
        out = io.BytesIO()
        file = pydicom.dataset.FileDataset(None, event.dataset, file_meta=event.file_meta, preamble=b"\0" * 128)
        file.save_as(out, enforce_file_format=True)
        received.append(out.getvalue())
        return 0

    entity = AE("TESTER")
    entity.add_requested_context(model)
    for abstract, syntaxes in contexts:
        entity.add_requested_context(abstract, list(syntaxes))
    roles = [build_role(abstract, scp_role=True) for abstract, _ in contexts] if roles is None else roles
    association = entity.associate(
        "127.0.0.1", system.port, ae_title="ROENTGATE", ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    answers, identifier = [], None
    for status, found in association.send_c_get(query, model):
        answers.append(status)
        identifier = found
    association.release()
    return answers, identifier, received


def test_get_brings_everything_over_the_same_association(tmp_path):
    with bridged(tmp_path) as system:
        objects = [ct(1), ct(2), ct(1, series=2)]
        system.served.store(*objects)
        answers, _, received = get(system, STUDY)
        assert (answers[-1].Status, counts(answers[-1])) == (0, (3, 0, 0))
        same(received, objects)


def test_get_uses_accepted_contexts_only_and_lists_what_has_none(tmp_path):
    with bridged(tmp_path) as system:
        system.served.store(ct(1), ct(2, SOPClassUID=MR))
        answers, identifier, received = get(system, STUDY)
        assert (answers[-1].Status, counts(answers[-1])) == (0xB000, (1, 1, 0))
        assert identifier.FailedSOPInstanceUIDList == f"{PREFIX}.1.1.2"
        assert len(received) == 1


def test_get_without_the_role_of_scp_fails_all(tmp_path):
    with bridged(tmp_path) as system:
        system.served.store(ct(1))
        answers, _, received = get(system, STUDY, roles=[])
        assert answers[-1].Status == 0xA702
        assert received == []


# -- DCMTK ---------------------------------------------------------------------------------------------------
def address(system, out) -> list[object]:
    """What DCMTK's programs are told: whom to ask, where to write, for which study."""
    query = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={PREFIX}.1"]
    return ["-aec", "ROENTGATE", "-od", out, "127.0.0.1", system.port, *query]


@needs("movescu")
def test_movescu_receives_by_itself_what_it_asks_for(tmp_path):
    port = free_port()
    out = tmp_path / "out"
    out.mkdir()
    with bridged(tmp_path, f'[nodes.MOVESCU]\nhost = "127.0.0.1"\nport = {port}\nallow = ["move"]\n') as system:
        objects = [ct(number) for number in range(1, 6)]
        system.served.store(*objects)
        run("movescu", "-S", "-aem", "MOVESCU", "--port", port, *address(system, out))
        same([path.read_bytes() for path in out.iterdir()], objects)


@needs("getscu")
def test_getscu_gets_a_study(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with bridged(tmp_path) as system:
        objects = [ct(number) for number in range(1, 6)]
        system.served.store(*objects)
        run("getscu", "-S", *address(system, out))
        same([path.read_bytes() for path in out.iterdir()], objects)


# -- planning ------------------------------------------------------------------------------------------------
def instance(sop_class: str, syntax: str, number: int = 1) -> Instance:
    return Instance("1", "1.1", f"1.1.{number}", sop_class, syntax)


def test_contexts_are_those_of_what_is_sent():
    ((contexts, members),) = plan([instance(CT, JPEG_LS), instance(CT, EXPLICIT, 2)])
    assert [(each.number, each.abstract, each.syntaxes) for each in contexts] == [
        (1, CT, (JPEG_LS,)),
        (3, CT, (EXPLICIT, IMPLICIT)),
    ]
    assert len(members) == 2


def test_more_than_128_contexts_are_several_associations_and_no_instance_is_left_out():
    instances = [instance(f"1.2.{number}", JPEG_LS, number) for number in range(100)]
    groups = list(plan(instances))
    assert len(groups) == 2
    assert all(len(contexts) <= 128 for contexts, _ in groups)
    assert [one for _, members in groups for one in members] == instances


def test_a_nodes_syntaxes_are_the_only_ones_proposed():
    ((contexts, _),) = plan([instance(CT, JPEG_LS)], [IMPLICIT])
    assert [each.syntaxes for each in contexts] == [(IMPLICIT,)]


def test_what_loses_nothing_is_tried():
    assert candidates(JPEG_LS, [IMPLICIT]) == [EXPLICIT]
    assert candidates(JPEG_LS, [JPEG_BASELINE, RLE]) == [RLE]
    assert candidates(JPEG_LS, [JPEG_BASELINE]) == []
