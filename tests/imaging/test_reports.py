"""Documents with a content tree, as pages and as plain text."""

import pickle
from functools import partial

import pytest
from documents import Page, code, content, image, measured, model, report
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from realdata import needs_real_files, real, real_files

from dicomweb.errors import Error
from dicomweb.imaging import content as tree
from dicomweb.imaging import pages, reports
from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import read_object

HOSTILE = "<script>alert(1)</script>\"'&amp; \u202eevil\x1b[0m =cmd|' /C calc'!A0"


def linked(base: str, reference: tree.Reference) -> str:
    return f"{base}/{reference.instance}"


def page(ds: Dataset, link: reports.Link = reports.nothing) -> Page:
    return Page(reports.html(model(ds), link))


def test_a_report_says_who_what_and_how_far_it_is():
    ds = report(PatientName="Doe^Jane=山田^太郎")
    observer = Dataset()
    observer.VerifyingObserverName, observer.VerifyingOrganization = "House^Gregory", "Princeton"
    observer.VerificationDateTime = "20240131190000"
    ds.VerifyingObserverSequence, ds.VerificationFlag = Sequence([observer]), "VERIFIED"
    for text in (page(ds).text, reports.text(model(ds)).decode()):
        for words in ("Chest report", "Doe, Jane (山田, 太郎)", "1970-01-01", "ACC1", "Complete", "Verified",
                      "House, Gregory, Princeton, 2024-01-31 19:00:00", "2024-01-31 18:47:46"):  # fmt: skip
            assert words in text


def test_each_kind_of_value_is_readable():
    ds = report(
        content("TEXT", "Finding", TextValue="First line\r\nsecond line"),
        content("CODE", "Site", ConceptCodeSequence=code("39607008", "Lung", "SCT")),
        content("PNAME", "Reader", PersonName="Wilson^James"),
        content("DATE", "Seen", Date="20240102"),
        content("TIME", "At", Time="0830"),
        content("DATETIME", "Said", DateTime="20240102083000"),
        content("UIDREF", "Tracking", UID="1.2.3.4"),
        measured("Diameter", "12.5", "mm"),
        measured("Volume", "64.4505437945691", "cm3"),
        content("SCOORD", "Outline", GraphicType="CIRCLE", GraphicData=[1.0, 2.0, 3.0, 4.0]),
        content("SCOORD3D", "Path", GraphicType="POLYLINE", GraphicData=[0.0] * 12),
        content("TCOORD", "When", TemporalRangeType="POINT", ReferencedTimeOffsets=["1.5"]),
    )
    wanted = (
        "First line", "second line", "Lung", "Wilson, James", "2024-01-02", "08:30", "2024-01-02 08:30:00", "1.2.3.4",
        "12.5 mm", "circle (1, 2), (3, 4)", "polyline of 4 points", "point, seconds 1.5",
    )  # fmt: skip
    for text in (page(ds).text, reports.text(model(ds)).decode()):
        assert [words for words in wanted if words not in text] == []
    assert "64.4505 cm³" in page(ds).text
    assert "64.4505437945691 cm³" in [tag.get("title") for tag in page(ds).all("span")]
    assert "64.4505437945691 cm³" in reports.text(model(ds)).decode()


def test_a_measurement_without_a_value_says_why():
    ds = report(content("NUM", "Angle", NumericValueQualifierCodeSequence=code("114006", "Measurement failure")))
    assert "Measurement failure" in page(ds).text


def test_sections_nest_and_continuous_text_runs_on():
    inner = content(
        "CONTAINER", "Details", "CONTAINS", content("TEXT", TextValue="Fine."), ContinuityOfContent="SEPARATE"
    )
    running = content(
        "CONTAINER", "Impression", "CONTAINS",
        content("TEXT", "a", TextValue="A mass of"), measured("Size", "3", "cm"),
        content("TEXT", "b", TextValue="was seen."),
        ContinuityOfContent="CONTINUOUS",
    )  # fmt: skip
    read = page(report(content("CONTAINER", "Findings", "CONTAINS", inner), running))
    assert "A mass of Size: 3 cm was seen." in read.text
    assert [name for name, _ in read.tags if name in {"h2", "h3"}][-3:] == ["h2", "h3", "h2"]
    assert "Impression: A mass of 3 cm was seen." in reports.text(model(report(running))).decode()


def test_a_text_named_as_its_section_stands_there_without_its_name():
    ds = report(content("CONTAINER", "Impression", "CONTAINS", content("TEXT", "Impression", TextValue="All is well.")))
    assert "Impression All is well." in page(ds).text
    assert "Impression Impression" not in page(ds).text


def test_what_running_text_refers_to_is_a_list():
    ds = report(content("TEXT", "Description", TextValue="Two images"), image("1.2.3"), image("1.2.4"))
    ds.ContinuityOfContent = "CONTINUOUS"
    read = page(ds)
    assert [name for name, _ in read.tags if name == "li"] == ["li"] * 5  # three marks, two images
    assert "Two images CT Image CT Image" in read.text


def test_a_table_is_a_table_however_its_cells_are_written():
    columns = []
    for number, (name, unit) in enumerate((("Time", ""), ("Tube current", "mA"), ("Quality", "")), 1):
        column = Dataset()
        column.TableColumnNumber, column.ConceptNameCodeSequence = number, code("1", name)
        if unit:
            column.MeasurementUnitsCodeSequence = code(unit, unit, "UCUM")
        columns.append(column)
    times, currents, lone, rated = Dataset(), Dataset(), Dataset(), Dataset()
    times.TableColumnNumber, times.SelectorAttributeVR = 1, "DT"
    times.SelectorDTValue = ["20200401163901.01", "20200401163902.01"]
    currents.TableColumnNumber, currents.SelectorAttributeVR, currents.SelectorFLValue = 2, "FL", [100.5, 90.25]
    lone.TableRowNumber, lone.TableColumnNumber, lone.SelectorAttributeVR = 3, 2, "FL"
    lone.SelectorFLValue = 60.5
    rated.TableRowNumber, rated.TableColumnNumber, rated.SelectorAttributeVR = 1, 3, "SQ"
    rated.SelectorCodeSequenceValue = code("2", "Good")
    table = Dataset()
    table.NumberOfTableRows, table.NumberOfTableColumns = 3, 3
    table.TableColumnDefinitionSequence = Sequence(columns)
    table.CellValuesSequence = Sequence([times, currents, lone, rated])
    ds = report(content("TABLE", "Exposure", TabulatedValuesSequence=Sequence([table])))
    text = page(ds).text
    assert "Time Tube current [mA] Quality 2020-04-01 16:39:01 100.5 Good 2020-04-01 16:39:02 90.25 60.5" in text
    plain = reports.text(model(ds)).decode()
    assert "Time | Tube current [mA] | Quality\n" in plain
    assert "2020-04-01 16:39:01 | 100.5 | Good\n" in plain


def lesion(number: int) -> Dataset:
    inferred = content(
        "SCOORD", "", "INFERRED FROM", image(f"1.2.{number}"), GraphicType="POINT", GraphicData=[1.0, 2.0]
    )
    return content(
        "CONTAINER", "Measurement Group", "CONTAINS",
        content("TEXT", "Tracking Identifier", TextValue=f"Lesion {number}"),
        content("UIDREF", "Tracking Unique Identifier", UID=f"2.25.{number}"),
        measured("Long Axis", f"{number}.5", "mm", inferred),
    )  # fmt: skip


def test_groups_that_repeat_are_a_table_and_nothing_of_them_is_lost():
    ds = report(*(lesion(number) for number in (1, 2, 3)))
    read = page(ds, partial(linked, "/x"))
    assert len(read.all("table")) == 2
    assert len(read.all("tr")) == 8
    for words in ("Lesion 1", "Lesion 3", "2.5 mm", "2.25.3", "Long Axis"):
        assert words in read.text
    assert [link["href"] for link in read.all("a")] == ["/x/1.2.1", "/x/1.2.2", "/x/1.2.3"]
    assert len(page(report(lesion(1))).all("table")) == 0


def test_many_columns_and_few_groups_turn_the_table():
    many = [
        content("CONTAINER", "Group", "CONTAINS", *(measured(f"M{n}", f"{n}", "mm") for n in range(12)))
        for _ in range(2)
    ]
    read = page(report(*many))
    assert len(read.all("table")) == 1
    assert len(read.all("tr")) == 13


def test_references_lead_to_what_the_evidence_says():
    ds = report(image("1.2.9", 3, 4))
    sop, series, study = Dataset(), Dataset(), Dataset()
    sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.9"
    series.SeriesInstanceUID, series.ReferencedSOPSequence = "1.2.8", Sequence([sop])
    study.StudyInstanceUID, study.ReferencedSeriesSequence = "1.2.7", Sequence([series])
    ds.CurrentRequestedProcedureEvidenceSequence = Sequence([study])
    asked = []

    def link(reference: tree.Reference) -> str:
        asked.append(reference)
        return "/viewer?a=1&b=\"2'"

    read = page(ds, link)
    assert tree.Reference("1.2.7", "1.2.8", "1.2.840.10008.5.1.4.1.1.2", "1.2.9", (3, 4)) in asked
    assert {link["href"] for link in read.all("a")} == {"/viewer?a=1&b=\"2'"}
    assert "CT Image, frames 3, 4" in read.text
    assert [reference.instance for reference in reports.references(model(ds))] == ["1.2.9"]


def test_a_reference_to_another_item_leads_there():
    pointing = Dataset()
    pointing.RelationshipType, pointing.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 1]
    ds = report(
        content("TEXT", "Cause", TextValue="Fall"), content("TEXT", "Effect", "CONTAINS", pointing, TextValue="Break")
    )
    read = page(ds)
    (link,) = read.all("a")
    assert link["href"] == "#i1.1"
    assert [tag for tag, attributes in read.tags if attributes.get("id") == "i1.1"] == ["dd"]
    assert "see item 1.1" in reports.text(model(ds)).decode()


def test_nothing_that_a_stranger_writes_is_markup_or_hidden():
    ds = report(
        content("TEXT", HOSTILE, TextValue=HOSTILE),
        content("CODE", "Site", ConceptCodeSequence=code(HOSTILE[:16], HOSTILE)),
        content("CONTAINER", HOSTILE, "CONTAINS", content("TEXT", TextValue=HOSTILE)),
        content("CONTAINER", HOSTILE, "CONTAINS", content("TEXT", TextValue=HOSTILE)),
        image("1.2.3"),
        name=HOSTILE, PatientName=HOSTILE, PatientID=HOSTILE, StudyDescription=HOSTILE,
    )  # fmt: skip
    data = reports.html(model(ds), lambda reference: HOSTILE)
    read = Page(data)
    assert {name for name, _ in read.tags} & {"script", "img", "iframe", "object", "link", "form", "svg"} == set()
    assert all(not name.startswith("on") for _, attributes in read.tags for name in attributes)
    assert "<script>alert(1)</script>" in read.text
    for text in (data.decode(), reports.text(model(ds)).decode()):
        assert not any(character in text for character in "\x1b\u202e\x00")


def test_the_policy_allows_the_style_of_the_page_and_nothing_else():
    data = reports.html(model(report()))
    style = data.decode().partition("<style>")[2].partition("</style>")[0]
    assert style == pages.STYLE
    assert "script-src" not in pages.POLICY
    assert pages.POLICY.startswith("default-src 'none'")
    assert b"http" not in data.replace(b"http-equiv", b"")


def test_depth_and_size_have_bounds(monkeypatch):
    ds = content("TEXT", "deepest", TextValue="x")
    for _ in range(40):
        ds = content("CONTAINER", "Level", "CONTAINS", ds)
    assert "deepest" in page(report(ds)).text
    monkeypatch.setattr(tree, "ITEMS", 50)
    many = report(*(content("TEXT", f"N{number}", TextValue="y" * 200) for number in range(100)))
    assert "longer than what is shown" in page(many).text
    assert "longer than what is shown" in reports.text(model(many)).decode()


def test_a_page_has_room_for_so_much(monkeypatch):
    monkeypatch.setattr(reports, "PAGE_BYTES", 4000)
    ds = report(*(content("TEXT", TextValue="y" * 500) for _ in range(50)))
    assert "longer than what is shown" in page(ds).text
    assert len(reports.html(model(ds))) < 20_000


def test_it_can_be_made_in_another_process():
    assert pickle.loads(pickle.dumps(reports.html)) is reports.html
    assert pickle.loads(pickle.dumps(partial(linked, "/x")))
    assert isinstance(pickle.loads(pickle.dumps(partial(reports.html, model(report())))), partial)


@needs_real_files
def test_every_real_document_is_shown_with_all_its_texts():
    shown = 0
    for path in real_files():
        try:
            dataset = read_object(path.read_bytes(), Limits()).dataset
        except Error:
            continue
        if not tree.has_content(dataset):
            continue
        shown += 1
        read, plain = Page(reports.html(dataset)), reports.text(dataset).decode()
        root, cut = tree.read(dataset)
        assert not cut
        for item in root.walk():
            words = " ".join(item.text.split())
            assert words in read.text, f"{path.name}: {words}"
            assert item.text.split("\n")[0] in plain or item.exact in plain
    assert shown >= 14


def test_a_real_report_reads_as_its_author_meant_it():
    dataset = read_object(real("pydicom/pydicom__test-SR.dcm").read_bytes(), Limits()).dataset
    text = Page(reports.html(dataset)).text
    for words in ("Riesmeier, Jörg", "OFFIS e.V.", "3 Length Unit", "circle (0, 0), (255, 255)", "Verified"):
        assert words in text


def test_a_real_key_object_selection_links_its_images():
    dataset = read_object(real("built/ko-knee.dcm").read_bytes(), Limits()).dataset
    read = Page(reports.html(dataset, partial(linked, "/i")))
    links = {reference.instance for reference in reports.references(dataset)}
    assert len(links) == 2
    assert {f"/i/{instance}" for instance in links} <= {link["href"] for link in read.all("a")}


@pytest.mark.parametrize(
    "broken",
    [
        {"0040A730": {"vr": "SQ", "Value": [None, "x", {}]}},
        {"0040A730": {"vr": "SQ", "Value": [{"0040A040": {"vr": "CS", "Value": ["NUM"]}}]}},
        {"0040A040": {"vr": "CS", "Value": ["CONTAINER"]}},
        {
            "0040A730": {
                "vr": "SQ",
                "Value": [
                    {"0040A040": {"vr": "CS", "Value": ["SCOORD"]}, "00700022": {"vr": "FL", "Value": ["NaN", None]}}
                ],
            }
        },
    ],
)
def test_damaged_documents_still_have_a_page(broken):
    assert Page(reports.html(broken)).text
    assert reports.text(broken)
