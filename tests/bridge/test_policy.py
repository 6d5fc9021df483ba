"""Who may what: associations and contexts that are refused, with a line that says why and what to change."""

import socket
import struct

import pytest
from bridged import AET, bridged
from dicoms import CT, PREFIX, ct
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless
from pynetdicom import build_role

from bridge.negotiation import ACCEPTED, Proposed, Request, choose_syntax, write_request
from bridge.nodes import Nodes
from bridge.policy import Admitted, Policy, Rules, is_storage
from dicomweb.standard.syntaxes import BIG_ENDIAN, EXPLICIT, IMPLICIT, JPEG_BASELINE, JPEG_LS

VERIFICATION = "1.2.840.10008.1.1"
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))


def refusal(system, calling: str = "TESTER", called: str = AET) -> tuple[int, int, int] | None:
    """Ask for an association, on a socket read to its end: result, source and reason of a rejection (PS3.8 9.3.4),
    None if it was accepted, and then released."""
    proposed = (Proposed(1, VERIFICATION, (EXPLICIT,)),)
    with socket.create_connection(("127.0.0.1", system.port), 60) as sock, sock.makefile("rb") as answers:
        sock.sendall(write_request(Request(calling, called, proposed), 16384))
        kind, length = struct.unpack(">BxI", answers.read(6))
        body = answers.read(length)
        if kind == 3:
            return body[1], body[2], body[3]
        assert kind == 2
        sock.sendall(struct.pack(">BxII", 5, 4, 0))
        assert struct.unpack(">BxII", answers.read(10)) == (6, 4, 0)
        return None


def told(system, caplog) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.name == "bridge.refusals")


def test_another_called_title_is_refused_unless_the_setting_says_so(tmp_path, caplog):
    with bridged(tmp_path) as system:
        assert refusal(system, called="OTHER") == (1, 1, 7)
        assert "it calls 'OTHER', and we are 'ROENTGATE'. Set the called AE title" in told(system, caplog)
    with bridged(tmp_path, check_called=False) as system:
        assert refusal(system, called="OTHER") is None


def test_strangers_may_what_the_setting_says(tmp_path, caplog):
    with bridged(tmp_path, unknown="refuse") as system:
        assert refusal(system) == (1, 1, 3)
        assert "no node has the AE title 'TESTER'. Add a node" in told(system, caplog)
    with bridged(tmp_path, unknown="echo+store") as system:
        association = system.associate(VERIFICATION, CT, STUDY_FIND)
        assert [each.abstract_syntax for each in association.rejected_contexts] == [STUDY_FIND]
        assert association.send_c_echo().Status == 0
        association.release()
        assert "needs the right find" in told(system, caplog)


def test_a_node_may_what_it_is_allowed_and_calls_from_its_own_addresses(tmp_path, caplog):
    nodes = """
[nodes.CT1]
sources = ["127.0.0.1"]
allow = ["store"]
[nodes.MR1]
sources = ["192.0.2.0/24"]
"""
    with bridged(tmp_path, nodes, unknown="refuse") as system:
        association = system.associate(CT, VERIFICATION, STUDY_MOVE, calling="CT1")
        assert {each.abstract_syntax for each in association.rejected_contexts} == {VERIFICATION, STUDY_MOVE}
        association.release()
        assert refusal(system, "MR1") == (1, 1, 3)
        assert "known as node MR1, but does not call from 127.0.0.1. Add 127.0.0.1 to the sources" in told(
            system, caplog
        )


def test_a_node_that_is_added_may_call_without_a_restart(tmp_path):
    with bridged(tmp_path, unknown="refuse") as system:
        assert refusal(system, "NEW") == (1, 1, 3)
        (system.served.config.data / "nodes.toml").write_text('[nodes.NEW]\nsources = ["127.0.0.1"]\n')
        system.bridge.nodes.refresh()
        assert refusal(system, "NEW") is None


def test_spaces_around_titles_do_not_count_and_case_does(tmp_path):
    with bridged(tmp_path, '[nodes.ct1]\nsources = ["127.0.0.1"]\n', unknown="refuse") as system:
        assert refusal(system, "ct1 ", "ROENTGATE ") is None
        assert refusal(system, "CT1") == (1, 1, 3)


def test_a_peer_and_all_together_have_limits_and_nodes_have_places_kept(tmp_path, caplog):
    nodes = '[nodes.KNOWN]\nsources = ["127.0.0.1"]\n'
    with bridged(tmp_path, nodes, associations=8, associations_per_peer=7) as system:
        held = [system.associate(VERIFICATION) for _ in range(6)]
        assert refusal(system) == (2, 3, 2)
        held += [system.associate(VERIFICATION, calling="KNOWN") for _ in range(2)]
        assert refusal(system, "KNOWN") == (2, 3, 2)
        for association in held:
            association.release()
        assert "kept for known nodes" in told(system, caplog)
        assert "as many as are allowed" in told(system, caplog)
    with bridged(tmp_path, nodes, associations_per_peer=2) as system:
        held = [system.associate(VERIFICATION) for _ in range(2)]
        assert refusal(system) == (2, 3, 2)
        assert refusal(system, "KNOWN") is None
        for association in held:
            association.release()


def test_what_is_refused_can_be_read_at_refusals(tmp_path):
    with bridged(tmp_path) as system:
        assert refusal(system, "CT1", "OTHER") == (1, 1, 7)
        system.bridge.refusals.close()
        found = system.served.client.get("/refusals").json()["refusals"]
        assert [(one["kind"], one["calling"], one["called"]) for one in found] == [("association", "CT1", "OTHER")]
        assert "we are 'ROENTGATE'" in found[0]["reason"]
        assert found[0]["advice"]


# -- contexts ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("proposed", "wanted", "chosen"),
    [
        ((EXPLICIT, JPEG_LS, IMPLICIT), (), JPEG_LS),
        ((BIG_ENDIAN, IMPLICIT, EXPLICIT), (), EXPLICIT),
        ((BIG_ENDIAN,), (), BIG_ENDIAN),
        ((JPEG_BASELINE, JPEG_LS), (JPEG_LS,), JPEG_LS),
        ((JPEG_BASELINE,), (JPEG_LS,), ""),
        (("1.2.840.10008.1.2.4.94",), (), ""),
        (("1.2.3.4",), (), ""),
    ],
)
def test_the_transfer_syntax_is_the_one_that_keeps_most(proposed, wanted, chosen):
    assert choose_syntax(proposed, wanted) == chosen


def test_a_class_that_common_extended_negotiation_calls_storage_is_stored():
    policy = Policy(Rules(), Nodes(None))
    request = Request(
        "A", AET, (Proposed(1, "1.2.840.999.1", (EXPLICIT,)),), services={"1.2.840.999.1": "1.2.840.10008.4.2"}
    )
    everything = Admitted(None, Rules().unknown_rights)
    assert policy.grant(request, everything).contexts[0].result == ACCEPTED
    other = Request("A", AET, request.contexts)
    assert policy.grant(other, everything).contexts[0].result != ACCEPTED


def test_objects_without_a_patient_are_not_offered():
    assert Policy(Rules(), Nodes(None)).right_for("1.2.840.10008.5.1.4.1.1.200.1") is None


def test_roles_are_granted_only_where_asked_and_allowed(tmp_path):
    with bridged(tmp_path, unknown="get") as system:
        association = system.associate(STUDY_GET, CT, ext_neg=[build_role(CT, scu_role=True, scp_role=True)])
        (context,) = (each for each in association.accepted_contexts if each.abstract_syntax == CT)
        assert (context.as_scu, context.as_scp) == (False, True)
        association.release()


def test_more_than_a_hundred_contexts_are_negotiated(tmp_path):
    from pynetdicom import StoragePresentationContexts

    listed = [str(each.abstract_syntax) for each in StoragePresentationContexts]
    classes = [each for each in listed if is_storage(each)][:110]
    with bridged(tmp_path) as system:
        association = system.associate(*classes, syntaxes=[ExplicitVRLittleEndian, JPEGLSLossless])
        assert len(association.accepted_contexts) == 110
        association.release()


def test_a_node_is_sent_what_it_may_store_only(tmp_path):
    nodes = f'[nodes.CT1]\nsources = ["127.0.0.1"]\naccept_syntaxes = ["{IMPLICIT}"]\n'
    with bridged(tmp_path, nodes) as system:
        system.served.store(ct(1))
        association = system.associate(CT, syntaxes=[ExplicitVRLittleEndian, IMPLICIT], calling="CT1")
        assert association.accepted_contexts[0].transfer_syntax == [IMPLICIT]
        association.release()
        query = Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", f"{PREFIX}.1"
        association = system.associate(STUDY_FIND)
        assert len([1 for status, _ in association.send_c_find(query, STUDY_FIND) if status.Status == 0xFF00]) == 1
        association.release()
