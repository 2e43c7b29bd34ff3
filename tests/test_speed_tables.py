"""The tables of speed: ratios inside rounds, and what a GPU must compute, by hand."""

import importlib
import json
import sys
import types
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("speed"), importlib.import_module("gpu")
    for name in ("speed", "gpu", "operations", "speed_assets", "candidate", "other"):
        sys.modules.pop(name, None)


def products(given):
    """4 heads of 10 rows by 10 keys of size 8, of which 55 pairs are causal; (3, 7) @ (7, 5) three times."""
    assert given == ["--pairs=2"]
    q, k = (torch.ones(1, 4, 10, 8, requires_grad=True) for _ in range(2))
    torch.nn.functional.scaled_dot_product_attention(q, k, k, is_causal=True).sum().backward()
    a, b = torch.ones(3, 7), torch.ones(7, 5)
    total = torch.zeros(3, 5).addmm_(a, b) + torch.mm(a, b, out=torch.empty(3, 5))
    return total + torch.nn.functional.linear(a, b.t())


@pytest.mark.parametrize("name", ["candidate", "other"])
def test_operations_of_all_products_are_counted_made_or_not(scripts, name):
    """Two products of pairs forward, five backward; two operations for each of their multiplications."""
    operations = importlib.import_module("operations")
    sys.modules[name] = types.SimpleNamespace(main=products)
    counted = operations.run(f"{name}.py", ["--pairs=2"])
    assert counted == 2 * (2 + 5) * 4 * 55 * 8 + 3 * 2 * 3 * 7 * 5
    full = {"query": (2, 4, 10, 8), "key": (2, 4, 30, 8), "value": (2, 4, 30, 8)}
    assert operations.forward(**full) == 2 * 2 * 2 * 4 * 10 * 30 * 8


def test_operations_beside_seconds(scripts):
    operations = importlib.import_module("operations")
    known = {"profile": "chat", "unique_tokens": "700", "versions": "torch 2", "commit": "abc"}
    counts = [{**known, "trainer": t, "gflop": str(n)} for t, n in (("trl", 700), ("trl_best", 350), ("prefine", 140))]
    times = [r for i in range(3) for r in rows("chat", i, (20 + i, 10 + i, 3 + i), (500, 500, 500))]
    text = operations.table(counts, times)
    assert "| chat | 0.200 | 5.0x | 2.5x | 35, 33, 32 |" in text and "abc" in text
    assert "| chat | 0.200 | 5.0x | 2.5x | -, -, - |" in operations.table(counts, [])


def rows(profile, number, cpu, rss):
    known = {"hardware": "a CPU", "threads": "1", "versions": "torch 2", "dtype": "fp32", "commit": "abc", "date": "d"}
    return [
        {"profile": profile, "round": str(number), "trainer": name, "unique_tokens": "700", "cpu_seconds": str(seconds),
         "peak_rss_mb": str(memory), "imports_rss_mb": "400", "update_cosine": "0.99" if name == "prefine" else "",
         **known}
        for name, seconds, memory in zip(("trl", "trl_best", "prefine"), cpu, rss, strict=True)
    ]  # fmt: skip


def test_ratios_are_taken_inside_rounds_and_memory_above_the_imports(scripts):
    speed, _ = scripts
    measured = [
        *rows("chat", 0, (40, 20, 10), (1400, 900, 600)),
        *rows("chat", 1, (120, 60, 20), (1400, 900, 600)),
        *rows("chat", 2, (50, 30, 10), (1400, 900, 600)),
        *rows("long", 0, (1, 1, 1), (500, 500, 500))[:2],
    ]
    found = speed.compared(measured, "chat")
    assert found["time"] == {"trl": [4, 6, 5], "trl_best": [2, 3, 3]}
    assert found["memory"] == {"trl": 5, "trl_best": 2.5} and found["speed"] == 70 and found["cosine"] == 0.99
    assert speed.compared(measured, "long") is None
    text = speed.table(measured)
    assert "| chat | 3 | 5.0x [4.0, 6.0] | 3.0x [2.0, 3.0] | 5.0x / 2.5x | 70 | 0.99000000 |" in text
    assert "long" not in text and "a CPU, 1 thread; torch 2; fp32; d, commit abc" in text


def test_text_between_marks(scripts, tmp_path):
    speed, _ = scripts
    page = tmp_path / "page.md"
    page.write_text(f"before {speed.MARKS[0]} old {speed.MARKS[1]} after")
    speed.write_between(page, "new")
    assert page.read_text() == f"before {speed.MARKS[0]}\n\nnew\n\n{speed.MARKS[1]} after"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="lacks the marks"):
        speed.write_between(page, "new")


def test_what_a_device_must_compute(scripts, tmp_path, monkeypatch, tokenizer):
    """A byte is a token: a prompt of 3, answers of 2 + 1 and 4 + 1 with their ends."""
    _, gpu = scripts
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "chat.jsonl").write_text(json.dumps({"prompt": "abc", "chosen": "de", "rejected": "fghi"}) + "\n")
    monkeypatch.setitem(gpu.MODELS, "made-up", (8, 2, 16, 2, 1, 50))
    tokens, tera = gpu.work("made-up", tmp_path, "chat", 1)
    assert tokens == 3 + 3 + 5
    keys, whole = 2 * 8 * 4, 2 * 8 * 4 + 2 * 64 + 3 * 8 * 16
    products = 2 * (2 * whole * 11 - 2 * (whole - keys)) + 2 * 8 * 50 * 8
    pairs = 9 / 2 + (9 + 9 / 2) + (15 + 25 / 2)
    assert tera * 1e12 == pytest.approx(4 * products + 4.5 * 2 * 4 * 8 * pairs)


def test_time_is_that_of_all_calls(scripts):
    _, gpu = scripts

    class Trainer:
        def train(self, x):
            return x + 1

    spent = []
    gpu.watch(Trainer, "train", spent)
    assert [Trainer().train(1), Trainer().train(2)] == [2, 3]
    assert len(spent) == 2 and all(seconds >= 0 for seconds in spent)


def test_the_table_of_a_gpu(scripts):
    _, gpu = scripts
    measured = [
        {"model": "0.5B", "profile": "chat", "round": str(number), "trainer": name, "device_seconds": seconds,
         "peak_memory_mb": memory, "unique_tokens": "3000", "share_of_peak": "0.5"}
        for number in range(2)
        for name, seconds, memory in (("trl", "6", "80"), ("trl_best", "3", "60"), ("prefine", "1.5", "40"))
    ]  # fmt: skip
    assert "| 0.5B | chat | 4.00x | 2.00x | 2.00x / 1.50x | 2,000 | 50.0% |" in gpu.table(measured)
