"""The command: prints the report as JSON; exit status 0 right, 1 something is wrong, 2 usage."""

import json
import sys
from pathlib import Path

from .verdict import verify

if __name__ == "__main__":
    if len(sys.argv) not in {3, 4}:
        sys.stderr.write("usage: python -m verifier LOG PUBLIC_KEY [CHECKPOINTS]\n")
        sys.exit(2)
    report = verify(Path(sys.argv[1]), sys.argv[2], *map(Path, sys.argv[3:]))
    sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")
    sys.exit(0 if report.ok else 1)
