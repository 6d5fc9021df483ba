"""Attributes per level: matched, returned, indexed, computed (PS3.18 Tables 10.6.1-5 and 10.6.3-3 to -5,
PS3.4 C.6.1.1 and C.6.2.1).

The index keeps every attribute of this table with its study, series or instance; anything else is read from
the metadata of instances when it is asked for.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from dicomweb.standard.dictionary import tag_of, vr_of

Level: TypeAlias = Literal["patient", "study", "series", "instance"]

LEVELS: tuple[Level, ...] = ("patient", "study", "series", "instance")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row of the table.

    Attributes:
        keyword: as in PS3.6.
        tag: as an integer.
        vr: value representation; of "US or SS" the first.
        level: whose attribute it is.
        column: it has a typed, normalised column of its own in the index (matched by SQL); the others are
            kept with their level and matched there.
        returned: it is in every answer of its level.
        computed: it is no attribute of stored data sets but made from the index.
    """

    keyword: str
    tag: int
    vr: str
    level: Level
    column: bool = False
    returned: bool = False
    computed: bool = False


def _rows(level: Level, column: bool, returned: bool, computed: bool, keywords: str) -> list[Attribute]:
    rows = []
    for keyword in keywords.split():
        tag = tag_of(keyword)
        assert tag is not None, keyword
        vr = (vr_of(tag) or "UN").split(" ")[0]
        rows.append(Attribute(keyword, tag, vr, level, column, returned, computed))
    return rows


ATTRIBUTES: tuple[Attribute, ...] = tuple(
    # PS3.18 Table 10.6.3-3 (study), with the patient's attributes, which sit at study level (PS3.4 C.6.2.1.2)
    _rows("patient", True, True, False, "PatientName PatientID PatientBirthDate PatientSex IssuerOfPatientID")
    + _rows(
        "patient",
        False,
        False,
        False,
        "PatientBirthTime OtherPatientIDsSequence OtherPatientNames EthnicGroup PatientComments "
        "ReferencedPatientSequence OtherPatientIDs",
    )
    + _rows(
        "patient",
        False,
        False,
        True,
        "NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances",
    )
    + _rows(
        "study",
        True,
        True,
        False,
        "StudyInstanceUID StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID "
        "StudyDescription",
    )
    + _rows("study", False, True, False, "TimezoneOffsetFromUTC")
    + _rows("study", True, True, True, "ModalitiesInStudy")
    + _rows(
        "study",
        False,
        True,
        True,
        "InstanceAvailability NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances",
    )
    + _rows("study", False, False, True, "SOPClassesInStudy")
    + _rows(
        "study",
        False,
        False,
        False,
        "IssuerOfAccessionNumberSequence ProcedureCodeSequence NameOfPhysiciansReadingStudy "
        "AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight Occupation "
        "AdditionalPatientHistory PhysiciansOfRecord InstitutionName StationName",
    )
    # PS3.18 Table 10.6.3-4 (series)
    + _rows(
        "series",
        True,
        True,
        False,
        "SeriesInstanceUID Modality SeriesNumber SeriesDescription PerformedProcedureStepStartDate "
        "PerformedProcedureStepStartTime",
    )
    + _rows("series", False, True, False, "RequestAttributesSequence")
    + _rows("series", False, True, True, "NumberOfSeriesRelatedInstances")
    + _rows("series", True, False, False, "BodyPartExamined SeriesDate SeriesTime")
    + _rows(
        "series",
        False,
        False,
        False,
        "Laterality ProtocolName OperatorsName PerformingPhysicianName Manufacturer ManufacturerModelName "
        "PerformedProcedureStepDescription PerformedProcedureStepID ReferencedPerformedProcedureStepSequence "
        "FrameOfReferenceUID",
    )
    # PS3.18 Table 10.6.3-5 (instance)
    + _rows(
        "instance",
        True,
        True,
        False,
        "SOPClassUID SOPInstanceUID InstanceNumber NumberOfFrames Rows Columns BitsAllocated",
    )
    + _rows("instance", True, True, True, "AvailableTransferSyntaxUID")
)

BY_TAG: dict[int, Attribute] = {attribute.tag: attribute for attribute in ATTRIBUTES}
BY_KEYWORD: dict[str, Attribute] = {attribute.keyword: attribute for attribute in ATTRIBUTES}
