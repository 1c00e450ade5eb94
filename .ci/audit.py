"""Known vulnerabilities of the pinned packages; a package that could not be looked up is a failure, not a pass."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main():
    """Ask pip-audit about every pin of constraints.txt."""
    pins = re.findall(r"^([A-Za-z0-9_.-]+==[^\s#]+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text("\n".join(pins))
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
        result = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    try:
        found = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"pip-audit gave no answer:\n{result.stderr}")
        return 1
    skipped = [entry["name"] for entry in found if "skip_reason" in entry]
    known = [(entry["name"], v["id"]) for entry in found for v in entry.get("vulns", [])]
    for name, identifier in known:
        print(f"{name}: {identifier}")
    looked_up = len(found) - len(skipped)
    print(
        f"{looked_up} of {len(pins)} pinned packages looked up, {len(known)} known vulnerabilities; skipped: {skipped}"
    )
    return 0 if looked_up == len(pins) and not known else 1


if __name__ == "__main__":
    sys.exit(main())
