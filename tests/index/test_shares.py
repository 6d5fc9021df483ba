"""Share links in the index: kept, counted and dropped the same way by every process."""

import threading
import time
from dataclasses import replace

from dicomweb.access.keys import Key
from dicomweb.access.shares import MOST_WRONG, Share, new_share
from dicomweb.index import Index, open_index


def test_links_are_kept_as_they_are_and_dropped(index: Index) -> None:
    now = time.time()
    one, _ = new_share("1.2.3", "view", "zoe", now, 60.0)
    other, _ = new_share("1.2.4", "download", "Änne \\ \0", now + 1, 60.0, "x", most=3, owner="command zoe")
    for share in (one, other):
        index.shares.add(share)
    found = index.shares.all()
    assert [share.id for share in found] == [other.id, one.id]
    assert found[1] == index.shares.get(one.id) == one
    assert replace(found[0], maker=other.maker) == other
    index.clear()
    assert [index.shares.drop(one.id), index.shares.drop(one.id), index.shares.get(one.id)] == [True, False, None]


def test_whatever_happens_at_once_openings_and_passphrases_are_counted_each(shared_url: str) -> None:
    indexes = [open_index(shared_url) for _ in range(2)]
    share, _ = new_share("1.2.3", "view", "zoe", time.time(), 60.0, "x", most=5)
    indexes[0].shares.add(share)
    opened, tried = [], []

    def attempt(index: Index) -> None:
        for _ in range(6):
            opened.append(index.shares.open(share.id))
            tried.append(index.shares.try_passphrase(share.id))

    threads = [threading.Thread(target=attempt, args=(index,)) for index in indexes for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(tried) == MOST_WRONG
    # a link that was closed by wrong passphrases is opened no more
    assert sum(one is not None and not one.closed for one in opened) <= 5
    kept = indexes[1].shares.get(share.id)
    assert kept is not None
    assert (kept.opened, kept.wrong) == (sum(one is not None and not one.closed for one in opened), MOST_WRONG)
    indexes[0].shares.was_right(share.id)
    kept = indexes[1].shares.get(share.id)
    assert kept is not None
    assert kept.wrong == 0
    assert indexes[0].shares.open("nobody") is None
    assert not indexes[0].shares.try_passphrase("nobody")
    for index in indexes:
        index.close()


def test_links_of_a_key_go_with_it_also_one_that_is_being_made(index: Index) -> None:
    def made(owner: str) -> Share:
        share, _ = new_share("1.2.3", "view", "zoe", time.time(), 60.0, owner=owner)
        return share

    key = Key("0123456789", "", "zoe", frozenset(["share"]), None, None, time.time())
    index.keys.add(key)
    its, others = made(key.principal().identity), made("command zoe")
    assert [index.shares.add(share) for share in (its, others)] == [True, True]
    assert index.keys.drop(key.id)
    assert [index.shares.get(share.id) for share in (its, others)] == [None, others]
    assert not index.shares.add(made(key.principal().identity))
    assert [index.shares.drop_of("command zoe"), index.shares.drop_of("command zoe")] == [1, 0]
    assert index.shares.all() == []
