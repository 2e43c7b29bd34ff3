"""Triton's kernels for the head beside plain PyTorch, on a CPU by Triton's interpreter."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CASES = Path(__file__).with_name("triton_cases.py")
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def run(**environment):
    """The script in a process of its own: Triton reads its settings when it is imported."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", **environment}
    found = subprocess.run([sys.executable, str(CASES)], env=env, capture_output=True, text=True, timeout=500)
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


def check(cases):
    """Sums are float32 either way; gradients by bfloat16 numbers are rounded to them once, at other places."""
    assert len(cases) == 24
    wrong = {}
    for case in cases:
        assert {"logps", "by hidden"} <= case["errors"].keys()
        for name, error in case["errors"].items():
            slack = 2e-2 if name.startswith("by ") and case["case"].endswith("bfloat16") else 2e-5
            if not error <= slack:
                wrong[case["case"], name] = error
    assert wrong == {}


def test_values_and_gradients_equal_those_of_plain_pytorch():
    check(run(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES=""))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_so_they_do_when_compiled():
    check(run(PREFINE_TEST_DEVICE="cuda"))
