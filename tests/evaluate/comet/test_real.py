"""comet-score itself on a tiny random checkpoint, where the environment has been set up (`prefine comet setup`)."""

import json
import subprocess

import pytest

from prefine.evaluate.comet.environment import DONE, environment
from prefine.registry import metrics

from ..metrics.rows import group, scored

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (environment() / DONE).is_file(), reason="needs COMET's environment (prefine comet setup)"),
]

MAKE = """
import json, sys, torch, yaml
from pathlib import Path
from transformers import BertConfig, BertTokenizerFast
from comet.models import RegressionMetric
folder = Path(sys.argv[1])
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
words += ["##" + w for w in words[5:]]
(folder / "vocab.txt").write_text("\\n".join(words))
BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
           max_position_embeddings=64, initializer_range=0.4).save_pretrained(folder)
torch.manual_seed(0)
settings = dict(encoder_model="BERT", pretrained_model=str(folder), hidden_sizes=[16], layer="mix",
                load_pretrained_weights=False, local_files_only=True)
model = RegressionMetric(**settings).eval()
hyper = {**dict(model.hparams), "class_identifier": "regression_metric"}
(folder / "checkpoints").mkdir()
torch.save({"state_dict": model.state_dict(), "hyper_parameters": hyper, "pytorch-lightning_version": "2.0.0"},
           folder / "checkpoints" / "model.ckpt")
(folder / "hparams.yaml").write_text(yaml.safe_dump(hyper))
rows = json.loads(sys.argv[2])
model = model.half()
found = []
for row in rows:
    batch = model.prepare_sample([row], stage="predict")
    with torch.no_grad():
        found.append(float(model(**batch)["score"]))
print("SCORES", json.dumps(found))
"""

ROWS = [
    {"src": "das haus", "mt": "the house", "ref": "the house"},
    {"src": "ein langer satz mit vielen worten", "mt": "a long\nsentence of many words", "ref": "a long sentence"},
    {"src": "nein", "mt": "no", "ref": "no no"},
]


def test_scores_are_those_of_the_checkpoint(tmp_path):
    lines = [{k: " ".join(v.split()) for k, v in row.items()} for row in ROWS]
    python = environment() / "bin" / "python"
    made = subprocess.run(
        [python, "-c", MAKE, tmp_path, json.dumps(lines)], capture_output=True, text=True, timeout=300
    )
    assert "SCORES" in made.stdout, made.stderr[-2000:]
    expected = json.loads(made.stdout.split("SCORES", 1)[1])
    asked = [(group(r["ref"], prompt=r["src"], source_text=r["src"]), r["mt"]) for r in ROWS]
    checkpoint = str(tmp_path / "checkpoints" / "model.ckpt")
    metric, found = scored("comet", asked, checkpoint=checkpoint, gpus=0, batch_size=2)
    # Half precision, and another batch.
    assert [s.value for s in found] == pytest.approx(expected, abs=2e-3)
    assert len({round(v, 2) for v in expected}) == 3
    assert metric.facts()["signature"].startswith(checkpoint)
    assert metrics.build({"name": "xcomet"}).checkpoint == "Unbabel/XCOMET-XL"
