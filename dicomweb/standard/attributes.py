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
        "StudyInstanceUID StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID StudyDescription",
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

RETRIEVE_URL = 0x00081190
INSTANCE_AVAILABILITY = 0x00080056
TIMEZONE_OFFSET = 0x00080201
CHARACTER_SET = 0x00080005

# PS3.18 Tables 10.6.3-3 to -5, type C: returned where they are known; the other returned ones when empty too.
IF_KNOWN: frozenset[int] = frozenset(
    BY_KEYWORD[keyword].tag
    for keyword in [
        "IssuerOfPatientID",
        "InstanceAvailability",
        "TimezoneOffsetFromUTC",
        "SeriesDescription",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "RequestAttributesSequence",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "AvailableTransferSyntaxUID",
    ]
)

# PS3.18 Tables 10.6.3-3 to -5: these stand in the answers of every level.
EVERYWHERE: frozenset[int] = frozenset((RETRIEVE_URL, INSTANCE_AVAILABILITY, TIMEZONE_OFFSET, CHARACTER_SET))

# PS3.3 C.7.1 to C.7.5: what else describes the patient, study or series, found in instance metadata only.
# Group 0010 is the patient's (C.7.1.1) but for what the Patient Study Module (C.7.2.2) puts there, and groups
# 0032 and 0038 are about the request and visit.
_PATIENT_STUDY = frozenset((0x2000, 0x2110, 0x2180, 0x21A0, 0x21B0, 0x21C0, 0x21D0, 0x2203))
_ELSEWHERE: dict[Level, str] = {
    "patient": """
        ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID
        ClinicalTrialSiteName ClinicalTrialSubjectID ClinicalTrialSubjectReadingID
        ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolEthicsCommitteeApprovalNumber
        PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence""",
    "study": """
        ReferringPhysicianIdentificationSequence ConsultingPhysicianName
        ConsultingPhysicianIdentificationSequence PhysiciansOfRecordIdentificationSequence
        PhysiciansReadingStudyIdentificationSequence RequestingServiceCodeSequence ReferencedStudySequence
        ReasonForPerformedProcedureCodeSequence AdmittingDiagnosesCodeSequence
        AnatomicRegionsInStudyCodeSequence OtherStudyNumbers ClinicalTrialTimePointID
        ClinicalTrialTimePointDescription
        ClinicalTrialTimePointTypeCodeSequence LongitudinalTemporalOffsetFromEvent
        LongitudinalTemporalEventType ConsentForClinicalTrialUseSequence""",
    "series": """
        SeriesDescriptionCodeSequence PerformingPhysicianIdentificationSequence OperatorIdentificationSequence
        RelatedSeriesSequence SmallestPixelValueInSeries LargestPixelValueInSeries
        PerformedProcedureStepEndDate PerformedProcedureStepEndTime PerformedProtocolCodeSequence
        CommentsOnThePerformedProcedureStep TreatmentSessionUID AnatomicalOrientationType PatientPosition
        ClinicalTrialCoordinatingCenterName ClinicalTrialSeriesID ClinicalTrialSeriesDescription
        PositionReferenceIndicator SynchronizationFrameOfReferenceUID SynchronizationTrigger
        AcquisitionTimeSynchronized InstitutionAddress InstitutionalDepartmentName DeviceSerialNumber
        DeviceUID SoftwareVersions GantryID SpatialResolution DateOfLastCalibration TimeOfLastCalibration
        PresentationIntentType""",
}


def _elsewhere() -> dict[int, Level]:
    found: dict[int, Level] = {}
    for level, keywords in _ELSEWHERE.items():
        for keyword in keywords.split():
            tag = tag_of(keyword)
            assert tag is not None, keyword
            found[tag] = level
    return found


_LEVEL_OF = _elsewhere() | {attribute.tag: attribute.level for attribute in ATTRIBUTES}


def level_of(tag: int) -> Level:
    """Return the level whose attribute this is (PS3.3 C.7, PS3.4 C.6.1.1), "instance" as the last resort."""
    known = _LEVEL_OF.get(tag)
    if known is not None:
        return known
    group, element = tag >> 16, tag & 0xFFFF
    if group == 0x0010:
        return "study" if 0x1010 <= element <= 0x1030 or element in _PATIENT_STUDY else "patient"
    return "study" if group in (0x0032, 0x0038) else "instance"


def may_return(level: Level, tag: int) -> bool:
    """Say whether results of a level may have this attribute (PS3.18 10.6.3.3): those of lower levels are
    never returned, even if asked for. Private ones, whose level nobody knows, are."""
    if tag in EVERYWHERE or tag >> 16 & 1:
        return True
    return LEVELS.index(level_of(tag)) <= LEVELS.index(level)


def returned(level: Level, study: bool, series: bool) -> tuple[Attribute, ...]:
    """Return the attributes of every answer of a search (PS3.18 10.6.3.3.1 to 10.6.3.3.3).

    The attributes of a higher level are added where the URL does not fix that level; its unique key always,
    so that a result can be used by itself.

    Args:
        level: of the results; at "patient", our extension, these are the patient's attributes and counts.
        study: the URL names the study.
        series: the URL names the series.
    """
    if level == "patient":
        return tuple(attribute for attribute in ATTRIBUTES if attribute.level == level and _of_patient(attribute))
    levels: set[Level] = {level}
    unique = set()
    if level != "study":
        unique.add("StudyInstanceUID")
        if not study:
            levels.add("study")
    if level == "instance":
        unique.add("SeriesInstanceUID")
        if not series:
            levels.add("series")
    if "study" in levels:
        levels.add("patient")
    return tuple(
        attribute
        for attribute in ATTRIBUTES
        if (attribute.returned and attribute.level in levels)
        or attribute.keyword in unique
        or attribute.tag in (TIMEZONE_OFFSET, INSTANCE_AVAILABILITY)
    )


def _of_patient(attribute: Attribute) -> bool:
    return attribute.returned or attribute.computed
