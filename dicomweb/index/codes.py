"""Texts that many rows share (SOP classes, transfer syntaxes, forms of storage keys) as small integers.

A code is made in a transaction of its own before it is used, and is never taken back; so what a process remembers
stays true.
"""

import threading
from collections.abc import Iterable

from dicomweb.index.session import Session, among


class Codes:
    """The codes that this process has met; safe to use from several threads."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self._texts: dict[int, str] = {}
        self._lock = threading.Lock()

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Return those texts that have no code that we know of."""
        return sorted(set(texts) - self.ids.keys())

    def make(self, session: Session, texts: Iterable[str]) -> None:
        """Give texts a code, in a transaction that does nothing else."""
        for text in sorted(texts):
            session.run("INSERT INTO code (text) VALUES (?) ON CONFLICT (text) DO NOTHING", (text,))

    def load(self, session: Session, texts: Iterable[str]) -> None:
        """Remember the codes of texts that have one."""
        condition, value = among(session.dialect, "text", sorted(texts))
        self._remember(session.rows(f"SELECT id, text FROM code WHERE {condition}", (value,)))

    def texts(self, session: Session, ids: Iterable[int]) -> dict[int, str]:
        """Return the texts of codes, by code; it has those asked for and maybe others."""
        unknown = set(ids) - self._texts.keys()
        if unknown:
            condition, value = among(session.dialect, "id", sorted(unknown))
            self._remember(session.rows(f"SELECT id, text FROM code WHERE {condition}", (value,)))
        return self._texts

    def _remember(self, rows: Iterable[tuple[int, str]]) -> None:
        with self._lock:
            for number, text in rows:
                self._texts = {**self._texts, number: text}
                self.ids = {**self.ids, text: number}
