"""C-FIND: the same results as QIDO-RS, in the form that devices expect."""

import logging

import pytest
from bridged import bridged, needs, run
from dicoms import CT, PREFIX, ct
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from bridge.association import Limits, connect
from bridge.commandsets import C_CANCEL, C_FIND
from bridge.connection import Connection
from bridge.negotiation import Proposed
from bridge.negotiation import Request as AssociationRequest
from dicomweb.standard import identifiers
from dicomweb.standard.syntaxes import EXPLICIT

PATIENT_ROOT, STUDY_ROOT, PATIENT_ONLY = (f"1.2.840.10008.5.1.4.1.2.{n}.1" for n in (1, 2, 3))
STUDY_FIND = STUDY_ROOT


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with bridged(tmp_path_factory.mktemp("find")) as running:
        for study in (1, 2, 3):
            for series in (1, 2):
                running.served.store(*(ct(n, study=study, series=series, StudyDate=f"2024010{study}") for n in (1, 2)))
        running.served.store(
            ct(1, study=4, PatientName="Müller^Jörg", PatientID="P4", Modality="MR", StudyDate="20230101"),
            ct(1, study=5, PatientName="Yamada^Tarou=山田^太郎", PatientID="P1", StudyDate="20230102"),
        )
        yield running


def keys(**values) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def find(system, query: Dataset, model: str = STUDY_FIND, ext: bytes | None = None, **more):
    """All answers of a query, and the final status."""
    items = []
    if ext is not None:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = model, ext
        items.append(item)
    association = system.associate(model, ext_neg=items, **more)
    answers, last = [], None
    for status, identifier in association.send_c_find(query, model):
        if status.Status in (0xFF00, 0xFF01):
            identifier.decode()
            answers.append(identifier)
        else:
            last = status
    association.release()
    return answers, last


def test_studies_come_with_what_was_asked_for(system):
    answers, last = find(
        system, keys(QueryRetrieveLevel="STUDY", PatientID="P2", StudyInstanceUID="", StudyDate="", StudyDescription="")
    )
    assert last.Status == 0
    (one,) = answers
    assert one.StudyInstanceUID == f"{PREFIX}.2"
    assert (one.PatientID, one.StudyDate, one.StudyDescription) == ("P2", "20240102", "CHEST")
    assert (one.QueryRetrieveLevel, one.RetrieveAETitle, one.InstanceAvailability) == ("STUDY", "ROENTGATE", "ONLINE")
    assert "AccessionNumber" not in one


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"QueryRetrieveLevel": "STUDY", "PatientName": "Test*"}, 3),
        ({"QueryRetrieveLevel": "STUDY", "PatientName": "MULLER^*"}, 1),
        ({"QueryRetrieveLevel": "STUDY", "StudyDate": "20240102-20240103"}, 2),
        ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": [f"{PREFIX}.1", f"{PREFIX}.3"]}, 2),
        ({"QueryRetrieveLevel": "STUDY", "ModalitiesInStudy": "MR"}, 1),
        ({"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": f"{PREFIX}.1"}, 2),
        ({"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": f"{PREFIX}.1", "SeriesInstanceUID": f"{PREFIX}.1.2"}, 2),
        ({"QueryRetrieveLevel": "IMAGE", "PatientID": "P2"}, 4),
        ({"StudyInstanceUID": f"{PREFIX}.1", "SeriesInstanceUID": ""}, 2),
        ({"QueryRetrieveLevel": "STUDY", "PatientName": "Nobody"}, 0),
        ({"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2.3.999"}, 0),
    ],
)
def test_keys_of_every_kind_find_what_they_should(system, query, count):
    answers, last = find(system, keys(**query))
    assert last.Status == 0
    assert len(answers) == count


def test_patients_are_told_apart_and_counted(system):
    query = keys(QueryRetrieveLevel="PATIENT", PatientID="", PatientName="", NumberOfPatientRelatedStudies="")
    answers, _ = find(system, query, PATIENT_ROOT)
    assert sorted(one.PatientID for one in answers) == ["P1", "P2", "P3", "P4"]
    assert {one.PatientID: one.NumberOfPatientRelatedStudies for one in answers}["P1"] == 2
    answers, _ = find(system, keys(QueryRetrieveLevel="STUDY", PatientID="P1", StudyInstanceUID=""), PATIENT_ONLY)
    assert len(answers) == 2


def test_counts_and_modalities_are_computed(system):
    query = keys(
        QueryRetrieveLevel="STUDY",
        StudyInstanceUID=f"{PREFIX}.1",
        ModalitiesInStudy="",
        NumberOfStudyRelatedSeries="",
        NumberOfStudyRelatedInstances="",
        SOPClassesInStudy="",
    )
    ((one,), _) = find(system, query)
    assert (one.ModalitiesInStudy, one.NumberOfStudyRelatedSeries, one.NumberOfStudyRelatedInstances) == ("CT", 2, 4)
    assert one.SOPClassesInStudy == CT


@pytest.mark.parametrize(
    ("charset", "name", "answered"),
    [
        ("ISO_IR 192", "Müller^Jörg", "ISO_IR 192"),
        ("ISO_IR 100", "Müller^Jörg", "ISO_IR 100"),
        (None, "Müller^Jörg", "ISO_IR 192"),
        ("ISO_IR 100", "Yamada^Tarou=山田^太郎", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", ["", "ISO 2022 IR 87"]),
    ],
)
def test_answers_are_in_a_character_set_that_the_asker_reads(system, charset, name, answered):
    query = keys(QueryRetrieveLevel="STUDY", PatientName="", StudyInstanceUID=[f"{PREFIX}.4", f"{PREFIX}.5"])
    if charset is not None:
        query.SpecificCharacterSet = charset
    answers, _ = find(system, query)
    (one,) = (one for one in answers if str(one.PatientName) == name)
    assert one.SpecificCharacterSet == answered


def test_a_key_in_latin_1_finds_its_name(system):
    query = keys(
        SpecificCharacterSet="ISO_IR 100", QueryRetrieveLevel="STUDY", PatientName="Müller^Jörg", StudyInstanceUID=""
    )
    assert len(find(system, query)[0]) == 1


def test_old_devices_are_answered_in_implicit_vr(system):
    answers, _ = find(
        system, keys(QueryRetrieveLevel="STUDY", PatientID="P4", PatientName=""), syntaxes=[ImplicitVRLittleEndian]
    )
    assert str(answers[0].PatientName) == "Müller^Jörg"


def test_fuzzy_names_only_if_negotiated(system):
    query = keys(QueryRetrieveLevel="STUDY", PatientName="jorg", StudyInstanceUID="")
    assert find(system, query)[0] == []
    assert len(find(system, query, ext=b"\0\0\1")[0]) == 1


def test_never_more_is_granted_than_was_asked_for(system):
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = STUDY_FIND, b"\1\0\1"
    association = system.associate(STUDY_FIND, ext_neg=[item])
    assert association.acceptor.sop_class_extended == {STUDY_FIND: b"\1\0\1"}
    association.release()


def test_strict_refuses_what_was_not_negotiated(tmp_path):
    with bridged(tmp_path, strict=True) as system:
        relational = keys(QueryRetrieveLevel="SERIES", Modality="CT")
        assert find(system, relational)[1].Status == 0xA900
        assert find(system, relational, ext=b"\1")[1].Status == 0
        assert "missing" in find(system, keys(PatientID=""))[1].ErrorComment


def test_bad_keys_are_refused_with_a_sentence(system, caplog):
    with caplog.at_level(logging.INFO):
        _, last = find(system, keys(QueryRetrieveLevel="FRAME"))
    assert last.Status == 0xA900
    assert "none of STUDY" in last.ErrorComment
    assert "request refused: TESTER" in caplog.text


def test_a_query_that_finds_nothing_leaves_a_line_that_helps_and_names_no_patient(system, caplog):
    with caplog.at_level(logging.INFO):
        find(system, keys(QueryRetrieveLevel="STUDY", PatientName="Doe"))
        association = system.associate("1.2.840.10008.1.1")  # the line stands there before the next request is served
        association.send_c_echo()
        association.release()
    told = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("bridge"))
    assert "a part of it needs a wildcard" in told
    assert "Doe" not in told


def test_a_cancelled_query_ends_with_fe00(tmp_path):
    with bridged(tmp_path) as system:
        for start in range(0, 1500, 50):
            system.served.store(*(ct(number) for number in range(start + 1, start + 51)))
        association = system.associate(STUDY_FIND)
        seen = 0
        for status, _ in association.send_c_find(keys(QueryRetrieveLevel="IMAGE", SOPInstanceUID=""), STUDY_FIND):
            if status.Status == 0xFF00:
                seen += 1
                if seen == 1:
                    association.send_c_cancel(1, None, STUDY_FIND)
        assert status.Status == 0xFE00
        assert seen < 1500
        association.release()


def test_answers_leave_together_and_a_query_that_is_cancelled_at_once_gets_few(tmp_path, monkeypatch):
    writes = []
    send = Connection.send
    with bridged(tmp_path) as system:
        for start in range(0, 250, 50):
            system.served.store(*(ct(number) for number in range(start + 1, start + 51)))
        asked = AssociationRequest("TESTER", "ROENTGATE", (Proposed(1, STUDY_FIND, (EXPLICIT,)),))
        association = connect("127.0.0.1", system.port, asked, Limits(answer_seconds=60.0))
        monkeypatch.setattr(
            Connection, "send", lambda self, pieces: (writes.append(sum(map(len, pieces))), send(self, pieces))[1]
        )
        assert ask(association) == (250, 0)
        # Its request; 100, then 150 answers by 50; the last word
        assert len(writes) == 1 + 2 + 3 + 1
        assert ask(association, cancel=True)[1] == 0xFE00
        association.release()


def ask(association, cancel: bool = False) -> tuple[int, int]:
    """How many answers a query for all instances gets, and its final status; `cancel` follows it at once."""
    command = {"AffectedSOPClassUID": STUDY_FIND, "CommandField": C_FIND, "Priority": 0}
    identifier = {"00080052": {"vr": "CS", "Value": ["IMAGE"]}, "00080018": {"vr": "UI"}}
    sent = association.start(1, command, identifiers.write(identifier, EXPLICIT))
    if cancel:
        association.send(1, {"CommandField": C_CANCEL, "MessageIDBeingRespondedTo": sent["MessageID"]})
    count = 0
    while (message := association.receive(60.0)).command["Status"] == 0xFF00:
        assert association.identifier()
        count += 1
    return count, message.command["Status"]


def address(system) -> list[object]:
    return ["-aec", "ROENTGATE", "127.0.0.1", system.port]


def asking(*keys: str) -> list[str]:
    return [part for key in keys for part in ("-k", key)]


@needs("findscu")
@pytest.mark.parametrize("model", ["-P", "-S"])
def test_findscu_finds_studies(system, model):
    said = run(
        "findscu",
        "-v",
        model,
        *address(system),
        *asking("QueryRetrieveLevel=STUDY", "PatientID=P2", "StudyInstanceUID"),
    )
    assert f"{PREFIX}.2" in said
    assert f"{PREFIX}.3" not in said


@needs("findscu")
def test_findscu_cancels(system):
    said = run(
        "findscu", "-v", "-S", "--cancel", "1", *address(system), *asking("QueryRetrieveLevel=IMAGE", "SOPInstanceUID")
    )
    assert "Cancel" in said
