"""Nodes as people write them, and what they are told when it is wrong."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.errors import BadNode, Conflict, NotFound
from dicomweb.standard.nodes import (
    MASK,
    RIGHTS,
    Node,
    destination,
    read_aet,
    read_node,
    read_nodes,
    write_node,
)

FILE = """
[nodes.STORESCP]
host = "127.0.0.1"
port = 24290

[nodes.ct-1]
aet = " CT 1 "
host = "ct1.example"
port = 104
tls = true
ca = "/etc/ca.pem"
allow = ["move", "echo"]
accept_syntaxes = ["1.2.840.10008.1.2.4.90", "explicit vr little endian"]
charset = "ISO_IR 100"
sources = ["10.1.0.7/16", "fd00::1"]

[nodes.uptown]
kind = "dicomweb"
url = "https://uptown.example/dicom-web/"
token_url = "https://login.example/token"
client_id = "us"
client_secret = "s3cret"
scope = "dicom.write"
proxy = "http://me:pass@proxy.example:3128"
client_cert = "us.pem"
client_key = "us.key"
"""


def test_a_file_describes_each_node_and_defaults_fill_the_rest():
    plain, scanner, uptown = read_nodes(FILE)
    assert plain == Node("STORESCP", "STORESCP", "127.0.0.1", 24290)
    assert plain.allow == ("echo", "store")
    assert (scanner.name, scanner.aet, scanner.host, scanner.tls) == ("ct-1", "CT 1", "ct1.example", True)
    assert scanner.accept_syntaxes == ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1")
    assert scanner.allow == ("echo", "move")
    assert scanner.sources == ("10.1.0.0/16", "fd00::1/128")
    assert (uptown.kind, uptown.url, uptown.aet) == ("dicomweb", "https://uptown.example/dicom-web", "")


def test_what_is_written_is_read_back():
    nodes = read_nodes(FILE)
    assert read_nodes([write_node(node, secrets=True) for node in nodes]) == nodes


def test_secrets_are_masked_and_the_mask_keeps_them():
    node = read_nodes(FILE)[2]
    told = write_node(node)
    assert told["client_secret"] == MASK
    assert told["proxy"] == f"http://me:{MASK}@proxy.example:3128"
    assert "s3cret" not in repr(told) + repr(node)
    assert read_node("uptown", told, previous=node) == node
    with pytest.raises(BadNode, match="client_secret holds"):
        read_node("uptown", told)
    with pytest.raises(BadNode, match="proxy holds"):
        read_node("uptown", {**told, "proxy": f"http://other:{MASK}@evil.example"}, previous=node)


def test_spaces_around_an_ae_title_do_not_count_and_case_does():
    assert read_aet("  My Scanner ") == "My Scanner"
    assert read_aet("abc") != read_aet("ABC")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the AE title is empty; an AE title has 1 to 16 characters"),
        ("   ", "the AE title is empty; an AE title has 1 to 16 characters"),
        ("A" * 17, f"the AE title '{'A' * 17}' is longer than 16 characters"),
        ("A\\B", r"the AE title 'A\\B' holds '\\'; an AE title has printable ASCII without backslash"),
        ("A\tB", r"the AE title 'A\tB' holds '\t'; an AE title has printable ASCII without backslash"),
        ("RÖNTGEN", "the AE title 'RÖNTGEN' holds 'Ö'; an AE title has printable ASCII without backslash"),
    ],
)
def test_what_is_no_ae_title_is_told(text, sentence):
    with pytest.raises(BadNode) as caught:
        read_aet(text)
    assert str(caught.value) == sentence


DIMSE = {"host": "h", "port": 104}
WEB = {"kind": "dicomweb", "url": "https://x.example/dicom-web"}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"host": "h"}, "node N: port is missing; host and port go together"),
        ({"port": 104}, "node N: host is missing; host and port go together"),
        ({**DIMSE, "prot": 1}, "node N: 'prot' is no setting of a node; did you mean port?"),
        ({**DIMSE, "port": "104"}, "node N: port is '104', which is no number"),
        ({**DIMSE, "port": True}, "node N: port is True, which is no number"),
        ({**DIMSE, "port": 70000}, "node N: port is 70000; ports are 1 to 65535"),
        ({**DIMSE, "tls": "yes"}, "node N: tls is 'yes'; it is true or false"),
        ({**DIMSE, "allow": ["read"]}, "node N: allow holds 'read'; rights are echo, store, find, get, move"),
        ({**DIMSE, "allow": "echo"}, "node N: allow is 'echo', which is no list of texts such as [\"…\"]"),
        ({**DIMSE, "host": "h:104"}, "node N: host is 'h:104'; the port stands by itself: port = 104"),
        (
            {**DIMSE, "host": "http://h"},
            "node N: host is 'http://h'; it is a name or an address alone, without scheme and path",
        ),
        ({**DIMSE, "host": "a b"}, "node N: host is 'a b', which is no host name or address"),
        (
            {**DIMSE, "sources": ["10.0.0/8"]},
            "node N: sources holds '10.0.0/8', which is no address or network such as 10.0.0.0/8",
        ),
        (
            {**DIMSE, "charset": "LATIN"},
            "node N: charset is 'LATIN', which is no Specific Character Set such as ISO_IR 100",
        ),
        (
            {**DIMSE, "associations": 0},
            "node N: associations is 0; a job has 1 to 16 at once",
        ),
        (
            {**DIMSE, "accept_syntaxes": ["JPEG"]},
            "node N: accept_syntaxes holds 'JPEG', which is neither a transfer syntax's UID nor its name",
        ),
        ({**DIMSE, "url": "https://x"}, 'node N: url is for nodes of kind = "dicomweb"'),
        ({**DIMSE, "client_cert": "c"}, "node N: client_cert and client_key go together: name both or neither"),
        ({**DIMSE, "name": "M"}, "node N: its name cannot be changed to 'M'; add a new node and delete this one"),
        ({**DIMSE, "kind": "hl7"}, "node N: kind is 'hl7'; it is dimse or dicomweb"),
        (
            {"kind": "dicomweb"},
            "node N: a node of kind dicomweb needs a url, such as https://pacs.example/dicom-web",
        ),
        ({**WEB, "host": "h"}, "node N: host is for nodes of kind dimse; a DICOMweb server is named by its url"),
        (
            {**WEB, "url": "x.example"},
            "node N: url is 'x.example', which is no URL such as https://pacs.example/dicom-web",
        ),
        ({**WEB, "url": "https://a:b@x.example"}, "node N: url holds a login; it belongs into user and password"),
        ({**WEB, "user": "u"}, "node N: user and password go together: name both or neither"),
        ({**WEB, "user": "u\r\nX: y", "password": "p"}, "node N: user holds a line break or NUL"),
        (
            {**WEB, "client_id": "u"},
            "node N: token_url, client_id and client_secret go together: name all or none",
        ),
        (7, "node N: its settings are no table"),
    ],
)
def test_what_is_wrong_with_a_node_is_told(value, sentence):
    with pytest.raises(BadNode) as caught:
        read_node("N", value)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-a", "A" * 65, "ä", "a b", "a\n"])
def test_names_stand_in_urls_as_they_are(name):
    with pytest.raises(BadNode, match="cannot be the name of a node"):
        read_node(name, DIMSE)


def test_a_name_that_is_no_ae_title_needs_one_beside_it():
    with pytest.raises(BadNode, match="aet is missing, and its name cannot stand for it"):
        read_node("the-scanner-of-building-7", DIMSE)
    assert read_node("the-scanner-of-building-7", {**DIMSE, "aet": "CT7"}).aet == "CT7"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[nodes.A\n", "nodes.toml is not TOML"),
        ("[STORESCP]\nport = 1", r"nodes.toml has 'STORESCP' at its top; every node is a table such as \[nodes.STOR"),
        ("nodes = 3", "nodes.toml: nodes is no table"),
        ('[nodes.A]\nhost = "h"', "nodes.toml: node A: port is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(text, sentence):
    with pytest.raises(BadNode, match=sentence):
        read_nodes(text)


def test_a_list_names_each_node_once():
    with pytest.raises(BadNode, match="two nodes called A"):
        read_nodes([{"name": "A", **DIMSE}, {"name": "A", **DIMSE}])
    with pytest.raises(BadNode, match="a node is an object with a name"):
        read_nodes([DIMSE])


def test_an_empty_file_has_no_nodes():
    assert read_nodes("") == ()


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.2.0.1", False),
        ("fd00::1%eth0", True),
        ("fd00::2", False),
        ("192.0.2.9", True),
    ],
)
def test_a_node_calls_from_its_sources_and_from_what_its_host_resolves_to(address, inside):
    node = read_nodes(FILE)[1]
    assert node.calls_from(address, ["192.0.2.9"]) is inside


def test_a_move_destination_is_exactly_one_node():
    one, two = read_node("A", {**DIMSE, "aet": "X"}), read_node("B", {**DIMSE, "aet": "X"})
    other = read_node("C", {**DIMSE, "aet": "Y"})
    assert destination([one, other], " Y ") is other
    with pytest.raises(Conflict, match="several nodes have the AE title 'X': A, B"):
        destination([one, two, other], "X")
    with pytest.raises(NotFound, match="no node has the AE title 'y'"):
        destination([one, two, other], "y")
    with pytest.raises(NotFound):
        destination([read_node("D", {"aet": "Z"})], "Z")


words = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"), min_size=1, max_size=16)


@given(words.filter(lambda text: text.strip()), st.lists(st.sampled_from(RIGHTS)), st.integers(1, 65535), st.booleans())
def test_any_node_is_read_back_as_it_was_written(aet, allow, port, tls):
    node = read_node("n", {"aet": aet, "host": "h", "port": port, "tls": tls, "allow": allow})
    assert read_node("n", write_node(node)) == node
    assert re.fullmatch(r"\S(.*\S)?", node.aet)
