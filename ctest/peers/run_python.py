# SPDX-License-Identifier: MIT OR Apache-2.0
# rdma-core's tests, with Python's garbage collector off: pyverbs of some
# distributions crashes in it by itself.
#
#   run_python.py RDMA-CORE DEVICE [MODULE...]
#
# Prints a line "RESULT test" for each, and ends with 0 whatever they are.
import gc

gc.disable()
import ctypes
import importlib
import pathlib
import sys
import unittest

root, device, *modules = sys.argv[1:]
sys.path[:0] = [root, root + "/tests"]
sys.argv = [sys.argv[0], "--dev", device]
from args_parser import parser

parser.parse_args()
if not modules:
    modules = sorted(path.stem for path in pathlib.Path(root, "tests").glob("test_*.py"))


class Result(unittest.TestResult):
    def say(self, word, test, why=""):
        why = str(why).strip().splitlines()
        print(f"{word} {test.id()}{'  # ' + why[-1] if why else ''}", flush=True)

    def addSuccess(self, test):
        self.say("passed", test)

    def addFailure(self, test, err):
        self.say("failed", test, err[1])

    def addError(self, test, err):
        self.say("error", test, err[1])

    def addSkip(self, test, reason):
        self.say("skipped", test, reason)

    def addExpectedFailure(self, test, err):
        self.say("passed", test)


for name in modules:
    try:
        module = importlib.import_module("tests." + name)
    except ImportError as why:
        print(f"absent tests.{name}  # {why}", flush=True)
        continue
    unittest.defaultTestLoader.loadTestsFromModule(module).run(Result())

# Nor does pyverbs take being taken apart at the end. What C has to do then is done.
sys.stdout.flush()
ctypes.CDLL(None).exit(0)
