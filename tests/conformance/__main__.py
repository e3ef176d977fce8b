"""Print the declared differences and whatever isn't declared; `--write` makes docs/conformance.md anew."""

import asyncio
import sys

from tests.conformance.compare import findings
from tests.conformance.declared import DECLARED
from tests.conformance.differences import stale, undeclared
from tests.conformance.document import DOCUMENT, rendered


def main() -> int:
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(rendered(), encoding="utf-8")
        return 0
    out = sys.stdout.write
    found = asyncio.run(findings())
    out(f"{len(DECLARED)} declared differences:\n")
    for number, difference in enumerate(DECLARED, 1):
        out(
            f"{number:3} {difference.title}\n    C IOC: {difference.c_ioc}\n    labioc: {difference.labioc}\n"
        )
        gone = stale(difference, found)
        if gone:
            out(f"    STALE, doesn't occur: {'; '.join(gone)}\n")
    new = undeclared(found)
    out(f"{len(new)} of {len(found)} findings are not declared\n")
    for finding in new:
        out(f"{finding}\n")
    return 1 if new or any(stale(difference, found) for difference in DECLARED) else 0


if __name__ == "__main__":
    sys.exit(main())
