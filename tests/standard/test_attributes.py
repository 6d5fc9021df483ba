"""Attributes per level (PS3.18 Tables 10.6.1-5 and 10.6.3-3 to -5)."""

import pytest

from dicomweb.standard.attributes import (
    ATTRIBUTES,
    BY_KEYWORD,
    IF_KNOWN,
    Level,
    level_of,
    may_return,
    returned,
)
from dicomweb.standard.dictionary import tag_of

STUDY = {
    "StudyDate", "StudyTime", "AccessionNumber", "InstanceAvailability", "ModalitiesInStudy",
    "ReferringPhysicianName", "TimezoneOffsetFromUTC", "PatientName", "PatientID", "PatientBirthDate",
    "PatientSex", "StudyInstanceUID", "StudyID", "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
}  # fmt: skip
SERIES = {
    "Modality", "TimezoneOffsetFromUTC", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber",
    "NumberOfSeriesRelatedInstances", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
    "RequestAttributesSequence",
}  # fmt: skip
INSTANCE = {
    "SOPClassUID", "SOPInstanceUID", "InstanceAvailability", "TimezoneOffsetFromUTC", "InstanceNumber",
    "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
}  # fmt: skip


def keywords(level: Level, study: bool = False, series: bool = False) -> set[str]:
    return {attribute.keyword for attribute in returned(level, study, series)}


def tag(keyword: str) -> int:
    found = tag_of(keyword)
    assert found is not None
    return found


def test_a_study_is_answered_with_what_the_standard_requires() -> None:
    assert keywords("study") >= STUDY | {"StudyDescription", "IssuerOfPatientID"}
    assert not keywords("study") & {"SeriesInstanceUID", "Modality", "SOPInstanceUID"}


def test_a_series_of_a_study_is_answered_with_its_own_attributes_and_the_study_uid() -> None:
    assert keywords("series", study=True) >= SERIES | {"StudyInstanceUID"}
    assert not keywords("series", study=True) & (STUDY - SERIES - {"StudyInstanceUID", "InstanceAvailability"})


def test_a_series_of_any_study_is_answered_with_all_study_attributes_too() -> None:
    assert keywords("series") >= SERIES | STUDY


def test_an_instance_is_answered_with_the_levels_that_its_url_leaves_open() -> None:
    uids = {"StudyInstanceUID", "SeriesInstanceUID"}
    assert keywords("instance", study=True, series=True) >= INSTANCE | uids
    assert "Modality" not in keywords("instance", study=True, series=True)
    assert keywords("instance", study=True) >= INSTANCE | SERIES | uids
    assert "PatientName" not in keywords("instance", study=True)
    assert keywords("instance") >= INSTANCE | SERIES | STUDY


def test_a_patient_is_answered_with_identity_and_counts() -> None:
    assert keywords("patient") == {
        "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
        "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances",
    }  # fmt: skip


def test_no_attribute_is_in_the_table_twice() -> None:
    assert len({attribute.tag for attribute in ATTRIBUTES}) == len(ATTRIBUTES)


def test_what_the_standard_wants_even_when_empty_is_not_optional() -> None:
    for keyword in ["StudyDate", "AccessionNumber", "PatientName", "StudyID", "Modality", "SeriesNumber"]:
        assert BY_KEYWORD[keyword].tag not in IF_KNOWN
    for keyword in ["NumberOfFrames", "Rows", "TimezoneOffsetFromUTC", "SeriesDescription"]:
        assert BY_KEYWORD[keyword].tag in IF_KNOWN


@pytest.mark.parametrize(
    ("keyword", "level"),
    [
        ("PatientID", "patient"),
        ("PatientSpeciesDescription", "patient"),
        ("ClinicalTrialSubjectID", "patient"),
        ("PatientAge", "study"),
        ("PregnancyStatus", "study"),
        ("AdmissionID", "study"),
        ("RequestingPhysician", "study"),
        ("ReferencedStudySequence", "study"),
        ("DeviceSerialNumber", "series"),
        ("Modality", "series"),
        ("PatientPosition", "series"),
        ("KVP", "instance"),
        ("PixelSpacing", "instance"),
    ],
)
def test_attributes_outside_of_the_table_have_the_level_of_their_module(keyword: str, level: Level) -> None:
    assert level_of(tag(keyword)) == level


def test_attributes_of_lower_levels_are_never_returned() -> None:
    assert not may_return("study", tag("Modality"))
    assert not may_return("study", tag("SOPInstanceUID"))
    assert not may_return("series", tag("KVP"))
    assert not may_return("patient", tag("StudyDate"))
    assert may_return("instance", tag("PatientName"))
    assert may_return("series", tag("TimezoneOffsetFromUTC"))
    assert may_return("study", 0x00291002)
