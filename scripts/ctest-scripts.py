# SPDX-License-Identifier: MIT OR Apache-2.0
"""The tests of a build directory as scripts, one each, for a guest that has no ctest (ctest/vm/guest/run-tests)."""
import argparse
import json
import os
import shlex
import subprocess

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--root", required=True, help="the build directory")
parser.add_argument("--label", required=True, help="of the tests")
parser.add_argument("--into", required=True, help="an empty directory")
options = parser.parse_args()

listing = subprocess.run(
    ["ctest", "--test-dir", options.root, "-L", options.label, "--show-only=json-v1"], check=True, capture_output=True
)
for test in json.loads(listing.stdout)["tests"]:
    if "command" not in test:  # its program was not built
        continue
    properties = {each["name"]: each["value"] for each in test.get("properties", [])}
    lines = ["#!/bin/sh", f"# timeout: {int(properties.get('TIMEOUT', 400))}"]
    lines.append("cd " + shlex.quote(properties.get("WORKING_DIRECTORY", options.root)))
    lines += ["export " + shlex.quote(setting) for setting in properties.get("ENVIRONMENT", [])]
    lines.append("exec " + " ".join(shlex.quote(word) for word in test["command"]))
    path = os.path.join(options.into, test["name"])
    with open(path, "w", encoding="utf-8") as script:
        script.write("\n".join(lines) + "\n")
    os.chmod(path, 0o755)
