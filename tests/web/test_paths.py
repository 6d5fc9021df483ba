import pytest

from dicomweb.web.paths import read_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dicom-web/studies", "/dicom-web/studies"),
        ("/dicom-web/studies/", "/dicom-web/studies"),
        ("//dicom-web///studies//", "/dicom-web/studies"),
        ("/pacs/dicom-web/studies", "/dicom-web/studies"),
        ("/pacs//dicom-web/", "/dicom-web"),
        ("/pacs", "/"),
        ("/pacs/", "/"),
        ("/pacsx/studies", "/pacsx/studies"),
        ("/", "/"),
        ("", "/"),
    ],
)
def test_a_path_is_reduced_to_what_the_routes_know(path, expected):
    assert read_path(path, "/pacs") == expected
