"""What is logged of clients: a line now and then, however often they give cause for it."""

import logging
from time import monotonic
from typing import NamedTuple

log = logging.getLogger("labioc.ca")

COMPLAINT_SECONDS = 1.0
MAX_COMPLAINED = 1000


class _Said(NamedTuple):
    until: float
    unsaid: int


class Complaints:
    """At most one line for each of those who give cause, their causes and second, and a bounded memory of them."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], _Said] = {}

    def add(self, who: str, about: str, text: str, failure: BaseException | None = None) -> None:
        """Log a line, and with a traceback if there is a failure that is a bug."""
        now = monotonic()
        key = who, about
        said = self._said.get(key)
        if said is not None and now < said.until:
            self._said[key] = said._replace(unsaid=said.unsaid + 1)
            return
        if said is None and len(self._said) >= MAX_COMPLAINED:
            self._said = {key: said for key, said in self._said.items() if now < said.until}
            if len(self._said) >= MAX_COMPLAINED:
                return
        self._said[key] = _Said(now + COMPLAINT_SECONDS, 0)
        more = f" (and {said.unsaid} more like this before)" if said and said.unsaid else ""
        line = "".join(letter if letter.isprintable() else "?" for letter in text) + more
        if failure is None:
            log.info("%s", line)
        else:
            log.error("%s", line, exc_info=failure)
