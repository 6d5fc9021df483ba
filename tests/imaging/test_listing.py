"""Objects as tables of their attributes."""

from typing import Any

from dicoms import dataset
from documents import Page, model
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from realdata import needs_real_files, real, real_files

from dicomweb.errors import Error
from dicomweb.imaging import listing
from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import read_object

STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
PLAN = "1.2.840.10008.5.1.4.1.1.481.5"


def bare(sop_class: str, **attributes: Any) -> Dataset:
    ds = dataset(Rows=None, Columns=None, PixelData=None, BitsAllocated=None, **attributes)
    ds.SOPClassUID = sop_class
    return ds


def test_names_values_and_items_are_listed():
    ds = bare(PLAN, RTPlanLabel="Left breast", PatientName="Doe^Jane")
    ds.add_new(0x00091010, "LO", "private")
    inner = Dataset()
    inner.BeamNumber, inner.BeamName = 7, "Tangent"
    ds.BeamSequence = Sequence([inner])
    for text in (Page(listing.html(model(ds))).text, listing.text(model(ds)).decode()):
        for words in ("Patient's Name", "Doe, Jane", "2024-01-31", "Private attribute", "private", "Beam Sequence",
                      "Tangent", "RT Plan Storage", "1 item"):  # fmt: skip
            assert words in text
    read = Page(listing.html(model(ds)))
    assert "RT Plan: Left breast" in read.text
    assert len(read.all("details")) == 1


def test_a_structure_set_is_summed_up():
    ds = bare(STRUCTURES)
    roi, contour, outline, observed = Dataset(), Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ROIVolume, roi.ROIGenerationAlgorithm = 3, "Heart", "612.5", "SEMIAUTOMATIC"
    outline.ContourGeometricType, outline.ContourData = "CLOSED_PLANAR", [1, 2, 3]
    contour.ReferencedROINumber, contour.ContourSequence = 3, Sequence([outline, outline])
    observed.ReferencedROINumber, observed.RTROIInterpretedType = 3, "ORGAN"
    ds.StructureSetROISequence = Sequence([roi])
    ds.ROIContourSequence, ds.RTROIObservationsSequence = Sequence([contour]), Sequence([observed])
    text = Page(listing.html(model(ds))).text
    assert "3 Heart organ 2 (closed planar) 612.5 cm³ semiautomatic" in text


def test_a_plan_is_summed_up():
    ds = bare(PLAN)
    dose, beam, point, group, share = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
    dose.DoseReferenceNumber, dose.DoseReferenceDescription = 1, "PTV"
    dose.DoseReferenceType, dose.TargetPrescriptionDose = "TARGET", "50"
    point.GantryAngle, point.NominalBeamEnergy = "45", "6"
    beam.BeamNumber, beam.BeamName, beam.RadiationType, beam.BeamType = 1, "Field 1", "PHOTON", "STATIC"
    beam.ControlPointSequence, beam.TreatmentMachineName = Sequence([point]), "LINAC2"
    share.ReferencedBeamNumber, share.BeamMeterset, share.BeamDose = 1, "123.4", "2"
    group.FractionGroupNumber, group.NumberOfFractionsPlanned = 1, 25
    group.ReferencedBeamSequence = Sequence([share])
    ds.DoseReferenceSequence, ds.BeamSequence, ds.FractionGroupSequence = map(Sequence, ([dose], [beam], [group]))
    text = Page(listing.html(model(ds))).text
    for words in (
        "1 PTV target 50 Gy",
        "25 fractions",
        "2 Gy a fraction",
        "1 Field 1 photon static 6 MV 45° 123.4 LINAC2",
    ):
        assert words in text


def test_nothing_is_markup_and_long_values_are_cut():
    ds = bare(PLAN, PatientName="<script>x</script>\u202e", StudyDescription="y" * 64, PatientComments="z" * 9000)
    ds.add_new(0x00091010, "UN", b"\0" * 300)
    ds.DVHData = [float(number) for number in range(100)]
    read = Page(listing.html(model(ds)))
    assert read.all("script") == []
    assert "<script>x</script>" in read.text
    assert "9,000 characters" in read.text
    assert "100 values" in read.text
    assert "300 bytes" in read.text
    assert "\u202e" not in read.text


def test_a_page_has_bounds(monkeypatch):
    monkeypatch.setattr(listing, "PAGE_BYTES", 1000)
    ds = bare(PLAN)
    assert "more attributes than are shown" in Page(listing.html(model(ds))).text
    assert "more attributes than are shown" in listing.text(model(ds)).decode()
    inner = Dataset()
    for _ in range(30):
        outer = Dataset()
        outer.BeamSequence = Sequence([inner])
        inner = outer
    monkeypatch.setattr(listing, "PAGE_BYTES", 1 << 20)
    ds.BeamSequence = inner.BeamSequence
    assert "nested too deeply" in Page(listing.html(model(ds))).text


@needs_real_files
def test_every_real_object_has_something_to_show():
    shown = 0
    for path in real_files():
        try:
            read = read_object(path.read_bytes(), Limits())
        except Error:
            continue
        if read.layout.kind != "none" and shown > 20:
            continue
        shown += 1
        page = Page(listing.html(read.dataset))
        assert "SOP Instance UID" in page.text, path.name
        assert "SOP Instance UID" in listing.text(read.dataset).decode()
    assert shown > 20


def test_a_real_structure_set_names_its_structures():
    dataset = read_object(real("rt-utils/mock_data__rt.dcm").read_bytes(), Limits()).dataset
    assert "ROI-1 2 (closed planar) manual" in Page(listing.html(dataset)).text
