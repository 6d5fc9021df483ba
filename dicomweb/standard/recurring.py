"""Elements that recur from one object to the next, so that each is read once (PS3.5 7.1).

Most elements of an image are those of the one before it in its series, and a dictionary gives them for a third of what
reading costs. Others differ in each image: positions, times, counters of the device. To keep those costs more than it
gives, and drives what recurs out of the processor's caches; so which ones they are is noticed, and they are passed
over. Both is forgotten after a while, since the next series has its own.
"""

from dicomweb.standard.leniency import Element

MOST = 8192
"""Elements that are kept."""
MOST_VALUES = 32
"""Values of one attribute after which it is taken for one that differs in each object."""
OBJECTS = 1024
"""Objects after which all is forgotten: what differs costs no more than `MOST_VALUES` of so many."""


class Recurring:
    """What was read lately. Threads share it; elements that it gives may not be changed.

    Attributes:
        known: elements by their bytes, header included.
        varied: keys (bytes of tag and VR) of those that are not kept any more.
    """

    def __init__(self) -> None:
        self.known: dict[bytes, Element] = {}
        self.varied: set[bytes] = set()
        self._values: dict[bytes, int] = {}
        self._objects = 0

    def begin(self) -> None:
        """Count an object, and forget all after `OBJECTS`."""
        self._objects += 1
        if self._objects >= OBJECTS:
            self._forget()

    def keep(self, key: bytes, written: bytes, element: Element) -> None:
        """Keep an element that was not known.

        Args:
            key: bytes of its tag and VR.
            written: all of its bytes.
            element: what they say, whatever else is in an object.
        """
        if len(self.known) >= MOST:
            self._forget()
        self.known[written] = element
        values = self._values[key] = self._values.get(key, 0) + 1
        if values >= MOST_VALUES:
            self.varied.add(key)

    def _forget(self) -> None:
        self._objects = 0
        self.known.clear()
        self._values.clear()
        self.varied.clear()
